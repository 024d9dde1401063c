"""Growing trees together: LightGBM's data-parallel learning on rows that lie on several machines.

Each rank has rows of its own, always the same; all have the same vocabularies and bins. They grow one tree at a time,
in lockstep with whoever called them together, who adds up the metric of their newest rows and says when to stop: no
rank ever decides by itself, so none waits for one that has stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gbdtlr.config import SamplesConfig, TreesConfig
from gbdtlr.engine.seats import SeatLost, Together, TooLate
from gbdtlr.errors import ConfigError, EngineError, TreesError
from gbdtlr.trees.bins import N_ROWS, booster_names, categorical_of
from gbdtlr.trees.frozen import FrozenTrees
from gbdtlr.trees.plan import TIME_OUT_MIN, Grown, Plan, Refusal
from gbdtlr.trees.refusals import reason_of
from gbdtlr.trees.schema import Schema
from gbdtlr.trees.training import canonical, check_monotone, params_of

ATTEMPTS = 5
"""How often trees are begun anew where a rank is lost."""
READY_S, LINK_S, TREE_S = 3600.0, 100.0, 60.0 * TIME_OUT_MIN
"""How long all ranks may take to bin the last of their rows, to meet (LightGBM tries for 126 s), and to grow a tree."""
SUMMABLE = ("binary_logloss", "binary_error", "cross_entropy")
"""Metrics of which the mean over all rows is the mean of those of the ranks, by their weights."""
_ELSEWHERE = ("forcedbins_filename", "forcedsplits_filename")


@dataclass
class Stopping:
    """When enough trees have grown, as ``lightgbm.early_stopping`` has it for metrics that are to be small.

    Attributes
    ----------
    rounds : trees that may come without any getting better
    n_trees : that there may be
    first_only : whether the first metric alone counts
    deltas : by how much a metric must be smaller to count as better; one for all, or one for each
    """

    rounds: int
    n_trees: int
    first_only: bool = False
    deltas: float | Sequence[float] = 0.0
    _best: dict[str, tuple[float, int]] = field(default_factory=dict)

    def told(self, n: int, metrics: Mapping[str, float]) -> int | None:
        """The number of trees to keep if the ``n``-th was the last to grow; None where more are to come."""
        deltas = self.deltas if isinstance(self.deltas, (int, float)) else [*self.deltas] or 0.0
        for i, (name, value) in enumerate(metrics.items()):
            delta = deltas if isinstance(deltas, (int, float)) else deltas[i if len(deltas) > 1 else 0]
            if name not in self._best or value < self._best[name][0] - delta:
                self._best[name] = value, n
            if self.first_only and i:
                continue
            if n - self._best[name][1] >= self.rounds or n == self.n_trees:
                return self._best[name][1]
        return None


@dataclass(frozen=True)
class Growing:
    """What is to grow, once the settings are known to be good for it.

    Attributes
    ----------
    params : of LightGBM, for all ranks
    n_trees : at most
    """

    cfg: TreesConfig
    params: Mapping[str, Any]
    n_trees: int

    @classmethod
    def of(cls, cfg: TreesConfig, samples_cfg: SamplesConfig, threads: int | None = None) -> Growing:
        """By the config.

        Raises
        ------
        ConfigError
            Parameters that :func:`gbdtlr.trees.train` refuses, or that no ranks can heed together.
        TreesError
            LightGBM refused them.
        """
        params, n_trees = params_of(cfg.params, threads, early_stopping=cfg.early_stopping_rounds is not None)
        check_monotone(cfg.params, samples_cfg)
        named = {canonical(key): key for key in params}
        for name in _ELSEWHERE:
            if name in named:
                raise ConfigError(f"[trees.params] {named[name]} is a file of this machine; {_HERE}")
        voting = params.pop(named.get("tree_learner", ""), "") == "voting"
        params |= {
            "tree_learner": "voting" if voting else "data",
            "num_iterations": n_trees,
            "pre_partition": True,  # the rows of each rank are its own already
            "feature_pre_filter": False,  # bins are found on some rows, which say little about what is rare in all
        }
        growing = cls(cfg, params, n_trees)
        growing._check_metrics()
        return growing

    def _check_metrics(self) -> None:
        """Pass if the metrics can be added up over ranks, where they are looked at: LightGBM says which they are."""
        import lightgbm as lgb

        if self.cfg.early_stopping_rounds is None:
            return
        asked = {key: value for key, value in self.params.items() if canonical(key) in ("objective", "metric")}
        quiet = {"verbosity": -1, "num_threads": 1}
        try:
            booster = lgb.Booster({**asked, **quiet}, lgb.Dataset(np.eye(2), np.arange(2), params=quiet))
            names = [each[1] for each in booster.eval_train()]
        except (lgb.basic.LightGBMError, ValueError) as error:
            reason = reason_of(error, self.cfg.params)
            raise TreesError(f"LightGBM refused [trees.params]: {reason}") from error
        bad = [name for name in names if name not in SUMMABLE]
        if bad or not names:
            told = f"metric {bad[0]} is no mean over rows, so it" if bad else "there is no metric, so early stopping"
            raise ConfigError(
                f"[trees.params] {told} cannot be told of rows on several workers; "
                f"choose of {', '.join(SUMMABLE)}, or {_HERE}"
            )

    @property
    def n_for_bins(self) -> int:
        """Rows that LightGBM is to find bins on."""
        named = {canonical(key): value for key, value in self.params.items()}
        return int(named.get("bin_construct_sample_cnt", N_ROWS))

    def plan(self, schema: Schema, bins: bytes, is_weighed: bool) -> Plan:
        """The same for all ranks, but for the numbers of their rows."""
        return Plan(self.params, booster_names(schema), categorical_of(schema), bins, (0, 0), is_weighed)

    def stopping(self) -> Stopping | None:
        """When to stop before all trees have grown; None for never."""
        if self.cfg.early_stopping_rounds is None:
            return None
        first_only, deltas = (self.params.get(key) for key in ("first_metric_only", "early_stopping_min_delta"))
        return Stopping(self.cfg.early_stopping_rounds, self.n_trees, bool(first_only), deltas or 0.0)


_HERE = 'set [trees] learn_on = "here", with max_rows if the window is too large'


def grow_together(
    ranks: Together[Any],
    fill: Callable[..., None],
    growing: Growing,
    plans: Sequence[Plan],
    schema: Schema,
    *,
    progress: Callable[[int, int, str], None] | None = None,
    on_lost: Callable[[str], None] | None = None,
) -> FrozenTrees:
    """Trees of the rows of all ranks, frozen; the same for the same rows on as many ranks, wherever these are.

    Parameters
    ----------
    fill : ``fill(seat, plan)`` begins a rank on its seat and tells it its plan and all its rows
    plans : of each rank
    progress : as of :func:`gbdtlr.trees.train`
    on_lost : called with the reason each time that all is begun anew

    Raises
    ------
    TreesError
        LightGBM refused the parameters or the rows.
    EngineError
        Ranks do not reach each other, say nothing any more, or are lost again and again.
    """
    for _ in range(ATTEMPTS):
        try:
            ranks.do(fill, each=plans)
            return FrozenTrees(_grown(ranks, growing, progress), schema)
        except SeatLost as lost:
            reason = str(lost)
        finally:
            with suppress(EngineError):  # a cluster that is gone has ended them
                ranks.end()
        if on_lost is not None:
            on_lost(reason)
    raise EngineError(
        f"trees were begun on the workers {ATTEMPTS} times, and a rank was lost each time; the last: {reason}. Was the "
        "machines' memory full? Nothing was published"
    )


def _grown(ranks: Together[Any], growing: Growing, progress: Callable[[int, int, str], None] | None) -> str:
    """The text of the trees that ranks with all their rows grow; raise SeatLost if one is gone."""
    machines = _heard(ranks, growing, READY_S, "has not binned its rows")
    ranks.tell([("link", machines)] * len(ranks))
    _heard(ranks, growing, LINK_S, f"did not reach the others; do firewalls let {', '.join(machines)} through?")
    stopping, n_trees = growing.stopping(), growing.n_trees
    for n in range(1, growing.n_trees + 1):
        ranks.tell([("grow",)] * len(ranks))
        metrics = mean_of(_heard(ranks, growing, TREE_S, f"has not grown tree {n}"))
        if progress is not None:
            text = "  ".join(f"newest {name} {value:.6f}" for name, value in metrics.items())
            progress(n, growing.n_trees, text)
        if stopping is not None and (best := stopping.told(n, metrics)) is not None:
            n_trees = best
            break
    ranks.tell([("text", n_trees, rank == 0) for rank in range(len(ranks))])
    texts = _heard(ranks, growing, TREE_S, "did not give its trees")
    if len({digest for digest, _ in texts}) > 1:
        raise EngineError("the workers grew trees that differ, so nothing was published; use machines of one kind")
    return str(texts[0][1])


def _heard(ranks: Together[Any], growing: Growing, limit_s: float, late: str) -> list[Any]:
    """What each rank says; raise what it means if that is no answer."""
    try:
        said = ranks.hear(limit_s)
    except TooLate as error:
        raise EngineError(f"trees cannot grow on the workers: {error} and {late}; nothing was published") from None
    for each in said:
        if isinstance(each, Refusal):
            if each.is_passing:
                raise SeatLost(f"LightGBM's network: {each.reason}")
            if "local machine" in each.reason:
                raise EngineError(
                    "Ray knows a machine by an address that is not its own, so ranks cannot meet; begin Ray there with "
                    '--node-ip-address, or use [trees] max_rows with learn_on = "here"'
                )
            reason = reason_of(each.reason, growing.cfg.params)
            raise TreesError(f"LightGBM refused [trees.params] or the samples: {reason}")
    return said


def mean_of(said: Sequence[Grown]) -> dict[str, float]:
    """Metrics over the rows of all ranks, in the order of the ranks."""
    there = [each for each in said if each.metrics]
    total = sum(each.weight for each in there)
    names = there[0].metrics if there else {}
    return {name: sum(each.metrics[name] * each.weight for each in there) / total for name in names}
