"""Delays: how soon outcomes come, as a share of the time each row has for its own.

The share of the window and not the time: a booking of tomorrow is cancelled sooner than one of next summer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.documents import Time
from gbdtlr.config import SamplesConfig
from gbdtlr.samples.batch import Samples
from gbdtlr.times import format_duration, to_us

BINS = 64
ENOUGH = 200.0
"""Outcomes from which on their delays are known well enough to weigh by."""
EDGES = (np.arange(BINS + 1) / BINS) ** 3
"""Shares between the bins: narrow ones first, as of a window of days most clicks may come within minutes."""


@dataclass(frozen=True)
class Delays:
    """Outcomes of final rows by how much of the row's window had passed, each fading since its row was final.

    Attributes
    ----------
    of : what the windows were, such as ``1h`` or the name of the column of deadlines; of others it says nothing
    as_of : the moment up to which rows were counted
    outcomes : float64 (BINS,), between EDGES
    """

    of: str
    as_of: Time
    outcomes: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.outcomes.shape != (BINS,) or not ((self.outcomes >= 0) & (self.outcomes < 1e30)).all():
            raise ValueError(f"not the numbers of outcomes of {BINS} bins")

    @classmethod
    def none(cls, of: str, as_of: datetime) -> Delays:
        """No outcome so far."""
        return cls(of, as_of, np.zeros(BINS))

    @property
    def are_enough(self) -> bool:
        """Whether they can be weighed by."""
        return float(self.outcomes.sum()) >= ENOUGH

    def faded(self, as_of: datetime, half_life: timedelta) -> Delays:
        """The same at a later moment."""
        return replace(self, as_of=as_of, outcomes=self.outcomes * 2.0 ** -((as_of - self.as_of) / half_life))

    def __add__(self, other: Delays) -> Delays:
        """With those of other rows, of the same windows and at the same moment."""
        return replace(self, outcomes=self.outcomes + other.outcomes)

    def plus(self, final: Samples, half_life: timedelta) -> Delays:
        """With the outcomes of samples that became final by ``as_of``."""
        if final.outcome_us is None:
            return self
        there = final.label == 1
        shares = share_of(final.outcome_us[there], final.event_us[there], final.known_us[there])
        age_s = (to_us(self.as_of) - final.known_us[there]) / 1e6
        more = np.bincount(bins_of(shares), 2.0 ** -(age_s / half_life.total_seconds()), BINS)
        return replace(self, outcomes=self.outcomes + more)

    def reached(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """Part of all outcomes that have come by a share of the window, (n,): 0 at its begin, 1 at its end."""
        total = float(self.outcomes.sum())
        sums = np.concatenate([[0.0], np.cumsum(self.outcomes) / total])
        sums[-1] = 1.0
        reached: NDArray[np.float64] = np.interp(share, EDGES, sums)
        return reached


def bins_of(share: NDArray[np.float64]) -> NDArray[np.intp]:
    """The bin of each share, (n,)."""
    return np.minimum(EDGES.searchsorted(share, side="right") - 1, BINS - 1)


def share_of(
    moment_us: NDArray[np.int64], event_us: NDArray[np.int64], deadline_us: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How much of the time from event to deadline had passed at a moment, from 0 to 1, (n,)."""
    length = np.maximum(deadline_us - event_us, 1)
    share: NDArray[np.float64] = np.clip((moment_us - event_us) / length, 0.0, 1.0)
    return share


def windows_of(cfg: SamplesConfig) -> str:
    """What :attr:`Delays.of` says of a configuration's windows; empty where rows have none."""
    if cfg.label_deadline is not None:
        return f"column {cfg.label_deadline}"
    return format_duration(cfg.final_after) if cfg.has_deadline and cfg.final_after is not None else ""
