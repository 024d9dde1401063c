"""Keyed: messages as objects with a key and a time. What is none is refused by itself, and counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gbdtlr.codec.line import decode, row_of
from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.streams.kafka import Message
from gbdtlr.times import zone
from gbdtlr.values import scalars
from gbdtlr.values.times import times

AHEAD_US = 3600 * 1_000_000
"""How long after it was sent a message may say it happened: clocks differ, and what is further off is a mistake."""
_Time = int | str | None
"""Microseconds; what a value that is no time looks like; or nothing."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A message with a key and a time.

    Attributes
    ----------
    row : its object
    us, late_us : when it happened, by the earlier and the later reading of its time
    is_new : whether it was never read before
    """

    message: Message
    row: dict[str, Any]
    key: str
    us: int
    late_us: int
    is_new: bool


@dataclass
class KeyedMessages:
    """Reads messages of one topic.

    Attributes
    ----------
    key, time : the columns
    timezone : of times that carry none
    is_new : whether a message was never read before: others are not counted
    refused : why messages are none, since somebody took these
    n_blank : tombstones, since somebody took them
    n_keyless : messages without a key, in all
    """

    key: str
    time: str
    timezone: str
    is_new: Callable[[Message], bool]
    refused: list[str] = field(default_factory=list)
    n_blank: int = 0
    n_keyless: int = 0

    def read(self, messages: Iterable[Message]) -> list[Keyed]:
        """Those messages that have a key and a time; the others are counted."""
        found = list(self._with_key(messages))
        values = [row.get(self.time) for _, row, _ in found]
        early = self._times(values, late=False)
        late = early if self.timezone == "UTC" else self._times(values, late=True)
        keyed = []
        for (message, row, key), us, later in zip(found, early, late, strict=True):
            if isinstance(us, int) and (message.sent_us is None or us <= message.sent_us + AHEAD_US):
                late_us = later if isinstance(later, int) else us
                keyed.append(Keyed(message, row, key, us, late_us, self.is_new(message)))
            elif us is None:
                self.refuse(message, f"{self.time} is missing, expected a time")
            elif isinstance(us, str):
                self.refuse(message, f"{self.time} is {us}, expected a time")
            else:
                self.refuse(message, f"{self.time} is more than an hour after the message was sent")
        return keyed

    def _with_key(self, messages: Iterable[Message]) -> Iterable[tuple[Message, dict[str, Any], str]]:
        for message in messages:
            if message.value is None or not message.value.strip():
                self.n_blank += self.is_new(message)
                continue
            try:
                row = _object(message.value)
                key = scalars.text(row.get(self.key))
            except SchemaError as error:
                self.refuse(message, f"{self.key} {error}")
            except SamplesError as error:
                self.refuse(message, str(error))
            else:
                if key is None:
                    self.n_keyless += self.is_new(message)
                else:
                    yield message, row, key

    def refuse(self, message: Message, reason: str) -> None:
        """Count a message that is none."""
        if self.is_new(message):
            (topic, number), offset = message.partition, message.offset
            self.refused.append(f"{topic}[{number}] at {offset}: {reason}")

    def _times(self, values: list[Any], late: bool) -> list[_Time]:
        column: Any = values
        if values and set(map(type, values)) == {int} and min(values) >= -(2**63) and max(values) < 2**63:
            column = np.array(values, np.int64)
        us, known, unreadable = times(column, zone(self.timezone), late=late)
        if not unreadable:
            return [int(each) if there else None for each, there in zip(us, known, strict=True)]
        return [self._time(value, late) for value in values]

    def _time(self, value: Any, late: bool) -> _Time:
        us, known, unreadable = times([value], zone(self.timezone), late=late)
        return repr(value)[:60] if unreadable else int(us[0]) if known[0] else None


def _object(value: bytes) -> dict[str, Any]:
    try:
        row = decode(value)
    except (ValueError, RecursionError):
        row = None
    return row if isinstance(row, dict) else row_of(value)


def truth_of(row: dict[str, Any], name: str) -> bool:
    """Whether a row says 1; ``SchemaError`` if it says neither 0 nor 1."""
    try:
        found = scalars.truth(row.get(name))
    except SchemaError as error:
        raise SchemaError(f"{name} {error}") from None
    if found != found:
        raise SchemaError(f"{name} is missing, expected 0 or 1")
    return found == 1


def weight_of(row: dict[str, Any], name: str) -> float:
    """A row's weight, in single precision; ``SchemaError`` if it is none."""
    try:
        found = scalars.number(row.get(name))
    except SchemaError as error:
        raise SchemaError(f"{name} {error}") from None
    if not found >= 0:
        raise SchemaError(f"{name} is {row.get(name)!r}, expected a number of at least 0")
    return float(np.float32(min(found, MAX_WEIGHT)))
