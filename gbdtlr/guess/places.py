"""Places: the strftime pattern by which the paths of files say the time of the events in them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gbdtlr.guess.looking import Look
from gbdtlr.samples.partition import Partition

_KEY = r"(?P<key>[A-Za-z_]+=)?"
_DAYS = (
    (rf"{_KEY}\d{{4}}-\d{{2}}-\d{{2}}", "%Y-%m-%d"),
    (r"(?P<key>year=)\d{4}/month=\d{2}/day=\d{2}", "%Y/month=%m/day=%d"),
    (r"(?P<key>)\d{4}/\d{2}/\d{2}", "%Y/%m/%d"),
    (rf"{_KEY}(?<!\d)\d{{8}}(?!\d)", "%Y%m%d"),
)
_HOUR = r"(?P<between>[/_T-]|/[A-Za-z_]+=)\d{2}(?!\d)"


_NEAR_US = 2 * 86_400_000_000


def partition_of(look: Look, event_time: str, timezone: str = "UTC") -> str | None:
    """A pattern that places all files, and every row that was looked at in the time it has; None if none does."""
    us = look.columns[event_time].us
    for pattern in _patterns(look.looked[0].path):
        partition = Partition.of(pattern, timezone)
        if any(partition.span_us(file.path) is None for file in look.files) or us is None:
            continue
        spans = [partition.span_us(file.path) for file in look.looked]
        inside = (
            span is not None and bool(((own >= span[0]) & (own < span[1])).all())
            for span, own in ((span, us[look.file_of == i]) for i, span in enumerate(spans))
        )
        if all(inside):
            return pattern
    return None


def partition_of_others(look: Look, event_time: str) -> str | None:
    """A pattern that places all files within two days of their rows, if not in the times they have; None if none does.

    So are paths that were written by the clocks of another zone, or when a file was.
    """
    us = look.columns[event_time].us
    for pattern in _patterns(look.looked[0].path):
        partition = Partition.of(pattern, "UTC")
        spans = [partition.span_us(file.path) for file in look.looked]
        if us is not None and all(
            span is not None and bool(((own >= span[0] - _NEAR_US) & (own < span[1] + _NEAR_US)).all())
            for span, own in ((span, us[look.file_of == i]) for i, span in enumerate(spans))
        ):
            return pattern
    return None


def _patterns(path: str) -> Iterator[str]:
    """Patterns that the path may have been written with, the finest first."""
    for regex, day in _DAYS:
        for found in re.finditer(regex, path):
            pattern = (found["key"] or "") + day
            hour = re.match(_HOUR, path[found.end() :])
            if hour is not None:
                yield f"{pattern}{hour['between']}%H"
            yield pattern
