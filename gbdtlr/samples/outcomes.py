"""Outcomes: what came of impressions, in 16 bytes each: 64 bits of the key, and the time with three flags.

They are sorted by key and time, with a filter of two to four bits an outcome in front, as most impressions have none. A
weight takes four bytes more, and the filter's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gbdtlr.samples.finality import NEVER
from gbdtlr.values.hashing import U64

I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]

_FLAGS = 3  # bits below the time: whether it is a 1, and what an impression has made of it
_ONE, _LATE, _TAKEN = np.int64(1), np.int64(2), np.int64(4)
_FATES = np.int64(6)  # of the flags, what an impression has made of it
_PIECE = 1 << 18
_SHARES = 16  # of the keys, sorted one after the other, so that little is in memory twice


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
        # Bits of a key's first so many that some outcome has.
        bits = max(3, len(self.key).bit_length() + 1)
        self._shift = np.uint64(64 - bits)
        self._filter = None
        if self.weight is None and bits <= 40:
            self._filter = np.zeros(2**bits // 8, np.uint8)
            for rows in _pieces(len(self)):
                place = self.key[rows] >> self._shift
                np.bitwise_or.at(self._filter, place >> np.uint64(3), _bit(place))

    def __len__(self) -> int:
        return len(self.key)

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        others = sum(each.nbytes for each in (self.weight, self._filter) if each is not None)
        return self.key.nbytes + self.stamp.nbytes + others

    def find(self, key: U64, event_us: I64, deadline_us: I64) -> I64:
        """Place of the first outcome of each key, (n,), from the event on to the deadline, both included; -1 for none.

        An outcome that comes first, but after the deadline, is noted as late; one that is found, as taken.
        """
        found = np.full(len(key), -1, np.int64)
        rows = np.arange(len(key)) if self._filter is None else self._possible(key)
        low = self.key.searchsorted(key[rows])
        some = np.flatnonzero(low < len(self))
        some = some[self.key[low[some]] == key[rows[some]]]
        rows, low = rows[some], low[some]
        high = self.key.searchsorted(key[rows], "right")
        end, event = high.copy(), event_us[rows]
        while (open_ := low < high).any():
            middle = (low + high) // 2
            before = open_ & (self.time_us(np.where(open_, middle, 0)) < event)
            low, high = np.where(before, middle + 1, low), np.where(open_ & ~before, middle, high)
        there = low < end
        rows, low = rows[there], low[there]
        within = self.time_us(low) <= deadline_us[rows]
        self.stamp[low[~within]] |= _LATE
        self.stamp[low[within]] |= _TAKEN
        found[rows[within]] = low[within]
        return found

    def _possible(self, key: U64) -> I64:
        if self._filter is None or not len(self):
            return np.zeros(0, np.int64)
        place = key >> self._shift
        return np.flatnonzero(self._filter[place >> np.uint64(3)] & _bit(place))

    def time_us(self, places: I64) -> I64:
        """When the outcomes came; ``NEVER`` where the place is -1."""
        if not len(self):
            return np.full(len(places), NEVER)
        return np.where(places < 0, NEVER, self.stamp[places] >> _FLAGS)

    def is_one(self, places: I64) -> npt.NDArray[np.bool_]:
        """Whether the outcomes are there, and say 1."""
        if not len(self):
            return np.zeros(len(places), bool)
        one: npt.NDArray[np.bool_] = (places >= 0) & (self.stamp[places] & _ONE != 0)
        return one

    def weights(self, places: I64) -> npt.NDArray[np.float64]:
        """What each outcome multiplies its impression's weight by; 1 where there is none."""
        if self.weight is None or not len(self):
            return np.ones(len(places))
        return np.where(places < 0, 1.0, self.weight[places].astype(np.float64))

    def number(self, first_us: int, end_us: int) -> int:
        """How many came in ``[first_us, end_us)``."""
        times = (self.stamp[rows] >> _FLAGS for rows in _pieces(len(self)))
        return sum(int(np.count_nonzero((time >= first_us) & (time < end_us))) for time in times)

    def afresh(self) -> Outcomes:
        """The same, of which no impression has taken any yet; it may be asked beside others."""
        blank = copy(self)
        blank.stamp = self.stamp & ~_FATES
        return blank

    def noted(self) -> tuple[I64, npt.NDArray[np.int8]]:
        """Places of those that are noted as late or taken, (n,), and as which."""
        fates = self.stamp & _FATES
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
            time, key, flags = self.stamp[rows] >> _FLAGS, self.key[rows], self.stamp[rows]
            counted = (time >= first_us) & (time < end_us)
            repeats = np.zeros(len(time), bool)
            repeats[1:] = (key[1:] == key[:-1]) & (time[1:] - time[:-1] <= window_us)
            if rows.start:
                before = rows.start - 1
                repeats[0] = self.key[before] == key[0] and time[0] - (self.stamp[before] >> _FLAGS) <= window_us
            alone = counted & ~repeats & (flags & _TAKEN == 0)
            n_repeats += int(np.count_nonzero(counted & repeats))
            n_late += int(np.count_nonzero(alone & (flags & _LATE != 0)))
            n_unmatched += int(np.count_nonzero(alone & (flags & _LATE == 0)))
        return n_repeats, n_unmatched, n_late


def _pieces(n: int) -> Iterator[slice]:
    """All of ``n`` rows, so many at a time that what is made of them takes little memory."""
    return (slice(start, min(n, start + _PIECE)) for start in range(0, n, _PIECE))


def _bit(place: U64) -> npt.NDArray[np.uint8]:
    return np.uint8(1) << (place & np.uint64(7)).astype(np.uint8)


class _Share:
    """Outcomes of some of the keys, in arrays that grow by a sixteenth: what is not filled takes memory, too."""

    def __init__(self, weighed: bool) -> None:
        self.n = 0
        self.key, self.stamp = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        self.weight = np.zeros(0, np.float32) if weighed else None

    def add(self, key: U64, stamp: I64, weight: F32 | None) -> None:
        """Take some more, (n,) each."""
        rows = slice(self.n, self.n + len(key))
        if rows.stop > len(self.key):
            room = rows.stop + rows.stop // 16
            self.key.resize(room, refcheck=False)
            self.stamp.resize(room, refcheck=False)
            if self.weight is not None:
                self.weight.resize(room, refcheck=False)
        self.key[rows], self.stamp[rows], self.n = key, stamp, rows.stop
        if self.weight is not None:
            self.weight[rows] = weight

    def sorted(self) -> tuple[U64, I64, F32 | None]:
        """All of them, by key, time, whether they say 1, and weight."""
        key, stamp = self.key[: self.n], self.stamp[: self.n]
        weight = None if self.weight is None else self.weight[: self.n]
        order = np.lexsort((stamp, key) if weight is None else (weight, stamp, key))
        return key[order], stamp[order], None if weight is None else weight[order]


class Gathering:
    """Outcomes as they are read, in any order, sorted at the end."""

    def __init__(self, most: int, too_many: Callable[[], Exception], weighed: bool) -> None:
        """No outcomes yet.

        Parameters
        ----------
        most : how many there may be
        too_many : what is raised if there are more
        weighed : whether they have weights
        """
        self._most, self._too_many = most, too_many
        self._weighed = weighed
        self._shares = [_Share(weighed) for _ in range(_SHARES)]
        self.n = 0

    def add(self, key: U64, time_us: I64, one: npt.NDArray[np.bool_], weight: F32 | None) -> None:
        """Take some more, (n,) each."""
        self.n += len(key)
        if self.n > self._most:
            raise self._too_many()
        stamp = (time_us << _FLAGS) | one
        share = (key >> np.uint64(64 - 4)).astype(np.uint8)
        order = np.argsort(share, kind="stable")
        bounds = np.searchsorted(share[order], np.arange(_SHARES + 1))
        for i, each in enumerate(self._shares):
            rows = order[bounds[i] : bounds[i + 1]]
            each.add(key[rows], stamp[rows], None if weight is None else weight[rows])

    def sorted(self) -> tuple[Outcomes, I64]:
        """The distinct ones, and when those came that were the same as another; to be asked once."""
        key, stamp = np.empty(self.n, np.uint64), np.empty(self.n, np.int64)
        weight = np.empty(self.n, np.float32) if self._weighed else None
        n, newest, dropped = 0, None, [np.zeros(0, np.int64)]
        while self._shares:  # each is let go when it has been copied
            keys, stamps, weights = self._shares.pop(0).sorted()
            if not len(keys):
                continue
            time = stamps >> _FLAGS
            # The last of those of one key and time says 1 if any does.
            last = np.append((keys[1:] != keys[:-1]) | (time[1:] != time[:-1]), True)
            dropped.append(time[~last])
            stop = n + int(np.count_nonzero(last))
            key[n:stop], stamp[n:stop] = keys[last], stamps[last]
            if weight is not None and weights is not None:
                weight[n:stop] = weights[last]
            newest = int(time.max()) if newest is None else max(newest, int(time.max()))
            n = stop
        key.resize(n, refcheck=False)
        stamp.resize(n, refcheck=False)
        if weight is not None:
            weight.resize(n, refcheck=False)
        return Outcomes(key, stamp, weight, newest), np.concatenate(dropped)
