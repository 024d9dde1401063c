"""Times and durations: what people write is read exactly, and what is written is read back."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import gbdtlr
from gbdtlr.config import Config, SamplesConfig
from gbdtlr.errors import ConfigError
from gbdtlr.times import (
    EARLIEST,
    EPOCH,
    LATEST,
    LONGEST,
    check_length,
    check_moment,
    format_duration,
    format_time,
    from_us,
    parse_duration,
    parse_time,
    to_us,
    zone,
)

MOMENTS = st.datetimes(min_value=datetime(1900, 1, 2), max_value=datetime(2200, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("6h", 21600), ("28d", 28 * 86400), ("1d12h", 36 * 3600), ("0.5h", 1800)],
)
def test_durations_are_sums_of_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "6", "h", "6 h", "6h ", "-6h", "6H", "six hours", "1w", "1e3s", "6h,3m", "٣.h"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a duration; write one such as 90s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "0d0h", "0.0000001s"])
def test_no_time_at_all_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match="longer than zero"):
        parse_duration(text)


def test_durations_longer_than_python_counts_are_refused() -> None:
    with pytest.raises(ConfigError, match="too long"):
        parse_duration("9999999999d")


@given(st.timedeltas(min_value=timedelta(microseconds=1)))
@example(timedelta.max)
@example(timedelta(microseconds=1))
@example(timedelta(seconds=1234567.891))
def test_a_duration_written_is_read_back(length: timedelta) -> None:
    assert parse_duration(format_duration(length)) == length


@given(st.timedeltas(max_value=timedelta(microseconds=-1)))
def test_a_negative_duration_is_written_as_such_and_is_none_to_read(length: timedelta) -> None:
    text = format_duration(length)
    assert text == "-" + format_duration(-length)
    with pytest.raises(ConfigError, match="is not a duration"):
        parse_duration(text)


@given(st.lists(st.tuples(st.decimals(0, 10**6, places=7), st.sampled_from("smhd")), min_size=1, max_size=4))
def test_a_sum_of_durations_is_exact(parts: list[tuple[Decimal, str]]) -> None:
    exact = sum(Fraction(n) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for n, unit in parts)
    if round(exact * 10**6):
        text = "".join(f"{n:f}{unit}" for n, unit in parts)
        assert parse_duration(text) == timedelta(microseconds=round(exact * 10**6))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (36 * 3600, "1d12h"), (90, "1m30s"), (0.5, "0.5s"), (1e-6, "0.000001s"), (100, "1m40s")],
)
def test_durations_are_written_in_their_largest_units(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@given(MOMENTS)
def test_a_moment_written_is_read_back(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment
    assert from_us(to_us(moment)) == moment


@given(st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")])))
@example(datetime(1, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")))
@example(datetime(9999, 12, 31, 23, tzinfo=ZoneInfo("America/New_York")))
def test_any_date_of_the_calendar_is_read_or_refused(moment: datetime) -> None:
    us = (moment.replace(tzinfo=None) - datetime.min) - (moment.utcoffset() or timedelta())
    if timedelta() <= us <= datetime.max - datetime.min:
        assert parse_time(moment.isoformat()) == moment.astimezone(UTC)
    else:
        with pytest.raises(ConfigError, match="is outside of the years 1 to 9999 in UTC"):
            parse_time(moment.isoformat())


@given(st.integers(-(2**63), 2**63 - 1))
def test_moments_outside_of_the_calendar_are_at_its_edge(us: int) -> None:
    moment = from_us(us)
    first, last = (to_us(edge.replace(tzinfo=UTC)) for edge in (datetime.min, datetime.max))
    assert to_us(moment) == min(max(us, first), last)
    assert format_time(moment)


def test_jobs_run_in_years_whose_windows_are_in_the_calendar() -> None:
    for moment in (EARLIEST, LATEST):
        assert check_moment(moment) == moment
        for shift in (-LONGEST, LONGEST):
            assert format_time(moment + shift)
    for text in ("0999-12-31T23:59:59Z", "9999-12-31", "9999-12-31T23:59:59.999999Z", "0001-01-01"):
        with pytest.raises(ConfigError, match="write a time from 1000-01-01 to 9000-01-01"):
            check_moment(parse_time(text))
    assert check_length("window", LONGEST) == LONGEST
    with pytest.raises(ConfigError, match=r"window is 100000d, longer than a century; write at most 36525d"):
        check_length("window", timedelta(days=100_000))


def test_the_public_jobs_refuse_dates_outside_of_the_calendar(tmp_path: Path) -> None:
    config = Config(SamplesConfig((str(tmp_path),), "t", label_delay=timedelta(hours=1), numeric=("x",)))
    tokyo = datetime(1, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))
    for as_of in ("9999-12-31", "0001-01-01T00:00+05:00", datetime(9999, 12, 31), tokyo):
        for job in (gbdtlr.train_trees, gbdtlr.update_lr):
            with pytest.raises(ConfigError, match=r"^as_of: .* is outside of the years"):
                job(config, as_of)


@given(MOMENTS, MOMENTS)
def test_microseconds_keep_order_and_distance(a: datetime, b: datetime) -> None:
    assert to_us(a) - to_us(b) == (a - b) // timedelta(microseconds=1)
    assert to_us(EPOCH) == 0


def test_times_that_carry_no_zone_are_those_of_the_zone_given() -> None:
    assert parse_time("2013-02-15", "America/New_York") == datetime(2013, 2, 15, 5, tzinfo=UTC)
    assert parse_time("2013-07-15T00:00", "America/New_York") == datetime(2013, 7, 15, 4, tzinfo=UTC)
    assert parse_time("2013-02-15T06:00Z", "America/New_York") == datetime(2013, 2, 15, 6, tzinfo=UTC)
    assert parse_time("2013-02-15T06:00+09:00") == datetime(2013, 2, 14, 21, tzinfo=UTC)


def test_moments_are_always_in_utc() -> None:
    assert parse_time("2013-02-15T06:00+09:00").tzinfo is UTC
    local = datetime(2013, 2, 15, 1, tzinfo=ZoneInfo("America/New_York"))
    assert format_time(local) == "2013-02-15T06:00:00Z"


@pytest.mark.parametrize("text", ["", "yesterday", "2013-02-30", "15/02/2013", "2013-02-15T25:00"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an ISO 8601 time; write one such as"):
        parse_time(text)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "America"])
def test_what_is_no_zone_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a time zone; write an IANA name"):
        zone(name)


def test_zones_are_known_where_the_system_has_no_files_of_them() -> None:
    code = "from gbdtlr.times import zone; print(zone('America/New_York'))"
    environ = {**os.environ, "PYTHONTZPATH": ""}
    run = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "America/New_York"


@pytest.mark.parametrize("name", ["UTC", "utc", "Z"])
def test_utc_needs_no_zone_files(name: str) -> None:
    assert zone(name) is UTC
