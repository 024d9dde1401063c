"""Groups of neighbouring trees whose leaves are looked up together: one look-up for two or more trees.

The leaves of a group's trees make one number, a digit for each tree, and a table holds the sum of their lines for every
such number::

    place of a row in its group's table:  (leaf of tree 1) * n_leaves of tree 2 + (leaf of tree 2)

A pass over many rows gathers from these tables and scatters into them; spreading lines over the tables before, and
folding the tables into lines after it, costs little beside. Where there are few rows, or many leaves, each tree is a
group of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head.fit import group_kernels as kernels
from gbdtlr.head.fit.lines import Lines, lines

MOST_OF_TWO, MOST = 1024, 256
"""Places at most of a group of two trees, and of more: larger tables fall out of the caches, and cost more than the
look-ups they save."""
ROWS_PER_PLACE = 4
"""Rows of a pass that pay for one place of a table."""


class Groups:
    """How trees are grouped.

    Attributes
    ----------
    n_rows : of a pass
    offsets : int64 (n_trees + 1,), first leaf of each tree, and the number of leaves
    first_tree : int64 (n_groups + 1,), first tree of each group, and the number of trees
    places : int64 (n_groups + 1,), first place of each group, and the number of places
    """

    def __init__(self, offsets: NDArray[np.int64], n_rows: int) -> None:
        """Groups that pay where ``n_rows`` rows are gathered from a table or scattered into one."""
        self.n_rows = n_rows
        first_tree, sizes = [0], [1]
        for tree, n in enumerate(np.diff(offsets).tolist()):
            n_before = tree - first_tree[-1]
            most = min(MOST_OF_TWO if n_before == 1 else MOST, n_rows // ROWS_PER_PLACE)
            if n_before and sizes[-1] * n > most:
                first_tree.append(tree)
                sizes.append(1)
            sizes[-1] *= n
        self.offsets, self.first_tree = offsets, np.array([*first_tree, len(offsets) - 1])
        self.places = np.cumsum([0, *sizes])
        self._spare: dict[tuple[int, ...], list[NDArray[np.float32]]] = {}

    @property
    def arguments(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """What kernels know the groups by."""
        return self.offsets, self.first_tree, self.places

    def places_of(self, leaves: NDArray[np.unsignedinteger]) -> NDArray[np.uint16]:
        """Each row's place in the table of each group, (n_groups, n), from its leaves, (n_trees, n)."""
        place = np.empty((len(self.places) - 1, leaves.shape[1]), np.uint16)
        kernels.find_places(np.ascontiguousarray(leaves), self.offsets, self.first_tree, place)
        return place

    def table(self, leaves: Lines) -> NDArray[np.float32]:
        """The leaves' lines, float32 (n_leaves or more, lanes), spread over the places, (n_places, lanes)."""
        table = self.zeros(leaves.shape[1])
        kernels.spread(*self.arguments, leaves, tuple(range(leaves.shape[1])), table)
        return table

    def zeros(self, width: int) -> NDArray[np.float32]:
        """A table of zeros, (n_places, width), in memory that was given back if there is any."""
        table = self.lines(int(self.places[-1]), width)
        table[:] = 0
        return table

    def lines(self, n: int, width: int) -> NDArray[np.float32]:
        """Lines yet to be written, (n, width), in memory that was given back if there is any."""
        try:
            return self._spare[n, width].pop()
        except (KeyError, IndexError):
            return lines(n, width)

    def fold(self, table: NDArray[np.float32], lines_out: NDArray[np.float32]) -> None:
        """Add the table's lines, (n_places, lanes), to those of the leaves, (n_leaves or more, lanes)."""
        kernels.fold(*self.arguments, table, tuple(range(table.shape[1])), lines_out)

    def give_back(self, *tables: NDArray[np.float32]) -> None:
        """Keep tables and lines for whoever wants one next: new memory would cost as much as its use."""
        for table in tables:
            self._spare.setdefault(table.shape, []).append(table)
