"""Comparing: what the margins of each strategy were worth on identical rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.metrics import Quality, auc, log_loss_of, sigmoid
from gbdtlr.replay.rows import Rows
from gbdtlr.times import from_us, zone

RESAMPLES = 2000
MIN_BLOCKS = 12
FEWEST_BLOCKS = 6
"""Of fewer, resampling makes an interval that is narrow because it knows nothing."""


def figures(rows: Rows, margin: NDArray[np.float64]) -> dict[str, Any]:
    """NE, log loss, calibration and AUC of margins (n,)."""
    quality = Quality.of(margin, rows.label, rows.weight)
    return {
        "ne": quality.ne,
        "log_loss": quality.log_loss,
        "calibration": quality.calibration,
        "auc": auc(margin, rows.label, rows.weight),
    }


@dataclass(frozen=True)
class Blocks:
    """Rows in blocks of time, resampled with replacement: rows close in time share their fate, blocks hardly.

    Attributes
    ----------
    of_row : (n,), block of each row, counted from 0 without gaps
    length : of a block
    picks : (RESAMPLES, n_blocks), blocks of each resample
    """

    of_row: NDArray[np.int64]
    length: timedelta
    picks: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Rows) -> Blocks:
        """Blocks of a day, or shorter where that would give less than ``MIN_BLOCKS``; the same at every call."""
        span_us = int(rows.event_us[-1] - rows.event_us[0]) + 1
        length_us = min(86_400_000_000, -(-span_us // MIN_BLOCKS))
        _, of_row = np.unique((rows.event_us - rows.event_us[0]) // length_us, return_inverse=True)
        n_blocks = int(of_row[-1]) + 1
        picks = np.random.default_rng(0).integers(0, n_blocks, (RESAMPLES, n_blocks))
        return cls(of_row, timedelta(microseconds=length_us), picks)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of values (n,) over each resample, (RESAMPLES,)."""
        sums: NDArray[np.float64] = np.bincount(self.of_row, values, self.picks.shape[1])[self.picks].sum(axis=1)
        return sums

    def difference(
        self, rows: Rows, margin: NDArray[np.float64], base: NDArray[np.float64]
    ) -> tuple[float, float] | None:
        """95% interval of ``NE(margin) - NE(base)``, both on the same resampled rows; None of one class or few blocks.

        Source
        ------
        Künsch 1989, with blocks that do not overlap.
        """
        weight, positives = self.sums(rows.weight), self.sums(rows.weight * rows.label)
        more = log_loss_of(margin, rows.label) - log_loss_of(base, rows.label)
        loss = self.sums(rows.weight * more)
        usable = (positives > 0) & (positives < weight)
        if not usable.any() or self.picks.shape[1] < FEWEST_BLOCKS:
            return None
        rate = positives[usable] / weight[usable]
        entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
        low, high = np.percentile(loss[usable] / weight[usable] / entropy, [2.5, 97.5])
        return float(low), float(high)


def reliability(rows: Rows, margin: NDArray[np.float64], n_bins: int = 10) -> list[dict[str, Any]]:
    """Mean probability against share of positives, in bins of as many rows each."""
    probability = sigmoid(margin)
    order = np.argsort(probability, kind="stable")
    bins = []
    for part in np.array_split(order, n_bins):
        weight = float(rows.weight[part].sum())
        if not weight > 0:
            continue
        rate = float(rows.weight[part] @ rows.label[part]) / weight
        bins.append(
            {
                "predicted": float(rows.weight[part] @ probability[part]) / weight,
                "observed": rate,
                "error": float(np.sqrt(max(rate * (1 - rate), 0.0) / max(len(part), 1))),
                "rows": len(part),
            }
        )
    return bins


def over_time(rows: Rows, margins: dict[str, NDArray[np.float64]], start_us: int, end_us: int) -> dict[str, Any]:
    """NE and calibration of each strategy, label rate and volume, in equal spans of time: days, if they fit."""
    day = 86_400_000_000
    span = end_us - start_us
    length = next((each for each in (day // 24, day // 4, day, 7 * day, 28 * day) if span / each <= 60), -(-span // 60))
    edges = np.arange(start_us, end_us, length)
    at = rows.event_us.searchsorted([*edges.tolist(), end_us])
    cuts = [slice(a, b) for a, b in pairwise(at.tolist())]
    of_all = {
        name: [Quality.of(margin[cut], rows.label[cut], rows.weight[cut]) for cut in cuts]
        for name, margin in margins.items()
    }
    some = next(iter(of_all.values()))
    return {
        "start_us": edges.tolist(),
        "length_s": length / 1e6,
        "rows": [each.rows for each in some],
        "rate": [each.rate for each in some],
        "ne": {name: [each.ne for each in all_] for name, all_ in of_all.items()},
        "ne_so_far": {name: [each.ne for each in accumulate(all_)] for name, all_ in of_all.items()},
        "calibration": {name: [each.calibration for each in all_] for name, all_ in of_all.items()},
    }


def calibration_by_hour(rows: Rows, margin: NDArray[np.float64], timezone: str) -> list[float | None]:
    """Calibration of margins (n,) in each hour of the day, on the clocks of a zone, (24,); None without positives."""
    hours, of_row = np.unique(rows.event_us // 3_600_000_000, return_inverse=True)
    local = np.array([from_us(int(hour) * 3_600_000_000).astimezone(zone(timezone)).hour for hour in hours], np.int64)
    at = local[of_row] if len(rows) else np.empty(0, np.int64)
    inside = [at == hour for hour in range(24)]
    return [Quality.of(margin[own], rows.label[own], rows.weight[own]).calibration for own in inside]


def freshness(
    rows: Rows, fresh: NDArray[np.float64], age_s: NDArray[np.float64], delayed: NDArray[Any], delays: list[timedelta]
) -> list[dict[str, Any]]:
    """NE by age, each age on the identical rows: those that even the oldest release could have scored.

    Parameters
    ----------
    fresh : float64 (n,), margins of what was live
    age_s : float64 (n,), its age
    delayed : float32 (n_delays, n), margins of what had been live that much before, NaN where nothing had

    Source
    ------
    He et al. 2014, figure 2.
    """
    there = ~np.isnan(delayed).any(axis=0)
    if not there.any():
        return []
    part = Rows(rows.event_us[there], rows.label[there], rows.weight[there])
    own_age = float(age_s[there].mean())
    curve = [{"age_s": own_age, "ne": Quality.of(fresh[there], part.label, part.weight).ne, "rows": len(part)}]
    for delay, margin in zip(delays, delayed[:, there], strict=True):
        ne = Quality.of(margin.astype(np.float64), part.label, part.weight).ne
        curve.append({"age_s": own_age + delay.total_seconds(), "ne": ne, "rows": len(part)})
    return curve
