"""The blend: shares on the simplex, at the optimum, found by those who predicted well."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest
from problems import AS_OF, Problem
from scipy.optimize import minimize

from gbdtlr.compute.parts import Parts
from gbdtlr.errors import DamagedError
from gbdtlr.head import Candidates, Codes, Record, Setting, blend, fit_candidates
from gbdtlr.head.blend import BACKGROUND, CAUTION, LEVELS, prior_shares

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Told:
    """Candidates whose margins of a row are those of the number that its time is."""

    of_row: np.ndarray

    def margins(self, codes):
        return self.of_row[codes.event_us]


def numbered(n, label):
    rows = np.arange(n)
    return Codes(np.zeros((1, n), np.uint8), np.zeros((0, n), np.uint32), label, np.ones(n), rows, rows)


def learn(record, margins, label, hours=1, half_life=DAY):
    as_of = record.as_of + timedelta(hours=hours)
    return record.learn([(Parts([numbered(len(label), label)]), Told(margins))], as_of, half_life)


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-true))).astype(float)
    return rng, true, label


def test_a_blank_record_gives_the_prior_shares():
    found = Record.blank(["a", "b", "c", "background"], AS_OF).weights
    np.testing.assert_allclose(found, [*[(1 - BACKGROUND) / 3] * 3, BACKGROUND])


def test_the_better_candidate_gets_the_share():
    rng, true, label = rows(20_000)
    margins = np.stack([true, rng.normal(0, 1.5, len(true)), -true], axis=1)
    record = learn(Record.blank(["good", "noise", "wrong"], AS_OF), margins, label)
    record = learn(record, margins, label)
    assert record.weights[0] > 0.9
    assert record.weights.sum() == pytest.approx(1)


def test_candidates_that_err_apart_are_worth_more_together():
    rng, true, label = rows(30_000, seed=1)
    margins = np.stack([true + rng.normal(0, 1.5, len(true)) for _ in range(2)] + [np.zeros(len(true))], axis=1)
    record = Record.blank(["one", "two", "background"], AS_OF)
    for _ in range(3):
        record = learn(record, margins, label)
    assert record.weights[:2] == pytest.approx([record.weights[0]] * 2, abs=0.03)
    loss = lambda z: np.mean(np.logaddexp(0, z) - label * z)  # noqa: E731
    assert loss(margins @ record.weights) < min(loss(margins[:, k]) for k in range(3)) - 0.01


def test_shares_minimise_the_quadratic():
    rng, true, label = rows(3000, seed=2)
    margins = true[:, None] * rng.random(5) + rng.normal(0, 0.7, (len(true), 5))
    record = learn(Record.blank(list("abcde"), AS_OF), margins, label)

    prior = prior_shares(record.names)

    def cost(w):
        q = np.exp(w - w.max())
        q /= q.sum()
        return q @ record.curvature @ q / 2 - record.pull @ q + CAUTION * (q * np.log(q / prior)).sum()

    best = min(minimize(cost, start, method="BFGS").fun for start in (np.zeros(5), rng.normal(size=5)))
    assert cost(np.log(record.weights)) <= best + 1e-3 * abs(best)


def test_levels_have_shares_of_their_own():
    """Candidates sum to one, levels to at most one, and both minimise the quadratic together."""
    rng, true, _ = rows(3000, seed=5)
    margins = np.column_stack([true, 0.3 * true, np.full(3000, -0.4), np.full(3000, 0.3), np.full(3000, 0.1)])
    names = ["a", "trees", "background", "level 5400s", "level 21600s"]
    record = Record.blank(names, AS_OF)
    np.testing.assert_allclose(record.weights[3:], LEVELS / 2)
    shifted = (rng.random(len(true)) < 1 / (1 + np.exp(-true - 0.25))).astype(float)
    record = learn(record, margins, shifted)
    assert record.weights[:3].sum() == pytest.approx(1)
    assert record.weights[3:].sum() <= 1
    prior = np.append(prior_shares(names), 1 - LEVELS)

    def cost(w):
        q = np.concatenate([np.exp(w[:3]) / np.exp(w[:3]).sum(), np.exp(w[3:]) / np.exp(w[3:]).sum()])
        of_names = q[:-1]
        quadratic = of_names @ record.curvature @ of_names / 2 - record.pull @ of_names
        return quadratic + CAUTION * (q * np.log(q / prior)).sum()

    best = min(minimize(cost, start, method="BFGS").fun for start in (np.zeros(6), rng.normal(size=6)))
    found = np.append(record.weights, 1 - record.weights[3:].sum())
    assert cost(np.log(found)) <= best + 1e-3 * abs(best)
    assert learn(record, margins, shifted).weights[3] > 0.5
    down = (rng.random(len(true)) < 1 / (1 + np.exp(-true + 0.25))).astype(float)
    assert learn(Record.blank(names, AS_OF), margins, down).weights[3] < LEVELS / 4


def test_a_record_from_before_there_were_levels_goes_on():
    _, true, label = rows(500)
    old = learn(Record.blank(["a", "background"], AS_OF), np.stack([true, -true], axis=1), label)
    names = ["a", "background", "level 5400s"]
    again = old.known_of(names)
    assert again is not None
    assert again.known_of(names) is again
    np.testing.assert_array_equal(again.curvature, np.pad(old.curvature, (0, 1)))
    np.testing.assert_array_equal(again.weights, [*old.weights, LEVELS])
    assert old.known_of(["b", "background", "level 5400s"]) is None
    assert again.known_of(["a", "background"]) is None


def test_what_is_on_record_fades_by_half_life():
    _, true, label = rows(500)
    record = learn(Record.blank(["a", "b"], AS_OF), np.stack([true, -true], axis=1), label)
    nothing = record.learn([(Parts(), Told(np.zeros((0, 2))))], record.as_of + DAY, DAY)
    np.testing.assert_allclose(nothing.curvature, record.curvature / 2)
    np.testing.assert_allclose(nothing.pull, record.pull / 2)


def test_parts_count_as_the_whole(monkeypatch):
    _, true, label = rows(900)
    margins = np.stack([true, 0.5 * true], axis=1)
    blank = Record.blank(["a", "b"], AS_OF)
    whole = learn(blank, margins, label)
    cuts = [0, 100, 100, 150, 151, 300, 500, 700, 900]
    codes = numbered(900, label)
    parts = Parts([codes.take(np.arange(a, b)) for a, b in itertools.pairwise(cuts)])
    halves = blank.learn([(parts, Told(margins))], whole.as_of, DAY)
    np.testing.assert_allclose(whole.weights, halves.weights, rtol=1e-6)
    monkeypatch.setattr(blend, "BLOCK", 7)
    np.testing.assert_allclose(learn(blank, margins, label).weights, whole.weights, rtol=1e-6)


def test_a_record_survives_json():
    _, true, label = rows(400)
    record = learn(Record.blank(["a", "b"], AS_OF), np.stack([true, -true], axis=1), label)
    again = Record.from_dict(record.to_dict())
    assert again.names == record.names
    assert again.as_of == record.as_of
    np.testing.assert_array_equal(again.curvature, record.curvature)
    np.testing.assert_array_equal(again.weights, record.weights)


@pytest.mark.parametrize(
    "change",
    [
        {"names": None},
        {"pull": [1.0]},
        {"weights": ["x", "y"]},
        {"weights": [0.9, 0.9]},
        {"weights": [1.2, -0.2]},
        {"as_of": 7},
        {"curvature": [[float("nan")] * 2] * 2},
    ],
)
def test_a_damaged_record_is_refused(change):
    with pytest.raises(DamagedError):
        Record.from_dict({**Record.blank(["a", "b"], AS_OF).to_dict(), **change})


def test_the_blended_head_is_the_average_of_the_margins():
    problem = Problem(800, n_wide=2)
    candidates = fit_candidates(problem.window, problem.layout, [Setting(DAY, 1.0), Setting(DAY / 4, 9.0)], AS_OF)
    candidates = dataclasses.replace(candidates, levels=(0.7,))
    weights = np.array([0.4, 0.3, 0.2, 0.1, 0.5])
    head = candidates.blended(weights)
    assert candidates.level(weights) == pytest.approx(0.35)
    codes = problem.codes
    expected = candidates.margins(codes) @ weights
    np.testing.assert_allclose(head.margin(codes), expected, atol=1e-5)


@pytest.mark.parametrize("n_settings", [1, 3, 16, 18])
def test_the_margins_of_any_number_of_candidates(n_settings):
    problem = Problem(700, n_wide=1)
    codes, rng = problem.codes, np.random.default_rng(1)
    index = np.unique(codes.buckets[0])[::2]
    candidates = Candidates(
        tuple(Setting(DAY, float(k + 1)) for k in range(n_settings)),
        problem.layout.using([index]),
        rng.normal(size=(len(problem.anchor) + len(index) + 1, n_settings)).astype(np.float32),
        -1.5,
    )
    found = candidates.margins(codes)
    x = problem.dense([index])
    base = x[:, : len(problem.anchor)] @ problem.anchor
    moved = x @ candidates.lines
    assert found.shape == (700, n_settings + 3)
    np.testing.assert_allclose(found[:, :-3], base[:, None] + moved, atol=1e-5)
    np.testing.assert_allclose(found[:, -3], base, atol=1e-12)
    assert (found[:, -2] == -1.5).all()
    assert (found[:, -1] == 0.0).all()
    assert (dataclasses.replace(candidates, levels=(0.3,)).margins(codes)[:, -1] == 0.3).all()


def test_unlearned_is_the_blend_of_candidates_that_have_learned_nothing():
    problem = Problem(200, n_wide=1)
    bare = dataclasses.replace(Candidates.bare([Setting(DAY, 1.0)], problem.layout), background=-1.7)
    weights = np.array([0.5, 0.2, 0.3, 0.9])
    expected = bare.margins(problem.codes) @ weights
    np.testing.assert_allclose(bare.unlearned(weights).margin(problem.codes), expected, atol=1e-12)
    fitted = fit_candidates(problem.window, problem.layout, [Setting(DAY, 1.0)], AS_OF)
    fitted = dataclasses.replace(fitted, background=-1.7, levels=(0.4,))
    np.testing.assert_allclose(fitted.unlearned(weights).margin(problem.codes), expected, atol=1e-12)
