"""The solver: the minimum of each lane, and no lane in another's way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from problems import AS_OF, Problem
from scipy.optimize import minimize

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.head import Setting, fit_candidates
from gbdtlr.head.fit import sampling
from gbdtlr.head.fit.curvature import SampledCurvature, _inverse_of_factor
from gbdtlr.head.fit.objective import Objective
from gbdtlr.head.fit.sampling import sample_size
from gbdtlr.head.fit.solver import minimise
from gbdtlr.times import from_us


def scaled_softplus(scales, n=12):
    """Convex functions ``sum softplus(scale x) - x / 3 + x² / 20``; the larger the scale the more a step overshoots."""
    scales = np.array(scales)

    def evaluate(x, lanes):
        z = scales[lanes] * x
        value = (np.logaddexp(0, z) - x / 3 + x * x / 20).sum(axis=0)
        return value, scales[lanes] * (1 + np.tanh(z / 2)) / 2 - 1 / 3 + x / 10

    start = np.linspace(-8, 8, n)[:, None] + np.zeros(len(scales))
    return evaluate, start


def none(gradient, _lanes):
    return gradient


def test_lanes_search_as_they_would_alone():
    scales = [0.1, 1.0, 40.0, 3.0]
    evaluate, start = scaled_softplus(scales)
    x, value, passes, _ = minimise(evaluate, start, none, tolerance=1e-9, max_passes=300)
    alone = []
    for k, scale in enumerate(scales):
        one, one_start = scaled_softplus([scale])
        found, least, n, _ = minimise(one, one_start, none, tolerance=1e-9, max_passes=300)
        np.testing.assert_array_equal(x[:, k], found[:, 0])
        assert value[k] == least[0]
        alone.append(n)
    assert passes == max(alone)
    assert min(alone) < max(alone)


def test_the_minimum_is_found_and_its_value_told():
    evaluate, start = scaled_softplus([0.5, 5.0])
    x, value, _, _ = minimise(evaluate, start, none, tolerance=1e-12, max_passes=500)
    again, gradient = evaluate(x, [0, 1])
    np.testing.assert_array_equal(value, again)
    assert np.abs(gradient).max() < 1e-3


def test_a_good_preconditioner_needs_two_passes_on_a_quadratic():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(30, 30))
    hessian = half @ half.T + 0.1 * np.eye(30)
    pull = rng.normal(size=30)

    def evaluate(x, _lanes):
        return 0.5 * np.einsum("pk,pk->k", x, hessian @ x) - pull @ x + 100.0, hessian @ x - pull[:, None]

    inverse = np.linalg.inv(hessian)
    start = np.zeros((30, 1))
    x, _, passes, _ = minimise(evaluate, start, lambda g, _: inverse @ g, tolerance=1e-9, max_passes=50)
    np.testing.assert_allclose(x[:, 0], np.linalg.solve(hessian, pull), rtol=1e-3, atol=1e-3)
    assert passes == 2


def test_the_pass_limit_ends_the_search_at_the_best_point_so_far():
    evaluate, start = scaled_softplus([40.0])
    first, _ = evaluate(start, [0])
    _, value, passes, _ = minimise(evaluate, start, none, tolerance=0.0, max_passes=4)
    assert passes == 4
    assert value[0] <= first[0]


def test_a_function_that_cannot_fall_leaves_the_lane_where_it_is():
    """Gradients that point the wrong way, as rounding may make them."""

    def evaluate(x, _lanes):
        return np.einsum("pk,pk->k", x, x) + 1.0, -2.0 * x

    x, value, passes, _ = minimise(evaluate, np.ones((3, 1)), none, tolerance=1e-9, max_passes=100)
    np.testing.assert_array_equal(x, 1.0)
    assert value[0] == 4.0
    assert passes < 100


def test_a_step_to_where_there_is_no_number_is_shortened():
    def evaluate(x, _lanes):
        inside = np.where(x > 0, x, np.nan)
        return (x - np.log(inside)).sum(axis=0), 1 - 1 / inside

    x, value, passes, _ = minimise(evaluate, np.full((2, 1), 9.5), lambda g, _: 20 * g, tolerance=1e-9, max_passes=100)
    np.testing.assert_allclose(x, 1.0, rtol=1e-3)
    np.testing.assert_allclose(value, 2.0, rtol=1e-6)
    assert passes < 100


def test_a_start_where_there_is_no_number_is_left_alone():
    def evaluate(x, lanes):
        return np.array([np.nan, 1.0])[lanes], np.where(np.asarray(lanes) == 0, np.nan, np.zeros_like(x))

    x, _, passes, _ = minimise(evaluate, np.ones((3, 2)), none, tolerance=1e-9, max_passes=100)
    np.testing.assert_array_equal(x[:, 0], 1.0)
    assert passes < 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [1, 64, 65, 200, 513])
def test_inverse_of_the_cholesky_factor(m, dtype):
    rng = np.random.default_rng(m)
    half = rng.normal(size=(m, m // 2 + 1))
    full = half @ half.T + np.eye(m)
    inner = _inverse_of_factor(np.tril(full).astype(dtype))
    assert inner.dtype == dtype
    np.testing.assert_allclose(inner.T @ inner, np.linalg.inv(full), atol=1e-4 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("scale", [0.3, 1e6])
def test_curvature_of_a_sample_that_is_all_rows_is_the_inverse_hessian(scale):
    rng = np.random.default_rng(5)
    m, sizes, l2 = 150, (4, 6), np.array([*[2.0] * 10, 5.0, 5.0, 2.0])
    codes = np.stack([rng.integers(0, 4, m), 4 + rng.integers(0, 6, m), np.full(m, 12)], axis=1).astype(np.int32)
    dense = rng.normal(size=(m, 2)).astype(np.float32)
    rows = np.zeros((m, sum(sizes) + 3))
    rows[np.arange(m)[:, None], codes] = 1
    rows[:, 10:12] = dense
    hessian = np.diag(l2) + scale * rows.T @ rows
    curvature = SampledCurvature(codes, dense, 1.0, scale, np.diag(hessian) - l2, l2, slice(0, 10))
    gradient = rng.normal(size=13)
    expected = np.linalg.solve(hessian, gradient)
    np.testing.assert_allclose(
        curvature.solve(gradient.astype(np.float32)), expected, rtol=2e-2, atol=2e-3 * np.abs(expected).max()
    )


@pytest.mark.parametrize(("weight", "l2"), [(1.0, 1e-9), (1e6, 1e-3), (1e12, 3.0)])
def test_heavy_rows_of_few_directions_are_fitted(weight, l2):
    """Far more rows than they have directions: rounding makes the sample's matrix negative in the others."""
    problem = Problem(300, seed=1, n_trees=3, n_leaves=2, n_wide=1)
    heavy = replace(problem.codes, weight=np.full(300, weight))
    codes = problem.codes = replace(heavy, buckets=heavy.buckets % 3)
    settings = [Setting(timedelta(hours=h), l2) for h in (2, 48)]
    fitted = fit_candidates(Parts([codes]), problem.layout, settings, AS_OF)
    for k, setting in enumerate(settings):
        ours = fitted.lines[:, k].astype(float)

        def scaled(delta, setting=setting):
            value, gradient = problem.naive(setting, delta, fitted.layout.buckets)
            return value / weight, gradient / weight

        best = minimize(scaled, ours, jac=True, method="BFGS")
        assert scaled(ours)[0] == pytest.approx(best.fun, rel=1e-4)


def test_samples_grow_with_what_the_anchor_does_not_hold():
    sizes = [sample_size(1_000_000, ratio, 2048) for ratio in (0.0, 0.1, 10.0, 1e9)]
    assert sizes == sorted(sizes)
    assert sample_size(30, 1e9, 2048) == 30
    assert sample_size(3000, 1e9, 2048) == 125


@pytest.fixture
def few_are_many(monkeypatch):
    """The subsample's way for problems small enough for an oracle."""
    monkeypatch.setattr(sampling, "SUBSAMPLE", 400)
    monkeypatch.setattr(sampling, "SUBSAMPLE_FROM", 1000)


@pytest.mark.parametrize("anchored", [True, False])
def test_the_hessian_of_a_sample_that_is_all_rows_is_that_of_the_definition(monkeypatch, anchored):
    monkeypatch.setattr(sampling, "SUBSAMPLE", 50_000)  # every row many times over: weights as good as exact
    monkeypatch.setattr(sampling, "SUBSAMPLE_FROM", 1)
    monkeypatch.setattr(sampling, "BUSY", 1)
    problem = Problem(300, seed=8, n_wide=1, parts=2, n_dense=5)
    settings = [Setting(timedelta(hours=h), l2) for h in (6, 48) for l2 in (0.5, 20.0)]
    objective = Objective(problem.window, problem.layout, settings, AS_OF)
    index, n, lanes = objective.layout.buckets, objective.layout.n, range(len(settings))
    at = np.zeros((n, len(settings))) if anchored else np.random.default_rng(1).normal(0, 0.3, (n, len(settings)))
    curvature = objective.curvature(None if anchored else at)
    probe = np.random.default_rng(0).normal(size=(n, len(settings)))
    core = curvature.core
    image = curvature.times(core.take(probe.astype(np.float32)), lanes)[core.place]
    for k, setting in enumerate(settings):
        nearby = [problem.naive(setting, at[:, k] + sign * 1e-5 * probe[:, k], index)[1] for sign in (1, -1)]
        expected = (nearby[0] - nearby[1]) / 2e-5
        np.testing.assert_allclose(image[:, k], expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


@pytest.mark.usefixtures("few_are_many")
@pytest.mark.parametrize(
    ("n", "n_wide", "n_dense", "seed"), [(1000, 0, 0, 1), (3000, 2, 0, 2), (3000, 0, 9, 4), (8000, 1, 1, 3)]
)
def test_subsampled_newton_reaches_the_optimum(n, n_wide, n_dense, seed):
    problem = Problem(n, seed=seed, n_wide=n_wide, parts=3, n_dense=n_dense)
    grid = [Setting(timedelta(hours=h), l2) for h in (2, 12, 48) for l2 in (0.5, 5.0, 50.0)]
    candidates = fit_candidates(problem.window, problem.layout, grid, AS_OF)
    for k, setting in enumerate(grid):
        ours = candidates.lines[:, k].astype(float)

        def naive(delta, setting=setting):
            return problem.naive(setting, delta, candidates.layout.buckets)

        best = minimize(naive, ours, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14})
        assert naive(ours)[0] <= best.fun * (1 + 1e-5) + 1e-9


@pytest.mark.usefixtures("few_are_many")
def test_subsampled_newton_gives_the_same_whatever_the_number_of_threads():
    problem = Problem(3000, n_trees=12, n_wide=1, parts=3)
    heads = set()
    try:
        for n_threads in (1, 2, 5):
            threads.set_threads(n_threads)
            fitted = fit_candidates(problem.window, problem.layout, [Setting(timedelta(hours=6), 3.0)] * 2, AS_OF)
            heads.add(fitted.to_bytes())
    finally:
        threads.set_threads(None)
    assert len(heads) == 1


@pytest.mark.parametrize("subsample_from", [1, 10**9])
def test_samples_too_old_to_weigh_anything_leave_the_anchor(monkeypatch, subsample_from):
    monkeypatch.setattr(sampling, "SUBSAMPLE_FROM", subsample_from)
    monkeypatch.setattr(sampling, "SUBSAMPLE", 200)
    problem = Problem(900, seed=3, n_wide=1, parts=2)
    short, long = timedelta(seconds=1), timedelta(hours=12)
    last = max(part.event_us.max() for part in problem.window)
    as_of = from_us(int(last)) + timedelta(hours=1)
    both = [Setting(short, 1.0), Setting(long, 1.0)]
    for chosen in ([both[0]], both):
        candidates = fit_candidates(problem.window, problem.layout, chosen, as_of)
        assert np.isfinite(candidates.lines[candidates.layout.leaves]).all()
        assert not candidates.lines[candidates.layout.leaves][:, 0].any()
    assert candidates.lines[candidates.layout.leaves][:, 1].any()
