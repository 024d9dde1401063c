"""Ages: how old rows are when the label of either class becomes known, and what that does to the rate of positives.

Where a positive is known at once and a negative only after weeks (a cancellation today, a stay at its end), the newest
part of a window holds its positives without its negatives. Of a class y whose labels are known within a time d with
probability ``G_y(d)``, a window holds the share ``mean_i G_y(a_i)``, a_i the ages of all its rows, known or not; so it
bends the odds of a positive by ``mean_i G_1(a_i) / mean_i G_0(a_i)``.

Of a row of age a, a delay is only ever seen if it is at most a. ``G`` is what fits that: with the *reverse hazard*
``h_j``, the number of delays in bin j over that of rows at least as old whose delay is at most as long, ``G`` below bin
j is the product of ``1 - h_k`` over the bins from j on.

Source
------
Lynden-Bell 1971; Kalbfleisch and Lawless 1989 (delays cut off on the right, in the reporting of AIDS).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PER_OCTAVE, OCTAVES = 8, 34
BINS = PER_OCTAVE * OCTAVES
"""Of delays and ages, from a second on: a bin is a twelfth of its age wide."""


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

    def within(self, y: int) -> NDArray[np.float64]:
        """``G`` of a class at the end of each bin, (BINS,): 1 at the longest delay that could be seen."""
        delays, younger = self.delays[y], np.concatenate([[0], np.cumsum(self.ages[y])[:-1]])
        at_risk = np.cumsum(delays) - younger  # a row younger than a bin has a delay that is shorter too
        hazard = np.divide(delays, at_risk, out=np.zeros(BINS), where=at_risk > 0)
        later = np.concatenate([np.cumprod((1.0 - hazard)[::-1])[::-1][1:], [1.0]])
        return np.asarray(later, np.float64)

    def bend(self) -> float:
        """By what the window multiplies the odds of a positive."""
        held = [float(self.all_ages @ self.within(y)) for y in (0, 1)]
        return held[1] / held[0] if held[0] > 0 else float("inf")


def _bins(length_us: NDArray[np.int64]) -> NDArray[np.intp]:
    octave = np.log2(1.0 + np.maximum(length_us, 0) / 1e6)
    bins: NDArray[np.intp] = np.minimum((octave * PER_OCTAVE).astype(np.intp), BINS - 1)
    return bins
