"""Finality: when each row's label becomes final, and which outcome came before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.config import AT_ONCE, SamplesConfig
from gbdtlr.times import zone
from gbdtlr.values.times import times

NEVER = np.iinfo(np.int64).max
"""When what never happens happens."""
Moments = npt.NDArray[np.int64]
Fault = Callable[[str, int, object], None]
"""Counts rows of a kind of fault; the last is an example."""


@dataclass(frozen=True)
class Finality:
    """Of the rows of a batch, (n,) each, microseconds since 1970 UTC; NEVER where there is no such moment.

    Attributes
    ----------
    known_us : from when on the label may be learned; never before the event
    outcome_us : when the outcome came, whether or not that is known yet; None where rows do not say so
    deadline_us : until when it may come; None where that is not said either
    """

    known_us: Moments
    outcome_us: Moments | None = None
    deadline_us: Moments | None = None

    @classmethod
    def of(cls, batch: pa.RecordBatch, cfg: SamplesConfig, event_us: Moments, fault: Fault) -> Finality:
        """Finality of a batch.

        Parameters
        ----------
        event_us : int64 (n,)
        fault : is told of values that are no times, and of deadlines that are missing
        """
        timezone = zone(cfg.timezone)

        def moments(name: str, *, needed: bool = False) -> Moments:
            found, there, unreadable = times(batch.column(name), timezone, late=True)
            fault(f"a {name} that is not a time", len(unreadable), next(iter(unreadable), None))
            if needed:
                fault(f"no {name}", len(found) - int(there.sum()) - len(unreadable), None)
            return np.where(there, np.maximum(found, event_us), NEVER)

        def after_event(length: timedelta) -> Moments:
            at = batch.column(cfg.event_time)  # a time with a zone has one reading
            late_us = event_us if getattr(at.type, "tz", None) else times(at, timezone, late=True)[0]
            return late_us + length // timedelta(microseconds=1)

        at_once = cfg.of_unfinal == AT_ONCE
        if cfg.label_time is None:
            final_us = after_event(cfg.final_after or timedelta())
            return cls(event_us if at_once else final_us, None, final_us if cfg.has_deadline else None)
        outcome_us = moments(cfg.label_time)
        if cfg.label_window is not None:
            deadline_us = after_event(cfg.label_window)
        elif cfg.label_deadline is not None:
            deadline_us = moments(cfg.label_deadline, needed=True)
        else:
            return cls(outcome_us)
        return cls(event_us if at_once else deadline_us, outcome_us, deadline_us)

    def take(self, rows: npt.NDArray[np.bool_]) -> Finality:
        """Those rows; a mask, (n,)."""
        outcome_us, deadline_us = (None if us is None else us[rows] for us in (self.outcome_us, self.deadline_us))
        return Finality(self.known_us[rows], outcome_us, deadline_us)
