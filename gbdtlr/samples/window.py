"""Window: which rows a job may learn from at its as_of, and whether what they say about themselves is sound."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.config import AT_ONCE, SamplesConfig
from gbdtlr.errors import SamplesError
from gbdtlr.metrics import MAX_WEIGHT
from gbdtlr.samples.ages import Ages
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.finality import NEVER, Finality
from gbdtlr.samples.formats.columns import check_types, feature_table
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.joined import Joined
from gbdtlr.samples.thinning import thin_negatives
from gbdtlr.times import format_time, from_us, to_us, zone
from gbdtlr.values.arrays import from_numpy
from gbdtlr.values.numbers import numbers
from gbdtlr.values.times import times
from gbdtlr.values.truth import truths

# An hour and more is left for the second reading of times when clocks go back.
_SLACK_US = 2 * 3600 * 1_000_000


@dataclass
class Tally:
    """What a reading came across, filled in as it goes.

    ``mature`` holds the number of rows returned of each file that was opened (before negatives are thinned),
    ``unfinished`` in how many CSV files the last line had no end and was left alone, ``joined`` what came of it where
    outcomes gave the labels, ``ages`` how old rows were when their label became known, where each row says so and a
    whole window was read, and ``newest_outcome_us`` when the newest outcome came, where unfinal rows were read. Of rows
    with deadlines ``outcomes`` counts labels of 1, and ``late`` those among them that came later, so that they are 0.
    """

    n_files: int = 0
    n_rows: int = 0
    n_in_window: int = 0
    mature: dict[str, int] = field(default_factory=dict)
    first_us: int | None = None
    last_us: int | None = None
    next_known_us: int | None = None
    unfinished: int = 0
    joined: Joined | None = None
    ages: Ages | None = None
    newest_outcome_us: int | None = None
    outcomes: int = 0
    late: int = 0

    @property
    def n_mature(self) -> int:
        """Rows of all files that were in the window and mature."""
        return sum(self.mature.values())

    def remarks(self) -> dict[str, int]:
        """What a job's log says of a reading, where there is something to say."""
        odd = {"unfinished": self.unfinished, "late_outcomes": self.late}
        told = {name: n for name, n in odd.items() if n}
        return {**told, **({} if self.joined is None else self.joined.remarks())}

    def metrics(self) -> dict[str, dict[str, int]]:
        """What releases say of a reading."""
        return {} if self.joined is None else {"joined": self.joined.as_dict()}

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
        self.outcomes += other.outcomes
        self.late += other.late
        self.mature.update(other.mature)
        if other.first_us is not None and other.last_us is not None:
            self.spans(other.first_us, other.last_us)
        if other.next_known_us is not None:
            self.waits_until(other.next_known_us)
        if other.ages is not None:
            self.ages = Ages() if self.ages is None else self.ages
            self.ages.add(other.ages)
        if other.newest_outcome_us is not None:
            self.has_outcomes_until(other.newest_outcome_us)

    def has_outcomes_until(self, newest_us: int) -> None:
        """Note that an outcome came at this moment."""
        newest_us = newest_us if self.newest_outcome_us is None else max(self.newest_outcome_us, newest_us)
        self.newest_outcome_us = newest_us

    def waits_until(self, known_us: int) -> None:
        """Note that a row of the window matures at this moment."""
        self.next_known_us = known_us if self.next_known_us is None else min(self.next_known_us, known_us)


@dataclass
class Faults:
    """Unsound rows of one file, counted by kind, with an example of each."""

    file: File
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

    def check(self, n_rows: int, table: str) -> None:
        """Nothing, if there are none.

        Parameters
        ----------
        n_rows : of the file, all of which may be unsound where the column is not the one that was meant
        table : of the config, which names the columns

        Raises
        ------
        SamplesError
            Unsound rows; the message has all kinds of them with their numbers.
        """
        if self:
            found = "; ".join(f"{n} rows with {kind}{self.examples.get(kind, '')}" for kind, n in self.counts.items())
            remedy = "mend or remove these rows"
            if max(self.counts.values()) >= n_rows:
                remedy = f"name another column in [{table}], or mend these rows"
            raise SamplesError(f"{self.file.subject}: {found}; {remedy}")


@dataclass(frozen=True)
class Window:
    """Events in ``[start, end)`` with labels known by ``as_of`` and, where it is given, after ``known_after``.

    ``delay_us`` is how long after its event every label becomes known, if that is so; ``by_deadline`` says that rows
    have deadlines. With ``unfinal``, it is the rows whose label is not final by ``as_of``, as they look then.
    """

    start_us: int
    end_us: int
    as_of_us: int
    known_after_us: int | None = None
    delay_us: int | None = None
    by_deadline: bool = False
    unfinal: bool = False

    @classmethod
    def of(
        cls,
        cfg: SamplesConfig,
        start: datetime,
        end: datetime,
        as_of: datetime,
        known_after: datetime | None,
        *,
        unfinal: bool = False,
    ) -> Window:
        """Window of these moments; the delay is the config's."""
        at_once = cfg.of_unfinal == AT_ONCE
        length = timedelta() if at_once else cfg.final_after
        delay = None if length is None else length // timedelta(microseconds=1)
        after = None if known_after is None else to_us(known_after)
        by_deadline = cfg.has_deadline and not at_once
        return cls(to_us(start), to_us(end), to_us(as_of), after, delay, by_deadline, unfinal)

    def __str__(self) -> str:
        return f"from {format_time(from_us(self.start_us))} to {format_time(from_us(self.end_us))}"

    def may_hold(self, event: tuple[int, int] | None, known: tuple[int, int] | None = None) -> bool:
        """Whether rows with event times, and moments they are known at, within these inclusive bounds can be in it."""
        if event is None:
            return True
        if event[1] < self.start_us or event[0] >= self.end_us:
            return False
        first, last = self._known(event, known)
        if self.unfinal:
            return last > self.as_of_us
        if self.by_deadline and first > self.as_of_us:
            return False
        return self.known_after_us is None or last > self.known_after_us

    def waits(self, event: tuple[int, int] | None, known: tuple[int, int] | None = None) -> int | None:
        """A moment before any of such rows matures, if they would be in the window then; None if they are not."""
        if event is None or not self.by_deadline or event[1] < self.start_us or event[0] >= self.end_us:
            return None
        first, _ = self._known(event, known)
        return first if first > self.as_of_us else None

    def _known(self, event: tuple[int, int], known: tuple[int, int] | None) -> tuple[int, int]:
        """Bounds of when labels become known: no earlier than their events."""
        if known is not None:
            return max(known[0], event[0]), max(known[1], event[1])
        if self.delay_us is None:
            return event[0], NEVER
        return event[0] + self.delay_us - _SLACK_US, event[1] + self.delay_us + _SLACK_US

    def moments(self, batch: pa.RecordBatch, cfg: SamplesConfig, faults: Faults, tally: Tally) -> Moments:
        """Times of the rows of ``batch``, and which of them are in the window and mature."""
        check_types(batch, cfg, faults.file)
        timezone = zone(cfg.timezone)
        at = batch.column(cfg.event_time)
        event_us, has_event, unreadable = times(at, timezone)
        faults.add(f"a {cfg.event_time} that is not a time", len(unreadable), next(iter(unreadable), None))
        n_events = int(np.count_nonzero(has_event))
        faults.add(f"no {cfg.event_time}", len(batch) - n_events - len(unreadable))
        if n_events:
            there = event_us if n_events == len(batch) else event_us[has_event]
            tally.spans(int(there.min()), int(there.max()))

        finality = Finality.of(batch, cfg, event_us, faults.add)
        inside = has_event & (event_us >= self.start_us) & (event_us < self.end_us)
        mature = self._mature(inside, finality.known_us, tally)
        tally.n_rows += len(batch)
        tally.n_in_window += int(np.count_nonzero(inside))
        return Moments(event_us, finality, has_event, inside, mature)

    def select(self, batch: pa.RecordBatch, cfg: SamplesConfig, faults: Faults, tally: Tally) -> Samples | None:
        """Rows of ``batch`` that are in the window and mature; None where none are left, or there are unsound ones."""
        event_us, finality, _, inside, mature = self.moments(batch, cfg, faults, tally)
        tally.mature[faults.file.path] = tally.mature.get(faults.file.path, 0) + int(mature.sum())
        every_us = event_us[inside]
        if not mature.all():
            batch = batch.filter(from_numpy(mature))
            event_us, finality = event_us[mature], finality.take(mature)

        label, outcome_us = self._labels(batch, cfg, finality, faults, tally)
        if self.unfinal and outcome_us is not None and label.any():
            tally.has_outcomes_until(int(outcome_us[label == 1].max()))
        if cfg.label_time and not cfg.has_deadline and self.known_after_us is None:
            tally.ages = Ages() if tally.ages is None else tally.ages
            tally.ages.note(self.as_of_us, every_us, event_us, finality.known_us, label)
        if not len(batch):
            return None
        weight = weights_of(batch, cfg.weight, faults)
        if faults:
            return None
        table = feature_table(batch, cfg, faults.file)
        samples = Samples(table, label, weight, event_us, finality.known_us, outcome_us)
        thinned = thin_negatives(samples, cfg.negative_keep_rate, cfg.numeric, cfg.linear)
        return thinned if len(thinned) else None

    def _mature(
        self, inside: npt.NDArray[np.bool_], known_us: npt.NDArray[np.int64], tally: Tally
    ) -> npt.NDArray[np.bool_]:
        """Which rows are asked for, of those with an event in the window; the tally notes when others will be."""
        known: npt.NDArray[np.bool_] = inside & (known_us <= min(self.as_of_us, NEVER - 1))
        waiting: npt.NDArray[np.bool_] = inside & ~known
        if self.unfinal:
            return waiting
        if waiting.any() and (later := known_us[waiting & (known_us != NEVER)]).size:
            tally.waits_until(int(later.min()))
        if self.known_after_us is not None:
            known &= known_us > self.known_after_us
        return known

    def _labels(
        self, batch: pa.RecordBatch, cfg: SamplesConfig, finality: Finality, faults: Faults, tally: Tally
    ) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64] | None]:
        """Labels of rows, and when their outcomes came, where they say so: what came by ``as_of`` and in time.

        The label of an unfinal row is looked at only once its ``label_time`` has come.
        """
        outcome_us, deadline_us = finality.outcome_us, finality.deadline_us
        if outcome_us is None or deadline_us is None:
            return _labels(batch.column(cfg.label), cfg.label, faults), None
        there = outcome_us <= (np.minimum(deadline_us, self.as_of_us) if self.unfinal else deadline_us)
        label = np.zeros(len(batch), np.int8)
        if self.unfinal:
            label[there] = _labels(batch.filter(from_numpy(there)).column(cfg.label), cfg.label, faults)
        else:
            label[:] = _labels(batch.column(cfg.label), cfg.label, faults)
            never = int(((label == 1) & (outcome_us == NEVER)).sum())
            faults.add(f"a {cfg.label} of 1 and no {cfg.label_time}, which says when the outcome came", never)
            tally.outcomes += int(label.sum())
            tally.late += int(label[~there].sum())
            label[~there] = 0
        return label, np.where(label == 1, outcome_us, NEVER)


class Moments(NamedTuple):
    """Times of some rows, (n,) each, in microseconds since 1970 UTC.

    Attributes
    ----------
    event_us : when each happened
    finality : when its label is final
    has_event : whether it says when it happened
    inside : whether it is in the window
    mature : whether it is asked for: in the window, its label known, or, of a window of such rows, not final
    """

    event_us: npt.NDArray[np.int64]
    finality: Finality
    has_event: npt.NDArray[np.bool_]
    inside: npt.NDArray[np.bool_]
    mature: npt.NDArray[np.bool_]


def weights_of(batch: pa.RecordBatch, name: str | None, faults: Faults) -> npt.NDArray[np.float64]:
    """Weights of rows, (n,): of their column, if there is one; those that cannot be are faults."""
    return np.ones(len(batch)) if name is None else _weights(batch.column(name), name, faults)


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
