"""Checks that several tables of a config make."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from gbdtlr.errors import ConfigError
from gbdtlr.times import check_length


def where(section: str, key: str) -> str:
    """A key as messages name it."""
    return f"[{section}] {key}" if section else key


def check_lengths(section: str, config: object) -> None:
    """Nothing, if no duration of the section would lead out of the calendar."""
    for key, value in vars(config).items():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, timedelta):
                check_length(where(section, key), each)


def check_names(section: str, key: str, columns: Iterable[str]) -> None:
    """Nothing, if each of the columns that a key names has a name."""
    if not all(name.strip() for name in columns):
        raise ConfigError(f"{where(section, key)} names a column without a name; write it, or leave the key out")


def at_least(key: str, value: int, least: int) -> None:
    """Nothing, if the value is no smaller than it may be."""
    if value < least:
        raise ConfigError(f"{key} must be at least {least}, not {value}")
