"""Ages: how old rows are when the label of either class becomes known, and what that does to the rate of positives.

Where a positive is known at once and a negative only after weeks (a cancellation today, a stay at its end), the newest
part of a window holds its positives without its negatives. Let ``I_y(a)`` be the chance that a row is of class y and
known by the age a. Of all positives a window holds the share ``mean_i I_1(a_i) / I_1(inf)``, a_i the ages of its rows,
known or not; so it bends their odds by that over the same of the negatives.

``I_y`` follows from the rows themselves: one that is not known at its age is censored there, and the two classes
compete for the others. Beyond the oldest row nothing is seen. What is left there is taken to become known as fast, and
as often positive, as what did in the second half of the window; rows that never get a label count for nothing.

Source
------
Aalen and Johansen 1978.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PER_OCTAVE, OCTAVES = 8, 34
BINS = PER_OCTAVE * OCTAVES
"""Of delays and ages, from a second on: a bin is a twelfth of its age wide."""
DOUBLINGS = 4
"""Of the window's length, in which labels are waited for that are not known in it."""


def _none() -> NDArray[np.int64]:
    return np.zeros((2, BINS), np.int64)


@dataclass
class Ages:
    """Counts of a window's rows, filled in as it is read.

    Attributes
    ----------
    delays : int64 (2, BINS), rows of either class whose label is known, by their age when it became so
    ages : int64 (2, BINS), the same rows by their age now
    all_ages : int64 (BINS,), all rows by their age now, those whose label is not known among them
    """

    delays: NDArray[np.int64] = field(default_factory=_none)
    ages: NDArray[np.int64] = field(default_factory=_none)
    all_ages: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def note(
        self,
        now_us: int,
        every_us: NDArray[np.int64],
        event_us: NDArray[np.int64],
        known_us: NDArray[np.int64],
        label: NDArray[np.int8],
    ) -> None:
        """Count a batch.

        Parameters
        ----------
        every_us : event times of all its rows in the window
        event_us, known_us, label : of those whose label is known, (n,)
        """
        self.all_ages += np.bincount(_bins(now_us - every_us), minlength=BINS)
        for y in (0, 1):
            own = label == y
            self.delays[y] += np.bincount(_bins(known_us[own] - event_us[own]), minlength=BINS)
            self.ages[y] += np.bincount(_bins(now_us - event_us[own]), minlength=BINS)

    def add(self, other: Ages) -> None:
        """Count the rows of another reading as well."""
        self.delays += other.delays
        self.ages += other.ages
        self.all_ages += other.all_ages

    @property
    def known(self) -> NDArray[np.int64]:
        """Known rows of either class, (2,)."""
        known: NDArray[np.int64] = self.delays.sum(axis=1)
        return known

    @property
    def unknown(self) -> int:
        """Rows whose label is not known."""
        return int(self.all_ages.sum() - self.known.sum())

    def unknown_of_newest(self) -> float:
        """Share of the rows in the newer half of the window whose label is not known."""
        so_far = np.cumsum(self.all_ages)
        newer = so_far <= max(so_far[-1] / 2, so_far[so_far > 0][0] if so_far[-1] else 0)
        rows = int(self.all_ages[newer].sum())
        return 1.0 - float(self.ages[:, newer].sum()) / rows if rows else 0.0

    def median_s(self, y: int) -> float:
        """Age, in seconds, at which the label of half the known rows of a class was known."""
        delays = self.delays[y]
        j = int(np.searchsorted(np.cumsum(delays), delays.sum() / 2))
        return float(2.0 ** ((j + 0.5) / PER_OCTAVE) - 1.0)

    def incidence(self) -> NDArray[np.float64]:
        """``I_y`` at the end of each bin, (2, BINS), of negatives and positives; what is left is not known by then."""
        unknown = self.all_ages - self.ages.sum(axis=0)
        leaving = self.delays.sum(axis=0)
        at_risk = np.cumsum((leaving + unknown)[::-1])[::-1]
        hazard = np.divide(self.delays, at_risk, out=np.zeros((2, BINS)), where=at_risk > 0)
        left = np.cumprod(1.0 - hazard.sum(axis=0))
        before = np.concatenate([[1.0], left[:-1]])
        incidence: NDArray[np.float64] = np.cumsum(before * hazard, axis=1)
        return incidence

    def bend(self) -> float:
        """By what the window multiplies the odds of a positive."""
        incidence, there = self.incidence(), np.flatnonzero(self.all_ages)
        if not len(there):
            return 1.0
        held, last = incidence @ self.all_ages / self.all_ages.sum(), int(there[-1])
        known, halfway = incidence[:, last], incidence[:, max(0, last - PER_OCTAVE)]
        lately, left = known - halfway, 1.0 - halfway.sum()
        if lately.sum() > 0 and left > 0:
            # So much of what is left becomes known each time rows grow twice as old.
            doubled = min(1.0, float(lately.sum() / left))
            to_come = (1.0 - known.sum()) * (1.0 - (1.0 - doubled) ** DOUBLINGS)
            known = known + to_come * lately / lately.sum()
        negative, positive = (float(held[y] / known[y]) if known[y] > 0 else 0.0 for y in (0, 1))
        return positive / negative if negative > 0 else float("inf")


def _bins(length_us: NDArray[np.int64]) -> NDArray[np.intp]:
    octave = np.log2(1.0 + np.maximum(length_us, 0) / 1e6)
    bins: NDArray[np.intp] = np.minimum((octave * PER_OCTAVE).astype(np.intp), BINS - 1)
    return bins
