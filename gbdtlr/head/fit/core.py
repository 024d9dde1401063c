"""The core: parameters that are searched for together, as others are too many and each too rare to matter to them.

A wide bucket of few rows meets each leaf in few of them: what couples it to the rest is next to nothing, and a sample
of the rows, which has one of these or none, could not tell. Such buckets stand apart, each with its own curvature
(see ``apart``). In the core are the leaves, the busy buckets, the dense columns and the bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head.layout import Layout


@dataclass(frozen=True)
class Core:
    """Which parameters are searched for together.

    Core parameters are one line too: leaves, busy wide buckets, one place for all others, whose value is zero, dense
    columns and the bias.

    Attributes
    ----------
    n_leaves : how many leaves
    busy : intp (n_busy,), the busy wide parameters, counted from the first of them, in rising order
    place : int32 (n_params,), where each parameter of the layout is
    n_dense : how many numbers the dense columns have
    """

    n_leaves: int
    busy: NDArray[np.intp]
    place: NDArray[np.int32]
    n_dense: int = 0

    @classmethod
    def of(cls, layout: Layout, is_busy: NDArray[np.bool_]) -> Core:
        """Core with those of the wide parameters, (n_wide_params,)."""
        busy = np.flatnonzero(is_busy)
        place = np.full(layout.n, layout.n_leaves + len(busy), np.int32)
        place[layout.leaves] = np.arange(layout.n_leaves)
        place[layout.n_leaves + busy] = layout.n_leaves + np.arange(len(busy))
        last = slice(layout.linear.start, layout.n)
        place[last] = layout.n_leaves + len(busy) + 1 + np.arange(layout.dense.n + 1)
        return cls(layout.n_leaves, busy, place, layout.dense.n)

    @property
    def n(self) -> int:
        """How many parameters there are, with the place for all others."""
        return self.others + self.n_dense + 2

    @property
    def others(self) -> int:
        """The place of all others."""
        return self.n_leaves + len(self.busy)

    @property
    def of_busy(self) -> slice:
        """Where the busy buckets are."""
        return slice(self.n_leaves, self.others)

    @property
    def last(self) -> slice:
        """Where dense columns and the bias are."""
        return slice(self.others + 1, self.n)

    def kinds(self, layout: Layout) -> NDArray[np.intp]:
        """Which kind of weight of the layout each parameter is of, (n,); the others' place is none's, and told 0."""
        starts = [where.start - self.n_leaves for where in layout.columns]
        busy = np.searchsorted(starts, self.busy, side="right")
        sizes = [column.size for column in layout.dense.columns]
        last = 1 + len(starts) + np.repeat(np.arange(len(sizes) + 1), [*sizes, 1])
        return np.concatenate([np.zeros(self.n_leaves), busy, [0], last]).astype(np.intp)

    def take(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Values (n_params, ...) of the core, zero for all others: (n, ...)."""
        zero = np.zeros((1, *values.shape[1:]), values.dtype)
        return np.concatenate(
            [values[: self.n_leaves], values[self.n_leaves + self.busy], zero, values[-1 - self.n_dense :]]
        )
