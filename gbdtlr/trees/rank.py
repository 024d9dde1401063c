"""A rank: one of the processes that grow the same trees together, each on its own rows, by LightGBM's own network.

LightGBM waits for other ranks inside of its library, and for ever where one of them dies: it takes the end of a
connection for nothing yet. That is why a rank is a process: whoever began it ends it when another one is gone.

In this order a rank is told a :class:`~gbdtlr.trees.plan.Plan`, blocks of rows, ``("link", machines)``, ``("grow",)``
for each tree, and ``("text", n_trees, whole)``; it answers each but the blocks. What LightGBM refuses is a
:class:`~gbdtlr.trees.plan.Refusal`.
"""

from __future__ import annotations

import hashlib
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gbdtlr.engine.process import Inbox
from gbdtlr.trees.plan import TIME_OUT_MIN, Block, Grown, Plan, Refusal
from gbdtlr.trees.refusals import is_passing
from gbdtlr.trees.rewriting import same_everywhere

UNUSED = ("dask", "graphviz", "matplotlib", "pandas", "sklearn")
"""Libraries that LightGBM looks for: without them it begins in a third of the time, and takes less memory."""


class Rank:
    """The rank in this process."""

    def __init__(self, plan: Plan, next_block: Callable[[], Block]) -> None:
        """Take all rows; they are never together here but as bins."""
        import lightgbm as lgb

        self._plan = plan
        rows = _rows_class(lgb.Sequence)
        data: dict[str, Any] = {
            "feature_name": [*plan.names],
            "categorical_feature": [*plan.categorical],
            "params": dict(plan.params),
        }
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "bins").write_bytes(plan.bins)
            reference = lgb.Dataset(str(Path(folder) / "bins"), **data).construct()
        self._sets: list[Any] = []
        self._weights: list[float] = []
        for n in plan.n_rows:
            if n:
                given = rows(n, next_block)
                weight = given.weight if plan.is_weighed else None
                like = self._sets[0] if self._sets else reference
                dataset = lgb.Dataset([given], given.label, weight=weight, reference=like, **data)
                self._sets.append(dataset.construct())
                self._weights.append(float(given.weight.astype(np.float32).sum(dtype=np.float64)))
        # Nobody else is given the port as long as it is bound.
        self._port = socket.socket()
        self._port.bind(("", 0))
        self.reached_at = f"{plan.address}:{self._port.getsockname()[1]}"
        self._booster: Any = None

    def link(self, machines: Sequence[str]) -> None:
        """Meet the others, which do the same now."""
        import lightgbm as lgb

        network: dict[str, Any] = {}
        if len(machines) > 1:
            network = {
                "machines": ",".join(machines),
                "num_machines": len(machines),
                "local_listen_port": self._port.getsockname()[1],
                "time_out": TIME_OUT_MIN,
            }
        self._port.close()
        self._booster = lgb.Booster({**self._plan.params, **network}, self._sets[0])
        for newest in self._sets[1:]:
            self._booster.add_valid(newest, "newest")

    def grow(self) -> Grown:
        """One tree more."""
        self._booster.update()
        if len(self._sets) < 2:
            return Grown({}, 0.0)
        return Grown({each[1]: float(each[2]) for each in self._booster.eval_valid()}, self._weights[1])

    def text(self, n_trees: int, whole: bool) -> tuple[str, str]:
        """The model with that many trees: its hash, and, where it is asked for, itself."""
        text = same_everywhere(self._booster.model_to_string(num_iteration=n_trees))
        return hashlib.sha256(text.encode()).hexdigest(), text if whole else ""


def _rows_class(base: Any) -> Any:
    """LightGBM's class of rows that come bit by bit, as it can be made once LightGBM is imported."""

    class Rows(base):  # type: ignore[misc]  # of a library without types
        """Rows that are asked for once, in their order; what comes with them is kept."""

        batch_size = 2**16

        def __init__(self, n: int, next_block: Callable[[], Block]) -> None:
            self._n, self._next_block = n, next_block
            self._waiting: npt.NDArray[np.float64] = np.empty((0, 0))
            self._n_come = 0
            self.label, self.weight = np.empty(n, np.float32), np.empty(n)

        def __len__(self) -> int:
            return self._n

        def __getitem__(self, rows: slice) -> npt.NDArray[np.float64]:
            n = rows.stop - rows.start
            taken, n_taken = [], 0
            while n_taken < n:
                if not len(self._waiting):
                    self._waiting = self._next()
                taken.append(self._waiting[: n - n_taken])
                self._waiting = self._waiting[n - n_taken :]
                n_taken += len(taken[-1])
            return np.concatenate(taken)

        def _next(self) -> npt.NDArray[np.float64]:
            matrix, label, weight = self._next_block()
            come = slice(self._n_come, self._n_come + len(label))
            self.label[come], self.weight[come] = label, weight
            self._n_come += len(label)
            return matrix

    return Rows


def main() -> None:
    """Do as told until the end."""
    inbox = Inbox()
    for name in UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]  # which is how Python is told that there is none
    import lightgbm as lgb

    try:
        rank = Rank(inbox.next(), inbox.next)
        inbox.say(rank.reached_at)
        while True:
            what, *arguments = inbox.next()
            inbox.say(getattr(rank, what)(*arguments))
    except (lgb.basic.LightGBMError, ValueError, TypeError) as error:
        inbox.say(Refusal(str(error), is_passing(str(error))))
        while True:  # who tells it rows hears of it when all are told, and then ends it
            inbox.next()


if __name__ == "__main__":
    main()
