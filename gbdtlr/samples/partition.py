"""Partition: the span of event time that a file's path places it in, such as ``date=%Y-%m-%d/hour=%H``."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property

from gbdtlr.config.partitions import check_pattern
from gbdtlr.times import to_us, zone
from gbdtlr.values.clocks import bounds_us

_DIGITS = {"Y": r"\d{4}", "m": r"\d{2}", "d": r"\d{2}", "j": r"\d{3}", "H": r"\d{2}", "M": r"\d{2}"}
_LENGTH = {"d": timedelta(days=1), "j": timedelta(days=1), "H": timedelta(hours=1), "M": timedelta(minutes=1)}


@dataclass(frozen=True)
class Partition:
    """A strftime pattern found in paths; the finest part of it is how much time a file spans."""

    pattern: str
    timezone: tzinfo
    _spans: dict[str, tuple[int, int] | None] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, pattern: str, timezone: str, table: str = "samples") -> Partition:
        """Partition by ``pattern``, times in ``timezone``, as a table of the config says.

        Raises
        ------
        ConfigError
            A directive that is not one of ``%Y %m %d %j %H %M``, or parts without the coarser ones.
        """
        check_pattern(pattern, table)
        return cls(pattern, zone(timezone))

    def span_us(self, path: str) -> tuple[int, int] | None:
        """Half-open interval in UTC microseconds that holds the file's events; None if the path does not say.

        Where the pattern occurs more than once in the path, the last one counts.
        """
        found = self._regex.findall(path)
        return self._span_us(found[-1]) if found else None

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        # Directives sit between literal pieces; neither end may cut a longer number in two.
        pieces = re.split("%(.)", self.pattern)
        body = "".join(_DIGITS[piece] if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))
        return re.compile(rf"(?<!\d){body}(?!\d)")

    def _span_us(self, text: str) -> tuple[int, int] | None:
        if text not in self._spans:
            try:
                start = datetime.strptime(text, self.pattern)
            except ValueError:
                self._spans[text] = None
            else:
                low, high = to_us(start.replace(tzinfo=UTC)), _end_us(start, self._finest)
                self._spans[text] = bounds_us(low, high, self.timezone)
        return self._spans[text]

    @cached_property
    def _finest(self) -> str:
        return next(part for part in "MHjdmY" if f"%{part}" in self.pattern)


def _end_us(start: datetime, finest: str) -> int:
    """Microseconds at which the partition that begins at ``start`` ends, after the calendar's last maybe."""
    if finest in _LENGTH:
        return to_us(start.replace(tzinfo=UTC)) + _LENGTH[finest] // timedelta(microseconds=1)
    days = monthrange(start.year, start.month)[1] if finest == "m" else 366 if isleap(start.year) else 365
    return to_us(start.replace(tzinfo=UTC)) + days * 86_400_000_000
