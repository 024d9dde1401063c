"""Partitions: patterns of ``strftime`` that say which time a path holds, and what was meant by one that is none."""

from __future__ import annotations

import re

from gbdtlr.errors import ConfigError

PARTS = "YmdjHM"
"""Letters that a pattern may have, each at most once."""
_COARSER = {"Y": "", "m": "Y", "d": "Ym", "j": "Y", "H": "", "M": "H"}  # what a path must say for a part to tell a time
_EXAMPLE = "date=%Y-%m-%d/hour=%H"
# How others write such patterns, and dates as they stand in paths.
_MEANT = (
    (r"(?<!\d)\d{4}-\d\d-\d\d[T ](\d\d)(?!\d)", "%Y-%m-%dT%H"),
    (r"(?<!\d)\d{4}-\d\d-\d\d(?!\d)", "%Y-%m-%d"),
    (r"(?<!\d)\d{4}/\d\d/\d\d(?!\d)", "%Y/%m/%d"),
    (r"(?<!\d)\d{8}(?!\d)", "%Y%m%d"),
    (r"(?<=year=)\d{4}(?!\d)", "%Y"),
    (r"(?<=month=)\d\d(?!\d)", "%m"),
    (r"(?<=day=)\d\d(?!\d)", "%d"),
    (r"(?<=hour=)\d\d(?!\d)", "%H"),
    ("YYYY|yyyy", "%Y"),
    (r"\{year\}|(?<=year=)\*", "%Y"),
    (r"\{month\}|(?<=month=)\*", "%m"),
    (r"\{day\}|(?<=day=)\*", "%d"),
    (r"\{hour\}|(?<=hour=)\*|HH|hh", "%H"),
    (r"(?<=%Y)(\W*)MM(\W*)(DD|dd)", r"\1%m\2%d"),
    (r"(?<=%Y)(\W*)MM", r"\1%m"),
    (r"(?<=%H)(\W*)mm", r"\1%M"),
    (r"(?<==)(\*|\{\w+\})", "%Y-%m-%d"),
)


def check_pattern(pattern: str, table: str) -> None:
    """Nothing, if a path that has the pattern says a time.

    Parameters
    ----------
    table : of the config, which has it under ``partition``

    Raises
    ------
    ConfigError
        Letters other than those of ``PARTS``, or parts without the coarser ones; the message says what to write.
    """
    told = f"[{table}] partition {pattern!r}"
    # Behind a % at the end there is no letter, which is none of those either.
    parts = re.findall("%(.?)", pattern, re.DOTALL)
    if not parts:
        raise ConfigError(
            f"{told} has none of strftime's letters, which say where a path has its time; {_hint(pattern)}"
        )
    if any(part == "" or part not in PARTS for part in parts) or len(set(parts)) < len(parts):
        letters = " ".join(f"%{part}" for part in PARTS)
        raise ConfigError(f"{told}: use {letters}, each at most once, as in {_EXAMPLE}")
    if not _says_a_time(parts):
        raise ConfigError(
            f"{told} does not say a time: expected a year, and every part down to the finest, as in %Y/%m/%d or "
            f"{_EXAMPLE}"
        )


def _says_a_time(parts: list[str]) -> bool:
    days = {"d", "j"} & {*parts}
    if "Y" not in parts or len(days) > 1 or ("H" in parts and not days):
        return False
    return all(coarser in parts for part in parts for coarser in _COARSER[part])


def _hint(pattern: str) -> str:
    """What was meant by a pattern without letters, as far as can be told."""
    meant = pattern.strip("/")
    for theirs, ours in _MEANT:
        meant = re.sub(theirs, ours, meant)
    if re.fullmatch(r"\w+=?", meant):
        meant = f"{meant.rstrip('=')}=%Y-%m-%d"
    parts = re.findall("%(.)", meant)
    if len(set(parts)) == len(parts) and _says_a_time(parts):
        return f"write {meant} if that is meant"
    return f"write such as {_EXAMPLE}, or leave partition out"
