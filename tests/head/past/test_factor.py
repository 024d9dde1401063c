"""Factors of the curvature: beside the design matrix itself, which they never build."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from problems import Problem

from gbdtlr.compute.parts import Parts
from gbdtlr.head import Layout
from gbdtlr.head.past.factor import Rows, square, thin
from gbdtlr.head.past.weighed import Weighed, WeighedPart


def made(n: int = 300, left_out: int = 2) -> tuple[Rows, np.ndarray, np.ndarray]:
    """Rows, their design matrix without some buckets, and their strength."""
    problem = Problem(n=n, n_wide=2, n_trees=5, seed=11, n_dense=3)
    n_codes, rng = len(problem.anchor), np.random.default_rng(0)
    index = [np.unique(each) for each in problem.codes.buckets]
    first = [n_codes, n_codes + len(index[0])]
    n_ids = len(index[0]) + len(index[1])
    # Every few ids are passed over, the others follow the leaves.
    place = np.full(n_codes + n_ids, -1, np.int32)
    chosen = np.concatenate([np.arange(n_codes), n_codes + np.flatnonzero(np.arange(n_ids) % 3 != left_out)])
    place[chosen] = np.arange(len(chosen))
    wide = np.stack([place[f + i.searchsorted(b)] for f, i, b in zip(first, index, problem.codes.buckets, strict=True)])
    x = problem.dense(index)
    x = x[:, [*chosen, *range(x.shape[1] - 4, x.shape[1])]]
    strength = rng.gamma(0.5, 1.0, n).astype(np.float32)
    return Rows(problem.codes.leaves, problem.offsets, wide, problem.codes.dense, strength), x, strength


def test_products_are_those_of_the_design_matrix() -> None:
    rows, x, strength = made()
    curvature = x.T @ (strength[:, None] * x)
    assert rows.gram(x.shape[1]) == pytest.approx(curvature, rel=1e-6, abs=1e-6)
    lines = np.random.default_rng(1).normal(size=(x.shape[1], 3)).astype(np.float32)
    out = np.ones_like(lines)
    rows.add_times(lines, out)
    assert out == pytest.approx(1.0 + curvature @ lines, rel=1e-4, abs=1e-3)


def test_a_square_factor_loses_nothing_and_a_thin_one_little_more_than_it_must() -> None:
    rows, x, strength = made()
    before = np.random.default_rng(2).normal(size=(3, x.shape[1])).astype(np.float32)
    curvature = before.T @ before + x.T @ (strength[:, None] * x)
    whole = square(before, rows)
    assert whole.T @ whole == pytest.approx(curvature, abs=1e-4 * curvature.max())
    values = np.linalg.eigvalsh(curvature)[::-1]
    for rank in (1, 8, 20):
        few = thin(before, rows, rank)
        assert few.shape == (rank, x.shape[1])
        lost = np.linalg.norm(curvature - few.T @ few, 2)
        assert lost < 3.0 * values[rank] + 1e-3 * values[0]


def test_a_sample_stands_for_all_rows() -> None:
    rows, x, strength = made(n=6000)
    cuts = [0, 2000, 2000, 6000]
    parts = [
        WeighedPart(
            rows.leaves[:, a:b],
            rows.wide[:, a:b],
            rows.dense[:, a:b],
            np.stack([strength, 0 * strength])[:, a:b],
            np.zeros(2),
        )
        for a, b in pairwise(cuts)
    ]
    layout = Layout(rows.offsets, np.zeros(rows.offsets[-1]))
    weighed = Weighed(layout, Parts(parts), 6000)
    all_ = weighed.sampled(0, 6000)
    for name in ("leaves", "wide", "dense", "strength"):
        np.testing.assert_array_equal(getattr(all_, name), getattr(rows, name))
    some = weighed.sampled(0, 1500)
    assert len(some.strength) == some.leaves.shape[1] == some.wide.shape[1] == some.dense.shape[1] == 1500
    whole, found = rows.gram(x.shape[1]), some.gram(x.shape[1])
    assert found[-1, -1] == pytest.approx(whole[-1, -1], rel=1e-4)
    assert np.abs(found - whole).max() < 0.05 * whole.max()
    assert not weighed.sampled(1, 1500).strength.any()


def test_rows_of_no_weight_say_nothing() -> None:
    rows, x, _ = made()
    silent = Rows(rows.leaves, rows.offsets, rows.wide, rows.dense, np.zeros_like(rows.strength))
    none = np.zeros((0, x.shape[1]), np.float32)
    assert not square(none, silent).any()
    assert not thin(none, silent, 4).any()
