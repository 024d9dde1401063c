"""Waiting: what is joined in memory is what files would give, whenever it was stopped and begun again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import StreamError
from gbdtlr.streams.kafka import Message
from gbdtlr.streams.places import Place
from gbdtlr.streams.waiting import Waiting
from gbdtlr.times import from_us, to_us
from tests.samples.outcomes_kit import by_hand, samples_config
from tests.samples.samples_kit import DAY

MINUTE_US = 60 * 1_000_000
START_US = to_us(DAY)
HOUR = timedelta(hours=1)
GRACE_US = 10 * MINUTE_US
CONFIG = samples_config(Path("nowhere"))


@dataclass(frozen=True)
class Event:
    """An impression or an outcome: its minute and key, where it is sent to, and how many minutes later it is sent."""

    minute: int
    key: str | None
    partition: int = 0
    delay: int = 0

    def message(self, kind: int, offset: int) -> Message:
        at = from_us(START_US + self.minute * MINUTE_US).isoformat()
        row = [{"at": at, "request": self.key, "x": self.minute}, {"clicked_at": at, "request_id": self.key}][kind]
        sent_us = START_US + (self.minute + self.delay) * MINUTE_US
        return Message((("shown", "clicks")[kind], self.partition), offset, json.dumps(row).encode(), sent_us)


def messages(kind: int, events: Sequence[Event]) -> list[Message]:
    """Each partition in the order its messages were sent."""
    found: list[Message] = []
    n = [0, 0]
    for event in sorted(events, key=lambda event: event.minute + event.delay):
        found.append(event.message(kind, n[event.partition]))
        n[event.partition] += 1
    return found


def waiting(places: Any = ({}, {}), config: SamplesConfig = CONFIG, **more: Any) -> Waiting:
    return Waiting(config, GRACE_US, **{"most": 1000, **more}, places=places)


class Reading:
    """Both logs, read up to a moment and decided, as a stream does."""

    def __init__(self, shown: list[Message], clicks: list[Message], places: Any = ({}, {})) -> None:
        self.logs = (shown, clicks)
        self.next = [{p: places[kind].get(p, Place(0)).first for p in (0, 1)} for kind in (0, 1)]
        self.waiting = waiting(places)
        self.found: list[tuple[str, Any, int]] = []

    def read_up_to(self, minute: int) -> None:
        """Read what was sent up to a minute, and decide all that can be."""
        us = START_US + minute * MINUTE_US
        for kind, add in ((1, self.waiting.add_outcomes), (0, self.waiting.add_impressions)):
            batch = [
                each
                for each in self.logs[kind]
                if each.offset >= self.next[kind][each.partition[1]] and (each.sent_us or 0) <= us
            ]
            add(batch)
            for each in batch:
                self.next[kind][each.partition[1]] = each.offset + 1
        piece = self.waiting.decide(us - GRACE_US - self.waiting.window_us)
        for line, label in zip(piece.lines, piece.labels or (), strict=True):
            row = json.loads(line)
            self.found.append((row["at"], row["request"], label))

    def places(self) -> Any:
        return (
            self.waiting.places_of_impressions(self.next[0]),
            self.waiting.places_of_outcomes(self.next[1]),
        )


def events(most_delay: int = 0) -> st.SearchStrategy[list[Event]]:
    minute, key, partition = st.integers(0, 240), st.sampled_from(["a", "b", "c", "7"]), st.integers(0, 1)
    delay = st.integers(0, most_delay)
    return st.lists(st.builds(Event, minute, key, partition, delay), max_size=14)


def frame(some: Sequence[Event]) -> pd.DataFrame:
    at = pd.to_datetime([START_US + each.minute * MINUTE_US for each in some], unit="us", utc=True)
    columns = {"at": at, "key": [each.key for each in some], "value": 1}
    return pd.DataFrame(columns).assign(landed=lambda rows: rows["at"])


@settings(max_examples=15)
@given(shown=events(), clicks=events(), step=st.sampled_from([5, 60, 500]))
def test_the_labels_are_those_of_files(shown: list[Event], clicks: list[Event], step: int) -> None:
    reading = Reading(messages(0, shown), messages(1, clicks))
    for minute in range(0, 600, step):
        reading.read_up_to(minute)
    reading.read_up_to(600)
    end = DAY + timedelta(days=2)
    expected = by_hand(frame(shown), frame(clicks), DAY - HOUR, end, end, HOUR)
    rows = list(zip(expected["at"], expected["key"], expected["label"], strict=True))
    assert [(pd.Timestamp(at), key, label) for at, key, label in reading.found] == rows


@settings(max_examples=30)
@given(
    shown=events(8),
    clicks=events(8),
    step=st.sampled_from([3, 7, 60]),
    stops=st.lists(st.integers(0, 600), max_size=4).map(sorted),
)
@example(shown=[Event(0, "a")], clicks=[Event(5, "b")], step=3, stops=[74, 74])  # again before anything is read again
def test_stopped_anywhere_each_impression_is_handed_out_once_and_the_same(
    shown: list[Event], clicks: list[Event], step: int, stops: list[int]
) -> None:
    shown_log, clicks_log = messages(0, shown), messages(1, clicks)
    whole = Reading(shown_log, clicks_log)
    for minute in range(0, 600, step):
        whole.read_up_to(minute)
    whole.read_up_to(600)
    found: list[Any] = []
    reading = Reading(shown_log, clicks_log)
    for minute in [*range(0, 600, step), 600]:
        reading.read_up_to(minute)
        while stops and stops[0] <= minute:
            stops = stops[1:]
            found += reading.found
            reading = Reading(shown_log, clicks_log, reading.places())
    assert found + reading.found == whole.found
    assert reading.waiting.n_late == 0, "none that is read again counts as late"
    assert reading.places() == whole.places()


def test_an_outcome_sent_after_the_grace_has_not_come() -> None:
    def label(delay: int) -> list[Any]:
        reading = Reading(messages(0, [Event(0, "a")]), messages(1, [Event(30, "a", delay=delay)]))
        reading.read_up_to(300)
        return reading.found

    assert [label(delay)[0][2] for delay in (0, 40, 41)] == [1, 1, 0]


def test_counts_are_those_of_what_is_odd() -> None:
    shown = [Event(0, "a"), Event(1, "a"), Event(2, "b"), Event(3, None), Event(100, "c"), Event(101, "d")]
    clicks = [
        Event(5, "a"),
        Event(6, "a"),
        Event(80, "b"),  # late
        Event(102, "c"),
        Event(103, "nobody"),
        Event(104, None),
        Event(105, "d", 1),
        Event(105, "d", 0),  # the same
    ]
    reading = Reading(messages(0, shown), messages(1, clicks))
    # The first hour of a topic that is begun is nobody's fault: so begin an hour before.
    reading.waiting._first_us = START_US - 2 * 60 * MINUTE_US
    for minute in range(0, 600, 5):
        reading.read_up_to(minute)
    counts = {name: n for name, n in reading.waiting.joined.as_dict().items() if n}
    assert counts == {
        "impressions": 6,
        "keyless": 1,
        "repeated": 1,
        "positives": 3,
        "outcomes": 8,
        "outcomes_keyless": 1,
        "outcomes_repeated": 2,
        "unmatched": 1,
        "late": 1,
    }


def test_what_comes_before_a_topic_was_begun_is_not_unmatched() -> None:
    shown = [Event(50, "a"), Event(130, "b")]
    clicks = [Event(40, "x"), Event(60, "y"), Event(140, "z")]
    reading = Reading(messages(0, shown), messages(1, clicks))
    for minute in range(0, 600, 5):
        reading.read_up_to(minute)
    assert (reading.waiting.joined.outcomes, reading.waiting.joined.unmatched) == (1, 1)


def test_an_impression_that_comes_when_its_time_is_decided_is_counted_and_not_learned() -> None:
    reading = Reading(messages(0, [Event(0, "a", delay=120), Event(60, "b")]), [])
    for minute in range(0, 600, 5):
        reading.read_up_to(minute)
    assert [key for _, key, _ in reading.found] == ["b"]
    assert reading.waiting.n_late == 1


def _one(kind: int, row: Any, sent: int = 0) -> Message:
    value = row if isinstance(row, bytes) or row is None else json.dumps(row).encode()
    return Message((("shown", "clicks")[kind], 0), 0, value, START_US + sent * MINUTE_US)


@pytest.mark.parametrize(
    ("kind", "row", "reason"),
    [
        (0, b"{", "shown[0] at 0: a line that is not JSON"),
        (0, b"[1]", "a line that is a JSON list"),
        (0, b"\xff\xfe", "a line that is not JSON"),
        (0, {"request": ["a"]}, "request is"),
        (0, {"request": "a"}, "at is missing, expected a time"),
        (0, {"request": "a", "at": "soon"}, "at is 'soon', expected a time"),
        (0, {"request": "a", "at": "2222-01-01T00:00Z"}, "at is more than an hour after the message was sent"),
        (1, b"x", "clicks[0] at 0: a line that is not JSON"),
        (1, {"request_id": "a", "clicked_at": None}, "clicked_at is missing"),
        (1, {"request_id": "a", "clicked_at": START_US // 10**6, "value": 2}, "value is 2"),
        (1, {"request_id": "a", "clicked_at": START_US // 10**6}, "value is missing"),
        (1, {"request_id": "a", "clicked_at": START_US // 10**6, "value": 1, "weight": -1}, "weight is -1"),
    ],
)
def test_a_message_that_is_none_is_refused_by_itself(kind: int, row: Any, reason: str) -> None:
    config = samples_config(Path("nowhere"), outcomes={"value": "value", "weight": "weight"})
    there = waiting(config=config)
    (there.add_impressions, there.add_outcomes)[kind]([_one(kind, row)])
    piece = there.decide(0)
    assert len(piece.refused) == 1
    assert reason in piece.refused[0]
    assert not there.decide(0).refused, "told once"


def test_tombstones_are_blank_lines() -> None:
    there = waiting()
    there.add_impressions([_one(0, None), _one(0, b" ")])
    there.add_outcomes([_one(1, None)])
    piece = there.decide(0)
    assert list(piece.lines) == [b""] * 3


def test_value_and_weight_are_those_of_the_outcome() -> None:
    config = samples_config(Path("nowhere"), outcomes={"value": "bought", "weight": "price"})
    there = waiting(config=config)
    at = START_US // 10**6
    clicks = [
        {"request_id": "a", "clicked_at": at + 5, "bought": 0, "price": 3},
        {"request_id": 7, "clicked_at": at + 5, "bought": 1, "price": 2.5},
        {"request_id": "7", "clicked_at": at + 5, "bought": 0, "price": 9},
    ]
    there.add_outcomes([_one(1, row) for row in clicks])
    there.add_impressions([_one(0, {"at": at, "request": key}) for key in ("a", 7.0, "b")])
    piece = there.decide(START_US + MINUTE_US)
    found = {
        json.loads(line)["request"]: (label, factor)
        for line, label, factor in zip(piece.lines, piece.labels or (), piece.factors or (), strict=True)
    }
    assert found == {"a": (0, 3.0), 7.0: (1, 2.5), "b": (0, 1.0)}


def test_more_than_may_wait_is_an_error_that_says_the_number() -> None:
    there = waiting(most=3)
    with pytest.raises(StreamError, match=r"more than 3 impressions wait .*\(1h\); --max-waiting"):
        there.add_impressions(messages(0, [Event(i, f"k{i}") for i in range(4)]))
    there = waiting(most=3)
    with pytest.raises(StreamError, match="more than 3 outcomes"):
        there.add_outcomes(messages(1, [Event(i, f"k{i}") for i in range(4)]))
    few = samples_config(Path("nowhere"), outcomes={"max_outcomes": 2})
    with pytest.raises(StreamError, match="more than 2 outcomes"):
        waiting(config=few).add_outcomes(messages(1, [Event(i, f"k{i}") for i in range(3)]))


def test_more_than_may_be_kept_is_an_error_that_says_the_number() -> None:
    """After the labels that are known were handed out: those are published."""
    for config, kept in ((CONFIG, "1h are"), (replace(CONFIG, timezone="Europe/Berlin"), "3h are .* in UTC")):
        there = waiting(config=config, most=3)
        for i in range(4):
            there.add_impressions([Event(i, f"k{i}").message(0, i)])
            assert len(there.decide(START_US + i * MINUTE_US).lines) == 1
        with pytest.raises(StreamError, match=rf"more than 3 impressions of the last {kept}"):
            there.add_impressions([])
    there = waiting(most=3)
    for i in range(0, 400, 20):  # of the last hour, no more than three at a time
        there.add_impressions([Event(i, f"k{i}").message(0, i)])
        there.decide(START_US + i * MINUTE_US)


def test_memory_is_let_go() -> None:
    reading = Reading(
        messages(0, [Event(i, f"k{i}") for i in range(0, 1200, 2)]),
        messages(1, [Event(i + 1, f"k{i}") for i in range(0, 1200, 4)]),
    )
    for minute in range(0, 1200, 10):
        reading.read_up_to(minute)
        there = reading.waiting
        assert len(there) <= 40
        assert len(there._outcomes) == len(there._order) <= 40
        assert sum(map(len, there._events.values())) == len(there._seen) <= 40


def test_times_without_a_zone_are_those_of_the_config() -> None:
    berlin = replace(CONFIG, timezone="Europe/Berlin")
    there = waiting(config=berlin)
    row = {"at": "2024-10-27 02:30:00", "request": "a"}  # twice: 00:30 and 01:30 in UTC
    sent = to_us(DAY.replace(year=2024, month=10, day=27)) + 60 * MINUTE_US
    there.add_impressions([Message(("shown", 0), 0, json.dumps(row).encode(), sent)])
    first = sent - 30 * MINUTE_US
    assert not there.decide(first).lines
    assert there.decide(first + 60 * MINUTE_US).lines, "its window may have begun later"
