"""Times: what a *time* is, in every physical type, as int64 microseconds since 1970 in UTC.

A timestamp of any unit, with or without a zone; a date, which is its midnight; text, as
:mod:`gbdtlr.values.time_texts` reads it; a number, as :mod:`gbdtlr.values.epochs` counts it; and the scalars of Python,
numpy and pandas that are one of these. Times that carry no zone are those of the clocks
(:mod:`gbdtlr.values.clocks`) of a zone that is given. What is finer than a microsecond is cut off. Truth values, times
of the day, durations, bytes and whatever is nested are no times.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.errors import SchemaError
from gbdtlr.times import to_us
from gbdtlr.values.arrays import from_texts, is_string, present, real_numbers, simple, simple_type, whole_numbers
from gbdtlr.values.clocks import DAY, Us, bounds_us, localize, scale
from gbdtlr.values.epochs import epoch_bounds_us, epoch_us
from gbdtlr.values.missing import is_missing
from gbdtlr.values.time_texts import text_us

Mask = npt.NDArray[np.bool_]
Read = tuple[Us, Mask, list[Any]]

# Microseconds of a unit of numpy's and Arrow's, and how many of a finer one make a microsecond.
_COARSE = {"s": 1_000_000, "ms": 1000, "us": 1, "m": DAY // 1440, "h": DAY // 24, "D": DAY, "W": 7 * DAY}
_FINE = {"ns": 1000, "ps": 10**6, "fs": 10**9, "as": 10**12}
_SURROGATE = re.compile("[\ud800-\udfff]")
# What a zone's offset could be asked for: datetime ends there.
_FIRST, _LAST = to_us(datetime(2, 1, 1, tzinfo=UTC)), to_us(datetime(9998, 12, 30, tzinfo=UTC))


def is_time(kind: pa.DataType) -> bool:
    """Whether values of this Arrow type can be times."""
    kind = simple_type(kind)
    number = pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)
    return bool(pt.is_timestamp(kind) or pt.is_date(kind) or number or pt.is_null(kind) or is_string(kind))


def times(column: Any, zone: tzinfo, *, late: bool = False) -> Read:
    """Microseconds since 1970 UTC of a column of times.

    Parameters
    ----------
    column : Arrow or numpy array of one type, or a sequence of scalars of any, (n,)
    zone : of times that carry none
    late : take the second of two readings where clocks go back

    Returns
    -------
    us : int64, (n,); 0 where there is no time
    known : bool, (n,); whether there is a time
    unreadable : the values that are not times; they are not ``known``

    Raises
    ------
    SchemaError
        A type whose values are no times.
    """
    if isinstance(column, pa.ChunkedArray):
        parts = [times(chunk, zone, late=late) for chunk in column.chunks]
        us = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in parts)])
        known = np.concatenate([np.zeros(0, bool), *(part[1] for part in parts)])
        return us, known, [value for part in parts for value in part[2]]
    if isinstance(column, pa.Array):
        return _of_arrow(column, zone, late)
    if isinstance(column, np.ndarray) and column.dtype.kind in "Miuf":
        known = ~np.ma.getmaskarray(column)
        us, there, unreadable = _of_numpy(np.ma.getdata(column), known, zone, late)
        return us, there, unreadable
    if isinstance(column, np.ndarray):
        column = column.tolist()
    if not isinstance(column, list | tuple):
        return times(pa.array(column, from_pandas=True), zone, late=late)
    return _of_scalars(column, zone, late)


def statistics_us(low: object, high: object, kind: pa.DataType, zone: tzinfo) -> tuple[int, int] | None:
    """Bounds in UTC microseconds of a column chunk's raw statistics; None where they cannot tell."""
    if not isinstance(low, int) or not isinstance(high, int):
        return None
    if pt.is_timestamp(kind):
        ends = [_scaled(np.array([end], np.int64), kind.unit)[0] for end in (low, high)]
        if ends[0] < _FIRST or ends[1] > _LAST:
            return None
        ends = [int(end) for end in ends]
        return (ends[0], ends[1]) if kind.tz is not None else bounds_us(ends[0], ends[1], zone)
    if pt.is_integer(kind) and (pt.is_signed_integer(kind) or 0 <= low <= high):  # raw ones have lost their signs
        return epoch_bounds_us(low, high)
    return None


def _of_arrow(column: pa.Array, zone: tzinfo, late: bool) -> Read:
    column = simple(column)
    if pt.is_dictionary(column.type):
        column = simple(column.dictionary_decode())
    kind = column.type
    if not is_time(kind):
        raise SchemaError(f"is {kind}, expected a time")
    if is_string(kind):
        return text_us(column.cast(pa.string()), zone, late)
    known = present(column)
    if pt.is_null(kind):
        return np.zeros(len(column), np.int64), np.zeros(len(column), bool), []
    if pt.is_timestamp(kind):
        us = _scaled(whole_numbers(column), kind.unit)
        return (us if kind.tz is not None else localize(us, zone, late)), known, []
    if pt.is_date(kind):
        days = whole_numbers(column.cast(pa.int32() if pt.is_date32(kind) else pa.int64()))
        days = days if pt.is_date32(kind) else days // 86_400_000
        return localize(scale(days, DAY), zone, late), known, []
    if pt.is_decimal(kind):
        column = _plain(column)
    return _of_numbers(_numbers(column), known, zone, late)


def _plain(decimals: pa.Array) -> pa.Array:
    """Whole decimals as int64, if they fit, and all others as the nearest float64."""
    if decimals.type.scale <= 0:
        try:
            return decimals.cast(pa.int64())
        except pa.ArrowInvalid:
            pass
    return decimals.cast(pa.float64())


def _numbers(column: pa.Array) -> npt.NDArray[np.generic]:
    if pt.is_floating(column.type):
        return real_numbers(column)
    if pt.is_uint64(column.type):
        return whole_numbers(column.cast(pa.int64(), safe=False)).view(np.uint64)
    return whole_numbers(column)


def _of_numpy(values: npt.NDArray[Any], known: Mask, zone: tzinfo, late: bool) -> Read:
    values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind != "M":
        return _of_numbers(values.astype(np.float64) if values.dtype.kind == "f" else values, known, zone, late)
    unit, count = np.datetime_data(values.dtype)
    if unit == "generic":  # of no unit, as only NaT can be
        return np.zeros(len(values), np.int64), np.zeros(len(values), bool), []
    if unit in ("Y", "M") or count != 1:
        values = values.astype("datetime64[D]" if unit in ("Y", "M") else "datetime64[us]")
    known = known & ~np.isnat(values)
    us = _scaled(values.astype(np.int64), np.datetime_data(values.dtype)[0])
    return np.where(known, localize(np.where(known, us, 0), zone, late), 0), known, []


def _of_numbers(numbers: npt.NDArray[Any], known: Mask, zone: tzinfo, late: bool) -> Read:
    if numbers.dtype.kind == "f":
        known = known & np.isfinite(numbers)
        numbers = np.where(known, numbers, 0.0)
    us, wrong = epoch_us(numbers, zone, late)
    wrong &= known
    return np.where(wrong, 0, us), known & ~wrong, [value.item() for value in numbers[wrong]]


def _scaled(values: npt.NDArray[np.int64], unit: str) -> Us:
    return values // _FINE[unit] if unit in _FINE else scale(values, _COARSE[unit])


def _of_scalars(values: Sequence[Any], zone: tzinfo, late: bool) -> Read:
    us, known = np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    wrong: dict[int, Any] = {}
    texts = [i for i, value in enumerate(values) if isinstance(value, str) and not _SURROGATE.search(value)]
    if texts:
        us[texts], known[texts], unreadable = text_us(from_texts([values[i] for i in texts]), zone, late)
        wrong.update((i, values[i]) for i in texts if not known[i] and values[i].strip() in {*unreadable})
    for i in {*range(len(values))} - {*texts}:
        if is_missing(values[i]) or _is_endless(values[i]):
            continue
        one = _of_scalar(values[i], zone, late)
        if one is None:
            wrong[i] = values[i]
        else:
            us[i], known[i] = one, True
    return us, known, [wrong[i] for i in sorted(wrong)]


def _of_scalar(value: Any, zone: tzinfo, late: bool) -> int | None:
    """Microseconds of what is no text; None for what is no time."""
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            return to_us(value)
        return int(localize(np.array([to_us(value.replace(tzinfo=UTC))]), zone, late)[0])
    if isinstance(value, date):
        return _of_scalar(datetime(value.year, value.month, value.day), zone, late)
    array = None
    if isinstance(value, np.datetime64):
        array = np.array([value])
    elif isinstance(value, bool | np.timedelta64):  # whole numbers, to Python
        return None
    elif isinstance(value, Integral):
        if -(2**63) <= int(value) < 2**64:
            array = np.array([int(value)], np.uint64 if int(value) > 0 else np.int64)
    elif isinstance(value, Real | Decimal):
        array = np.array([float(value)])
    if array is None:
        return None
    us, known, _ = times(array, zone, late=late)
    return int(us[0]) if known[0] else None


def _is_endless(value: Any) -> bool:
    """Whether a number is infinite: the time of what never was."""
    return isinstance(value, float | np.floating | Decimal) and not math.isfinite(value)
