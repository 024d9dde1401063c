"""The point a pass looks at: what rows look up there; what travels is little more than the parameters themselves."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head.fit.groups import Groups
from gbdtlr.head.fit.lines import Lines, aligned


class Point:
    """Distances from the anchor of several lanes, side by side.

    Attributes
    ----------
    groups : of the trees
    leaves : float32 (n_leaves, lanes)
    last : float32 (n_dense + 1, lanes), of the dense columns and the bias
    wide : float32 (n_wide_params, lanes)
    table : float32 (n_places, lanes), the leaves' lines spread over the places of ``groups``
    """

    def __init__(self, groups: Groups, leaves: NDArray[np.float32], last: NDArray[np.float32], wide: Lines) -> None:
        self.groups, self.leaves, self.last, self.wide = groups, leaves, last, wide
        self.table = groups.table(leaves)

    def __reduce__(self) -> tuple[Any, ...]:
        groups = self.groups
        return _arrived, (groups.offsets.tobytes(), groups.n_rows, self.leaves, self.last, self.wide)

    @property
    def n_leaves(self) -> int:
        """How many leaves there are."""
        return len(self.leaves)

    @property
    def width(self) -> int:
        """How many lanes there are."""
        return int(self.leaves.shape[1])

    def give_back(self) -> None:
        """Let the groups have the table's memory: nobody looks anything up any more."""
        self.groups.give_back(self.table)


def _arrived(offsets: bytes, n_rows: int, *lines: NDArray[np.float32]) -> Point:
    leaves, last, wide = (aligned(each, each.shape[1]) for each in lines)
    return Point(_groups(offsets, n_rows), leaves, last, wide)


@lru_cache(maxsize=1)
def _groups(offsets: bytes, n_rows: int) -> Groups:
    """Groups that the pass before came with, and the memory that was given back to them."""
    return Groups(np.frombuffer(offsets, np.int64).copy(), n_rows)  # kernels tell apart what may be written
