"""Times and durations: what people write is read exactly, and what is written is read back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.errors import ConfigError
from gbdtlr.times import EPOCH, format_duration, format_time, from_us, parse_duration, parse_time, to_us, zone

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


@given(st.integers(1, 10**9))
def test_a_duration_written_is_read_back(seconds: int) -> None:
    length = timedelta(seconds=seconds)
    assert parse_duration(format_duration(length)) == length


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (36 * 3600, "1d12h"), (90, "1m30s"), (0.5, "0.5s")])
def test_durations_are_written_in_their_largest_units(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@given(MOMENTS)
def test_a_moment_written_is_read_back(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment
    assert from_us(to_us(moment)) == moment


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


@pytest.mark.parametrize("name", ["UTC", "utc", "Z"])
def test_utc_needs_no_zone_files(name: str) -> None:
    assert zone(name) is UTC
