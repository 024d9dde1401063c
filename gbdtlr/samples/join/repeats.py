"""Repeats: impressions whose key another had shortly before them, as logs that deliver at least once hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gbdtlr.compute.compiled import read_only
from gbdtlr.samples.join.kernels import mark, mark_twice, marked, repeats
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

    Keys and times of the last window are kept, 16 bytes each. Those whose first bits no other key has are passed over,
    and so nearly all of them; the keys of the rest are looked up one by one.
    """

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._before: list[tuple[U64, I64]] = []

    def among(self, key: U64, event_us: I64) -> npt.NDArray[np.bool_]:
        """Which rows, (n,), repeat one of an earlier block, or one before them in this one.

        Parameters
        ----------
        key, event_us : of the rows, in order of time, none earlier than those of the block before
        """
        repeated = np.zeros(len(key), bool)
        if not len(key):
            return repeated
        bits = len(key).bit_length() + _SPARSE
        shift = np.uint64(64 - bits)
        once, twice = (np.zeros(2**bits // 8, np.uint8) for _ in range(2))
        mark_twice(read_only(key), shift, once, twice)
        keys, times, rows = [], [], []
        for old_key, old_time in self._before:
            places = _marked(old_key, shift, once)
            keys.append(old_key[places])
            times.append(old_time[places])
            rows.append(np.full(len(places), -1))
            mark(read_only(keys[-1]), shift, twice)
        places = _marked(key, shift, twice)
        found = np.concatenate([*keys, key[places]])
        latest = np.full(2 ** (len(found).bit_length() + 1), -1)
        times_of = np.concatenate([*times, event_us[places]])
        repeats(found, times_of, np.concatenate([*rows, places]), self._window_us, latest, repeated)
        self._keep(key, event_us)
        return repeated

    def _keep(self, key: U64, event_us: I64) -> None:
        """Remember a block; forget what is too old to matter."""
        self._before.append((key, event_us))
        since_us = int(event_us[-1]) - self._window_us
        first = [int(time.searchsorted(since_us)) for _, time in self._before]
        self._before = [
            (key, time) if not n else (key[n:].copy(), time[n:].copy())
            for n, (key, time) in zip(first, self._before, strict=True)
            if n < len(key)
        ]


def _marked(key: U64, shift: np.uint64, bits: npt.NDArray[np.uint8]) -> I64:
    """Rows whose bit is set, in order."""
    rows = np.empty(len(key), np.int64)
    return rows[: marked(read_only(key), shift, read_only(bits), rows)]
