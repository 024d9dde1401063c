"""Ridges: of each kind of weight, at the optimum they define, found from the weights, and kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from problems import AS_OF, Problem

from gbdtlr.codec.npz import from_npz, to_npz
from gbdtlr.compute.parts import Parts
from gbdtlr.errors import DamagedError, FormatError
from gbdtlr.head import (
    Candidates,
    Codes,
    DenseColumn,
    DenseColumns,
    Layout,
    Prior,
    Ridges,
    Setting,
    WideColumns,
    fit_candidates,
)
from gbdtlr.head.fit import candidates as candidates_module
from gbdtlr.head.fit.objective import Objective
from gbdtlr.head.past.incremental import fit_on, remember
from gbdtlr.head.past.memory import Memory
from gbdtlr.head.ridges import BOLDEST, CROSS, ID
from gbdtlr.times import to_us

LONG = timedelta(days=3650)
SETTINGS = [Setting(LONG, 30.0), Setting(LONG, 300.0), Setting(timedelta(days=2), 30.0)]
GROUPS = [setting.half_life for setting in SETTINGS]


def begun(layout, prior=Prior(), settings=SETTINGS):  # noqa: B008 - it is frozen
    return Ridges.begun(layout, [setting.l2 for setting in settings], prior)


def ids(scale, n=30_000, n_ids=60, seed=0):
    """Rows of one tree with one leaf, and ids whose weights vary by ``scale``."""
    rng = np.random.default_rng(seed)
    bucket = rng.integers(0, n_ids, n)
    margin = rng.normal(0, scale, n_ids)[bucket]
    label = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.float32)
    event = np.full(n, to_us(AS_OF) - 1)
    codes = Codes(np.zeros((1, n), np.uint8), bucket[None].astype(np.uint32), label, np.ones(n), event, event)
    return Parts([codes]), Layout(np.array([0, 1]), np.zeros(1), WideColumns(("id",), 1000))


def test_kinds_begin_with_what_is_believed_of_them():
    dense = DenseColumns((DenseColumn("d", (0.0,), (1.0,)),), 4.0)
    layout = Layout(np.array([0, 1]), np.zeros(1), WideColumns(("id", "other", "id:other"), 100), dense=dense)
    ridges = begun(layout, Prior({"wide other": 7.0, "cross": 2.0}))
    assert ridges.kinds == ("leaves", "wide id", "wide other", "wide id:other", "dense d", "bias")
    np.testing.assert_array_equal(ridges.values[:, 0], [30.0, ID, 7.0, 2.0, 4.0, 30.0])
    np.testing.assert_array_equal(ridges.values[:, 1], [300.0, ID * BOLDEST, 7.0, 2.0, 4.0, 300.0])
    np.testing.assert_array_equal(Ridges.tied(layout, [30.0]).values[:, 0], [30.0, 30.0, 30.0, 30.0, 4.0, 30.0])
    np.testing.assert_array_equal(begun(layout).values[3], [CROSS, CROSS * BOLDEST, CROSS])


@pytest.mark.parametrize("n_dense", [0, 4])
def test_a_fit_is_at_the_optimum_of_its_own_ridges(n_dense):
    problem = Problem(n_wide=2, n=900, seed=4, n_dense=n_dense)
    ridges = begun(problem.layout)
    ridges.values[1:] = np.random.default_rng(1).uniform(0.5, 80, (len(ridges.values) - 1, len(SETTINGS)))
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF, ridges=ridges)
    l2 = ridges.of_parameters(fitted.layout)
    for k, setting in enumerate(SETTINGS):
        best, _ = problem.naive(setting, fitted.lines[:, k].astype(float), fitted.layout.buckets, l2[:, k])
        _, slope = problem.naive(setting, fitted.lines[:, k].astype(float), fitted.layout.buckets, l2[:, k])
        assert (slope**2 / l2[:, k]).sum() / 2 < 1e-5 * best  # a bound of what is left to gain


@pytest.mark.parametrize("scale", [0.2, 0.6, 2.0])
def test_the_ridge_that_is_found_is_one_over_the_variance_of_the_weights(scale):
    window, layout = ids(scale)
    fitted = fit_candidates(window, layout, SETTINGS[:1], AS_OF, None, begun(layout, settings=SETTINGS[:1]), Prior())
    fitted = fit_candidates(window, layout, SETTINGS[:1], AS_OF, fitted, fitted.found, Prior())
    assert fitted.found.of("wide id")[0] == pytest.approx(1 / scale**2, rel=0.5)


def test_ids_that_say_nothing_are_held_back():
    window, layout = ids(0.0)
    fitted = None
    ridges = begun(layout, settings=SETTINGS[:1])
    for _ in range(6):
        fitted = fit_candidates(window, layout, SETTINGS[:1], AS_OF, fitted, ridges, Prior())
        ridges = fitted.found
    assert ridges.of("wide id")[0] > 100


def test_leaves_that_are_pulled_more_leave_more_to_ids():
    layout = Layout(np.array([0, 1]), np.zeros(1), WideColumns(("id",), 100))
    shares = Ridges.tied(layout, [30.0, 1000.0, 100.0, 30.0]).shares
    np.testing.assert_allclose(shares, [1.0, BOLDEST, BOLDEST**0.5, 1.0])
    np.testing.assert_array_equal(Ridges.tied(layout, [30.0, 30.0]).shares, 1.0)


def test_parts_of_a_ridge_do_not_change_what_is_found():
    """What is found from a fit is the same whether others take part of it, or there are none."""
    problem = Problem(n_wide=2, n=900, seed=4)

    def found(settings):
        start = begun(problem.layout, settings=settings)
        return fit_candidates(problem.window, problem.layout, settings, AS_OF, None, start, Prior()).found

    alone, beside = found(SETTINGS[:1]), found(SETTINGS)
    np.testing.assert_allclose(beside.values[1:3, 0], alone.values[1:3, 0], rtol=1e-2)


def test_lanes_of_a_half_life_have_parts_of_what_is_found_and_what_is_fixed_stays():
    problem = Problem(n_wide=2, n=900, seed=4)
    prior = Prior({"wide w1": 7.0})
    found = fit_candidates(
        problem.window, problem.layout, SETTINGS, AS_OF, None, begun(problem.layout, prior), prior
    ).found
    for kind in ("leaves", "bias"):
        np.testing.assert_array_equal(found.of(kind), [30.0, 300.0, 30.0])
    np.testing.assert_array_equal(found.of("wide w1"), 7.0)
    w0 = found.of("wide w0")
    assert w0[0] * BOLDEST == w0[1]
    assert w0[0] != w0[2]
    assert w0[0] != ID


def test_ridges_are_carried_over_by_kind_and_half_life():
    problem = Problem(n_wide=2)
    known = begun(problem.layout)
    known.values[1:] = np.arange(9).reshape(3, 3) + 50.0
    fewer = replace(problem.layout, wide=WideColumns(("w1", "new"), 20_000), buckets=())
    groups = [GROUPS[2], timedelta(hours=5)]
    carried = Ridges.begun(fewer, [1.0, 2.0], Prior()).carried(groups, known, GROUPS, Prior())
    np.testing.assert_array_equal(carried.values, [[1.0, 2.0], [55.0, ID * BOLDEST], [ID, ID * BOLDEST], [1.0, 2.0]])
    both = [Setting(LONG, 5.0), Setting(LONG, 900.0)]
    carried = begun(fewer, settings=both).carried([LONG, LONG], known, GROUPS, Prior())
    np.testing.assert_array_equal(carried.of("wide w1"), [53.0, 53.0 * BOLDEST])
    fixed = Prior({"wide w1": 4.0})
    carried = Ridges.begun(fewer, [1.0, 2.0], fixed).carried(groups, known, GROUPS, fixed)
    np.testing.assert_array_equal(carried.of("wide w1"), 4.0)


@pytest.mark.parametrize(("n_dense", "tied_format"), [(0, 1), (3, 2)])
def test_candidates_keep_their_ridges_and_old_ones_have_one_for_all(monkeypatch, n_dense, tied_format):
    problem = Problem(n_wide=1, n_dense=n_dense)
    tied = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF)
    again = Candidates.from_bytes(tied.to_bytes(), problem.layout)
    assert from_npz(tied.to_bytes(), newest=9)["format"].tolist() == [tied_format]
    assert again.ridges is None
    lines = again.fitted_with.values.tolist()
    dense = [[4.0] * 3] * (len(lines) - 3)
    assert lines == [[30.0, 300.0, 30.0], [30.0, 300.0, 30.0], *dense, [30.0, 300.0, 30.0]]
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF, None, begun(problem.layout), Prior())
    data = fitted.to_bytes()
    assert from_npz(data, newest=9)["format"].tolist() == [3]
    again = Candidates.from_bytes(data, problem.layout)
    assert again.to_bytes() == data
    np.testing.assert_array_equal(again.found.values, fitted.found.values)
    np.testing.assert_array_equal(again.fitted_with.values, fitted.ridges.values)
    fitted.found.values[1, 1] = -1.0
    with pytest.raises(DamagedError, match="above zero"):
        Candidates.from_bytes(fitted.to_bytes(), problem.layout)
    monkeypatch.setattr(candidates_module, "FORMAT", 2)
    with pytest.raises(FormatError):
        Candidates.from_bytes(data, problem.layout)


@pytest.mark.parametrize("n_dense", [0, 3])
def test_what_goes_on_from_memory_goes_to_the_optimum_of_the_next_ridges(n_dense):
    problem = Problem(n_wide=1, n=900, seed=3, n_dense=n_dense)
    window = problem.window
    fitted = fit_candidates(window, problem.layout, SETTINGS, AS_OF, None, begun(problem.layout), Prior())
    memory = remember(window, fitted, AS_OF)
    later, _ = fit_on(fitted, memory, timedelta(0), Parts([problem.codes.take(np.arange(0))]), AS_OF, Prior())
    expected = fit_candidates(window, problem.layout, SETTINGS, AS_OF, None, fitted.found)
    np.testing.assert_array_equal(later.ridges.values, fitted.found.values)
    moved = np.abs(expected.lines - fitted.lines).max()
    assert moved > 0.02
    assert np.abs(later.lines - expected.lines).max() < 0.2 * moved
    assert (later.found.values != later.ridges.values).any()


def test_one_fit_tells_more_than_one_step():
    """From a ridge of ten, weights that vary by 0.6 are known by what they would be with the ridge they want."""
    window, layout = ids(0.6, n=6_000, n_ids=600)
    start = begun(layout, settings=SETTINGS[:1])
    start.values[1] = 10.0
    fitted = fit_candidates(window, layout, SETTINGS[:1], AS_OF, None, start, Prior())
    first = fitted.found.of("wide id")[0]
    for _ in range(12):
        fitted = fit_candidates(window, layout, SETTINGS[:1], AS_OF, fitted, fitted.found, Prior())
    assert first == pytest.approx(fitted.found.of("wide id")[0], rel=0.5)


def noise_of(codes, hours, spread):
    s = codes.weight * 2.0 ** (-(to_us(AS_OF) - codes.event_us) / 3.6e9 / hours)
    return float((s * s * spread).sum() / (s * spread).sum())


@pytest.mark.parametrize("rate", [0.3, 0.003])
def test_what_samples_tell_of_ids_is_exact_however_rare_positives_are(rate):
    problem = Problem(4_000, n_wide=1, seed=2)
    layout = replace(problem.layout, leaf_values=np.full(len(problem.anchor), np.log(rate / (1 - rate)) / 6))
    settings = [Setting(timedelta(hours=h), 30.0) for h in (6, 48)]
    told = Objective(problem.window, layout, settings, AS_OF, begun(layout, settings=settings)).curvature().told
    codes = problem.codes
    for k, hours in enumerate((6, 48)):
        assert told.noise[k] == pytest.approx(noise_of(codes, hours, rate * (1 - rate)), rel=1e-4)
        s = codes.weight * 2.0 ** (-(to_us(AS_OF) - codes.event_us) / 3.6e9 / hours)
        expected = np.bincount(np.unique(codes.buckets[0], return_inverse=True)[1], s * rate * (1 - rate))
        np.testing.assert_allclose(told.held[:, k], expected, rtol=1e-4)


def test_a_ridge_is_found_though_samples_fade():
    """Rows of many half-lives: the noise is half of the curvature, and so the ridge half of one over the variance."""
    window, layout = ids(0.6, n=60_000, n_ids=400)
    (codes,) = window
    spread = np.linspace(0, 5 * 86400e6, len(codes)).astype(np.int64)
    window = Parts([replace(codes, event_us=codes.event_us - spread[::-1])])
    settings = [Setting(timedelta(days=1), 30.0)]
    fitted, ridges = None, begun(layout, settings=settings)
    for _ in range(4):
        fitted = fit_candidates(window, layout, settings, AS_OF, fitted, ridges, Prior())
        ridges = fitted.found
    assert ridges.of("wide id")[0] == pytest.approx(0.5 / 0.36, rel=0.3)


def test_a_ridge_that_is_found_is_multiplied_as_all_weights_are():
    problem = Problem(2_000, n_wide=1, seed=5)

    def found(times):
        settings = [Setting(timedelta(days=1), 30.0 * times)]
        rows = Parts([replace(problem.codes, weight=times * problem.codes.weight)])
        ridges = begun(problem.layout, settings=settings)
        ridges.values[1] = 10.0 * times
        return fit_candidates(rows, problem.layout, settings, AS_OF, None, ridges, Prior()).found.of("wide w0")[0]

    assert found(100.0) == pytest.approx(100 * found(1.0), rel=0.02)


@pytest.mark.parametrize("days", [0, 10, 400])
def test_ridges_stay_where_samples_weigh_nothing(days):
    problem = Problem(400, n_wide=1)
    settings = [Setting(timedelta(minutes=90), 30.0), Setting(timedelta(days=4), 30.0)]
    rows = problem.window if days else Parts([replace(problem.codes, weight=np.zeros(400))])
    start = begun(problem.layout, settings=settings)
    fitted = fit_candidates(rows, problem.layout, settings, AS_OF + timedelta(days=days), None, start, Prior())
    found = fitted.found.of("wide w0")
    assert (np.isfinite(found) & (found > 0)).all()
    assert found[0] == ID
    assert np.isfinite(fitted.lines).all()


def test_memory_knows_how_noisy_samples_are():
    """As the full fit does; a memory of a version that did not keep it leaves ridges as they are."""
    problem = Problem(900, n_wide=1, seed=3)
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF, None, begun(problem.layout), Prior())
    memory = remember(problem.window, fitted, AS_OF)
    margins = fitted.margins(problem.codes)
    for noise, half_life, lane in zip(memory.noise, memory.half_lives, (2, 0), strict=True):
        p = 1 / (1 + np.exp(-margins[:, lane]))
        expected = noise_of(problem.codes, half_life / timedelta(hours=1), p * (1 - p))
        assert noise == pytest.approx(expected, rel=0.02)
    again = Memory.from_bytes(memory.to_bytes(), fitted)
    np.testing.assert_array_equal(again.squares, memory.squares)
    passed = timedelta(days=2)
    np.testing.assert_allclose(memory.faded(passed).noise, memory.noise * [0.5, 2.0 ** -(2 / 3650)])
    arrays = from_npz(memory.to_bytes(), "memory.npz", 1)
    del arrays["squares"]
    old = Memory.from_bytes(to_npz({k: v for k, v in arrays.items() if k != "format"}, 1, compress=False), fitted)
    later, kept = fit_on(fitted, old, timedelta(0), problem.window, AS_OF, Prior())
    np.testing.assert_array_equal(later.found.values, fitted.found.values)
    assert np.isnan(Memory.from_bytes(kept.to_bytes(), later).squares).all()
