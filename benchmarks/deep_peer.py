"""A Wide & Deep network (Cheng et al. 2016) as a peer of the two speeds: trained daily, stepped at every update.

The deep part reads numbers and embeddings of the categories and ids, the wide part one weight for each of these and for
each cross. The network is trained anew every day on the trees' window. From then until the next day it stays as it is
(*stale*), or at every update it takes in the rows whose label has become known since, once: its last layer, its upper
layers (all of the deep part above the embeddings), or all parameters move. Needs PyTorch; absent where that is not
installed.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import installed
from benchmarks.served import Margins, Rows, Stream
from gbdtlr.head import WideColumns
from gbdtlr.model import Model
from gbdtlr.times import to_us
from gbdtlr.values.crosses import parts_of

DIMENSIONS, HIDDEN = 8, (64, 32)
BATCH, RATE, PASSES = 256, 1e-3, 1
STEP_RATE = 1e-3
SEED = 1
MOVED = {
    "stale": (),
    "last layer stepped": ("last.",),
    "upper layers stepped": ("upper.", "last."),
    "all parameters stepped": ("",),
}
"""Systems, and how the names of the parameters begin that they step."""


@dataclass(frozen=True)
class Inputs:
    """What the network reads of all rows of a stream.

    Attributes
    ----------
    numbers : float32 (n, n_numbers), a missing one NaN
    ids : int64 (n, n_columns), each row of the tables; crosses last
    n_deep : columns before the crosses
    n_ids : rows of the tables
    """

    numbers: NDArray[np.float32]
    ids: NDArray[np.int64]
    n_deep: int
    n_ids: int

    @classmethod
    def of(cls, stream: Stream) -> Inputs:
        """Numbers by the logarithm of their size; every id that occurs has rows of its own, so none collide."""
        samples, table = stream.config.samples, stream.samples.table
        numbers = [np.asarray(table.column(name).to_numpy(), np.float64) for name in samples.numeric]
        signed = [np.sign(each) * np.log1p(np.abs(each)) for each in numbers]
        names = sorted(dict.fromkeys((*samples.categorical, *samples.wide)), key=lambda name: len(parts_of(name)))
        buckets = WideColumns(tuple(names), 2**28).buckets(table)
        ids, n_ids = [], 0
        for column in buckets:
            known, place = np.unique(column, return_inverse=True)
            ids.append(place.astype(np.int64) + n_ids)
            n_ids += len(known)
        n_deep = sum(len(parts_of(name)) == 1 for name in names)
        return cls(np.stack(signed, axis=1).astype(np.float32), np.stack(ids, axis=1), n_deep, n_ids)


def network(n_numbers: int, n_deep: int, n_ids: int) -> Any:
    """The network, which knows nothing yet."""
    import torch
    from torch import nn

    class WideDeep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings, self.wide = nn.Embedding(n_ids, DIMENSIONS), nn.Embedding(n_ids, 1)
            nn.init.normal_(self.embeddings.weight, std=0.05)
            nn.init.zeros_(self.wide.weight)
            widths = [2 * n_numbers + DIMENSIONS * n_deep, *HIDDEN]
            layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
            self.upper, self.last = nn.Sequential(*layers), nn.Linear(HIDDEN[-1], 1)

        def forward(self, numbers: Any, ids: Any) -> Any:
            deep = torch.cat([numbers, self.embeddings(ids[:, :n_deep]).flatten(1)], dim=1)
            return (self.last(self.upper(deep)) + self.wide(ids).sum(dim=1)).squeeze(1)

    return WideDeep()


@dataclass
class Slow:
    """The network of the day, and what belongs to it; made once a day for all systems."""

    n_threads: int
    inputs: Inputs | None = None
    _of: tuple[Model, Any, Any, tuple[NDArray[Any], NDArray[Any]]] | None = None

    def at(self, stream: Stream, model: Model, as_of: datetime) -> tuple[Any, Any, tuple[NDArray[Any], NDArray[Any]]]:
        """Network, optimiser, and the centre and scale of its numbers, trained when ``model`` was."""
        import torch
        from torch import nn

        if self._of is None or self._of[0] is not model:
            self.inputs = Inputs.of(stream) if self.inputs is None else self.inputs
            torch.set_num_threads(self.n_threads)
            torch.manual_seed(SEED)
            rows = stream.known(as_of - stream.config.trees.window, as_of)
            numbers = self.inputs.numbers[rows].astype(np.float64)
            scales = np.nanmean(numbers, axis=0), np.maximum(np.nanstd(numbers, axis=0), 1e-6)
            net = network(numbers.shape[1], self.inputs.n_deep, self.inputs.n_ids)
            rate = float(np.clip(stream.samples.label[rows].mean(), 1e-6, 1 - 1e-6))
            nn.init.constant_(net.last.bias, np.log(rate / (1 - rate)))  # else rare positives take all it has to learn
            optimiser = torch.optim.Adam(net.parameters(), RATE)
            for turn in range(PASSES):
                self.step(net, optimiser, scales, stream, np.random.default_rng([SEED, turn]).permutation(rows))
            self._of = model, net, optimiser, scales
        return self._of[1:]

    def step(self, net: Any, optimiser: Any, scales: Any, stream: Stream, rows: Rows) -> None:
        """Each row once, in this order."""
        import torch
        from torch import nn

        label = torch.from_numpy(stream.samples.label.astype(np.float32))
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(net(*self.read(scales, batch)), label[batch]).backward()
            optimiser.step()

    def read(self, scales: Any, rows: Rows) -> tuple[Any, Any]:
        """What the network takes of rows: a number that is missing is its centre, and said to be missing."""
        import torch

        assert self.inputs is not None
        numbers = (self.inputs.numbers[rows] - scales[0]) / scales[1]
        missing = np.isnan(numbers)
        read = np.concatenate([np.where(missing, 0.0, numbers), missing], axis=1).astype(np.float32)
        return torch.from_numpy(read), torch.from_numpy(self.inputs.ids[rows])


@dataclass
class WideDeep:
    """The network of the day, of which the parameters whose names begin so are stepped on."""

    slow: Slow
    moved: tuple[str, ...]
    seconds: list[float] = field(default_factory=list)
    model: Model | None = None
    known: datetime | None = None
    net: Any = None
    optimiser: Any = None
    scales: Any = None

    def serve(self, stream: Stream, model: Model, as_of: datetime, rows: Rows) -> Margins:
        import torch

        if self.model is not model:
            net, optimiser, self.scales = self.slow.at(stream, model, as_of)
            self.net, self.optimiser = copy.deepcopy((net, optimiser))
            for name, parameter in self.net.named_parameters():
                parameter.requires_grad_(name.startswith(self.moved))
            for group in self.optimiser.param_groups:
                group["lr"] = STEP_RATE
            self.model = model
        elif self.moved and self.known is not None:
            begin = time.process_time()
            fresh = stream.known(as_of - stream.config.trees.window, as_of)
            fresh = fresh[stream.samples.known_us[fresh] > to_us(self.known)]
            order = np.random.default_rng([SEED, len(self.seconds)]).permutation(fresh)
            self.slow.step(self.net, self.optimiser, self.scales, stream, order)
            self.seconds.append(time.process_time() - begin)
        self.known = as_of
        with torch.no_grad():
            parts = np.array_split(rows, max(1, len(rows) // 8192))
            margins = [self.net(*self.slow.read(self.scales, part)).numpy() for part in parts]
        return np.concatenate(margins).astype(np.float64)


def systems(n_threads: int) -> dict[str, WideDeep | None]:
    """The network in all ways of keeping it fresh; None where PyTorch is not installed."""
    slow = Slow(n_threads)
    there = installed("torch")
    return {f"wide & deep, {name}": WideDeep(slow, moved) if there else None for name, moved in MOVED.items()}
