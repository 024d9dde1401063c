"""Key times: keys and times of impressions, and which of them come again, told of all that have a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gbdtlr.compute.parts import Slice
from gbdtlr.values.hashing import U64

I64 = npt.NDArray[np.int64]


@dataclass
class KeyTimes:
    """Keys and times of impressions, (n,) each; :class:`gbdtlr.compute.parts.Rows`."""

    key: U64
    event_us: I64

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: npt.NDArray[Any]) -> KeyTimes:
        """Those rows."""
        return KeyTimes(self.key[rows], self.event_us[rows])

    def slices(self, start: int, stop: int) -> list[Slice]:
        """Those rows."""
        return [(self, start, stop)]

    def drop(self, stop: int) -> None:
        """Nothing: all of it goes at once."""

    @staticmethod
    def join(slices: Sequence[Slice]) -> KeyTimes:
        """All rows of slices of some."""
        key = [np.zeros(0, np.uint64), *(each.key[start:stop] for each, start, stop in slices)]
        event_us = [np.zeros(0, np.int64), *(each.event_us[start:stop] for each, start, stop in slices)]
        return KeyTimes(np.concatenate(key), np.concatenate(event_us))


def repeats_in(moments: KeyTimes, length_us: int) -> KeyTimes:
    """Keys and times, each once, of which an earlier impression came at most so long before."""
    order = np.lexsort((moments.event_us, moments.key))
    key, event_us = moments.key[order], moments.event_us[order]
    new = np.ones(len(key), bool)
    new[1:] = (key[1:] != key[:-1]) | (event_us[1:] != event_us[:-1])
    key, event_us = key[new], event_us[new]
    repeated = np.zeros(len(key), bool)
    repeated[1:] = (key[1:] == key[:-1]) & (event_us[1:] - event_us[:-1] <= length_us)
    return KeyTimes(key[repeated], event_us[repeated])


def are_among(moments: KeyTimes, others: KeyTimes) -> npt.NDArray[np.bool_]:
    """Which of some keys and times, (n,), are among others."""
    among = np.zeros(len(moments), bool)
    rows = np.flatnonzero(np.isin(moments.key, others.key))
    both = KeyTimes.join([(others, 0, len(others)), (moments.take(rows), 0, len(rows))])
    order = np.lexsort((both.event_us, both.key))  # stable: of those that are equal, the others come first
    key, event_us = both.key[order], both.event_us[order]
    new = np.ones(len(key), bool)
    new[1:] = (key[1:] != key[:-1]) | (event_us[1:] != event_us[:-1])
    first = order[new][np.cumsum(new) - 1]
    found = np.zeros(len(key), bool)
    found[order] = first < len(others)
    among[rows] = found[len(others) :]
    return among
