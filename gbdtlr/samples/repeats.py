"""Repeats: impressions whose key another had shortly before them, as logs that deliver at least once hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gbdtlr.values.hashing import U64

I64 = npt.NDArray[np.int64]


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

    Keys and times of the last window are kept, 16 bytes each, in a few sorted runs of which each is at least twice as
    long as the next: so a block costs little, however long the window.
    """

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._runs: list[tuple[U64, I64]] = []

    def among(self, key: U64, event_us: I64) -> npt.NDArray[np.bool_]:
        """Which rows, (n,), repeat one of an earlier block, or one before them in this one.

        Parameters
        ----------
        key, event_us : of the rows, in order of time
        """
        order = np.argsort(key)  # not stable, which is several times as fast; keys that are there twice are few
        twice = np.flatnonzero(beside_its_like(key[order]))
        order[twice] = order[twice][np.lexsort((order[twice], key[order[twice]]))]
        keys, times = key[order], event_us[order]
        repeated = np.zeros(len(key), bool)
        repeated[order[1:]] = (keys[1:] == keys[:-1]) & (times[1:] - times[:-1] <= self._window_us)
        for run_key, run_time in self._runs:
            last = run_key.searchsorted(keys, "right") - 1
            there = last >= 0
            there[there] = run_key[last[there]] == keys[there]
            rows = np.flatnonzero(there)
            near = times[rows] - run_time[last[rows]] <= self._window_us
            repeated[order[rows[near]]] = True
        if len(key):
            self._keep(keys, times, int(event_us.max()) - self._window_us)
        return repeated

    def _keep(self, key: U64, time: I64, since_us: int) -> None:
        """Remember a sorted block; forget what is too old to matter, as runs are merged."""
        self._runs.append((key, time))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            pair = self._runs[-2:]
            key, time = (np.concatenate([run[i] for run in pair]) for i in (0, 1))
            key, time = key[time >= since_us], time[time >= since_us]
            order = np.lexsort((time, key))
            self._runs[-2:] = [(key[order], time[order])]
