"""Parts that are elsewhere: what is learned from them is the same to the last bit, and none of them comes here."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from problems import AS_OF, Elsewhere, Problem

from gbdtlr.compute.parts import Parts
from gbdtlr.config import GuardConfig
from gbdtlr.head import Head, Record, Setting, fit_candidates
from gbdtlr.head.fit import sampling
from gbdtlr.head.past import incremental
from gbdtlr.jobs.guards import contest, contradiction
from gbdtlr.metrics import Quality
from gbdtlr.model.model import quality_of

HOUR = timedelta(hours=1)
SETTINGS = [Setting(timedelta(hours=h), l2) for h in (6, 48) for l2 in (3.0, 30.0)]


@pytest.fixture
def problem() -> Problem:
    return Problem(n=2000, n_trees=9, n_wide=2, seed=5, parts=5)


def both_ways(window):
    return window, Elsewhere(list(window))


@pytest.mark.parametrize("subsample_from", [1000, 10**9])
def test_a_fit(problem: Problem, monkeypatch: pytest.MonkeyPatch, subsample_from: int) -> None:
    monkeypatch.setattr(sampling, "SUBSAMPLE_FROM", subsample_from)
    monkeypatch.setattr(sampling, "SUBSAMPLE", 400)
    here, there = (
        fit_candidates(window, problem.layout, SETTINGS, AS_OF).to_bytes() for window in both_ways(problem.window)
    )
    assert here == there


def test_the_memory_of_a_fit_and_a_fit_on_it(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental, "THOROUGH", 1)
    monkeypatch.setattr(incremental, "GUIDES", 500)
    before = AS_OF - 8 * HOUR
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, before)
    made = []
    for window in both_ways(problem.window):
        memory = incremental.remember(window, fitted, before)
        candidates, later = incremental.fit_on(fitted, memory, 8 * HOUR, window, AS_OF)
        made.append((memory.to_bytes(), candidates.to_bytes(), later.to_bytes()))
    assert made[0] == made[1]


def test_the_blend_and_what_guards_ask(problem: Problem) -> None:
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF)
    record = Record.blank(fitted.names, AS_OF - HOUR)
    head = fitted.blended(record.weights)
    guard = GuardConfig(min_samples=10, auc=0.5)
    made = []
    turned_round = Parts([replace(part, label=1 - part.label) for part in problem.window])
    for window in both_ways(turned_round):
        learned = record.learn([(window, fitted)], AS_OF, 24 * HOUR)
        sums = contest(head, Head.bare(head.layout), window, guard)
        checks = list(contradiction([(head, window)], guard))
        assert checks[0].objection
        quality = window.sum(quality_of, head, zero=Quality())
        made.append((learned.to_dict(), sums.tobytes(), checks, quality))
    assert made[0] == made[1]
    assert np.isfinite(made[0][3].log_loss)
