"""Waiting: impressions and outcomes in memory until it is known what came of each impression.

An impression is decided when both topics are read up to its deadline, a window after it happened, and the time that
outcomes may be on their way beyond that; by event time, so that the order depends on no partition, and in the same
order whenever a stream was stopped and begun again. Its label is 1 where an outcome of its key came from its time on to
its deadline, as in files (:mod:`gbdtlr.samples.join.joining`); what was sent later than the grace after the
deadline had not come. An impression repeats another of its key that happened at most a window before it, and is no
sample.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from gbdtlr.config import OutcomesConfig, SamplesConfig
from gbdtlr.errors import SchemaError, StreamError
from gbdtlr.samples import Joined
from gbdtlr.streams.kafka import Message
from gbdtlr.streams.keyed import Keyed, KeyedMessages, truth_of, weight_of
from gbdtlr.streams.places import Place
from gbdtlr.streams.source import Piece
from gbdtlr.times import format_duration

_SLACK_US = 2 * 3600 * 1_000_000  # for the second reading of times without a zone when clocks go back
_NEVER = -(2**62)
_Open = tuple[int, str, int, int, int, bytes]
"""An impression: the later reading of its time, key, partition, offset, its time, and the line itself."""
_Seen = tuple[int, str, int, int]
"""One that is decided: its time, key, partition and offset."""


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


@dataclass
class Waiting:
    """What is in memory of two topics.

    Attributes
    ----------
    samples : the config
    grace_us : how long outcomes may be on their way when a window is over
    most : impressions that wait, decided ones that are kept, and outcomes, that may be in memory
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
        key, time, timezone = str(self.samples.key), self.samples.event_time, self.samples.timezone
        self._impressions = KeyedMessages(key, time, timezone, self._is_new_impression)
        self._clicks = KeyedMessages(own.key, own.time, timezone, self._is_new_outcome)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def holds_any(self) -> bool:
        """Whether any impression waits, or any outcome, which is let go as time goes on."""
        return bool(self._open or self._order)

    def _is_new_impression(self, message: Message) -> bool:
        return _is_new(self.places[0].get(message.partition[1]), message)

    def _is_new_outcome(self, message: Message) -> bool:
        return _is_new(self.places[1].get(message.partition[1]), message)

    def add_impressions(self, messages: Iterable[Message]) -> None:
        """Take some impressions; raise StreamError if there is no place for them."""
        n_keyless = self._impressions.n_keyless
        for keyed in self._impressions.read(messages):
            self._add_impression(keyed)
        self.joined.impressions += self._impressions.n_keyless - n_keyless
        self.joined.keyless += self._impressions.n_keyless - n_keyless
        if len(self._open) > self.most:
            raise StreamError(
                f"more than {self.most:,} impressions wait for the end of their window "
                f"({format_duration(self._own.window)}); --max-waiting allows no more: raise it, or shorten [outcomes] "
                "window"
            )
        if len(self._seen) > self.most:
            kept = timedelta(microseconds=self.window_us + self._slack_us)
            raise StreamError(
                f"more than {self.most:,} impressions of the last {format_duration(kept)} are kept though their label "
                "is known, to tell repeats by; --max-waiting allows no more: raise it, or shorten [outcomes] window"
                f"{', or write times in UTC' if self._slack_us else ''}"
            )

    def _add_impression(self, keyed: Keyed) -> None:
        (_, number), offset = keyed.message.partition, keyed.message.offset
        self._first_us = min(self._first_us, keyed.us)
        place = self.places[0].get(number)
        if keyed.late_us > max(self.until_us, _until(place)):
            line = keyed.message.value or b""
            heapq.heappush(self._open, (keyed.late_us, keyed.key, number, offset, keyed.us, line))
            return
        begun_with = place is not None and place.read is None and keyed.late_us <= _until(place)
        self.n_late += keyed.is_new and not begun_with
        if keyed.us > self.until_us - self._slack_us - self.window_us:
            self._remember(keyed.us, keyed.key, number, offset)

    def _remember(self, event_us: int, key: str, number: int, offset: int) -> None:
        heapq.heappush(self._seen, (event_us, key, number, offset))
        self._events.setdefault(key, []).append(event_us)

    def add_outcomes(self, messages: Iterable[Message]) -> None:
        """Take some outcomes; raise StreamError if there is no place for them."""
        own, n_keyless = self._own, self._clicks.n_keyless
        for keyed in self._clicks.read(messages):
            message = keyed.message
            try:
                one = own.value is None or truth_of(keyed.row, own.value)
                weight = 1.0 if own.weight is None else weight_of(keyed.row, own.weight)
            except SchemaError as error:
                self._clicks.refuse(message, str(error))
                continue
            outcome = _Outcome(keyed.us, one, weight, message.sent_us, message.partition[1], message.offset)
            self._add_outcome(keyed.key, outcome, keyed.is_new)
        self.joined.outcomes += self._clicks.n_keyless - n_keyless
        self.joined.outcomes_keyless += self._clicks.n_keyless - n_keyless
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

    def decide(self, until_us: int) -> Piece:
        """Samples of the impressions that happened up to a moment, up to whose deadline all is read; in order."""
        lines: list[bytes] = []
        refused: list[str] = []
        for each in (self._impressions, self._clicks):
            lines += [b""] * each.n_blank
            refused += each.refused
            each.n_blank, each.refused = 0, []
        labels, factors = [0] * len(lines), [1.0] * len(lines)
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
        """Where each partition of the impressions stands; ``next_`` is the first that was not read since it was begun,
        or begun again, when what stood before its place may not have been read again yet."""
        kept = dict(next_)
        opened = {number: max(offset, _offset(self.places[0].get(number))) for number, offset in next_.items()}
        for _, _, number, offset, _, _ in self._open:
            opened[number] = min(opened[number], offset)
        for _, _, number, offset in self._seen:
            kept[number] = min(kept[number], offset)
        found = {}
        for number, offset in opened.items():
            place = self.places[0].get(number)
            until_us = max(self.until_us, _until(place))
            until = None if until_us == _NEVER else until_us
            found[number] = Place(offset, _read(place, next_[number]), min(kept[number], offset), until)
        return found

    def places_of_outcomes(self, next_: Mapping[int, int]) -> dict[int, Place]:
        """As :meth:`places_of_impressions`, of the outcomes."""
        first = dict(next_)
        for outcomes in self._outcomes.values():
            for each in outcomes:
                first[each.partition] = min(first[each.partition], each.offset)
        return {number: Place(first[number], _read(self.places[1].get(number), read)) for number, read in next_.items()}


def _is_new(place: Place | None, message: Message) -> bool:
    return place is None or place.read is None or message.offset >= place.read


def _offset(place: Place | None) -> int:
    return 0 if place is None else place.offset


def _read(place: Place | None, next_: int) -> int:
    """The first message that was never read, where ``next_`` is the next to be read, for the first time or again."""
    return next_ if place is None else max(next_, place.next)


def _until(place: Place | None) -> int:
    return _NEVER if place is None or place.until_us is None else place.until_us


def in_topic(messages: Sequence[Message], topic: str) -> list[Message]:
    """Those of a topic."""
    return [message for message in messages if message.partition[0] == topic]
