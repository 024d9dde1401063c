"""Groups of trees in kernels: where rows are in their tables, and lines into tables and back (see ``groups``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import inline, kernel
from gbdtlr.head.fit.line_kernels import add_lines, add_to_lines


@inline
def _add_digit(leaves: Any, n_leaves: Any, place: Any) -> None:
    radix = np.uint16(n_leaves)
    for i in range(len(leaves)):
        place[i] = np.uint16(np.uint16(place[i] * radix) + np.uint16(leaves[i]))


@inline
def find_places_of(leaves: Any, offsets: Any, first_tree: Any, start: int, n: int, place: Any) -> None:
    """Of n rows from ``start``, in the table of each group; ``place``: uint16 (n_groups, TILE)."""
    for g in range(len(first_tree) - 1):
        number = place[g, :n]
        number[:] = 0
        for t in range(first_tree[g], first_tree[g + 1]):
            _add_digit(leaves[t, start : start + n], offsets[t + 1] - offsets[t], number)


@kernel()
def spread(offsets: Any, first_tree: Any, places: Any, delta: Any, lanes: Any, table: Any) -> None:
    """``table[place, :] += the lines of the place's leaves``, float32 (n_places, lanes)."""
    for g in range(len(first_tree) - 1):
        step = places[g + 1] - places[g]
        for t in range(first_tree[g], first_tree[g + 1]):
            n = offsets[t + 1] - offsets[t]
            size, step = step, step // n
            for first in range(places[g], places[g + 1], size):
                for low in range(first, first + step):
                    for leaf in range(n):
                        at = np.uint64(low + leaf * step)
                        add_lines(table, at, delta, (np.uint64(offsets[t] + leaf),), lanes)


@kernel()
def fold(offsets: Any, first_tree: Any, places: Any, table: Any, lanes: Any, grad: Any) -> None:
    """``grad[leaf, :] += the lines of all its places``; the mirror of :func:`spread`."""
    # Leaf by leaf in the inner loop: no sum waits for the one before it. The loops are written out twice, as a list of
    # places and leaves that served both would add a twentieth to the time of a fit (measured).
    for g in range(len(first_tree) - 1):
        step = places[g + 1] - places[g]
        for t in range(first_tree[g], first_tree[g + 1]):
            n = offsets[t + 1] - offsets[t]
            size, step = step, step // n
            for first in range(places[g], places[g + 1], size):
                for low in range(first, first + step):
                    for leaf in range(n):
                        at = np.uint64(low + leaf * step)
                        add_to_lines(grad, (np.uint64(offsets[t] + leaf),), table, at, lanes)


@kernel()
def find_places(leaves: Any, offsets: Any, first_tree: Any, place: Any) -> None:
    """Of each row in the table of each group; ``place``: uint16 (n_groups, n)."""
    find_places_of(leaves, offsets, first_tree, 0, leaves.shape[1], place)
