"""The timeline: what was live at a moment is the newest release that is not newer than it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.errors import DamagedError
from gbdtlr.release.timeline import Timeline
from gbdtlr.store import Entry
from gbdtlr.times import to_us

START = datetime(2024, 3, 1, tzinfo=UTC)
NAME = "20240301T000000Z-1a2b3c4d"


class Log:
    """A store of entries alone, which counts how many of them it was asked for."""

    def __init__(self, hours, lost=()):
        moments = [START + timedelta(hours=hour) for hour in hours]
        self.entries = [Entry(number, moment, NAME, NAME, "update-lr") for number, moment in enumerate(moments, 1)]
        self.lost, self.asked = lost, 0

    def entry(self, number):
        self.asked += 1
        if number in self.lost:
            raise DamagedError("lost")
        return self.entries[number - 1]

    def timeline(self):
        return Timeline(self, self.entries[-1])


def us(hour):
    return to_us(START + timedelta(hours=hour))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(-3, 55))
def test_the_newest_that_is_not_newer(hours, moment):
    log = Log(sorted(hours))
    expected = [entry for entry in log.entries if to_us(entry.as_of) <= us(moment)]
    assert log.timeline().at(us(moment)) == (expected[-1] if expected else None)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(0, 50), st.integers(0, 50))
def test_between_gives_all_or_so_many_from_the_first(hours, first, length):
    log = Log(sorted(hours))
    timeline = log.timeline()
    low, high = timeline.at(us(first)), timeline.at(us(first + length))
    numbers = [entry.number for entry in timeline.between(us(first), us(first + length), 5)]
    if high is None:
        assert numbers == []
        return
    every = list(range(low.number if low is not None else 1, high.number + 1))
    assert numbers == every if len(every) <= 5 else (len(numbers) == 5 and set(numbers) <= set(every))
    assert {numbers[0], numbers[-1]} == {every[0], every[-1]}


def test_a_long_log_costs_its_logarithm():
    log = Log(range(4096))
    assert log.timeline().at(us(17.5)).number == 18
    assert log.asked <= 2 * 12


def test_what_cannot_be_read_was_not_live():
    log = Log(range(8), lost=[4])
    assert log.timeline().at(us(3.5)) is None or log.timeline().at(us(3.5)).number != 4
    assert log.timeline().at(us(5.5)).number == 6
