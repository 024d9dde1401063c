"""Groups of trees: their tables hold what the leaves' lines add up to, however the trees are grouped."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import AS_OF, Problem

from gbdtlr.head import Setting
from gbdtlr.head.fit import groups, kernels
from gbdtlr.head.fit.groups import Groups
from gbdtlr.head.fit.objective import Objective

SIZES = st.lists(st.one_of(st.integers(1, 6), st.integers(1, 40), st.integers(200, 300)), min_size=1, max_size=12)


@given(sizes=SIZES, n=st.integers(1, 1500), width=st.sampled_from([1, kernels.LANES]), n_rows=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_place_holds_the_sum_of_its_leaves_and_gives_back_to_each(sizes, n, width, n_rows):
    rng = np.random.default_rng(n)
    offsets = np.cumsum([0, *sizes])
    leaves = np.stack([rng.integers(0, size, n) for size in sizes]).astype(np.uint8 if max(sizes) <= 256 else np.uint16)
    lines = rng.normal(size=(offsets[-1] + 1, width)).astype(np.float32)
    grouped = Groups(offsets, n_rows)
    place = grouped.places_of(leaves)
    table = grouped.table(lines)

    dense = np.zeros((n, offsets[-1] + 1))
    for first, leaf in zip(offsets[:-1], leaves, strict=True):
        dense[np.arange(n), first + leaf] = 1
    np.testing.assert_allclose(table[grouped.places[:-1, None] + place].sum(axis=0), dense @ lines, atol=1e-4)

    dense[:, -1] = 1
    strength = rng.random((1, n), np.float32)
    scratch, out = grouped.zeros(width), np.zeros_like(lines)
    kernels.curvature_times(
        place, grouped.places, np.empty((0, n), np.int32), np.empty((0, n), np.float32), strength, (0,) * width,
        lines, table, 0, n, scratch, out,
    )  # fmt: skip
    grouped.fold(scratch, out)
    expected = dense.T @ (strength.T * (dense @ lines))
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@given(sizes=SIZES, n_rows=st.integers(0, 10_000))
def test_every_tree_is_in_one_group_whose_table_is_no_larger_than_pays(sizes, n_rows):
    grouped = Groups(np.cumsum([0, *sizes]), n_rows)
    assert grouped.first_tree[0] == 0
    assert grouped.first_tree[-1] == len(sizes)
    for g, size in enumerate(np.diff(grouped.places).tolist()):
        mine = sizes[grouped.first_tree[g] : grouped.first_tree[g + 1]]
        assert mine
        assert size == np.prod(mine)
        if len(mine) > 1:
            assert size * groups.ROWS_PER_PLACE <= n_rows
            assert size <= (groups.MOST_OF_TWO if len(mine) == 2 else groups.MOST)


def test_pairs_of_usual_trees_are_grouped_where_there_are_many_rows():
    offsets = np.arange(0, 201 * 31, 31)
    assert len(Groups(offsets, 1_000_000).places) == 101
    assert len(Groups(offsets, 1000).places) == 201


@pytest.mark.parametrize("n_settings", [1, 3])
@pytest.mark.parametrize(("n_wide", "n_dense"), [(0, 0), (2, 0), (0, 6)])
@pytest.mark.parametrize("parts", [1, 40])
def test_the_objective_is_the_same_however_trees_are_grouped(monkeypatch, n_settings, n_wide, n_dense, parts):
    problem = Problem(3000, n_trees=11, n_leaves=9, n_wide=n_wide, parts=parts, n_dense=n_dense)
    chosen = [Setting(timedelta(hours=4.0**k), 5.0) for k in range(n_settings)]
    found = []
    for rows_per_place in (1, 10**9):
        monkeypatch.setattr(groups, "ROWS_PER_PLACE", rows_per_place)
        objective = Objective(problem.window, problem.layout, chosen, AS_OF)
        delta = np.random.default_rng(0).normal(0, 0.5, (objective.layout.n, n_settings))
        found.append(objective.value_and_gradient(delta, range(n_settings)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-4 * np.abs(found[1][1]).max())
    for k, setting in enumerate(chosen):
        expected, slope = problem.naive(setting, delta[:, k], objective.layout.buckets)
        assert found[0][0][k] == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(found[0][1][:, k], slope, rtol=1e-3, atol=2e-4 * (1 + np.abs(slope).max()))
