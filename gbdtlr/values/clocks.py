"""Clocks: from what the clocks of a time zone show to moments in UTC, as int64 microseconds since 1970.

Where clocks change:

- A time that occurs twice (clocks go back) is the first of the two for an event. For a label it is the second, and
  an event counts as the second when a delay is added to it: no label is ever taken as known before it was.
- A time that does not occur (clocks go forward) is counted on from before: 02:09 is 03:09 of the new time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
import numpy.typing as npt

from gbdtlr.times import EPOCH, to_us

Us = npt.NDArray[np.int64]

_MINUTE = 60_000_000
DAY = 24 * 60 * _MINUTE
# Years 2 to 9998: datetime has no room for a zone's offset beyond.
_FIRST, _LAST = to_us(datetime(2, 1, 1, tzinfo=UTC)), to_us(datetime(9998, 12, 30, tzinfo=UTC))


def localize(local_us: npt.NDArray[np.generic], zone: tzinfo, late: bool) -> Us:
    """Moments, int64 (n,), at which the clocks of ``zone`` show ``local_us``; the ``late`` one of two."""
    local = local_us.astype(np.int64)
    if zone is UTC or not len(local):
        return local
    # Zones change their offset on few days: asking once per day, and per minute on those, is exact and fast.
    days, row_day = np.unique(local // DAY, return_inverse=True)
    starts = np.array([_offset_us(int(day) * DAY, zone, late) for day in days], np.int64)
    ends = np.array([_offset_us((int(day) + 1) * DAY, zone, late) for day in days], np.int64)
    out = local - starts[row_day]
    changing = np.flatnonzero((starts != ends)[row_day])
    if len(changing):
        minutes, row_minute = np.unique(local[changing] // _MINUTE, return_inverse=True)
        offsets = np.array([_offset_us(int(m) * _MINUTE, zone, late) for m in minutes], np.int64)
        out[changing] = local[changing] - offsets[row_minute]
    return out


def bounds_us(low_us: int, high_us: int, zone: tzinfo) -> tuple[int, int]:
    """Earliest and latest moment in UTC that local times from ``low_us`` to ``high_us`` can mean."""
    if zone is UTC:
        return low_us, high_us
    # Times skipped by clocks going forward are counted on from before, past what follows them: around a change the
    # order of local times is not that of moments, so the offsets of the days beside bound it.
    low = [_offset_us(low_us + shift, zone, late) for shift in (-DAY, 0, DAY) for late in (False, True)]
    high = [_offset_us(high_us + shift, zone, late) for shift in (-DAY, 0, DAY) for late in (False, True)]
    return low_us - max(low), high_us - min(high)


def scale(values: npt.NDArray[np.generic], factor: int) -> Us:
    """``values * factor``, but no further from zero than a quarter of what int64 holds; not always a copy.

    Sentinels such as the year 292278994 stay at the edge instead of wrapping around into the past.
    """
    limit = (2**62) // factor
    whole = values.astype(np.int64, copy=False)
    if len(whole) and (whole.min() < -limit or whole.max() > limit):
        whole = np.clip(whole, -limit, limit)
    return whole if factor == 1 else whole * factor


def _offset_us(local_us: int, zone: tzinfo, late: bool) -> int:
    moment = EPOCH.replace(tzinfo=None) + timedelta(microseconds=min(max(local_us, _FIRST), _LAST))
    first = moment.replace(tzinfo=zone, fold=0).utcoffset() or timedelta()
    second = moment.replace(tzinfo=zone, fold=1).utcoffset() or timedelta()
    # The smaller offset is the later moment; of a skipped time that is already the first, from before the change.
    offset = min(first, second) if late else first
    return offset // timedelta(microseconds=1)
