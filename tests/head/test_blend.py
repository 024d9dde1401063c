"""The blend: shares on the simplex, at the optimum, found by those who predicted well."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from problems import AS_OF, Problem
from scipy.optimize import minimize

from gbdtlr.errors import DamagedError
from gbdtlr.head import Record, Setting, WideColumns, fit
from gbdtlr.head.blend import CAUTION

DAY = timedelta(days=1)


def learn(record, margins, label, hours=1, half_life=DAY):
    return record.learn([margins], [label], [np.ones(len(label))], record.as_of + timedelta(hours=hours), half_life)


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-true))).astype(float)
    return rng, true, label


def test_a_blank_record_gives_equal_shares():
    np.testing.assert_allclose(Record.blank(["a", "b", "c", "d"], AS_OF).weights, 0.25)


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

    def cost(w):
        q = np.exp(w - w.max())
        q /= q.sum()
        return q @ record.curvature @ q / 2 - record.pull @ q + CAUTION * (q * np.log(5 * q)).sum()

    best = min(minimize(cost, start, method="BFGS").fun for start in (np.zeros(5), rng.normal(size=5)))
    assert cost(np.log(record.weights)) <= best + 1e-3 * abs(best)


def test_what_is_on_record_fades_by_half_life():
    _, true, label = rows(500)
    record = learn(Record.blank(["a", "b"], AS_OF), np.stack([true, -true], axis=1), label)
    nothing = record.learn([], [], [], record.as_of + DAY, DAY)
    np.testing.assert_allclose(nothing.curvature, record.curvature / 2)
    np.testing.assert_allclose(nothing.pull, record.pull / 2)


def test_parts_count_as_the_whole():
    _, true, label = rows(900)
    margins = np.stack([true, 0.5 * true], axis=1)
    blank = Record.blank(["a", "b"], AS_OF)
    whole = learn(blank, margins, label)
    halves = blank.learn(
        [margins[:300], margins[300:]], [label[:300], label[300:]], [np.ones(300), np.ones(600)], whole.as_of, DAY
    )
    np.testing.assert_allclose(whole.weights, halves.weights, rtol=1e-6)


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
    [{"names": None}, {"pull": [1.0]}, {"weights": ["x", "y"]}, {"as_of": 7}, {"curvature": [[float("nan")] * 2] * 2}],
)
def test_a_damaged_record_is_refused(change):
    with pytest.raises(DamagedError):
        Record.from_dict({**Record.blank(["a", "b"], AS_OF).to_dict(), **change})


def test_the_blended_head_is_the_average_of_the_margins():
    problem = Problem(800, n_wide=2)
    candidates = fit(problem.window, problem.offsets, problem.anchor, [Setting(DAY, 1.0), Setting(DAY / 4, 9.0)], AS_OF)
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    head = candidates.blended(weights, problem.anchor, WideColumns(("a", "b"), 2000))
    codes = problem.codes
    expected = candidates.margins(codes, problem.offsets, problem.anchor) @ weights
    np.testing.assert_allclose(head.margin(codes.leaves, problem.offsets, codes.buckets), expected, atol=1e-5)
