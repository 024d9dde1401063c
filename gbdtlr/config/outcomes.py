"""Outcomes, which make samples of impressions: the table ``[outcomes]``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gbdtlr.config.checks import at_least, check_lengths, check_names
from gbdtlr.config.partitions import check_pattern
from gbdtlr.errors import ConfigError

UNFINAL = ("wait", "weigh")
"""What becomes of rows whose label may still change: they wait until it is final, or are weighed by what is known."""
AT_ONCE = "labels-at-once"
"""What a replay compares these with, and no config file can ask for: every label known as its row happens."""

_MOST_OUTCOMES = 2**32  # they are counted in 32 bits where they are sorted


@dataclass(frozen=True)
class OutcomesConfig:
    """Where the outcomes are that make samples of impressions, and how long they are waited for.

    An impression is a 1 where an outcome of its key came within ``window`` of it. ``partition`` places outcomes by
    their own time. ``landed_time`` is the column that says when an outcome could be read, where that was later;
    ``value`` one that says whether an outcome is a 1 or a 0; ``weight`` what it multiplies its sample's weight by. At
    most ``max_outcomes`` are held at once.
    """

    path: tuple[str, ...]
    key: str
    time: str
    window: timedelta
    partition: str | None = None
    unfinal: str = "wait"
    landed_time: str | None = None
    value: str | None = None
    weight: str | None = None
    max_outcomes: int = 100_000_000

    def __post_init__(self) -> None:
        check_lengths("outcomes", self)
        if not self.path or not all(each.strip() for each in self.path):
            raise ConfigError("[outcomes] path is empty; name files, folders or globs")
        if not self.window:
            raise ConfigError("[outcomes] window must be above zero: it is how long an outcome is waited for")
        if self.partition is not None:
            check_pattern(self.partition, "outcomes")
        check_unfinal("outcomes", self.unfinal)
        at_least("[outcomes] max_outcomes", self.max_outcomes, 1)
        if self.max_outcomes >= _MOST_OUTCOMES:
            raise ConfigError(f"[outcomes] max_outcomes must be below {_MOST_OUTCOMES}, not {self.max_outcomes}")
        for key in ("key", "time", "value", "weight", "landed_time"):
            check_names("outcomes", key, [] if getattr(self, key) is None else [getattr(self, key)])
        landed = None if self.landed_time == self.time else self.landed_time  # of outcomes that land as they come
        columns = [name for name in (self.key, self.time, self.value, self.weight, landed) if name]
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            raise ConfigError(
                f"[outcomes] names {', '.join(twice)} for two things; key, time, value, weight and landed_time differ"
            )


def check_unfinal(section: str, unfinal: str) -> None:
    """Nothing, if rows whose label is not final yet can be treated so."""
    if unfinal not in (*UNFINAL, AT_ONCE):
        raise ConfigError(f"[{section}] unfinal is {unfinal!r}; choose one of {', '.join(UNFINAL)}")
