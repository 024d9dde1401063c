"""Timestamps: columns of times in any form people write them, as int64 microseconds since 1970 in UTC.

Times that carry no zone are read in the config's. Where its clocks change:

- A time that occurs twice (clocks go back) is the first of the two for an event. For a label it is the second, and
  an event counts as the second when a delay is added to it: no label is ever taken as known before it was.
- A time that does not occur (clocks go forward) is counted on from before: 02:09 is 03:09 of the new time.

Numbers are epochs. Their unit follows from their size: below 1e11 seconds, below 1e14 milliseconds, below 1e17
microseconds, else nanoseconds; so seconds work to the year 5138 and milliseconds from March 1973.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from gbdtlr.times import EPOCH, to_us
from gbdtlr.values.arrays import empty_as_null, from_numpy, present, real_numbers, true_rows, whole_numbers

Us = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_MINUTE = 60_000_000
_DAY = 24 * 60 * _MINUTE
# Years 2 to 9998: datetime has no room for a zone's offset beyond.
_FIRST, _LAST = to_us(datetime(2, 1, 1, tzinfo=UTC)), to_us(datetime(9998, 12, 30, tzinfo=UTC))
_PER_US = {"s": 1_000_000, "ms": 1000, "us": 1}
_ZONED = r"\d[T ]\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?\s*([Zz]|[+-]\d\d(:?\d\d)?)$"
_EPOCH_TEXT = r"^\d{9,}(\.\d*)?$"


def column_us(column: pa.Array, zone: tzinfo, *, late: bool = False) -> tuple[Us, Mask, list[str]]:
    """Microseconds since 1970 UTC of a column of times.

    Parameters
    ----------
    column : timestamp, date, text (ISO 8601) or number (epoch), (n,)
    zone : of times that carry none
    late : take the second of two readings where clocks go back

    Returns
    -------
    us : int64, (n,); 0 where there is no time
    known : bool, (n,); whether there is a time
    unreadable : the values that are not times; they are not ``known``
    """
    if pt.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pt.is_null(kind):
        return np.zeros(len(column), np.int64), np.zeros(len(column), bool), []
    if not (pt.is_timestamp(kind) or pt.is_date(kind) or pt.is_integer(kind) or pt.is_floating(kind)):
        return _from_text(column.cast(pa.string()), zone, late)
    known = present(column)
    if pt.is_floating(kind):
        numbers = real_numbers(column)
        known &= np.isfinite(numbers)
        return _from_epoch(np.where(known, numbers, 0.0)), known, []
    if pt.is_integer(kind):
        return _from_epoch(whole_numbers(column)), known, []
    if pt.is_date(kind):
        days = whole_numbers(column.cast(pa.date32()).cast(pa.int32()))
        return _localize(_scale(days, _DAY), zone, late), known, []
    raw = whole_numbers(column)
    us = raw // 1000 if kind.unit == "ns" else _scale(raw, _PER_US[kind.unit])
    return (us if kind.tz is not None else _localize(us, zone, late)), known, []


def bounds_us(low_us: int, high_us: int, zone: tzinfo) -> tuple[int, int]:
    """Earliest and latest moment in UTC that local times from ``low_us`` to ``high_us`` can mean."""
    if zone is UTC:
        return low_us, high_us
    # Times skipped by clocks going forward are counted on from before, past what follows them: around a change the
    # order of local times is not that of moments, so the offsets of the days beside bound it.
    low = [_offset_us(low_us + shift, zone, late) for shift in (-_DAY, 0, _DAY) for late in (False, True)]
    high = [_offset_us(high_us + shift, zone, late) for shift in (-_DAY, 0, _DAY) for late in (False, True)]
    return low_us - max(low), high_us - min(high)


def statistics_us(low: object, high: object, kind: pa.DataType, zone: tzinfo) -> tuple[int, int] | None:
    """Bounds in UTC microseconds of a column chunk's raw statistics; None where they cannot tell."""
    if not isinstance(low, int) or not isinstance(high, int):
        return None
    if pt.is_timestamp(kind):
        per_us = _PER_US.get(kind.unit)
        ends = [low // 1000, high // 1000] if per_us is None else [low * per_us, high * per_us]
        if ends[0] < _FIRST or ends[1] > _LAST:
            return None
        return (ends[0], ends[1]) if kind.tz is not None else bounds_us(ends[0], ends[1], zone)
    if pt.is_integer(kind):
        ends_us = _from_epoch(np.array([low, high], np.int64))
        units = _epoch_unit(np.array([low, high], np.float64))
        return (int(ends_us[0]), int(ends_us[1])) if units[0] == units[1] else None
    return None


def _scale(values: npt.NDArray[np.generic], factor: int) -> Us:
    # Sentinels such as the year 292278994 stay at the edge instead of wrapping around into the past.
    limit = (2**62) // factor
    return np.clip(values.astype(np.int64), -limit, limit) * factor


def _epoch_unit(numbers: npt.NDArray[np.generic]) -> npt.NDArray[np.intp]:
    return np.searchsorted([1e11, 1e14, 1e17], np.abs(numbers.astype(np.float64)), side="right")


def _from_epoch(numbers: npt.NDArray[np.generic]) -> Us:
    unit = _epoch_unit(numbers)
    if numbers.dtype.kind == "f":
        scale = np.array([1e6, 1e3, 1.0, 1e-3])[unit]
        rounded: Us = np.rint(np.clip(numbers * scale, -(2.0**62), 2.0**62)).astype(np.int64)
        return rounded
    whole = numbers.astype(np.int64)
    return np.asarray(np.where(unit == 3, whole // 1000, whole * np.array([1_000_000, 1000, 1, 0])[unit]))


def _offset_us(local_us: int, zone: tzinfo, late: bool) -> int:
    moment = EPOCH.replace(tzinfo=None) + timedelta(microseconds=min(max(local_us, _FIRST), _LAST))
    first = moment.replace(tzinfo=zone, fold=0).utcoffset() or timedelta()
    second = moment.replace(tzinfo=zone, fold=1).utcoffset() or timedelta()
    # The smaller offset is the later moment; of a skipped time that is already the first, from before the change.
    offset = min(first, second) if late else first
    return offset // timedelta(microseconds=1)


def _localize(local_us: npt.NDArray[np.generic], zone: tzinfo, late: bool) -> Us:
    local = local_us.astype(np.int64)
    if zone is UTC or not len(local):
        return local
    # Zones change their offset on few days: asking once per day, and per minute on those, is exact and fast.
    days, row_day = np.unique(local // _DAY, return_inverse=True)
    starts = np.array([_offset_us(int(day) * _DAY, zone, late) for day in days], np.int64)
    ends = np.array([_offset_us((int(day) + 1) * _DAY, zone, late) for day in days], np.int64)
    out = local - starts[row_day]
    changing = np.flatnonzero((starts != ends)[row_day])
    if len(changing):
        minutes, row_minute = np.unique(local[changing] // _MINUTE, return_inverse=True)
        offsets = np.array([_offset_us(int(m) * _MINUTE, zone, late) for m in minutes], np.int64)
        out[changing] = local[changing] - offsets[row_minute]
    return out


def _from_text(column: pa.Array, zone: tzinfo, late: bool) -> tuple[Us, Mask, list[str]]:
    column = empty_as_null(pc.utf8_trim_whitespace(column))
    known = present(column)
    us = np.zeros(len(column), np.int64)
    zoned = true_rows(pc.match_substring_regex(column, _ZONED))
    epoch = true_rows(pc.match_substring_regex(column, _EPOCH_TEXT))
    unreadable: list[str] = []
    for rows, read in (
        (known & zoned, _zoned_us),
        (known & ~zoned & ~epoch, _local_us),
        (known & epoch, _epoch_us),
    ):
        where = np.flatnonzero(rows)
        if not len(where):
            continue
        texts = column if len(where) == len(column) else column.take(from_numpy(where))
        try:
            us[where] = read(texts, zone, late)
        except pa.ArrowInvalid:
            slow = [_slow_us(text, zone, late) for text in texts.to_pylist()]
            known[where] = [one is not None for one in slow]
            us[where] = [0 if one is None else one for one in slow]
            unreadable += [text for text, one in zip(texts.to_pylist(), slow, strict=True) if one is None]
    return us, known, unreadable


def _zoned_us(texts: pa.Array, _zone: tzinfo, _late: bool) -> Us:
    return whole_numbers(texts.cast(pa.timestamp("us", "UTC")))


def _local_us(texts: pa.Array, zone: tzinfo, late: bool) -> Us:
    return _localize(whole_numbers(texts.cast(pa.timestamp("us"))), zone, late)


def _epoch_us(texts: pa.Array, _zone: tzinfo, _late: bool) -> Us:
    if true_rows(pc.match_substring(texts, ".")).any():
        return _from_epoch(real_numbers(texts))
    return _from_epoch(whole_numbers(texts))


def _slow_us(text: str, zone: tzinfo, late: bool) -> int | None:
    """ISO 8601 in the forms that Arrow does not read: compact ones, nanoseconds, commas."""
    try:
        moment = datetime.fromisoformat(text.replace("z", "Z"))
    except ValueError:
        return None
    if moment.tzinfo is not None:
        return to_us(moment)
    local = np.array([to_us(moment.replace(tzinfo=UTC))], np.int64)
    return int(_localize(local, zone, late)[0])
