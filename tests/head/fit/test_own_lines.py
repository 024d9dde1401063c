"""Own lines: their sum is that of the definition, and the same to the last bit whoever adds up which parts."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbdtlr.compute.sums import TreeSum
from gbdtlr.head.fit import own_lines
from gbdtlr.head.fit.groups import Groups
from gbdtlr.head.fit.kernels import LANES
from gbdtlr.head.fit.lines import zeros
from gbdtlr.head.fit.own_lines import OwnLines
from gbdtlr.head.fit.tiles import Tiles


def found(n_parts, n, width, seed, pool=None):
    """What each part finds for its own parameters of ``n``, anew: adding up uses it up."""
    rng = np.random.default_rng(seed)
    for _ in range(n_parts):
        tiles = Tiles.of(rng.integers(0, n, (2, 40)).astype(np.int32), 16)
        lines = zeros(len(tiles.own), width)
        lines[:] = rng.lognormal(0, 4, lines.shape)
        yield OwnLines.of(tiles, lines, n, pool)


def written(own):
    out = np.full((own.n, own.width), np.nan, np.float32)
    own.into(out)
    return out


@given(
    n_parts=st.integers(1, 40),
    n=st.sampled_from([1, 7, 300]),
    width=st.sampled_from([1, LANES]),
    bunch=st.sampled_from([1, 2, 4, 16]),
    seed=st.integers(0, 999),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    pooled=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_the_sum_is_the_same_whoever_adds_up_which_parts(n_parts, n, width, bunch, seed, cuts, pooled):
    pool = Groups(np.array([0, 3]), 100) if pooled else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_lines, "BUNCH", bunch)
        alone = TreeSum(n_parts)
        for p, each in enumerate(found(n_parts, n, width, seed, pool)):
            alone.add(p, each)
        expected = written(alone.result())
        total, parts = TreeSum(n_parts), list(found(n_parts, n, width, seed, pool))
        bounds = sorted({0, n_parts, *(min(cut, n_parts) for cut in cuts)})
        for start, stop in itertools.pairwise(bounds):
            mine = TreeSum(n_parts)
            for p in range(start, stop):
                mine.add(p, parts[p])
            for (level, place), value in pickle.loads(pickle.dumps(mine.sums())).items():
                total.add(place, value, level)
        assert written(total.result()).tobytes() == expected.tobytes()
    naive = np.zeros((n, width))
    for each in found(n_parts, n, width, seed):
        for own, first, lines in each.parts:
            for begin, end in itertools.pairwise(first):
                naive[own[begin:end]] += lines[begin:end]
    np.testing.assert_allclose(expected, naive, rtol=1e-5)


def test_a_bunch_travels_as_one_line_for_each_parameter():
    n, sizes = 50, []
    for n_parts in (own_lines.BUNCH - 1, own_lines.BUNCH, 4 * own_lines.BUNCH):
        total = TreeSum(n_parts)
        for p, each in enumerate(found(n_parts, n, LANES, 1)):
            total.add(p, each)
        sizes.append(len(pickle.dumps(total.result())))
    assert sizes[1] == sizes[2] < n * LANES * 4 + 500 < sizes[0]


def test_memory_is_given_back_to_where_it_came_from():
    pool = Groups(np.array([0, 3]), 100)
    total = TreeSum(48)
    for p, each in enumerate(found(48, 50, LANES, 1, pool)):
        total.add(p, each)
    written(total.result())
    spare = pool._spare
    assert len(spare[50, LANES]) == 2, "one was used by two bunches"
    assert sum(map(len, spare.values())) == 2 + 48


def test_no_wide_parameters_are_nothing():
    total = TreeSum(40)
    tiles = Tiles.of(np.empty((0, 9), np.int32))
    for p in range(40):
        total.add(p, OwnLines.of(tiles, zeros(0, LANES), 0))
    assert total.result().parts == []
    assert written(total.result()).shape == (0, LANES)
