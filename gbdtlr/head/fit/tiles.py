"""Tiles: a part's rows a few at a time, and for each few the wide parameters that occur in them, with their rows.

A row's line of margins is short and stays in the caches; lines of many ids do not. So a pass goes over a tile's ids, in
the order in which their lines lie, and from each to its rows, and not from row to row across all ids::

    own       3         7      8     ...      wide parameters of the tile, in rising order
    starts    0         2      3     ...      where the rows of each begin
    rows      14  201   17     14    ...      in the tile
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.bits import n_words
from gbdtlr.head.fit import tile_kernels as kernels
from gbdtlr.head.fit.lines import lines

ROWS = 16_384
"""Rows of a tile where there are ids: their lines fill half of a usual second-level cache."""
SPANS = 8
"""Spans of parameters that are summed apart; fixed, though the sums would be the same whatever they are."""


@dataclass(frozen=True)
class Tiles:
    """A part's rows in tiles.

    Attributes
    ----------
    n_rows : rows of a tile, but for the last
    own : int32 (n_own,), wide parameters of all tiles, counted from the first of them, tile after tile
    first : int64 (n_tiles + 1,), where those of each tile begin
    starts : int64 (n_own + 1,), where the rows of each begin
    rows : uint16 (n_wide n,), counted from the tile's first
    """

    n_rows: int
    own: NDArray[np.int32]
    first: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.uint16]

    @classmethod
    def of(cls, wide: NDArray[np.int32], n_rows: int = ROWS) -> Tiles:
        """Tiles of rows whose wide parameters, counted from the first of them, are ``wide``, int32 (n_wide, n)."""
        n_wide, n = wide.shape
        if not n_wide:
            first, starts = np.zeros(-(-n // n_rows) + 1, np.int64), np.zeros(1, np.int64)
            return cls(n_rows, np.empty(0, np.int32), first, starts, np.empty(0, np.uint16))
        words = n_words(int(wide.max(initial=-1)) + 1)
        met, before = np.zeros(words, np.uint64), np.empty(words, np.int32)
        own, first = np.empty(wide.size, np.int32), np.empty(-(-n // n_rows) + 1, np.int64)
        starts, rows = np.empty(wide.size + 1, np.int64), np.empty(wide.size, np.uint16)
        kernels.find_tiles(wide, n_rows, met, before, own, first, starts, rows)
        n_own = first[-1]
        return cls(n_rows, own[:n_own].copy(), first, starts[: n_own + 1].copy(), rows)

    @property
    def arguments(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16], int]:
        """What kernels know the tiles by."""
        return self.own, self.first, self.starts, self.rows, self.n_rows

    def sums(self, values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
        """Sum of the rows' values in each column, (n_columns, n), for each of the tiles' own parameters: (n_own,
        width) lines, zero beyond the columns."""
        out = lines(len(self.own), width)
        kernels.sum_rows(*self.arguments[1:], values, tuple(range(width)), out)
        return out
