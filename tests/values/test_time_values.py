"""Times in every form, against Python's own datetime as the oracle; clocks that change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
