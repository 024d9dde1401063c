"""Times in every form, against Python's own datetime as the oracle; clocks that change."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gbdtlr.errors import SchemaError
from gbdtlr.times import from_us, to_us
from gbdtlr.values.clocks import bounds_us
from gbdtlr.values.times import statistics_us, times

NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # changes by half an hour
APIA = ZoneInfo("Pacific/Apia")  # left out a whole day, 30 December 2011
BEIRUT = ZoneInfo("Asia/Beirut")  # changes at midnight
zones = st.sampled_from([UTC, NEW_YORK, LORD_HOWE, APIA, BEIRUT])
local_times = st.one_of(
    st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)),
    st.datetimes(datetime(2013, 3, 10), datetime(2013, 3, 11)),
    st.datetimes(datetime(2013, 11, 3), datetime(2013, 11, 4)),
    st.datetimes(datetime(2011, 12, 29), datetime(2012, 1, 1)),
)


def moment(column, zone, late=False):
    us, known, unreadable = times(column, zone, late=late)
    assert known.all()
    assert not unreadable
    return [from_us(one) for one in us]


def by_datetime(local, zone, late):
    readings = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return max(readings) if late else readings[0]


@given(times=st.lists(local_times, min_size=1, max_size=20), zone=zones, late=st.booleans())
def test_local_times_are_read_as_datetime_reads_them(times, zone, late):
    column = pa.array(times, pa.timestamp("us"))
    assert moment(column, zone, late) == [by_datetime(t, zone, late) for t in times]
    assert moment(pa.array([t.isoformat() for t in times]), zone, late) == moment(column, zone, late)


@given(first=local_times, second=local_times, between=st.floats(0, 1), zone=zones, late=st.booleans())
def test_bounds_hold_every_local_time_between(first, second, between, zone, late):
    low, high = sorted([first, second])
    inside = low + (high - low) * between
    ends = [to_us(t.replace(tzinfo=UTC)) for t in (low, high)]
    least, most = bounds_us(*ends, zone)
    assert least <= to_us(by_datetime(inside, zone, late)) <= most


def test_bounds_hold_skipped_times_and_what_follows_them():
    def us(minute):
        return to_us(datetime(2013, 3, 10, tzinfo=UTC) + timedelta(minutes=minute))

    # 2:30 is read as 7:30 in UTC, but 3:00 after it is 7:00; and 2:59 before 3:10 is 7:59, which is 3:59.
    assert from_us(bounds_us(us(150), us(185), NEW_YORK)[0]) <= datetime(2013, 3, 10, 7, tzinfo=UTC)
    assert from_us(bounds_us(us(170), us(190), NEW_YORK)[1]) >= datetime(2013, 3, 10, 7, 59, tzinfo=UTC)
    assert bounds_us(us(-3000), us(-2900), NEW_YORK) == (us(-2700), us(-2600))


def test_clocks_going_back_and_forward():
    twice, skipped = datetime(2013, 11, 3, 1, 30), datetime(2013, 3, 10, 2, 9)
    column = pa.array([twice, skipped], pa.timestamp("s"))
    assert [str(t) for t in moment(column, NEW_YORK)] == ["2013-11-03 05:30:00+00:00", "2013-03-10 07:09:00+00:00"]
    late = moment(column, NEW_YORK, late=True)
    assert [str(t) for t in late] == ["2013-11-03 06:30:00+00:00", "2013-03-10 07:09:00+00:00"]


@pytest.mark.parametrize(
    "text",
    [
        "2013-02-01T05:15:00Z",
        "2013-02-01 05:15Z",
        "2013-02-01T05:15:00+00:00",
        "2013-02-01 00:15:00-0500",
        "2013-02-01T10:45:00.000000+05:30",
        " 2013-02-01T05:15:00.000000000Z ",
        "20130201T051500Z",
        "2013-02-01T06:15:00,000+01:00",
        "2013-02-01T00:15",
        "2013-02-01 00:15:00",
        "20130201T001500",
        "1359695700",
        "1359695700.0",
        "1359695700000",
        "1359695700000000",
        "1359695700000000000",
    ],
)
def test_texts_of_one_moment(text):
    assert moment(pa.array([text]), NEW_YORK) == [datetime(2013, 2, 1, 5, 15, tzinfo=UTC)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1359695700]),
        pa.array([1359695700], pa.int32()),
        pa.array([1359695700.0]),
        pa.array([1359695700_000.0]),
        pa.array([1359695700_000]),
        pa.array([1359695700_000_000]),
        pa.array([1359695700_000_000_000]),
        *(pa.array([datetime(2013, 2, 1, 5, 15)], pa.timestamp(unit, "UTC")) for unit in ("s", "ms", "us", "ns")),
        *(pa.array([datetime(2013, 2, 1, 0, 15)], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
        pa.array([datetime(2013, 2, 1, 5, 15)], pa.timestamp("ms", "Asia/Tokyo")),
        pa.array(["2013-02-01T05:15Z"]).dictionary_encode(),
        pa.array(["2013-02-01T05:15Z"], pa.large_string()),
    ],
)
def test_types_of_one_moment(column):
    assert moment(column, NEW_YORK) == [datetime(2013, 2, 1, 5, 15, tzinfo=UTC)]


def test_days_begin_at_midnight_of_the_zone():
    for kind in (pa.date32(), pa.date64()):
        column = pa.array([datetime(2013, 2, 1).date()], kind)
        assert moment(column, NEW_YORK) == [datetime(2013, 2, 1, 5, tzinfo=UTC)]
    assert moment(pa.array(["2013-02-01"]), NEW_YORK) == [datetime(2013, 2, 1, 5, tzinfo=UTC)]


def test_what_is_missing_and_what_is_no_time():
    us, known, unreadable = times(pa.array(["2013-02-01", None, " ", "soon", "2013-13-01Z", "1.2.2013"]), UTC)
    assert known.tolist() == [True, False, False, False, False, False]
    assert unreadable == ["soon", "2013-13-01Z", "1.2.2013"]
    assert us[0] == to_us(datetime(2013, 2, 1, tzinfo=UTC))
    assert times(pa.array([1e9, float("nan"), float("inf"), None]), UTC)[1].tolist() == [
        True,
        False,
        False,
        False,
    ]
    assert times(pa.nulls(2), UTC)[1].tolist() == [False, False]
    assert not times(pa.nulls(2, pa.timestamp("us")), NEW_YORK)[1].any()


def test_slices_and_empty_columns():
    column = pa.array([0, None, 1359695700, 5], pa.timestamp("s", "UTC")).slice(1, 2)
    us, known, _ = times(column, UTC)
    assert known.tolist() == [False, True]
    assert us[1] == 1359695700_000_000
    assert times(column.slice(0, 0), NEW_YORK)[0].shape == (0,)


def test_times_at_the_end_of_the_world_stay_there():
    for text in ("9999-12-31T23:59:59", "0001-01-01T00:00:00"):
        (edge,) = times(pa.array([text]).cast(pa.timestamp("s")), NEW_YORK)[0]
        assert abs(edge - to_us(datetime.fromisoformat(text + "+00:00"))) < 86400_000_000
    assert times(pa.array([2**62], pa.timestamp("s", "UTC")), UTC)[0][0] > to_us(datetime(9999, 1, 1, tzinfo=UTC))


def test_statistics_that_cannot_tell_do_not():
    assert statistics_us(b"2013", b"2014", pa.string(), UTC) is None
    assert statistics_us(10**9, 2 * 10**12, pa.int64(), UTC) is None
    assert statistics_us(10**9, 2 * 10**9, pa.int64(), UTC) == (10**15, 2 * 10**15)
    assert statistics_us(0, 2**62, pa.timestamp("s"), UTC) is None


MOMENT = datetime(2024, 6, 1, 0, 3, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2024-06-01 00:03:56 UTC",
        "2024-06-01 00:03:56.000000 UTC",
        "2024-06-01 00:03:56 utc",
        "2024-06-01T00:03:56GMT",
        "2024-06-01 02:03:56 GMT+0200",
        "2024-06-01 02:03:56 UTC+2",
        "2024-05-31 17:03:56.000 -0700",
        "2024-06-01 00:03:56+00",
        "2024-06-01T02:03:56+02:00[Europe/Berlin]",
        "2024-06-01T00:03:56Z[UTC]",
        "2024-06-01 02:03:56.000 Europe/Berlin",
        "2024-06-01t00:03:56z",
        "2024-06-01  00:03:56 Z",
        "20240601T000356Z",
        "2024-06-01T00:03:56.000000999Z",
        "01/Jun/2024:02:03:56 +0200",
        "Sat, 01 Jun 2024 00:03:56 GMT",
        "1 Jun 2024 00:03:56 +0000",
        "1717200236",
        "1.717200236e9",
        "+1717200236",
        "1717200236000",
        # On the clocks of the zone that is given.
        "2024-05-31 20:03:56",
        "2024/05/31 20:03:56",
        "2024/5/31 20:03:56",
        "2024.05.31 20:03:56",
        "31 May 2024 20:03:56",
        "20240531200356",
        "20240531 200356",
        "2024-05-31T20:03:56,0",
    ],
)
def test_spellings_of_databases_services_and_logs(text):
    assert moment(pa.array([text]), NEW_YORK) == [MOMENT]
    assert moment([text], NEW_YORK) == [MOMENT]
    ordinary = ["2024-05-31T20:03:56"] * 3
    assert moment(pa.array([*ordinary, text, f" {text} "]), NEW_YORK) == [MOMENT] * 5


NO_TIMES = ["1/2/2024", "06/01/2024", "2024-06-01 00:03:56 EST", "2024-06-01 00:03:56 Mars/Base", "2024-02-30"]
NO_TIMES += ["20240230", "0000-01-01", "1 Foo 2024 00:03:56", "soon", "1e400", "٢٠٢٤-06-01", "2024-06-01T25:00"]
NOTHING = ["", " ", "null", "NULL", "None", "NaT", "nan", "NA", "\\N", "infinity", "-infinity", "0000-00-00 00:00:00"]


@pytest.mark.parametrize(
    ("text", "unread"), [*((text, [text]) for text in NO_TIMES), *((text, []) for text in NOTHING)]
)
def test_what_is_no_time_is_told_and_what_stands_for_none_is_missing(text, unread):
    for column in (pa.array([text, "2024-06-01"]), [text, "2024-06-01"]):
        _, known, unreadable = times(column, UTC)
        assert known.tolist() == [False, True]
        assert unreadable == unread


numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.integers(19_000_000, 22_000_000),
    st.dates(date(1900, 1, 1), date(2199, 12, 31)).map(lambda day: int(day.strftime("%Y%m%d"))),
    st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31)).map(lambda t: int(t.strftime("%Y%m%d%H%M%S"))),
)


@example(value=72057594037929, zone=UTC, late=False)  # milliseconds whose microseconds no float64 holds
@given(value=numbers, zone=zones, late=st.booleans())
def test_a_number_is_one_time_whatever_type_it_comes_in(value, zone, late):
    def read(column):
        us, known, unreadable = times(column, zone, late=late)
        return us.tolist(), known.tolist(), [str(int(each)) for each in unreadable]

    expected = read([value])
    array = np.array([value], np.uint64 if value > 0 else np.int64)
    columns = [array, array.astype(array.dtype.newbyteorder(">")), pa.array(array), np.ma.masked_array(array, [False])]
    columns += [[array[0]], np.array([value], object)]
    if value < 2**63:
        texts = [str(value)]
        columns += [pa.array(texts), texts, np.array(texts), pa.array(texts).dictionary_encode()]
        columns += [pa.array([Decimal(value)], pa.decimal128(20, 0))]
    if abs(value) < 2**53:
        columns += [[float(value)], np.array([value], np.float64), pa.array([float(value)]), [Decimal(value)]]
    for column in columns:
        assert read(column) == expected, column


@given(day=st.dates(date(1900, 1, 1), date(2199, 12, 31)), zone=zones, late=st.booleans())
def test_a_day_is_one_time_whatever_type_it_comes_in(day, zone, late):
    local = datetime(day.year, day.month, day.day)
    columns = [
        pa.array([day], pa.date32()),
        pa.array([day], pa.date64()),
        [day],
        [local],
        np.array([day], "datetime64[D]"),
        np.array([day], ">M8[us]"),
        np.array([day], "datetime64[D]").astype("datetime64[ns]"),
        [np.datetime64(day)],
        [pd.Timestamp(day)],
        pd.Series([pd.Timestamp(day)]),
        pa.array([str(day)]),
        [day.strftime("%Y%m%d")],
        [int(day.strftime("%Y%m%d"))],
        pa.chunked_array([pa.array([local], pa.timestamp("s"))]),
    ]
    for column in columns:
        assert moment(column, zone, late) == [by_datetime(local, zone, late)], column


def test_scalars_that_are_missing_and_that_are_no_times():
    missing = [None, float("nan"), pd.NaT, pd.NA, np.datetime64("NaT"), Decimal("nan"), np.ma.masked, float("inf"), ""]
    wrong = [True, b"2024-06-01", [1], 2**70, "\ud800", np.bool_(True), timedelta(1), np.timedelta64(1, "s"), "soon"]
    us, known, unreadable = times([*missing, *wrong, "2024-06-01"], UTC)
    assert known.tolist() == [False] * (len(missing) + len(wrong)) + [True]
    assert [*map(str, unreadable)] == [*map(str, wrong)]
    assert us[-1] == to_us(datetime(2024, 6, 1, tzinfo=UTC))
    assert times(np.array(["NaT", "NaT"], "datetime64"), UTC)[1].tolist() == [False, False]
    assert times(np.ma.masked_array([1717200236, 5], [False, True]), UTC)[1].tolist() == [True, False]


@pytest.mark.parametrize(
    "kind", [pa.bool_(), pa.time32("s"), pa.time64("us"), pa.duration("s"), pa.binary(), pa.list_(pa.int8())], ids=str
)
def test_types_whose_values_are_no_times_are_refused(kind):
    with pytest.raises(SchemaError, match=f"is {re.escape(str(kind))}, expected a time"):
        times(pa.nulls(2, kind), UTC)


def test_statistics_of_dates_without_signs_and_of_lost_signs_do_not_tell():
    assert statistics_us(20240101, 20240601, pa.int64(), UTC) is None
    assert statistics_us(10**9, 20240601000000, pa.int64(), UTC) is None
    assert statistics_us(-5, 10**9, pa.uint32(), UTC) is None
    assert statistics_us(10**9, 2 * 10**9, pa.uint32(), UTC) == (10**15, 2 * 10**15)
