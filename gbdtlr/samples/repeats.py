"""Repeats: impressions whose key another had shortly before them, as logs that deliver at least once hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gbdtlr.values.hashing import U64

I64 = npt.NDArray[np.int64]

_SPARSE = 4  # bits more than it takes to number the rows of a block: one place in sixteen is taken


def beside_its_like(*columns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which rows, (n,), have the same values as the one before or behind them."""
    same = np.ones(max(0, len(columns[0]) - 1), bool)
    for column in columns:
        same &= column[1:] == column[:-1]
    beside = np.zeros(len(columns[0]), bool)
    beside[1:] |= same
    beside[:-1] |= same
    return beside


class Repeats:
    """Which impressions repeat one that happened at most a window before, told block by block in order of time.

    Keys and times of the last window are kept, 16 bytes each. Those whose first bits no row of a block has are passed
    over, and so nearly all of them.
    """

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._before: list[tuple[U64, I64]] = []

    def among(self, key: U64, event_us: I64) -> npt.NDArray[np.bool_]:
        """Which rows, (n,), repeat one of an earlier block, or one before them in this one.

        Parameters
        ----------
        key, event_us : of the rows, in order of time
        """
        repeated = np.zeros(len(key), bool)
        if not len(key):
            return repeated
        order = np.argsort(key)  # not stable, which is several times as fast; keys that are there twice are few
        twice = np.flatnonzero(beside_its_like(key[order]))
        order[twice] = order[twice][np.lexsort((order[twice], key[order[twice]]))]
        keys, times = key[order], event_us[order]
        repeated[order[1:]] = (keys[1:] == keys[:-1]) & (times[1:] - times[:-1] <= self._window_us)

        shift = np.uint64(64 - len(key).bit_length() - _SPARSE)
        there = np.zeros(2 ** (len(key).bit_length() + _SPARSE), bool)
        there[keys >> shift] = True
        for old_key, old_time in self._before:
            rows = np.flatnonzero(there[old_key >> shift])
            first = keys.searchsorted(old_key[rows])  # a later row of that key repeats this one, or none
            same = np.flatnonzero(first < len(keys))
            same = same[keys[first[same]] == old_key[rows[same]]]
            near = times[first[same]] - old_time[rows[same]] <= self._window_us
            repeated[order[first[same[near]]]] = True
        self._keep(key, event_us)
        return repeated

    def _keep(self, key: U64, time: I64) -> None:
        """Remember a block; forget what is too old to matter."""
        since_us = int(time.max()) - self._window_us
        self._before.append((key, time))
        kept = []
        for old_key, old_time in self._before:
            near = old_time >= since_us
            if near.all():
                kept.append((old_key, old_time))
            elif near.any():
                kept.append((old_key[near], old_time[near]))
        self._before = kept
