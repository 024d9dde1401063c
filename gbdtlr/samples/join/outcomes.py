"""Outcomes: what came of impressions, in 16 bytes each: 64 bits of the key, and the time with three flags.

They are sorted by key and time, with a filter of one or two bytes an outcome in front, as most impressions have none,
and a directory of an eighth of a byte. A weight takes four bytes more, and their place. While they are read and sorted
there is room for a sixteenth more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gbdtlr.compute.compiled import read_only
from gbdtlr.samples.finality import NEVER
from gbdtlr.samples.join.kernels import (
    FLAGS,
    LATE,
    ONE,
    TAKEN,
    fill_filter,
    fill_starts,
    first_outcomes,
    last_of_each,
    sort_outcomes,
)
from gbdtlr.values.hashing import U64

I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]

FATES = LATE | TAKEN
"""Flags of what an impression has made of an outcome."""
_PIECE = 1 << 18
_ROOM = 16  # a sixteenth more than there are is asked for, as they come: what is not filled may take memory, too


@dataclass
class Outcomes:
    """Distinct outcomes, sorted by key and time; of those of one key and time, a 1 and the greater weight stay.

    Attributes
    ----------
    key : uint64 (n,)
    stamp : int64 (n,), the time in microseconds, shifted over the flags
    weight : float32 (n,), if there is one
    newest_us : time of the newest, None where there are none
    """

    key: U64
    stamp: I64
    weight: F32 | None
    newest_us: int | None

    def __post_init__(self) -> None:
        key, n_bits = read_only(self.key), len(self.key).bit_length()
        is_room = self.weight is None
        bits, more = max(1, n_bits - 6), max(1, n_bits - 3)
        self._directory = np.empty(2**bits + 1 if is_room else 0, np.uint32), np.uint64(64 - bits)
        self._filter = np.zeros(2**more if is_room else 0, np.uint64), np.uint64(64 - more)
        if is_room:
            fill_starts(key, self._directory[1], self._directory[0])
            fill_filter(key, self._filter[1], self._filter[0])

    def __len__(self) -> int:
        return len(self.key)

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        weight = 0 if self.weight is None else self.weight.nbytes
        return self.key.nbytes + self.stamp.nbytes + weight + self._filter[0].nbytes + self._directory[0].nbytes

    def find(self, key: U64, event_us: I64, deadline_us: I64) -> I64:
        """Place of the first outcome of each key, (n,), from the event on to the deadline, both included; -1 for none.

        An outcome that comes first, but after the deadline, is noted as late; one that is found, as taken.
        """
        found = np.empty(len(key), np.int64)
        asked = (read_only(key), read_only(event_us), read_only(deadline_us))
        first_outcomes((read_only(self.key), self.stamp), self._filter, self._directory, *asked, found)
        return found

    def time_us(self, places: I64) -> I64:
        """When the outcomes came; ``NEVER`` where the place is -1."""
        if not len(self):
            return np.full(len(places), NEVER)
        return np.where(places < 0, NEVER, self.stamp[places] >> FLAGS)

    def is_one(self, places: I64) -> npt.NDArray[np.bool_]:
        """Whether the outcomes are there, and say 1."""
        if not len(self):
            return np.zeros(len(places), bool)
        one: npt.NDArray[np.bool_] = (places >= 0) & (self.stamp[places] & ONE != 0)
        return one

    def weights(self, places: I64) -> npt.NDArray[np.float64]:
        """What each outcome multiplies its impression's weight by; 1 where there is none."""
        if self.weight is None or not len(self):
            return np.ones(len(places))
        return np.where(places < 0, 1.0, self.weight[places].astype(np.float64))

    def number(self, first_us: int, end_us: int) -> int:
        """How many came in ``[first_us, end_us)``."""
        times = (self.stamp[rows] >> FLAGS for rows in _pieces(len(self)))
        return sum(int(np.count_nonzero((time >= first_us) & (time < end_us))) for time in times)

    def afresh(self) -> Outcomes:
        """The same, of which no impression has taken any yet; it may be asked beside others."""
        blank = copy(self)
        blank.stamp = self.stamp & ~FATES
        return blank

    def noted(self) -> tuple[I64, npt.NDArray[np.int8]]:
        """Places of those that are noted as late or taken, (n,), and as which."""
        fates = self.stamp & FATES
        places = np.flatnonzero(fates)
        return places, fates[places].astype(np.int8)

    def note(self, places: I64, fates: npt.NDArray[np.int8]) -> None:
        """Note what another's :meth:`noted` says, of the same outcomes."""
        self.stamp[places] |= fates.astype(np.int64)

    def fates(self, first_us: int, end_us: int, window_us: int) -> tuple[int, int, int]:
        """How many of those that came in ``[first_us, end_us)`` repeat one before, had no impression, or came late.

        An outcome repeats another of its key that came at most ``window_us`` before it. It has no impression if none
        of those asked for has taken it, and late is what came after the deadline of the last before it.
        """
        n_repeats = n_unmatched = n_late = 0
        for rows in _pieces(len(self)):
            time, key, flags = self.stamp[rows] >> FLAGS, self.key[rows], self.stamp[rows]
            counted = (time >= first_us) & (time < end_us)
            repeats = np.zeros(len(time), bool)
            repeats[1:] = (key[1:] == key[:-1]) & (time[1:] - time[:-1] <= window_us)
            if rows.start:
                before = rows.start - 1
                repeats[0] = self.key[before] == key[0] and time[0] - (self.stamp[before] >> FLAGS) <= window_us
            alone = counted & ~repeats & (flags & TAKEN == 0)
            n_repeats += int(np.count_nonzero(counted & repeats))
            n_late += int(np.count_nonzero(alone & (flags & LATE != 0)))
            n_unmatched += int(np.count_nonzero(alone & (flags & LATE == 0)))
        return n_repeats, n_unmatched, n_late


def _pieces(n: int) -> Iterator[slice]:
    """All of ``n`` rows, so many at a time that what is made of them takes little memory."""
    return (slice(start, min(n, start + _PIECE)) for start in range(0, n, _PIECE))


class Gathering:
    """Outcomes as they are read, in any order; at the end sorted where they are, as all but one copy is too much."""

    def __init__(self, most: int, too_many: Callable[[], Exception], weighed: bool) -> None:
        """No outcomes yet.

        Parameters
        ----------
        most : how many there may be
        too_many : what is raised if there are more
        weighed : whether they have weights
        """
        self._most, self._too_many = most, too_many
        self.n = 0
        self._columns: list[npt.NDArray[Any]] = [np.zeros(0, np.uint64), np.zeros(0, np.int64)]
        if weighed:
            self._columns.append(np.zeros(0, np.float32))

    def add(self, key: U64, time_us: I64, one: npt.NDArray[np.bool_], weight: F32 | None) -> None:
        """Take some more, (n,) each."""
        rows = slice(self.n, self.n + len(key))
        if rows.stop > self._most:
            raise self._too_many()
        if rows.stop > len(self._columns[0]):
            self._resize(rows.stop + rows.stop // _ROOM)
        for column, values in zip(self._columns, (key, (time_us << FLAGS) | one, weight), strict=False):
            column[rows] = values
        self.n = rows.stop

    def sorted(self) -> tuple[Outcomes, I64]:
        """The distinct ones, and when those came that were the same as another; to be asked once."""
        self._resize(self.n)
        key, stamp, weight = (*self._columns, np.zeros(0, np.float32))[:3]
        # So many bits that some 16 to 32 outcomes share them.
        bits = max(1, self.n.bit_length() - 5)
        places = (np.zeros(2**bits, np.uint32) for _ in range(2))
        sort_outcomes(key, stamp, weight, np.uint64(64 - bits), *places)
        n = last_of_each(key, stamp, weight)
        key.resize(n, refcheck=False)
        same = stamp[n:] >> FLAGS
        stamp.resize(n, refcheck=False)
        weight.resize(min(n, len(weight)), refcheck=False)
        newest = int(stamp.max()) >> FLAGS if n else None
        return Outcomes(key, stamp, weight if len(self._columns) == 3 else None, newest), same

    def _resize(self, room: int) -> None:
        for column in self._columns:
            column.resize(room, refcheck=False)
