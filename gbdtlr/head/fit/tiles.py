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

from gbdtlr.head.fit import tile_kernels as kernels

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
        n_tiles = -(-n // n_rows)
        if not n_wide:
            none = np.zeros(0, np.int32)
            return cls(n_rows, none, np.zeros(n_tiles + 1, np.int64), np.zeros(1, np.int64), none.astype(np.uint16))
        own, starts, rows = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], np.empty(n_wide * n, np.uint16)
        place = np.empty(int(wide.max(initial=0)) + 1, np.int32)
        for start in range(0, n, n_rows):
            some = np.ascontiguousarray(wide[:, start : start + n_rows])
            ids = np.sort(some, axis=None)
            ids = ids[np.append(True, ids[1:] != ids[:-1])]
            place[ids] = np.arange(len(ids))
            counts = np.zeros(len(ids), np.int64)
            kernels.place_rows(some, place, counts, rows[n_wide * start : n_wide * (start + some.shape[1])])
            own.append(ids)
            starts.append(counts)
        first = np.cumsum([*map(len, own)])
        sizes = np.concatenate(starts)
        return cls(n_rows, np.concatenate(own), first, np.append(0, np.cumsum(sizes)), rows)

    @property
    def arguments(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16], int]:
        """What kernels know the tiles by."""
        return self.own, self.first, self.starts, self.rows, self.n_rows

    def sums(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum of the rows' values, (n,), for each of the tiles' own parameters, (n_own,)."""
        out = np.zeros(len(self.own))
        kernels.sum_rows(*self.arguments[1:], np.ascontiguousarray(values, np.float32), out)
        return out
