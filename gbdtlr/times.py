"""Times and durations as people write them: ISO 8601, and ``90s 15m 6h 28d``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from gbdtlr.errors import ConfigError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
"""The least time there is: what ends a moment later includes the moment."""


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
        length = timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in found))
    except OverflowError:
        raise ConfigError(f"{text!r} is too long a duration") from None
    if not length:
        raise ConfigError(f"{text!r} is no time at all; a duration must be longer than zero")
    return length


def format_duration(length: timedelta) -> str:
    """Shortest text that :func:`parse_duration` reads back, such as ``1d12h``; zero is ``0s``."""
    seconds = length.total_seconds()
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        n, seconds = divmod(seconds, size)
        if n:
            parts.append(f"{int(n)}{unit}")
    if seconds or not parts:
        parts.append(f"{seconds:g}s")
    return "".join(parts)


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
        Not ISO 8601.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is not an ISO 8601 time; write one such as 2013-02-15T06:00 or 2013-02-15T06:00Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone(timezone))
    return moment.astimezone(UTC)


def format_time(moment: datetime) -> str:
    """ISO 8601 in UTC, such as ``2013-02-15T06:00:00Z``; microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 in UTC, exact."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """Moment, in UTC, of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=int(us))
