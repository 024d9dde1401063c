"""Levels: what a blend lacks lately in all rows alike, and how little it takes to know it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from problems import AS_OF, Problem
from scipy.optimize import brentq

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


def test_a_level_is_the_root_of_what_the_blend_leaves_over() -> None:
    problem = Problem(900, n_wide=2, seed=3)
    fitted, weights = blend(problem)
    found = levelled(fitted, problem.window, weights, AS_OF)
    codes = problem.codes
    margin = fitted.margins(codes) @ np.append(weights[:5], [0.0, 0.0])
    age = (to_us(AS_OF) - codes.event_us) / 3.6e9
    for level, hours in zip(found.levels, (2, 8), strict=True):
        s = codes.weight * 2.0 ** (-age / hours) * (age <= REACH * 8)

        def left(c: float, s: np.ndarray = s) -> float:
            return float((s * (codes.label - 1 / (1 + np.exp(-margin - c)))).sum() - PULL * c)

        assert level == pytest.approx(brentq(left, -FARTHEST, FARTHEST), abs=2e-3)
        assert abs(level) > 1e-4


def test_a_shift_of_all_rows_is_found() -> None:
    """Labels of twice the odds lately: the level is close to their log, the more so the more samples there are."""
    problem = Problem(40_000, seed=8)
    codes = problem.codes
    rng = np.random.default_rng(0)
    margin = Candidates.bare(SETTINGS, problem.layout).margins(codes)[:, 0]
    label = (rng.random(len(margin)) < 1 / (1 + np.exp(-margin - np.log(2)))).astype(np.float32)
    shifted = Parts([replace(codes, label=label)])
    bare, weights = Candidates.bare(SETTINGS, problem.layout), np.array([1.0, 0, 0, 0, 0, 0, 0])
    for level in levelled(bare, shifted, weights, AS_OF).levels:
        assert level == pytest.approx(np.log(2), abs=0.1)


def test_no_rows_and_the_same_labels_throughout_leave_levels_finite() -> None:
    problem = Problem(300, seed=1)
    fitted, weights = blend(problem)
    nothing = levelled(fitted, Parts([problem.codes.take(np.arange(0))]), weights, AS_OF)
    assert nothing.levels == pytest.approx((0.0, 0.0), abs=1e-9)
    assert levelled(fitted, Parts(), weights, AS_OF).levels == nothing.levels
    ones = replace(problem.codes, label=np.ones(300, np.float32), weight=np.full(300, 1e9))
    assert levelled(fitted, Parts([ones]), weights, AS_OF).levels == pytest.approx((FARTHEST,) * 2, abs=1e-6)


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
