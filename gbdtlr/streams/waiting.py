"""Waiting: impressions and outcomes in memory until it is known what came of each impression.

An impression is decided when both topics are read up to its deadline, a window after it happened, and the time that
outcomes may be on their way beyond that; by event time, so that the order depends on no partition, and in the same
order whenever a stream was stopped and begun again. Its label is 1 where an outcome of its key came from its time on to
its deadline, as in files (:mod:`gbdtlr.samples.joining`); what was sent later than the grace after the deadline had not
come. An impression repeats another of its key that happened at most a window before it, and is no sample.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gbdtlr.codec.line import decode, row_of
from gbdtlr.config import OutcomesConfig, SamplesConfig
from gbdtlr.errors import SamplesError, SchemaError, StreamError
from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.samples import Joined
from gbdtlr.streams.kafka import Message
from gbdtlr.streams.places import Place
from gbdtlr.streams.source import Piece
from gbdtlr.times import format_duration, zone
from gbdtlr.values import scalars
from gbdtlr.values.times import times

AHEAD_US = 3600 * 1_000_000
"""How long after it was sent a message may say it happened: clocks differ, and what is further off is a mistake."""
_SLACK_US = 2 * AHEAD_US  # for the second reading of times without a zone when clocks go back
_NEVER = -(2**62)
_Open = tuple[int, str, int, int, int, bytes]
"""An impression: the later reading of its time, key, partition, offset, its time, and the line itself."""
_Seen = tuple[int, str, int, int]
"""One that is decided: its time, key, partition and offset."""
_Time = int | str | None
"""Microseconds; what a value that is no time looks like; or nothing."""


@dataclass(slots=True)
class _Outcome:
    time_us: int
    one: bool
    weight: float
    sent_us: int | None
    partition: int
    offset: int
    taken: bool = False
    late: bool = False
    repeats: bool = False

    def rank(self) -> tuple[int, bool, float]:
        """Of two of one key, the lower counts."""
        return self.time_us, not self.one, -self.weight


@dataclass(slots=True)
class _Row:
    """A message that is an object with a key, before its time is read."""

    message: Message
    key: str
    row: dict[str, Any]


@dataclass
class Waiting:
    """What is in memory of two topics.

    Attributes
    ----------
    samples : the config
    grace_us : how long outcomes may be on their way when a window is over
    most : impressions, and outcomes, that may be in memory
    places : where each partition of the impressions, and of the outcomes, was begun
    joined : what was come across
    n_late : impressions that came when what happened then was decided already; they are not learned
    """

    samples: SamplesConfig
    grace_us: int
    most: int
    places: tuple[Mapping[int, Place], Mapping[int, Place]]
    joined: Joined = field(default_factory=Joined)
    n_late: int = 0

    def __post_init__(self) -> None:
        own = self.samples.outcomes
        if own is None:
            raise ValueError("samples without outcomes")
        self._own: OutcomesConfig = own
        self.window_us = round(own.window.total_seconds() * 1_000_000)
        self._slack_us = 0 if self.samples.timezone == "UTC" else _SLACK_US
        self._zone = zone(self.samples.timezone)
        begun = [_until(place) for place in self.places[0].values()]
        self.until_us = min(begun, default=_NEVER)
        # What came before the first impression of a topic that is begun is no fault of its outcomes.
        is_fresh = all(place.read is None for place in self.places[0].values())
        self._first_us = -_NEVER if is_fresh else _NEVER
        self._open: list[_Open] = []
        self._seen: list[_Seen] = []
        self._events: dict[str, list[int]] = {}  # of what is seen
        self._outcomes: dict[str, list[_Outcome]] = {}
        self._order: list[tuple[int, str]] = []  # times and keys of the outcomes
        self._refused: list[str] = []
        self._n_blank = 0

    def __len__(self) -> int:
        return len(self._open)

    def is_new(self, kind: int, message: Message) -> bool:
        """Whether a message of the impressions (0) or the outcomes (1) was never read before."""
        place = self.places[kind].get(message.partition[1])
        return place is None or place.read is None or message.offset >= place.read

    def add_impressions(self, messages: Iterable[Message]) -> None:
        """Take some impressions; raise StreamError if there is no place for them."""
        rows = self._rows(messages, 0, str(self.samples.key))
        times_us = self._times([row.row.get(self.samples.event_time) for row in rows])
        late_us = (
            times_us
            if not self._slack_us
            else self._times([row.row.get(self.samples.event_time) for row in rows], late=True)
        )
        for row, event, late in zip(rows, times_us, late_us, strict=True):
            if (event_us := self._moment(row, event, self.samples.event_time, 0)) is not None:
                self._add_impression(row, event_us, late if isinstance(late, int) else event_us)
        if len(self._open) > self.most:
            raise StreamError(
                f"more than {self.most:,} impressions wait for the end of their window "
                f"({format_duration(self._own.window)}); --max-waiting allows no more: raise it, or shorten [outcomes] "
                "window"
            )

    def _add_impression(self, row: _Row, event_us: int, late_us: int) -> None:
        (_, number), offset = row.message.partition, row.message.offset
        self._first_us = min(self._first_us, event_us)
        place = self.places[0].get(number)
        decided_us = max(self.until_us, _NEVER if place is None else _until(place))
        if late_us > decided_us:
            heapq.heappush(self._open, (late_us, row.key, number, offset, event_us, row.message.value or b""))
            return
        begun_with = place is not None and place.read is None and late_us <= _until(place)
        self.n_late += self.is_new(0, row.message) and not begun_with
        if event_us > self.until_us - self._slack_us - self.window_us:
            self._remember(event_us, row.key, number, offset)

    def _remember(self, event_us: int, key: str, number: int, offset: int) -> None:
        heapq.heappush(self._seen, (event_us, key, number, offset))
        self._events.setdefault(key, []).append(event_us)

    def add_outcomes(self, messages: Iterable[Message]) -> None:
        """Take some outcomes; raise StreamError if there is no place for them."""
        own, rows = self._own, self._rows(messages, 1, self._own.key)
        for row, time in zip(rows, self._times([row.row.get(own.time) for row in rows]), strict=True):
            if (time_us := self._moment(row, time, own.time, 1)) is None:
                continue
            try:
                one = own.value is None or _value(row.row, own.value)
                weight = 1.0 if own.weight is None else _weight(row.row, own.weight)
            except SchemaError as error:
                self._refuse(row.message, 1, str(error))
                continue
            message = row.message
            outcome = _Outcome(time_us, one, weight, message.sent_us, message.partition[1], message.offset)
            self._add_outcome(row.key, outcome, self.is_new(1, message))
        most = min(self.most, own.max_outcomes)
        if len(self._order) > most:
            raise StreamError(
                f"more than {most:,} outcomes are in memory for impressions of {format_duration(own.window)}; "
                "--max-waiting and [outcomes] max_outcomes allow no more: raise them, or shorten [outcomes] window"
            )

    def _add_outcome(self, key: str, outcome: _Outcome, is_new: bool) -> None:
        events = self._events.get(key, ())
        outcome.late = any(event + self.window_us < outcome.time_us for event in events)
        if outcome.time_us <= self.until_us - self._slack_us:  # all it could belong to is decided
            if is_new:
                outcome.late = outcome.late or any(event <= outcome.time_us for event in events)
                self._count(key, outcome)
            return
        there = self._outcomes.setdefault(key, [])
        for i, other in enumerate(there):
            if other.time_us == outcome.time_us:
                self.joined.outcomes += is_new
                self.joined.outcomes_repeated += is_new
                if outcome.rank() < other.rank():
                    there[i] = outcome
                return
        there.append(outcome)
        there.sort(key=_Outcome.rank)
        heapq.heappush(self._order, (outcome.time_us, key))

    def _rows(self, messages: Iterable[Message], kind: int, key: str) -> list[_Row]:
        """Those messages that are objects with a key; the others are counted."""
        rows = []
        for message in messages:
            if message.value is None or not message.value.strip():
                self._n_blank += self.is_new(kind, message)
                continue
            try:
                row = _object(message.value)
                text = scalars.text(row.get(key))
            except SchemaError as error:
                self._refuse(message, kind, f"{key} {error}")
            except SamplesError as error:
                self._refuse(message, kind, str(error))
            else:
                if text is None:
                    self._count_keyless(message, kind)
                else:
                    rows.append(_Row(message, text, row))
        return rows

    def _count_keyless(self, message: Message, kind: int) -> None:
        if not self.is_new(kind, message):
            return
        if kind == 0:
            self.joined.impressions += 1
            self.joined.keyless += 1
        else:
            self.joined.outcomes += 1
            self.joined.outcomes_keyless += 1

    def _refuse(self, message: Message, kind: int, reason: str) -> None:
        if self.is_new(kind, message):
            (topic, number), offset = message.partition, message.offset
            self._refused.append(f"{topic}[{number}] at {offset}: {reason}")

    def _times(self, values: list[Any], late: bool = False) -> list[_Time]:
        """Microseconds of each; None for none, a text that says what it is for one that cannot be read."""
        column: Any = values
        if values and set(map(type, values)) == {int} and min(values) >= -(2**63) and max(values) < 2**63:
            column = np.array(values, np.int64)
        us, known, unreadable = times(column, self._zone, late=late)
        if not unreadable:
            return [int(each) if there else None for each, there in zip(us, known, strict=True)]
        return [self._time(value, late) for value in values]

    def _time(self, value: Any, late: bool) -> _Time:
        us, known, unreadable = times([value], self._zone, late=late)
        return repr(value)[:60] if unreadable else int(us[0]) if known[0] else None

    def _moment(self, row: _Row, us: _Time, name: str, kind: int) -> int | None:
        """A time that a message may say; None, and it is refused, if it is none, or far ahead of when it was sent."""
        sent_us = row.message.sent_us
        if isinstance(us, int) and (sent_us is None or us <= sent_us + AHEAD_US):
            return us
        if us is None:
            self._refuse(row.message, kind, f"{name} is missing, expected a time")
        elif isinstance(us, str):
            self._refuse(row.message, kind, f"{name} is {us}, expected a time")
        else:
            self._refuse(row.message, kind, f"{name} is more than an hour after the message was sent")
        return None

    def decide(self, until_us: int) -> Piece:
        """Samples of the impressions that happened up to a moment, up to whose deadline all is read; in order."""
        lines: list[bytes] = [b""] * self._n_blank
        labels, factors = [0] * self._n_blank, [1.0] * self._n_blank
        refused, self._refused, self._n_blank = self._refused, [], 0
        while self._open and self._open[0][0] <= until_us:
            late_us, key, number, offset, event_us, line = heapq.heappop(self._open)
            self.joined.impressions += 1
            repeats = any(event_us - self.window_us <= each <= event_us for each in self._events.get(key, ()))
            self._remember(event_us, key, number, offset)
            if repeats:
                self.joined.repeated += 1
                continue
            label, factor = self._outcome_of(key, event_us, late_us + self.window_us)
            self.joined.positives += label
            lines.append(line)
            labels.append(label)
            factors.append(factor)
        if until_us > self.until_us:
            self.until_us = until_us
            self._forget()
        return Piece(lines, labels, factors, refused)

    def _outcome_of(self, key: str, event_us: int, deadline_us: int) -> tuple[int, float]:
        """Label of an impression, and what multiplies its weight."""
        for outcome in self._outcomes.get(key, ()):
            if outcome.time_us < event_us:
                continue
            if outcome.time_us > deadline_us:
                outcome.late = True
                break
            if outcome.sent_us is not None and outcome.sent_us > deadline_us + self.grace_us:
                outcome.late = True
                continue
            outcome.taken = True
            return int(outcome.one), outcome.weight
        return 0, 1.0

    def _forget(self) -> None:
        """Let go what no impression to come can need."""
        needed_us = self.until_us - self._slack_us
        while self._order and self._order[0][0] <= needed_us:
            _, key = heapq.heappop(self._order)
            outcome, *others = self._outcomes[key]
            self._count(key, outcome)
            if others:
                others[0].repeats = others[0].repeats or others[0].time_us - outcome.time_us <= self.window_us
                self._outcomes[key] = others
            else:
                del self._outcomes[key]
        while self._seen and self._seen[0][0] <= needed_us - self.window_us:
            event_us, key, _, _ = heapq.heappop(self._seen)
            events = self._events[key]
            events.remove(event_us)
            if not events:
                del self._events[key]

    def _count(self, key: str, outcome: _Outcome) -> None:
        """Count an outcome by what became of it."""
        joined, time_us = self.joined, outcome.time_us
        if time_us <= self._first_us + self.window_us:
            return
        joined.outcomes += 1
        within = any(time_us - self.window_us <= event <= time_us for event in self._events.get(key, ()))
        if outcome.repeats:
            joined.outcomes_repeated += 1
        elif outcome.late and not outcome.taken:
            joined.late += 1
        elif not outcome.taken and not within:
            joined.unmatched += 1

    def places_of_impressions(self, next_: Mapping[int, int]) -> dict[int, Place]:
        """Where each partition of the impressions stands; ``next_`` is the first that was never read."""
        opened, kept = dict(next_), dict(next_)
        for _, _, number, offset, _, _ in self._open:
            opened[number] = min(opened[number], offset)
        for _, _, number, offset in self._seen:
            kept[number] = min(kept[number], offset)
        found = {}
        for number, offset in opened.items():
            place = self.places[0].get(number)
            until_us = max(self.until_us, _NEVER if place is None else _until(place))
            until = None if until_us == _NEVER else until_us
            found[number] = Place(offset, next_[number], min(kept[number], offset), until)
        return found

    def places_of_outcomes(self, next_: Mapping[int, int]) -> dict[int, Place]:
        """As :meth:`places_of_impressions`, of the outcomes."""
        first = dict(next_)
        for outcomes in self._outcomes.values():
            for each in outcomes:
                first[each.partition] = min(first[each.partition], each.offset)
        return {number: Place(first[number], read) for number, read in next_.items()}


def _until(place: Place) -> int:
    return _NEVER if place.until_us is None else place.until_us


def _object(value: bytes) -> dict[str, Any]:
    try:
        row = decode(value)
    except (ValueError, RecursionError):
        row = None
    return row if isinstance(row, dict) else row_of(value)


def _value(row: dict[str, Any], name: str) -> bool:
    try:
        found = scalars.truth(row.get(name))
    except SchemaError as error:
        raise SchemaError(f"{name} {error}") from None
    if found != found:
        raise SchemaError(f"{name} is missing, expected 0 or 1")
    return found == 1


def _weight(row: dict[str, Any], name: str) -> float:
    try:
        found = scalars.number(row.get(name))
    except SchemaError as error:
        raise SchemaError(f"{name} {error}") from None
    if not found >= 0:
        raise SchemaError(f"{name} is {row.get(name)!r}, expected a number of at least 0")
    return float(np.float32(min(found, MAX_WEIGHT)))


def in_topic(messages: Sequence[Message], topic: str) -> list[Message]:
    """Those of a topic."""
    return [message for message in messages if message.partition[0] == topic]
