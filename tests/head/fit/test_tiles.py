"""Tiles: each tile's ids with their rows, and sums over them, as a naive twin finds them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gbdtlr.head.fit import tile_kernels as kernels
from gbdtlr.head.fit.lines import lines, zeros
from gbdtlr.head.fit.tiles import Tiles

CASES = {
    "n": st.integers(0, 90),
    "n_wide": st.integers(0, 3),
    "n_ids": st.integers(1, 90),
    "n_rows": st.integers(1, 50),
    "seed": st.integers(0, 1000),
}


def drawn(n: int, n_wide: int, n_ids: int, seed: int) -> np.ndarray:
    """Wide parameters, each column's own behind those of the columns before."""
    ids = np.random.default_rng(seed).integers(0, n_ids, (n_wide, n))
    return (ids + n_ids * np.arange(n_wide)[:, None]).astype(np.int32)


@settings(deadline=None)  # the first compiles
@given(**CASES)
def test_each_tile_has_its_ids_in_rising_order_with_all_their_rows(
    n: int, n_wide: int, n_ids: int, n_rows: int, seed: int
) -> None:
    wide = drawn(n, n_wide, n_ids, seed)
    tiles = Tiles.of(wide, n_rows)
    assert len(tiles.first) - 1 == -(-n // n_rows)
    for t, start in enumerate(range(0, n, n_rows)):
        mine = wide[:, start : start + n_rows]
        own = slice(tiles.first[t], tiles.first[t + 1])
        assert tiles.own[own].tolist() == sorted(set(mine.ravel().tolist()))
        for j in range(own.start, own.stop):
            rows = tiles.rows[tiles.starts[j] : tiles.starts[j + 1]].tolist()
            assert rows == np.nonzero((mine == tiles.own[j]).any(axis=0))[0].tolist()
    assert tiles.starts[-1] == len(tiles.rows) == wide.size


@settings(deadline=None)
@given(**CASES, n_columns=st.integers(0, 8))
def test_sums_are_those_of_the_rows(n: int, n_wide: int, n_ids: int, n_rows: int, seed: int, n_columns: int) -> None:
    wide = drawn(n, n_wide, n_ids, seed)
    tiles, rng = Tiles.of(wide, n_rows), np.random.default_rng(seed)
    values = rng.integers(-100, 100, (n_columns, n)).astype(np.float32)
    found, expected = np.zeros((n_wide * n_ids, 8)), np.zeros((n_wide * n_ids, 8))
    np.add.at(found, tiles.own, tiles.sums(values, 8))
    for column in wide:
        np.add.at(expected[:, :n_columns], column, values.T)
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None)
@given(n_own=st.lists(st.integers(0, 12), max_size=5), spans=st.integers(1, 5), seed=st.integers(0, 1000))
def test_own_lines_are_added_span_by_span(n_own: list[int], spans: int, seed: int) -> None:
    n, rng = 30, np.random.default_rng(seed)
    own = [np.sort(rng.choice(n, k, replace=False)).astype(np.int32) for k in n_own]
    first = np.cumsum([0, *n_own])
    ids = np.concatenate([np.empty(0, np.int32), *own])
    added, out = lines(len(ids), 8), zeros(n, 8)
    added[:] = rng.integers(-100, 100, added.shape)
    expected = np.zeros((n, 8))
    np.add.at(expected, ids, added)
    bounds = [n * s // spans for s in range(spans + 1)]
    for low, high in pairwise(bounds):
        kernels.add_own(ids, first, added, low, high, tuple(range(8)), out)
    np.testing.assert_array_equal(out, expected)
