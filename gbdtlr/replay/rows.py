"""Rows: what is judged, in one order whatever the strategy and cadence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import SamplesConfig
from gbdtlr.replay.journal import Arrays
from gbdtlr.samples import Samples, read_batches
from gbdtlr.times import to_us

FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
"""An as_of by which every label in the data is known: to judge by, never to learn from."""


@dataclass(frozen=True)
class Rows:
    """Labels of all rows of a period, by event time.

    Attributes
    ----------
    event_us : int64 (n,)
    label : int8 (n,)
    weight : float64 (n,)
    """

    event_us: NDArray[np.int64]
    label: NDArray[np.int8]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.label)


def read_all(cfg: SamplesConfig, start: datetime, end: datetime) -> Samples | None:
    """Every row with an event in ``[start, end)`` and a label, however late it became known; None if there are none."""
    parts = list(read_batches(cfg, start, end, FOR_EVER))
    return Samples.concat(parts) if parts else None


def by_event(samples: Samples, start: datetime, end: datetime) -> Samples:
    """The rows with an event in ``[start, end)`` in the order they are judged in: by event time, ties as they came."""
    order = np.argsort(samples.event_us, kind="stable")
    event_us = samples.event_us[order]
    first, last = event_us.searchsorted([to_us(start), to_us(end)])
    return samples.take(order[first:last])


def known_window(samples: Samples, start: datetime, as_of: datetime) -> NDArray[np.int64]:
    """Indices of rows a job may learn from at ``as_of``: event in ``[start, as_of)``, label known by then."""
    event_us, now = samples.event_us, to_us(as_of)
    return np.flatnonzero((event_us >= to_us(start)) & (event_us < now) & (samples.known_us <= now))


def joined(parts: Sequence[Arrays]) -> Arrays:
    """Arrays of all segments end to end, rows last."""
    return {key: np.concatenate([part[key] for part in parts], axis=-1) for key in parts[0]}
