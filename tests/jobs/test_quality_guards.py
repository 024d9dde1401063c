"""The sums and shares of rows that guards judge heads by, beside plain ones over all rows at once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gbdtlr.compute.parts import Parts
from gbdtlr.config import GuardConfig
from gbdtlr.head import Codes
from gbdtlr.jobs.guards import calibration, objections, worse
from gbdtlr.jobs.guards.quality import excess, spread_of_classes
from gbdtlr.metrics import Quality, auc, log_loss_of

GUARD = GuardConfig(worse=0.05)


def coded(label, weight=None, cuts=()):
    """Parts of codes of one tree whose leaf is the row's number, modulo 250."""
    n = len(label)
    weight = np.ones(n) if weight is None else weight
    leaves, buckets, times = np.arange(n)[None] % 250, np.empty((0, n), np.uint32), np.arange(n)
    codes = Codes(leaves.astype(np.uint8), buckets, np.asarray(label, np.float32), weight, times, times)
    return Parts([codes.take(np.arange(a, b)) for a, b in itertools.pairwise([0, *cuts, n])])


def drawn(n, seed=0):
    rng = np.random.default_rng(seed)
    old = rng.normal(-1, 1.5, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-old))).astype(np.float32)
    return rng, old, label


def judged(new, old, label, weight, cuts=()):
    """What is said of margins, summed over parts."""
    parts = [np.arange(a, b) for a, b in itertools.pairwise([0, *cuts, len(label)])]
    sums = [excess(new[rows], old[rows], label[rows], weight[rows], GUARD.worse) for rows in parts]
    checks = list(worse(np.sum(sums, axis=0), "worse", GUARD))
    assert all((check.value > check.high) == bool(check.objection) for check in checks)
    return objections(checks)


class TestSpreadOfClasses:
    def test_few_rows_are_all_there(self):
        parts = coded([0, 1, 1, 0, 1], cuts=[2])
        assert all(a is b for a, b in zip(spread_of_classes(parts, 3), parts, strict=True))

    def test_so_many_rows_of_either_class_evenly_spread(self):
        _, _, label = drawn(5000)
        parts = coded(label, cuts=[17, 17, 2900])
        found = spread_of_classes(parts, 400)
        times, labels = (np.concatenate([getattr(part, name) for part in found]) for name in ("event_us", "label"))
        assert (label[times] == labels).all()
        for each in (0, 1):
            of_class, kept = np.flatnonzero(label == each), times[labels == each]
            assert len(kept) == 400
            places = of_class.searchsorted(kept)
            assert set(np.diff(places)) <= {len(of_class) // 400, len(of_class) // 400 + 1}

    def test_a_rare_class_is_kept_whole(self):
        label = np.zeros(3000)
        label[::100] = 1
        (found,) = spread_of_classes(coded(label), 300)
        assert found.label.sum() == 30
        assert len(found) == 330

    def test_the_auc_is_that_of_all_rows(self):
        rng, margin, label = drawn(200_000)
        weight = rng.random(len(label))
        found = spread_of_classes(coded(label, weight, cuts=[60_000, 130_000]), 20_000)
        rows = np.concatenate([part.event_us for part in found])
        assert len(rows) == 40_000
        assert auc(margin[rows], label[rows], weight[rows]) == pytest.approx(auc(margin, label, weight), abs=0.01)


class TestWorse:
    @pytest.mark.parametrize("cuts", [[], [1, 1, 400, 1500]])
    @pytest.mark.parametrize("noise", [0.2, 0.5, 0.62, 0.7, 1.0])
    def test_as_over_all_rows_at_once(self, cuts, noise):
        rng, old, label = drawn(2000)
        new, weight = old + rng.normal(0, noise, len(old)), rng.random(len(old))
        loss, before = log_loss_of(new, label), log_loss_of(old, label)
        excess = loss - 1.05 * before
        mean = np.average(excess, weights=weight)
        error = np.sqrt(np.average((excess - mean) ** 2, weights=weight) * (weight @ weight)) / weight.sum()
        told = judged(new, old, label, weight, cuts)
        assert len(told) == int(mean > 3 * error)
        if told:
            losses = [np.average(each, weights=weight) for each in (loss, before)]
            assert told[0].startswith(f"worse: log loss {losses[0]:.4f} against {losses[1]:.4f} on 2000 rows;")

    def test_rows_that_agree_leave_no_doubt_however_few_they_are(self):
        weight = np.where(np.arange(200) < 4, 1.0, 1e-12)
        old, new = np.full(200, -1.0), np.full(200, 1.0)
        assert judged(new, old, np.zeros(200), weight)

    def test_rows_without_weight_say_nothing(self):
        _, old, label = drawn(500)
        assert not judged(-old, old, label, np.zeros(500))


def test_the_newest_rows_are_judged_only_where_all_are_off():
    def newest():
        asked.append(True)
        return Quality(200, 200.0, 100.0, 100.0, 50.0)

    asked = []
    assert not objections(calibration(Quality(500, 500.0, 250.0, 250.0, 300.0), GuardConfig(), newest))
    assert not asked
    (check,) = calibration(Quality(500, 500.0, 100.0, 350.0, 300.0), GuardConfig(), newest)
    assert (check.value, check.low, check.high, check.objection) == (1.0, None, 2.0, ""), "of the newest"
    assert asked
