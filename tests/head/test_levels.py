"""Levels: what a blend lacks lately in all rows alike, and how little it takes to know it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from problems import AS_OF, Problem
from scipy.optimize import brentq

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.errors import DamagedError
from gbdtlr.head import Candidates, Setting, fit_candidates
from gbdtlr.head.fit.candidates import half_lives_of_levels, names_of
from gbdtlr.head.levels import FARTHEST, PULL, REACH, levelled
from gbdtlr.times import to_us

HOUR = timedelta(hours=1)
SETTINGS = [Setting(2 * HOUR, 3.0), Setting(24 * HOUR, 3.0), Setting(8 * HOUR, 300.0)]


def blend(problem: Problem) -> tuple[Candidates, np.ndarray]:
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF)
    return fitted, np.array([0.1, 0.4, 0.2, 0.2, 0.1, 0.6, 0.3])


def test_the_faster_half_of_the_half_lives_have_levels() -> None:
    assert half_lives_of_levels(SETTINGS) == [2 * HOUR, 8 * HOUR]
    assert half_lives_of_levels(SETTINGS[:1]) == [2 * HOUR]
    assert names_of(SETTINGS)[-3:] == ["background", "level 7200s", "level 28800s"]


def root(problem: Problem, margin: np.ndarray, hours: float, longest: float = 8) -> float:
    codes = problem.codes
    age = (to_us(AS_OF) - codes.event_us) / 3.6e9
    s = codes.weight * 2.0 ** (-age / hours) * (age <= REACH * longest)
    p = 1 / (1 + np.exp(-margin))
    r = (s * s * p * (1 - p)).sum() / (s * p * (1 - p)).sum()

    def left(c: float) -> float:
        return float((s * (codes.label - 1 / (1 + np.exp(-margin - c)))).sum() - PULL * r * c)

    return float(np.clip(brentq(left, -9, 9), -FARTHEST, FARTHEST))


def test_a_level_is_the_root_of_what_the_blend_leaves_over() -> None:
    problem = Problem(900, n_wide=2, seed=3)
    fitted, weights = blend(problem)
    found = levelled(fitted, problem.window, weights, AS_OF)
    margin = fitted.margins(problem.codes) @ np.append(weights[:5], [0.0, 0.0])
    for level, hours in zip(found.levels, (2, 8), strict=True):
        assert level == pytest.approx(root(problem, margin, hours), abs=2e-4)
        assert abs(level) > 1e-3


def test_a_level_is_the_same_whatever_all_weights_are_multiplied_by() -> None:
    problem = Problem(900, n_wide=2, seed=3)
    fitted, weights = blend(problem)
    heavy = Parts([replace(problem.codes, weight=100.0 * problem.codes.weight)])
    once, again = (levelled(fitted, rows, weights, AS_OF).levels for rows in (problem.window, heavy))
    assert again == pytest.approx(once, abs=1e-9)


@pytest.mark.parametrize("margin", [-4.0, -3.999, -0.03125, 2.5])
def test_rows_that_are_all_alike_and_right_have_no_level(margin: float) -> None:
    """Whole bins of equal margins: their mean is told, not the middle of the bin."""
    problem = Problem(300, seed=1)
    p = 1 / (1 + np.exp(-margin))
    codes = replace(problem.codes, label=np.full(300, p, np.float32), event_us=np.full(300, to_us(AS_OF)))
    constant = replace(Candidates.bare(SETTINGS, problem.layout), background=margin)
    weights = np.array([0, 0, 0, 0, 1.0, 0, 0])
    assert levelled(constant, Parts([codes]), weights, AS_OF).levels == pytest.approx((0.0, 0.0), abs=1e-5)


def test_a_shift_of_all_rows_is_found_up_to_twice_the_odds() -> None:
    problem = Problem(40_000, seed=8)
    codes = problem.codes
    margin = Candidates.bare(SETTINGS, problem.layout).margins(codes)[:, 0]
    bare, weights = Candidates.bare(SETTINGS, problem.layout), np.array([1.0, 0, 0, 0, 0, 0, 0])
    for odds, expected in [(1.5, np.log(1.5)), (5.0, FARTHEST), (0.1, -FARTHEST)]:
        rng = np.random.default_rng(0)
        label = (rng.random(len(margin)) < 1 / (1 + np.exp(-margin - np.log(odds)))).astype(np.float32)
        for level in levelled(bare, Parts([replace(codes, label=label)]), weights, AS_OF).levels:
            assert level == pytest.approx(expected, abs=0.1)
            assert abs(level) <= FARTHEST


def test_no_rows_and_the_same_labels_throughout_leave_levels_finite() -> None:
    problem = Problem(300, seed=1)
    fitted, weights = blend(problem)
    nothing = levelled(fitted, Parts([problem.codes.take(np.arange(0))]), weights, AS_OF)
    assert nothing.levels == pytest.approx((0.0, 0.0), abs=1e-9)
    assert levelled(fitted, Parts(), weights, AS_OF).levels == nothing.levels
    zeros = replace(problem.codes, weight=np.zeros(300))
    assert levelled(fitted, Parts([zeros]), weights, AS_OF).levels == nothing.levels
    ones = replace(problem.codes, label=np.ones(300, np.float32), weight=np.full(300, 1e9))
    assert levelled(fitted, Parts([ones]), weights, AS_OF).levels == pytest.approx((FARTHEST,) * 2, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2])
def test_the_same_bytes_whatever_the_threads(n: int) -> None:
    problem = Problem(70_000, n_wide=1, seed=2)
    codes, (fitted, weights) = problem.codes, blend(Problem(900, n_wide=1, seed=2))
    pieces = Parts([codes.copy(a, a + 7_000) for a in range(0, 70_000, 7_000)])
    with threads.limited(n):
        found = levelled(fitted, pieces, weights, AS_OF).levels
    with threads.limited(1):
        assert found == levelled(fitted, pieces, weights, AS_OF).levels


def test_levels_are_kept_and_damaged_ones_refused() -> None:
    problem = Problem(300, n_wide=1, seed=1)
    fitted, weights = blend(problem)
    assert Candidates.from_bytes(fitted.to_bytes(), problem.layout).levels == ()
    found = levelled(fitted, problem.window, weights, AS_OF)
    again = Candidates.from_bytes(found.to_bytes(), problem.layout)
    assert again.levels == found.levels
    assert again.to_bytes() == found.to_bytes()
    for damaged in [(0.1,), (0.1, float("nan"))]:
        with pytest.raises(DamagedError):
            Candidates.from_bytes(replace(found, levels=damaged).to_bytes(), problem.layout)
