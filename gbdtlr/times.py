"""Times and durations as people write them: ISO 8601, and ``90s 15m 6h 28d``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from zoneinfo import ZoneInfo

from gbdtlr.errors import ConfigError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)([smhd])")
_MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
"""The least time there is: what ends a moment later includes the moment."""

LONGEST = timedelta(days=36525)
"""Longest window, delay or age that a job is given: a century."""
EARLIEST, LATEST = datetime(1000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""First and last moment a job may pretend is now: windows around it stay in the calendar."""


def parse_duration(text: str) -> timedelta:
    """Duration written as one or more numbers with units, such as ``90s`` or ``1d12h``.

    Raises
    ------
    ConfigError
        Not a duration, or zero.
    """
    found = _DURATION.findall(text)
    if not found or "".join(n + u for n, u in found) != text:
        raise ConfigError(f"{text!r} is not a duration; write one such as 90s, 15m, 6h or 28d")
    try:
        # As a fraction: a float would lose the microseconds of a long one.
        length = timedelta(microseconds=round(sum(Fraction(n) * _UNITS[u] for n, u in found) * 1_000_000))
    except OverflowError:
        raise ConfigError(f"{text!r} is too long a duration") from None
    if not length:
        raise ConfigError(f"{text!r} is no time at all; a duration must be longer than zero")
    return length


def format_duration(length: timedelta) -> str:
    """Shortest text that :func:`parse_duration` reads back, such as ``1d12h``; zero is ``0s``.

    A negative one, which is no duration to :func:`parse_duration`, has a minus in front.
    """
    sign = "-" if length < timedelta() else ""
    us = abs(length // _MICROSECOND)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        n, us = divmod(us, size * 1_000_000)
        if n:
            parts.append(f"{n}{unit}")
    if us or not parts:
        seconds, fraction = divmod(us, 1_000_000)
        parts.append(f"{seconds}.{fraction:06}".rstrip("0").rstrip(".") + "s")
    return sign + "".join(parts)


def check_length(what: str, length: timedelta) -> timedelta:
    """``length``, if it is no longer than ``LONGEST``; ``what`` is the key or option that says it.

    Raises
    ------
    ConfigError
        Longer: dates would leave the calendar.
    """
    if length > LONGEST:
        most = format_duration(LONGEST)
        raise ConfigError(f"{what} is {format_duration(length)}, longer than a century; write at most {most}")
    return length


def check_moment(moment: datetime) -> datetime:
    """``moment``, if it lies from ``EARLIEST`` to ``LATEST``.

    Raises
    ------
    ConfigError
        Outside: windows around it would leave the calendar.
    """
    if not EARLIEST <= moment <= LATEST:
        raise ConfigError(
            f"{format_time(moment)} is outside of the years a job can run in; "
            f"write a time from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}"
        )
    return moment


def zone(name: str) -> tzinfo:
    """Time zone by its IANA name.

    Raises
    ------
    ConfigError
        No such zone.
    """
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(f"{name!r} is not a time zone; write an IANA name such as UTC or America/New_York") from None


def parse_time(text: str, timezone: str = "UTC") -> datetime:
    """Moment written in ISO 8601, in UTC; ``timezone`` is that of texts that carry none.

    Raises
    ------
    ConfigError
        Not ISO 8601, or before year 1 or after year 9999 in UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is not an ISO 8601 time; write one such as 2013-02-15T06:00 or 2013-02-15T06:00Z"
        ) from None
    try:
        return in_utc(moment, timezone)
    except OverflowError:
        raise ConfigError(f"{text!r} is outside of the years 1 to 9999 in UTC; write a time within them") from None


def in_utc(moment: datetime, timezone: str) -> datetime:
    """The moment in UTC; ``timezone`` is that of one that carries none.

    Raises
    ------
    OverflowError
        It is before year 1 or after year 9999 in UTC.
    """
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone(timezone))).astimezone(UTC)


def format_time(moment: datetime) -> str:
    """ISO 8601 in UTC, such as ``2013-02-15T06:00:00Z``; microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 in UTC, exact."""
    return (moment - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Moment, in UTC, of microseconds since 1970; the first or the last of the calendar, where it ends before."""
    return EPOCH + timedelta(microseconds=min(max(int(us), _FIRST_US), _LAST_US))


_FIRST_US, _LAST_US = (to_us(moment.replace(tzinfo=UTC)) for moment in (datetime.min, datetime.max))
