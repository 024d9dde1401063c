"""Rows: what an estimator is given, as samples, and which of them are held back."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight

from gbdtlr.errors import SchemaError
from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.samples import Samples
from gbdtlr.sklearn.columns import Columns
from gbdtlr.values.columns import plain
from gbdtlr.values.times import times


def samples_of(
    columns: Columns, frame: dict[str, Any], label: NDArray[np.int8], sample_weight: Any, event_time: Any
) -> Samples:
    """Rows as the methods of the head learn them."""
    weight = np.asarray(_check_sample_weight(sample_weight, label, dtype=np.float64))
    if (weight < 0).any() or (weight > MAX_WEIGHT).any():
        raise ValueError(f"sample weights must be from 0 to {MAX_WEIGHT:g}, not {weight.min():g} to {weight.max():g}")
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    event_us = np.zeros(len(label), np.int64)
    if event_time is not None:
        is_clock = getattr(getattr(event_time, "dtype", None), "kind", "") == "M"
        try:
            event_us, known, _ = times(np.asarray(event_time) if is_clock else plain(event_time), UTC)
        except SchemaError as error:
            raise ValueError(f"event_time {error}") from None
        if len(event_us) != len(label):
            raise ValueError(f"event_time has {len(event_us)} values for {len(label)} rows")
        if not known.all():
            raise ValueError(f"event_time is missing, or no time, in {int((~known).sum())} of {len(label)} rows")
    return Samples(columns.table(frame), label, weight, event_us, event_us)


def held_out_of(
    samples: Samples, fraction: float, dated: bool, random: np.random.RandomState
) -> NDArray[np.bool_] | None:
    """The newest rows, or as large a share of each class, (n,)."""
    if not 0 <= fraction < 1:
        raise ValueError(f"validation_fraction must be at least 0 and below 1, not {fraction}")
    held_out = np.zeros(len(samples), bool)
    if dated:
        order = np.argsort(samples.event_us, kind="stable")
        held_out[order[len(order) - round(fraction * len(order)) :]] = True
    else:
        for value in (0, 1):
            rows = np.flatnonzero(samples.label == value)
            held_out[random.permutation(rows)[: round(fraction * len(rows))]] = True
    return held_out if held_out.any() else None
