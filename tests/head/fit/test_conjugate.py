"""Conjugate gradients: the inverse of each lane's matrix, whatever the other lanes need."""

from __future__ import annotations

import numpy as np
import pytest

from gbdtlr.head.fit.conjugate import conjugate_gradients

RNG = np.random.default_rng(0)
ROOTS = RNG.normal(size=(3, 12, 12)) * np.array([1.0, 0.01, 1.0])[:, None, None]  # the second needs few steps
MATRICES = np.einsum("kab,kcb->kac", ROOTS, ROOTS) + np.eye(12)
LINES = RNG.normal(size=(12, 3))


def solve(lanes, lines, steps=50, enough=1e-16):
    seen = []

    def times(x, which):
        seen.append(list(which))
        return np.einsum("kab,bk->ak", MATRICES[which], x)

    def guess(x, which):
        return x / np.einsum("kaa->ak", MATRICES[which])

    return conjugate_gradients(times, guess, lines, lanes, steps=steps, enough=enough), seen


def test_each_lane_is_inverted():
    lines = np.concatenate([LINES, np.zeros((12, 1))], axis=1)
    found, _ = solve([2, 0, 1, 0], lines)
    for i, lane in enumerate((2, 0, 1)):
        assert found[:, i] == pytest.approx(np.linalg.solve(MATRICES[lane], lines[:, i]), abs=1e-6)
    assert not found[:, 3].any()


def test_a_lane_that_is_done_is_left_out_and_each_goes_as_it_would_alone():
    found, seen = solve([0, 1, 2], LINES, enough=1e-6)
    assert seen[0] == [0, 1, 2]
    assert seen[-1] in ([0], [2], [0, 2])
    for lane in range(3):
        alone, _ = solve([lane], LINES[:, [lane]], enough=1e-6)
        np.testing.assert_allclose(found[:, [lane]], alone, rtol=1e-9)


def test_no_more_steps_than_allowed():
    _, seen = solve([0, 2], LINES[:, :2], steps=3)
    assert len(seen) == 3
