"""Ages: by how much labels that are known sooner for one class bend a window's rate is found from that window alone."""

from __future__ import annotations

import numpy as np
import pytest

from gbdtlr.samples.ages import Ages

DAY_US = 86_400_000_000
NOW = 1000 * DAY_US


def window(n: int, days: float, delay_us: tuple[np.ndarray, np.ndarray], seed: int = 0) -> tuple[Ages, float]:
    """Ages of a window of ``n`` rows, a third positive, and by what it bends their odds.

    Parameters
    ----------
    delay_us : of negatives and of positives, (n,) each
    """
    rng = np.random.default_rng([seed, 1])
    event = NOW - rng.integers(0, int(days * DAY_US), n)
    label = (rng.random(n) < 1 / 3).astype(np.int8)
    known = event + np.where(label == 1, delay_us[1], delay_us[0]).astype(np.int64)
    there = known <= NOW
    ages = Ages()
    for part in np.array_split(np.arange(n), 3):
        other, own = Ages(), part[there[part]]
        other.note(NOW, event[part], event[own], known[own], label[own])
        ages.add(other)
    odds = label[there].sum() / (1 - label[there]).sum() / (label.sum() / (1 - label).sum())
    return ages, odds


def days(rng: np.random.Generator, mean: float, n: int) -> np.ndarray:
    return rng.exponential(mean * DAY_US, n)


@pytest.mark.parametrize("mean", [(30, 30), (30, 5), (5, 30), (1, 0.01), (20, 60)])
def test_the_bend_is_what_the_window_did(mean: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    ages, odds = window(60_000, 200, (days(rng, mean[0], 60_000), days(rng, mean[1], 60_000)))
    assert ages.bend() == pytest.approx(odds, rel=0.08)
    assert ages.unknown == 60_000 - ages.known.sum()


@pytest.mark.parametrize("mean", [(200, 60), (60, 400), (300, 20)])
def test_where_labels_take_longer_than_the_window_half_the_bend_is_seen(mean: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    ages, odds = window(60_000, 200, (days(rng, mean[0], 60_000), days(rng, mean[1], 60_000)))
    assert 0.45 < np.log(ages.bend()) / np.log(odds) < 1.1


def test_labels_of_one_delay_bend_nothing() -> None:
    ages, odds = window(20_000, 10, (np.full(20_000, DAY_US), np.full(20_000, DAY_US)))
    assert ages.bend() == pytest.approx(1, abs=1e-9)
    assert odds == pytest.approx(1, abs=0.05)


def test_clicks_at_once_and_no_clicks_after_an_hour_bend_a_day_by_an_hour() -> None:
    ages, odds = window(200_000, 1, (np.full(200_000, DAY_US / 24), np.zeros(200_000)))
    assert ages.bend() == pytest.approx(24 / 23, rel=0.01)
    assert odds == pytest.approx(24 / 23, rel=0.02)
    assert ages.median_s(0) == pytest.approx(3600, rel=0.1)
    assert ages.median_s(1) < 1


def test_rows_that_never_get_a_label_bend_nothing() -> None:
    """Whoever labels every third row by hand need not label the others."""
    rng = np.random.default_rng(2)
    never = np.where(rng.random(30_000) < 0.7, 10**6 * DAY_US, DAY_US)
    ages, _ = window(30_000, 30, (never, never))
    assert ages.bend() == pytest.approx(1, abs=0.02)
    assert ages.unknown_of_newest() == pytest.approx(0.72, abs=0.03)


def test_nothing_known_bends_nothing() -> None:
    ages = Ages()
    ages.note(NOW, np.array([NOW - 1]), *(np.zeros(0, np.int64) for _ in range(3)))
    assert ages.known.tolist() == [0, 0]
    assert ages.unknown_of_newest() == 1.0
