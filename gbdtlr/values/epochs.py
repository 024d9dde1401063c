"""Epochs: numbers as times, counted from 1970 in whatever unit, or a date written without any signs.

The unit follows from the size: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else
nanoseconds; so seconds work to the year 5138 and milliseconds from March 1973. A whole number that reads as a date of
the years 1900 to 2199, 20240601 or 20240601235959, is that day or second on the clocks of the zone, as in text.
"""

from __future__ import annotations

from datetime import tzinfo

import numpy as np
import numpy.typing as npt

from gbdtlr.values.clocks import DAY, Us, localize

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64] | npt.NDArray[np.uint64] | npt.NDArray[np.float64]

DATES = ((19000101, 21991231), (19000101000000, 21991231235959))
"""Least and greatest number that may be a date, without and with a time of the day."""


def epoch_us(numbers: Numbers, zone: tzinfo, late: bool) -> tuple[Us, Mask]:
    """Microseconds since 1970 UTC, int64 (n,), and which numbers are no time: a 31st of June.

    Parameters
    ----------
    numbers : int64, uint64 or finite float64, (n,)
    """
    us = _counted(numbers)
    wrong = np.zeros(len(us), bool)
    for low, high in DATES:
        rows = np.flatnonzero((numbers >= low) & (numbers <= high))
        if not len(rows):
            continue
        digits = numbers[rows].astype(np.int64)
        local, is_date, there_is = _date(digits, with_time=high > DATES[0][1])
        is_date &= numbers[rows] == digits
        us[rows[is_date]] = localize(local[is_date], zone, late)
        wrong[rows[is_date & ~there_is]] = True
    return us, wrong


def epoch_bounds_us(low: int, high: int) -> tuple[int, int] | None:
    """Moments of the least and the greatest of some whole numbers; None where the order of numbers is not theirs."""
    ends = np.array([low, high], np.int64)
    first, last = _unit(ends)
    if first != last or any(low <= most and high >= least for least, most in DATES):
        return None
    low_us, high_us = _counted(ends)
    return int(low_us), int(high_us)


def _unit(numbers: Numbers) -> npt.NDArray[np.intp]:
    return np.searchsorted([1e11, 1e14, 1e17], np.abs(numbers.astype(np.float64)), side="right")


def _counted(numbers: Numbers) -> Us:
    unit = _unit(numbers)
    factors = np.array([1_000_000, 1000, 1, 0])
    if numbers.dtype.kind == "f":
        # Whole seconds and milliseconds apart from the rest: a product of theirs may be beyond what a float can tell.
        whole = np.where(unit < 2, np.trunc(numbers), 0.0)
        rest = (numbers - whole) * np.array([1e6, 1e3, 1.0, 1e-3])[unit]
        rounded = np.rint(np.clip(rest, -(2.0**62), 2.0**62)).astype(np.int64)
        us: Us = whole.astype(np.int64) * factors[unit] + rounded
        return us
    return np.where(unit == 3, (numbers // 1000).astype(np.int64), numbers.astype(np.int64) * factors[unit])


def _date(digits: npt.NDArray[np.int64], with_time: bool) -> tuple[Us, Mask, Mask]:
    """Local microseconds, whether the digits are those of a date, and whether its month has that day."""
    days, clock = np.divmod(digits, 1_000_000) if with_time else (digits, np.zeros_like(digits))
    year, month, day = days // 10000, days // 100 % 100, days % 100
    hour, minute, second = clock // 10000, clock // 100 % 100, clock % 100
    is_date = (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (hour < 24) & (minute < 60) & (second < 60)
    first = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    date = first.astype("datetime64[D]") + (day - 1)
    local = date.astype(np.int64) * DAY + (hour * 3600 + minute * 60 + second) * 1_000_000
    return local, is_date, date.astype("datetime64[M]") == first
