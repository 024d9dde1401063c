"""The objective and its fit: equal to the definition, and at the optimum scipy finds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import AS_OF, Problem
from scipy.optimize import minimize

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.head import Codes, Layout, Ridges, Setting, fit_candidates
from gbdtlr.head.fit import candidates
from gbdtlr.head.fit.objective import Objective
from gbdtlr.head.fit.sampling import marks_in, rows_at

HOURS = [timedelta(hours=h) for h in (2, 12, 48)]
GRID = [Setting(half_life, l2) for half_life in HOURS for l2 in (0.5, 5.0, 50.0)]


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 900),
    n_wide=st.integers(0, 2),
    n_dense=st.integers(0, 9),
    wide_leaves=st.booleans(),
    n_settings=st.sampled_from([1, 2, 9, 17]),
    parts=st.integers(1, 4),
    own=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_value_and_gradient_are_those_of_the_definition(seed, n, n_wide, n_dense, wide_leaves, n_settings, parts, own):
    dtype = np.uint16 if wide_leaves else np.uint8
    problem = Problem(n, seed=seed, n_wide=n_wide, parts=parts, dtype=dtype, n_dense=n_dense)
    chosen = GRID[:n_settings]
    rng = np.random.default_rng(seed)
    kinds = tuple(problem.layout.kinds)
    ridges = Ridges(kinds, rng.uniform(0.1, 100, (len(kinds), len(chosen)))) if own else None
    objective = Objective(problem.window, problem.layout, chosen, AS_OF, ridges)
    index, l2 = objective.layout.buckets, objective.ridges.of_parameters(objective.layout)
    delta = rng.normal(0, 0.5, (objective.layout.n, len(chosen)))
    value, gradient = objective.value_and_gradient(delta, range(len(chosen)))
    for k, setting in enumerate(chosen):
        expected, slope = problem.naive(setting, delta[:, k], index, l2[:, k])
        assert value[k] == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(gradient[:, k], slope, rtol=1e-3, atol=2e-4 * (1 + np.abs(slope).max()))


@pytest.mark.parametrize("margin", [0.0, 1e-6, -3.0, 15.0, -40.0, 120.0, -5000.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_loss_of_any_margin(margin, label):
    codes = Codes(
        np.zeros((1, 1), np.uint8),
        np.empty((0, 1), np.uint32),
        np.array([label], np.float32),
        np.ones(1),
        np.array([0]),
        np.array([0]),
    )
    from gbdtlr.times import EPOCH

    objective = Objective(Parts([codes]), Layout(np.array([0, 1]), np.array([margin])), GRID[:2], EPOCH)
    value, gradient = objective.value_and_gradient(np.zeros((2, 2)), [0, 1])
    expected = np.logaddexp(0, margin) - label * margin
    assert value[0] == pytest.approx(expected, rel=2e-6, abs=1e-9)
    probability = np.exp(-np.logaddexp(0, -margin))
    assert gradient[-1, 0] == pytest.approx(probability - label, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("n_wide", "n_dense"), [(0, 0), (2, 0), (0, 1), (2, 12)])
@pytest.mark.parametrize(("n", "seed"), [(1, 3), (5, 1), (60, 2), (3000, 4)])
def test_fit_reaches_the_optimum_of_every_setting(n, seed, n_wide, n_dense):
    problem = Problem(n, seed=seed, n_wide=n_wide, n_dense=n_dense)
    candidates = fit_candidates(problem.window, problem.layout, GRID, AS_OF)
    for k, setting in enumerate(GRID):
        ours = candidates.lines[:, k].astype(float)
        naive = lambda delta, s=setting: problem.naive(s, delta, candidates.layout.buckets)  # noqa: E731
        best = minimize(
            naive, np.zeros_like(ours), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14}
        )
        assert naive(ours)[0] <= best.fun * (1 + 1e-5) + 1e-9


def test_more_settings_than_lanes_fit_as_they_would_alone():
    problem = Problem(400)
    many = [Setting(half_life, l2) for half_life in HOURS for l2 in (0.5, 1, 2, 5, 10, 20, 50)]
    together = fit_candidates(problem.window, problem.layout, many, AS_OF)
    for k in (0, 15, 16, 20):
        alone = fit_candidates(problem.window, problem.layout, [many[k]], AS_OF)
        np.testing.assert_allclose(
            together.lines[together.layout.leaves][:, k], alone.lines[alone.layout.leaves][:, 0], atol=5e-3
        )


def test_separable_labels_and_duplicate_trees_stay_finite():
    n = 300
    leaves = np.repeat((np.arange(n) % 2)[None], 40, axis=0).astype(np.uint8)
    label = (np.arange(n) % 2).astype(np.float32)
    times = np.full(n, 0)
    codes = Codes(leaves, np.empty((0, n), np.uint32), label, np.ones(n), times, times)
    from gbdtlr.times import EPOCH

    layout = Layout(np.arange(41) * 2, np.zeros(80))
    candidates = fit_candidates(Parts([codes]), layout, [Setting(HOURS[0], l2) for l2 in (1e-3, 1.0)], EPOCH)
    assert np.isfinite(candidates.lines[candidates.layout.leaves]).all()
    margins = candidates.margins(codes)
    assert (margins[label == 1, 0] > 3).all()
    assert (margins[label == 0, 0] < -3).all()
    # Equal columns share the work equally.
    assert np.ptp(candidates.lines[candidates.layout.leaves].reshape(40, 2, 2)[:, 1, 1]) < 1e-3


def test_the_same_head_whatever_the_number_of_threads():
    problem = Problem(5000, n_trees=20, n_wide=1, parts=3, n_dense=5)
    heads = set()
    try:
        for n_threads in (1, 2, 5):
            threads.set_threads(n_threads)
            heads.add(fit_candidates(problem.window, problem.layout, GRID, AS_OF).to_bytes())
    finally:
        threads.set_threads(None)
    assert len(heads) == 1


def test_the_fit_does_not_depend_on_where_it_starts():
    problem = Problem(2000, n_wide=1)
    cold = fit_candidates(problem.window, problem.layout, GRID, AS_OF)
    elsewhere = fit_candidates(Parts(list(problem.window)[:1]), problem.layout, GRID, AS_OF)
    warm = fit_candidates(problem.window, problem.layout, GRID, AS_OF, elsewhere)
    for k, setting in enumerate(GRID):
        values = [problem.naive(setting, c.lines[:, k].astype(float), c.layout.buckets)[0] for c in (cold, warm)]
        assert values[1] == pytest.approx(values[0], rel=2e-5)
    again = fit_candidates(problem.window, problem.layout, GRID, AS_OF, cold)
    assert again.passes < cold.passes


def sampled(parts, m):
    """Rows counted through all parts."""
    marks = marks_in(np.array([part.sum() for part in parts]), m)
    starts = np.cumsum([0, *map(len, parts)])
    found = [start + rows_at(*each) for start, *each in zip(starts, parts, marks, strict=False)]
    return np.concatenate(found)


def test_rows_are_sampled_by_their_strength():
    strength = np.array([0.0, 1.0, 3.0, 0.0, 6.0])
    rows = sampled([strength], 1000)
    np.testing.assert_allclose(np.bincount(rows, minlength=5) / 1000, strength / 10, atol=2e-3)
    for cut in range(1, 5):
        np.testing.assert_array_equal(sampled([strength[:cut], strength[cut:]], 1000), rows)
    assert len(sampled([np.zeros(2), np.zeros(3)], 4)) == 4


def test_curvature_taken_anew_on_a_long_way_shortens_it(monkeypatch):
    """Weights that make labels all but certain: far from the anchor the curvature is not what it was there."""
    problem = Problem(2000, n_trees=40, seed=1)
    heavy = Parts([replace(part, weight=part.weight * 1e3) for part in problem.window])
    setting = Setting(timedelta(hours=24), 1.0)
    objective = Objective(heavy, problem.layout, [setting], AS_OF)
    values, passes = [], []
    for patience in (20, 1000):
        monkeypatch.setattr(candidates, "PATIENCE", patience)
        found = fit_candidates(heavy, problem.layout, [setting], AS_OF)
        delta = found.lines[:, :1].astype(float)
        values.append(objective.value_and_gradient(delta, [0])[0][0])
        passes.append(found.passes)
    assert 20 < passes[0] < passes[1]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_one_class_of_heavy_samples_leaves_the_background_a_number():
    problem = Problem(2000, seed=1)
    for label in (0.0, 1.0):
        labels, weight = np.full(2000, label, np.float32), np.full(2000, 1e6)
        heavy = replace(problem.codes, label=labels, weight=weight)
        objective = Objective(Parts([heavy]), problem.layout, [Setting(HOURS[2], 3.0)], AS_OF)
        assert 15 < (2 * label - 1) * objective.background(0) < 25
