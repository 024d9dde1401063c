"""Traffic: how many labels became known in each hour, and how many of them were positive."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.documents import Measure, Meta
from gbdtlr.config import GuardConfig
from gbdtlr.jobs.guards.check import Check
from gbdtlr.metrics import sigmoid, weighted_sum
from gbdtlr.times import to_us

HOUR_US = 3_600_000_000
DAYS = 7
KEPT_HOURS = 24 * (DAYS + 1) + 8
ENOUGH_DAYS = 3
ENOUGH_ROWS = 30
CERTAIN = 10.0
"""Nats by which the rows must speak against the nearest allowed rate: by chance once in some 20,000 times."""
SPREAD = 5.0
"""How many times as far apart as recent days were, the rate may rise above the highest of them."""


@dataclass(frozen=True)
class Traffic:
    """Rows by the hour in which their label became known.

    Attributes
    ----------
    first : hours since 1970 UTC
    rows, weight, positives : float64 (n_hours,), of ``first`` and the hours after it
    """

    first: Annotated[int, Meta(gt=-(10**9), lt=10**9)]
    rows: NDArray[np.float64]
    weight: NDArray[np.float64]
    positives: NDArray[np.float64]

    def __post_init__(self) -> None:
        sums = self.rows, self.weight, self.positives
        if any(each.shape != (len(self.rows),) or not ((each >= 0) & (each < 1e30)).all() for each in sums):
            raise ValueError("sums by the hour that cannot be")

    @classmethod
    def of(cls, known_us: NDArray[np.int64], label: NDArray[Any], weight: NDArray[np.float64]) -> Traffic:
        """Traffic of rows, (n,) each."""
        if not len(known_us):
            return cls(0, *(np.zeros(0) for _ in range(3)))
        hour = known_us // HOUR_US
        newest = int(hour.max())
        kept = hour > newest - KEPT_HOURS
        first = int(hour[kept].min())
        weight = weight[kept]
        sums = (np.bincount(hour[kept] - first, each) for each in (np.ones(len(weight)), weight, weight * label[kept]))
        return cls(first, *(each.astype(np.float64) for each in sums))

    def plus(self, other: Traffic) -> Traffic:
        """Both together, the newest ``KEPT_HOURS``."""
        if not len(self.rows) or not len(other.rows):
            return other if len(other.rows) else self
        end = max(self.first + len(self.rows), other.first + len(other.rows))
        first = max(min(self.first, other.first), end - KEPT_HOURS)
        sums = np.zeros((3, end - first))
        for each in (self, other):
            kept = slice(max(0, first - each.first), None)
            at = max(0, each.first - first)
            for total, part in zip(sums, (each.rows[kept], each.weight[kept], each.positives[kept]), strict=True):
                total[at : at + len(part)] += part
        return Traffic(first, *sums)

    def checks(self, since: datetime, until: datetime, guard: GuardConfig) -> Iterator[Check]:
        """Checks of the labels that became known after ``since``, and with those of the last day.

        They are compared with the same hours of up to seven days before, as far as the releases saw them: nights
        with nights. Volume is compared with the median, and with the same day of the week before: some streams hardly
        run on Sundays. The rate of positives with the lowest and the highest, in
        odds. Above the highest there is room for days that differ as much from all others as those do from each
        other, several times over: in a storm every flight is late. Below the lowest there is not: nothing but a
        fault makes positives vanish. Small numbers pass unless they are all but impossible under the nearest allowed
        rate.

        Source
        ------
        He et al. 2014, section 4: the dead click stream. The bound on chance is Chernoff's.
        """
        end, part = divmod(to_us(until), HOUR_US)
        starts = {min(to_us(since) // HOUR_US, end - 1), end - 23}
        for start in sorted(starts, reverse=True):
            yield from self._of_span(start, end, part / HOUR_US, guard)

    def has_rates(self, until: datetime) -> bool:
        """Whether the days before the last one have labels enough for its rate to be compared with theirs."""
        end, part = divmod(to_us(until), HOUR_US)
        before = self._before(end - 23, end, part / HOUR_US)
        return sum(rows >= ENOUGH_ROWS for rows, _, _ in before) >= ENOUGH_DAYS

    def _before(self, start: int, end: int, part: float) -> list[tuple[float, float, float]]:
        """Sums over the same hours of up to seven days before, the day before first."""
        step = 24 * -(-(end - start + 1) // 24)
        starts = (start - k * step for k in range(1, DAYS + 1))
        return [self._sums(first, first + end - start, part) for first in starts if first > self.first]

    def _of_span(self, start: int, end: int, part: float, guard: GuardConfig) -> Iterator[Check]:
        now = self._sums(start, end, 1.0)
        before = self._before(start, end, part)
        if len(before) < ENOUGH_DAYS:
            return
        hours = end - start + part
        usual = float(np.median([rows for rows, _, _ in before]))
        week = before[-1][0] if len(before) == DAYS and end - start < 24 else usual
        fewest, most = guard.volume[0] * min(usual, week), guard.volume[1] * max(usual, week)
        low, high = guard.volume
        if usual >= ENOUGH_ROWS:
            objection = ""
            for edge, outside, word in ((fewest, now[0] < fewest, "few"), (most, now[0] > most, "many")):
                if outside and _poisson(now[0], edge) > CERTAIN:
                    objection = (
                        f"too {word} labels: {now[0]:.0f} became known in the last {hours:.3g} h, in the same hours "
                        f"of {len(before)} days before {usual:.0f}; "
                        f"[guard] volume allows {low:g} to {high:g} times that"
                    )
            yield Check("volume", now[0] / usual, fewest / usual, most / usual, objection)
        odds = [_log_odds(*sums) for sums in before if sums[0] >= ENOUGH_ROWS]
        if len(odds) < ENOUGH_DAYS or now[1] <= 0:
            return
        rate = now[2] / now[1]
        low, high = guard.label_rate
        lowest = _sigmoid(min(odds) + _log(low))
        highest = _sigmoid(max(odds) + max(math.log(high), SPREAD * (max(odds) - min(odds))))
        objection = ""
        for edge, outside, word in ((lowest, rate < lowest, "low"), (highest, rate > highest, "high")):
            if outside and now[0] * _bernoulli(rate, edge) > CERTAIN:
                objection = (
                    f"label rate too {word}: {rate:.4g} of {now[0]:.0f} labels of the last {hours:.3g} h are "
                    f"positive, in the same hours of {len(odds)} days before "
                    f"{_sigmoid(min(odds)):.4g} to {_sigmoid(max(odds)):.4g}; "
                    f"[guard] label_rate = [{low:g}, {high:g}] allows {lowest:.4g} to {highest:.4g}"
                )
        yield Check("label_rate", rate, lowest, highest, objection)

    def _sums(self, start: int, end: int, last: float) -> tuple[float, float, float]:
        """Sums over the hours ``start`` to ``end``, of the last only a share."""
        share = np.ones(end - start + 1)
        share[-1] = last
        low, high = max(start, self.first), min(end + 1, self.first + len(self.rows))
        if low >= high:
            return 0.0, 0.0, 0.0
        share = share[low - start : high - start]
        here = slice(low - self.first, high - self.first)
        return float(share @ self.rows[here]), float(share @ self.weight[here]), float(share @ self.positives[here])


@dataclass(frozen=True)
class Totals:
    """Sums over the samples trees are grown on.

    Attributes
    ----------
    rows : how many
    weight, positives : weighted sums of 1 and of the label
    hours : how long their window is
    """

    rows: Annotated[int, Meta(ge=1, le=2**62)]
    weight: Measure
    positives: Measure
    hours: Annotated[float, Meta(gt=0.0, le=1e30)]

    @classmethod
    def of(cls, label: NDArray[Any], weight: NDArray[np.float64], window: timedelta) -> Totals:
        """Sums over samples, (n,) each."""
        return cls(len(label), float(weight.sum()), weighted_sum(weight, label), window / timedelta(hours=1))

    def checks(self, before: Totals, guard: GuardConfig) -> Iterator[Check]:
        """Checks of them beside those of the live trees, whose window may have had another length."""
        usual = before.rows / before.hours * self.hours
        low, high = guard.volume
        if usual > 0:
            off = (
                f"{self.rows} samples in the trees' window, where those of the live trees had {usual:.0f} in as much "
                f"time; "
                f"[guard] volume allows {low:g} to {high:g} times that"
            )
            share = self.rows / usual
            yield Check("volume", share, low, high, "" if low <= share <= high else off)
        if not self.weight > 0 or not before.weight > 0:
            return
        odds = _log_odds(before.rows, before.weight, before.positives)
        rate = self.positives / self.weight
        words = f"label rate {rate:.4g} in the trees' window, where the live trees had {_sigmoid(odds):.4g}"
        yield _beside(rate, self.rows, odds, guard, words)


def unpredicted(
    margin: NDArray[np.float64], label: NDArray[Any], weight: NDArray[np.float64], guard: GuardConfig
) -> Iterator[Check]:
    """Check of a rate of positives, beside what a head said of the same rows, which it had not learned.

    Parameters
    ----------
    margin : the head's, (n,)
    label, weight : of these rows, (n,)
    """
    total = float(weight.sum())
    if not total > 0:
        return
    rate, expected = weighted_sum(weight, label) / total, weighted_sum(weight, sigmoid(margin)) / total
    n = total / float(weight.max())  # no more rows than the heaviest stand for
    odds = math.log(expected / (1 - expected)) if 0 < expected < 1 else math.copysign(700.0, expected - 0.5)
    words = f"label rate {rate:.4g} of {len(label)} labels, where the live head expected {expected:.4g}"
    yield _beside(rate, n, odds, guard, words)


def _beside(rate: float, n: float, odds: float, guard: GuardConfig, words: str) -> Check:
    """Check of a rate of ``n`` rows, which must not be off by more than chance; ``odds``: the usual."""
    low, high = guard.label_rate
    lowest, highest = _sigmoid(odds + _log(low)), _sigmoid(odds + _log(high))
    edge = min(max(rate, lowest), highest)
    objects = edge != rate and n * _bernoulli(rate, edge) > CERTAIN
    allowed = f"[guard] label_rate = [{low:g}, {high:g}] allows {lowest:.4g} to {highest:.4g}"
    return Check("label_rate", rate, lowest, highest, f"{words}; {allowed}" if objects else "")


def _log(factor: float) -> float:
    return math.log(factor) if factor else -math.inf


def _log_odds(rows: float, weight: float, positives: float) -> float:
    each = weight / rows if weight > 0 else 1.0  # half a row is added to either class
    return math.log((positives + each / 2) / (max(weight - positives, 0.0) + each / 2))


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0


def _poisson(n: float, expected: float) -> float:
    """Chernoff's bound on the chance of a count so far off, as minus its logarithm."""
    return (n * math.log(n / expected) if n else 0.0) - (n - expected)


def _bernoulli(rate: float, expected: float) -> float:
    """The same for a rate of one draw: Kullback-Leibler divergence in nats."""
    total = 0.0
    for p, q in ((rate, expected), (1 - rate, 1 - expected)):
        if p > 0:
            total += p * math.log(p / q) if q > 0 else math.inf
    return total
