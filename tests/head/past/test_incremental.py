"""The incremental fit: close to the fit of old and new samples together, without the old ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from problems import AS_OF, Problem

from gbdtlr.codec.npz import from_npz, to_npz
from gbdtlr.compute.parts import Parts
from gbdtlr.errors import DamagedError
from gbdtlr.head import Candidates, Codes, Memory, Setting, fit_candidates
from gbdtlr.head.fit.solver import minimise
from gbdtlr.head.past import incremental, memory
from gbdtlr.head.past.incremental import fit_on, remember
from gbdtlr.metrics import log_loss_of, sigmoid
from gbdtlr.times import to_us

SETTINGS = [Setting(timedelta(hours=h), l2) for h in (6, 48) for l2 in (3.0, 30.0)]
HOUR = timedelta(hours=1)


def split(problem: Problem, before: timedelta) -> tuple[Codes, Codes]:
    """Samples up to a time before the end, and those after."""
    old = problem.codes.event_us < to_us(AS_OF - before)
    return problem.codes.take(old), problem.codes.take(~old)


def updated(problem: Problem, steps: list[float]) -> Candidates:
    """Candidates after a full fit and updates at so many hours before the end."""
    old, _ = split(problem, steps[0] * HOUR)
    moment = AS_OF - steps[0] * HOUR
    candidates = fit_candidates(Parts([old]), problem.layout, SETTINGS, moment)
    kept = remember(Parts([old]), candidates, moment)
    for hours in [*steps[1:], 0.0]:
        now = AS_OF - hours * HOUR
        event = problem.codes.event_us
        news = problem.codes.take((event >= to_us(moment)) & (event < to_us(now)))
        candidates, kept = fit_on(candidates, kept, now - moment, Parts([news]), now)
        moment = now
    return candidates


def without_core(kept: Memory) -> bytes:
    """A memory as the first days wrote it."""
    return to_npz({name: array for name, array in from_npz(kept.to_bytes()).items() if name != "core"}, compress=False)


def excess(problem: Problem, candidates: Candidates) -> np.ndarray:
    """How far the objective over all samples lies above its minimum, as a share, for each setting."""
    best = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF)
    return (values(problem, candidates) - values(problem, best)) / values(problem, best)


def values(problem: Problem, candidates: Candidates) -> np.ndarray:
    margins = candidates.margins(problem.codes)
    found = []
    for k, setting in enumerate(SETTINGS):
        age = (to_us(AS_OF) - problem.codes.event_us) / 1e6 / setting.half_life.total_seconds()
        loss = (problem.codes.weight * 2.0**-age) @ log_loss_of(margins[:, k], problem.codes.label)
        l2 = np.full(candidates.layout.n, setting.l2)
        l2[candidates.layout.linear] = problem.layout.dense.l2
        found.append(loss + l2 / 2 @ candidates.lines[:, k].astype(float) ** 2)
    return np.array(found)


@pytest.mark.parametrize(("n_wide", "n_dense"), [(0, 0), (2, 0), (0, 1), (2, 8)])
@pytest.mark.parametrize("steps", [[8.0], [8.0, 5.0, 4.0, 1.0]])
def test_it_tends_to_the_optimum_over_old_and_new(n_wide: int, n_dense: int, steps: list[float]) -> None:
    problem = Problem(n=2500, n_wide=n_wide, seed=3, n_dense=n_dense)
    found = excess(problem, updated(problem, steps))
    assert (found < 4e-3).all()
    old, news = split(problem, steps[0] * HOUR)
    stale = fit_candidates(Parts([old]), problem.layout, SETTINGS, AS_OF - steps[0] * HOUR)
    assert (found < 0.35 * excess(problem, stale)).all()
    only_new = fit_candidates(Parts([news]), problem.layout, SETTINGS, AS_OF)
    slow = [k for k, setting in enumerate(SETTINGS) if setting.half_life > 6 * HOUR]
    assert (found < 0.2 * excess(problem, only_new))[slow].all()


def test_many_news_guide_the_search_more_thoroughly_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(n=2500, n_trees=20, n_leaves=9, n_wide=2, seed=3)
    monkeypatch.setattr(memory, "DENSE", 0)
    monkeypatch.setattr(memory, "RANK", 4)  # so that the memory alone is a poor guide
    by_memory = updated(problem, [8.0])
    monkeypatch.setattr(incremental, "THOROUGH", 1)
    by_rows = updated(problem, [8.0])
    assert by_rows.passes < 0.7 * by_memory.passes
    assert excess(problem, by_rows) == pytest.approx(excess(problem, by_memory), abs=2e-4)


def test_guides_are_the_hessian_of_the_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [Setting(6 * HOUR, 3.0), Setting(48 * HOUR, 30.0)]  # one each: the strengths of rows are means otherwise
    problem = Problem(n=900, n_wide=2, seed=12, n_dense=4)
    old, news = split(problem, 8 * HOUR)
    monkeypatch.setattr(memory, "DENSE", 0)
    monkeypatch.setattr(incremental, "THOROUGH", 1)
    before = AS_OF - 8 * HOUR
    fitted = fit_candidates(Parts([old]), problem.layout, settings, before)
    kept = remember(Parts([old]), fitted, before)
    seen = []

    def caught(evaluate, start, precondition, **kinds):
        seen.append((evaluate.__self__, start))
        return minimise(evaluate, start, precondition, **kinds)

    monkeypatch.setattr(incremental, "minimise", caught)
    fit_on(fitted, kept, 8 * HOUR, Parts([news]), AS_OF)
    together, start = seen[0]
    lanes = range(len(settings))
    step = 1e-2 * np.random.default_rng(0).normal(size=start.shape)
    ahead, behind = (together.value_and_gradient(start + sign * step, lanes)[1] for sign in (1, -1))
    rise = ahead - behind
    expected = 2.0 * together._times(step, lanes)
    assert np.abs(rise - expected).max() < 0.01 * np.abs(expected).max()


def test_a_low_rank_memory_comes_close_to_a_dense_one(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(n=2500, n_trees=20, n_leaves=9, seed=4)
    dense = excess(problem, updated(problem, [8.0, 4.0]))
    monkeypatch.setattr(memory, "DENSE", 0)
    monkeypatch.setattr(memory, "RANK", 40)
    low = excess(problem, updated(problem, [8.0, 4.0]))
    monkeypatch.setattr(memory, "RANK", 1)
    diagonal = excess(problem, updated(problem, [8.0, 4.0]))
    assert (low < dense + 6e-3).all()
    assert (diagonal > 1.2 * low).all(), "what all samples agree on is lost without the factor"


def test_memory_is_the_hessian_of_the_loss() -> None:
    problem = Problem(n=400, n_wide=1, seed=5, n_dense=4)
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF)
    kept = remember(problem.window, fitted, AS_OF)
    x = problem.dense(fitted.layout.buckets)
    p = sigmoid(fitted.margins(problem.codes)[:, :4])
    for h, half_life in enumerate(kept.half_lives):
        lanes = [k for k, setting in enumerate(SETTINGS) if setting.half_life == half_life]
        age = (to_us(AS_OF) - problem.codes.event_us) / 1e6 / half_life.total_seconds()
        s = problem.codes.weight * 2.0**-age * (p * (1 - p))[:, lanes].mean(axis=1)
        expected = x.T @ (s[:, None] * x)
        found = np.diag(kept.diagonal[h])
        found[np.ix_(kept.core, kept.core)] += kept.factor[h].T @ kept.factor[h]
        assert np.abs(found - expected).max() < 1e-4 * expected.max()


def test_a_truncated_memory_keeps_the_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(n=600, n_trees=12, seed=6)
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF)
    whole = remember(problem.window, fitted, AS_OF)
    monkeypatch.setattr(memory, "DENSE", 0)
    monkeypatch.setattr(memory, "RANK", 10)
    few = remember(problem.window, fitted, AS_OF)
    assert few.factor.shape[1] == 10
    assert few.total_diagonal() == pytest.approx(whole.total_diagonal(), rel=1e-3, abs=1e-3)


def test_ids_outside_the_core_cost_no_search_and_end_where_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "DENSE", 0)
    problem = Problem(n=1500, n_wide=2, seed=9)
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF)
    kept = remember(problem.window, fitted, AS_OF)
    n_codes, n_params = len(problem.anchor), kept.diagonal.shape[1]
    assert kept.core.tolist() == [*range(n_codes), n_params - 1]
    # The same memory, but with a factor of all parameters, as of the first days: everything is searched.
    everywhere = np.zeros((*kept.factor.shape[:2], n_params), np.float32)
    everywhere[:, :, kept.core] = kept.factor
    old = Memory.from_bytes(without_core(replace(kept, core=np.arange(n_params), factor=everywhere)), fitted)
    assert len(old.core) == n_params
    news = problem.codes.take(np.arange(30))
    news = replace(news, event_us=np.full(30, to_us(AS_OF)))
    few, few_kept = fit_on(fitted, kept, 3 * HOUR, Parts([news]), AS_OF)
    all_, all_kept = fit_on(fitted, old, 3 * HOUR, Parts([news]), AS_OF)
    assert few.lines[few.layout.leaves] == pytest.approx(all_.lines[all_.layout.leaves], abs=2e-3)
    for j in range(2):
        assert few.layout.buckets[j].tolist() == all_.layout.buckets[j].tolist()
        assert few.lines[few.layout.columns[j]] == pytest.approx(all_.lines[all_.layout.columns[j]], abs=2e-3)
        without = ~np.isin(few.layout.buckets[j], news.buckets[j])
        moved = np.abs(few.lines[few.layout.columns[j]] - fitted.lines[fitted.layout.columns[j]])[without]
        assert moved.max() > 0.02, "what fades goes back to the anchor without news too"
    assert few_kept.core.tolist() == all_kept.core.tolist()


def test_the_busiest_ids_are_in_the_core_as_long_as_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(n=600, n_wide=1, seed=10)
    busy = np.isin(problem.codes.buckets, [16, 400])
    problem.codes.weight[busy[0]] *= 50
    window = Parts([problem.codes])
    fitted = fit_candidates(window, problem.layout, SETTINGS, AS_OF)
    n_codes = len(problem.anchor)
    monkeypatch.setattr(memory, "DENSE", n_codes + 3)
    kept = remember(window, fitted, AS_OF)
    ids = n_codes + fitted.layout.buckets[0].searchsorted(np.array([16, 400]))
    assert kept.core.tolist() == [*range(n_codes), *ids, kept.diagonal.shape[1] - 1]


def test_without_news_worth_telling_what_fades_goes_back_to_the_anchor() -> None:
    problem = Problem(n=800, seed=7)
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF)
    kept = remember(problem.window, fitted, AS_OF)
    one = problem.codes.take(np.array([0]))
    nothing = replace(one, weight=np.zeros(1))
    later = fit_on(fitted, kept, timedelta(days=30), Parts([nothing]), AS_OF)[0]
    assert np.abs(later.lines[later.layout.leaves]).max() < 1e-2 * np.abs(fitted.lines[fitted.layout.leaves]).max()
    same = fit_on(fitted, kept, timedelta(0), Parts([nothing]), AS_OF)[0]
    assert same.lines[same.layout.leaves] == pytest.approx(
        fitted.lines[fitted.layout.leaves], abs=0.02 * float(np.abs(fitted.lines[fitted.layout.leaves]).max())
    )


def test_ids_come_with_the_news_and_go_when_they_are_forgotten() -> None:
    problem = Problem(n=600, n_wide=1, seed=8)
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF)
    kept = remember(problem.window, fitted, AS_OF)
    news = problem.codes.take(np.arange(50))
    news = replace(news, buckets=np.full_like(news.buckets, 12345), event_us=np.full(50, to_us(AS_OF)))
    soon, soon_kept = fit_on(fitted, kept, HOUR, Parts([news]), AS_OF)
    assert 12345 in soon.layout.buckets[0]
    assert len(soon.layout.buckets[0]) == len(fitted.layout.buckets[0]) + 1
    assert soon_kept.diagonal.shape[1] == len(problem.anchor) + len(soon.layout.buckets[0]) + 1
    later, _ = fit_on(fitted, kept, timedelta(days=90), Parts([news]), AS_OF)
    assert later.layout.buckets[0].tolist() == [12345]


def test_memory_survives_the_store_and_damage_is_told() -> None:
    problem = Problem(n=300, n_wide=1)
    fitted = fit_candidates(problem.window, problem.layout, SETTINGS, AS_OF)
    kept = remember(problem.window, fitted, AS_OF)
    again = Memory.from_bytes(kept.to_bytes(), fitted)
    assert again.to_bytes() == kept.to_bytes()
    arrays = dict(from_npz(kept.to_bytes()))
    n = len(arrays["core"])
    for name, value in (
        ("core", arrays["core"][:-1]),
        ("core", arrays["core"] + 1),
        ("core", np.concatenate([arrays["core"][:1], arrays["core"][:-1]])),
        ("core", np.arange(n, dtype=np.float64)),
        ("core", arrays["core"][:0]),
        ("diagonal", arrays["diagonal"][:, 1:]),
        ("diagonal", -arrays["diagonal"] - 1),
        ("factor", arrays["factor"] * np.nan),
        ("half_lives_s", arrays["half_lives_s"] + 1),
    ):
        with pytest.raises(DamagedError, match="memory"):
            Memory.from_bytes(to_npz({**arrays, name: value}), fitted)
    for core, before in (([-1, *arrays["core"]], (1, 0)), ([*arrays["core"], n], (0, 1))):
        factor = np.pad(arrays["factor"], ((0, 0), (0, 0), before))
        with pytest.raises(DamagedError, match="core"):
            Memory.from_bytes(to_npz({**arrays, "core": np.array(core), "factor": factor}), fitted)
    with pytest.raises(DamagedError):
        Memory.from_bytes(b"", fitted)
