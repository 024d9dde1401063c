"""Patterns of partitions: those that say no time are refused as a config is loaded, with what was meant by them."""

from __future__ import annotations

from datetime import datetime
from itertools import combinations

import pytest

from gbdtlr.config import Config
from gbdtlr.config.partitions import PARTS
from gbdtlr.errors import ConfigError

SAMPLES = {"path": "x", "event_time": "t", "numeric": ["n"]}
OUTCOMES = {"path": "o", "key": "k", "time": "c", "window": "1h"}


def config(table: str, pattern: str) -> Config:
    """A config that has the pattern in one of the two tables."""
    if table == "samples":
        return Config.from_dict({"samples": {**SAMPLES, "label_delay": "1h", "partition": pattern}})
    return Config.from_dict({"samples": {**SAMPLES, "key": "k"}, "outcomes": {**OUTCOMES, "partition": pattern}})


@pytest.mark.parametrize("table", ["samples", "outcomes"])
@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("date", "date=%Y-%m-%d"),
        ("dt=", "dt=%Y-%m-%d"),
        ("dt=2024-03-01", "dt=%Y-%m-%d"),
        ("dt=2024-03-01/hour=07", "dt=%Y-%m-%d/hour=%H"),
        ("2024/03/01", "%Y/%m/%d"),
        ("20240301", "%Y%m%d"),
        ("2024-03-01T07", "%Y-%m-%dT%H"),
        ("year=2024/month=03/day=01", "year=%Y/month=%m/day=%d"),
        ("year=*/month=*/day=*/hour=*/", "year=%Y/month=%m/day=%d/hour=%H"),
        ("YYYY-MM-DD", "%Y-%m-%d"),
        ("yyyy/MM/dd/HH", "%Y/%m/%d/%H"),
        ("YYYYMMDDHHmm", "%Y%m%d%H%M"),
        ("{year}/{month}/{day}", "%Y/%m/%d"),
        ("date={date}", "date=%Y-%m-%d"),
        ("dt=*/hour=*", "dt=%Y-%m-%d/hour=%H"),
        ("YYYY-MM", "%Y-%m"),
    ],
)
def test_what_was_meant_by_a_pattern_without_letters_is_told_and_right(table: str, pattern: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(table, pattern)
    told = f"[{table}] partition {pattern!r} has none of strftime's letters, which say where a path has its time; "
    assert str(caught.value) == f"{told}write {meant} if that is meant"
    config(table, meant)


@pytest.mark.parametrize("pattern", ["", "clicks/daily", "hour=*", "region=*/date=*/shard=*", "HH", "%%"])
def test_of_others_an_example_is_told(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"\[samples\] partition .* as (in )?date=%Y-%m-%d/hour=%H"):
        config("samples", pattern)


@pytest.mark.parametrize("pattern", ["%Y-%m-%d%", "%", "%Y-%m-%d %S", "%y-%m-%d", "%Y-%-m-%-d", "%Y-%Y", "%Y\n%\n"])
def test_letters_that_are_none_of_those_read_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="use %Y %m %d %j %H %M, each at most once, as in date=%Y-%m-%d/hour=%H"):
        config("samples", pattern)


EVERY = [parts for n in range(1, len(PARTS) + 1) for parts in combinations(PARTS, n)]


@pytest.mark.parametrize("parts", EVERY, ids="".join)
def test_letters_are_taken_that_say_one_span_of_time(parts: tuple[str, ...]) -> None:
    """So they do if no two times with the same coarser parts are written the same, and none with others is."""
    pattern = "-".join(f"%{part}" for part in parts)
    finest = max(parts, key="YmdjHM".index)
    # Moments that differ in one unit only, each as fine as no coarser one.
    units = {"Y": 0, "m": 1, "d": 2, "j": 2, "H": 3, "M": 4}
    moments = [(2023, 2, 3, 4, 5), (2024, 2, 3, 4, 5), (2023, 5, 3, 4, 5), (2023, 2, 9, 4, 5), (2023, 2, 3, 8, 5)]
    moments += [(2023, 2, 3, 4, 7)]
    told = [datetime(*moment).strftime(pattern) for moment in moments[: units[finest] + 2]]
    unique = len(set(told)) == len(told) and not {"d", "j"} <= {*parts}
    if unique:
        config("samples", pattern)
        return
    with pytest.raises(ConfigError, match="does not say a time: expected a year, and every part down to the finest"):
        config("samples", pattern)
