"""Window: which rows a job may learn from at its as_of, and whether what they say about themselves is sound."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError
from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.columns import check_types, feature_table
from gbdtlr.samples.thinning import thin_negatives
from gbdtlr.times import format_time, from_us, to_us, zone
from gbdtlr.values.arrays import from_numpy
from gbdtlr.values.numbers import numbers
from gbdtlr.values.times import times
from gbdtlr.values.truth import truths

_NEVER = np.iinfo(np.int64).max


@dataclass
class Tally:
    """What a reading came across, filled in as it goes.

    ``mature`` holds the number of rows returned of each file that was opened (before negatives are thinned),
    ``unfinished`` in how many CSV files the last line had no end and was left alone.
    """

    n_files: int = 0
    n_rows: int = 0
    n_in_window: int = 0
    mature: dict[str, int] = field(default_factory=dict)
    first_us: int | None = None
    last_us: int | None = None
    next_known_us: int | None = None
    unfinished: int = 0

    @property
    def n_mature(self) -> int:
        """Rows of all files that were in the window and mature."""
        return sum(self.mature.values())

    def remarks(self) -> dict[str, int]:
        """What a job's log says of a reading, where there is something to say."""
        return {"unfinished": self.unfinished} if self.unfinished else {}

    def spans(self, first_us: int, last_us: int) -> None:
        """Note that there are events between these moments."""
        self.first_us = first_us if self.first_us is None else min(self.first_us, first_us)
        self.last_us = last_us if self.last_us is None else max(self.last_us, last_us)

    def add(self, other: Tally) -> None:
        """Count what another reading, of other files, came across as well."""
        self.n_files += other.n_files
        self.n_rows += other.n_rows
        self.n_in_window += other.n_in_window
        self.unfinished += other.unfinished
        self.mature.update(other.mature)
        if other.first_us is not None and other.last_us is not None:
            self.spans(other.first_us, other.last_us)
        if other.next_known_us is not None:
            self.waits_until(other.next_known_us)

    def waits_until(self, known_us: int) -> None:
        """Note that a row of the window matures at this moment."""
        self.next_known_us = known_us if self.next_known_us is None else min(self.next_known_us, known_us)


@dataclass
class Faults:
    """Unsound rows of one file, counted by kind, with an example of each."""

    path: str
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def add(self, kind: str, count: int, example: object = None) -> None:
        """Count rows of a kind of fault; the first example is kept."""
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + count
            if example is not None:
                self.examples.setdefault(kind, f", such as {example!r}")

    def check(self) -> None:
        """Nothing, if there are none.

        Raises
        ------
        SamplesError
            Unsound rows; the message has all kinds of them with their numbers.
        """
        if self:
            found = "; ".join(f"{n} rows with {kind}{self.examples.get(kind, '')}" for kind, n in self.counts.items())
            raise SamplesError(f"{self.path}: {found}; mend or remove these rows")


@dataclass(frozen=True)
class Window:
    """Events in ``[start, end)`` with labels known by ``as_of`` and, where it is given, after ``known_after``."""

    start_us: int
    end_us: int
    as_of_us: int
    known_after_us: int | None = None
    delay_us: int | None = None

    @classmethod
    def of(
        cls, cfg: SamplesConfig, start: datetime, end: datetime, as_of: datetime, known_after: datetime | None
    ) -> Window:
        """Window of these moments; the delay is the config's."""
        delay = None if cfg.label_delay is None else cfg.label_delay // timedelta(microseconds=1)
        after = None if known_after is None else to_us(known_after)
        return cls(to_us(start), to_us(end), to_us(as_of), after, delay)

    def __str__(self) -> str:
        return f"from {format_time(from_us(self.start_us))} to {format_time(from_us(self.end_us))}"

    def may_hold(self, event: tuple[int, int] | None, known: tuple[int, int] | None = None) -> bool:
        """Whether rows with event times, and label times, within these inclusive bounds can be in the window."""
        if event is None:
            return True
        if event[1] < self.start_us or event[0] >= self.end_us:
            return False
        if self.known_after_us is None:
            return True
        # A label is known no earlier than its event, so both bounds count.
        if known is not None:
            return max(known[1], event[1]) > self.known_after_us
        # An hour and more is left for the second reading of times when clocks go back.
        slack = 2 * 3600 * 1_000_000
        return self.delay_us is None or event[1] + self.delay_us + slack > self.known_after_us

    def select(self, batch: pa.RecordBatch, cfg: SamplesConfig, faults: Faults, tally: Tally) -> Samples | None:
        """Rows of ``batch`` that are in the window and mature; None where there are none, or unsound ones."""
        check_types(batch, cfg, faults.path)
        timezone = zone(cfg.timezone)
        at = batch.column(cfg.event_time)
        event_us, has_event, unreadable = times(at, timezone)
        faults.add(f"a {cfg.event_time} that is not a time", len(unreadable), next(iter(unreadable), None))
        faults.add(f"no {cfg.event_time}", len(batch) - int(has_event.sum()) - len(unreadable))
        if has_event.any():
            tally.spans(int(event_us[has_event].min()), int(event_us[has_event].max()))

        if cfg.label_time:
            known_us, has_known, unreadable = times(batch.column(cfg.label_time), timezone, late=True)
            faults.add(f"a {cfg.label_time} that is not a time", len(unreadable), next(iter(unreadable), None))
            known_us = np.where(has_known, np.maximum(known_us, event_us), _NEVER)
        else:
            known_us = times(at, timezone, late=True)[0] + (self.delay_us or 0)

        inside = has_event & (event_us >= self.start_us) & (event_us < self.end_us)
        mature = inside & (known_us <= self.as_of_us) & (known_us != _NEVER)
        tally.n_rows += len(batch)
        tally.n_in_window += int(inside.sum())
        waiting = known_us[inside & (known_us > self.as_of_us) & (known_us != _NEVER)]
        if len(waiting):
            tally.waits_until(int(waiting.min()))
        if self.known_after_us is not None:
            mature &= known_us > self.known_after_us
        tally.mature[faults.path] = tally.mature.get(faults.path, 0) + int(mature.sum())
        if not mature.any():
            return None
        if not mature.all():
            batch = batch.filter(from_numpy(mature))
            event_us, known_us = event_us[mature], known_us[mature]

        label = _labels(batch.column(cfg.label), cfg.label, faults)
        weight = np.ones(len(label)) if cfg.weight is None else _weights(batch.column(cfg.weight), cfg.weight, faults)
        if faults:
            return None
        samples = Samples(feature_table(batch, cfg, faults.path), label, weight, event_us, known_us)
        return thin_negatives(samples, cfg.negative_keep_rate, cfg.numeric, cfg.linear)


def _labels(column: pa.Array, name: str, faults: Faults) -> npt.NDArray[np.int8]:
    outcome = truths(column)
    faults.add(f"no {name} though it should be known by now", int(outcome.missing.sum()))
    wrong = np.flatnonzero(outcome.wrong)
    if len(wrong):
        faults.add(f"a {name} other than 0 or 1", len(wrong), column[int(wrong[0])].as_py())
    return outcome.true.astype(np.int8)


def _weights(column: pa.Array, name: str, faults: Faults) -> npt.NDArray[np.float64]:
    weights = numbers(column)
    bad = np.flatnonzero(~((weights >= 0) & (weights <= MAX_WEIGHT)))
    if len(bad):
        example = column[int(bad[0])].as_py()
        kind = f"a {name} (the weight) that is not a number from 0 to {MAX_WEIGHT:g}"
        faults.add(kind, len(bad), "nothing" if example is None else example)
    return weights
