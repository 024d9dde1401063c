"""Joining: impressions with the outcomes of their keys, as samples whose order and number no file decides.

The samples of a window come sorted by event time and key, in batches of so many rows: however the impressions and
outcomes lie in files, and however often each is there, the same samples come in the same batches. What is in memory
meanwhile are the outcomes, the keys of one window of impressions, and those impressions that files still to be read
may come before: of files with a ``partition``, a few of them.

An impression is a 1 where an outcome of its key came from its time on to its *deadline*, a window later; it matures
then. Outcomes that came, or landed, after ``as_of`` are not there. An impression repeats another of its key that
happened at most a window before it, and is no sample.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.config import AT_ONCE, SamplesConfig
from gbdtlr.samples.ahead import in_order_ahead
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.columns import feature_table
from gbdtlr.samples.files import File
from gbdtlr.samples.finality import NEVER
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.joined import Joined
from gbdtlr.samples.keys import key_hashes
from gbdtlr.samples.opening import WIDTH, Placed, Reading, Where, finish, in_a_bucket, placed
from gbdtlr.samples.outcome_files import Read, outcomes_of, read_outcomes
from gbdtlr.samples.outcomes import Outcomes
from gbdtlr.samples.repeats import Repeats, beside_its_like
from gbdtlr.samples.thinning import row_hashes, thin_negatives
from gbdtlr.samples.window import Faults, Tally, Window, weights_of
from gbdtlr.values.arrays import from_numpy
from gbdtlr.values.hashing import U64

I64 = npt.NDArray[np.int64]

SLACK_US = 2 * 3600 * 1_000_000
"""What is left for the second reading of times without a zone when clocks go back."""


@dataclass(frozen=True)
class Impressions:
    """Rows before their label, (n,) each.

    Attributes
    ----------
    key : 64 bits
    event_us, deadline_us : when it happened, and until when an outcome counts
    row : which of ``samples`` it is; -1 for one that only tells of others whether they repeat it
    samples : with labels that are all 0
    """

    key: U64
    event_us: I64
    deadline_us: I64
    row: I64
    samples: Samples | None

    def __len__(self) -> int:
        return len(self.key)

    def take(self, places: I64) -> Impressions:
        """Rows at ``places``, in their order."""
        row = self.row[places]
        kept = row[row >= 0]
        samples = None
        if self.samples is not None and len(kept):
            whole = len(kept) == len(self.samples) and bool((kept[1:] > kept[:-1]).all())
            samples = self.samples if whole else self.samples.take(kept)
        renumbered = np.where(row >= 0, np.cumsum(row >= 0) - 1, -1)
        return Impressions(self.key[places], self.event_us[places], self.deadline_us[places], renumbered, samples)

    @staticmethod
    def concat(parts: Sequence[Impressions]) -> Impressions:
        """All rows of ``parts``, one after the other; at least one part."""
        if len(parts) == 1:
            return parts[0]
        rows, n = [], 0
        for part in parts:
            rows.append(np.where(part.row >= 0, part.row + n, -1))
            n += 0 if part.samples is None else len(part.samples)
        samples = [part.samples for part in parts if part.samples is not None]
        return Impressions(
            np.concatenate([part.key for part in parts]),
            np.concatenate([part.event_us for part in parts]),
            np.concatenate([part.deadline_us for part in parts]),
            np.concatenate(rows),
            Samples.concat(samples) if samples else None,
        )

    def in_order(self, numeric: Sequence[str], dense: Sequence[str] = ()) -> Impressions:
        """The rows by event time and key; of those that share both, by what they hold."""
        order = np.argsort(self.event_us, kind="stable")  # of what is in order nearly, as logs are, that takes no time
        tied = np.flatnonzero(beside_its_like(self.event_us[order]))
        rows = order[tied]
        order[tied] = rows[np.lexsort((self.key[rows], self.event_us[rows]))]
        key, event_us = self.key[order[tied]], self.event_us[order[tied]]
        tied = tied[beside_its_like(key, event_us)]
        rows = order[tied]
        if len(rows) and self.samples is not None:
            place = self.row[rows]
            there = place >= 0
            content, weight = np.zeros(len(rows), np.uint64), np.zeros(len(rows))
            content[there] = row_hashes(self.samples.take(place[there]), numeric, dense)
            weight[there] = self.samples.weight[place[there]]
            order[tied] = rows[np.lexsort((weight, content, self.key[rows], self.event_us[rows]))]
        return self if (order[1:] > order[:-1]).all() else self.take(order)


Item = tuple[Impressions, int, int]


def joined_batches(
    cfg: SamplesConfig, window: Window, batch_rows: int, tally: Tally, only: Container[str] | None
) -> Iterator[Samples]:
    """As :func:`gbdtlr.samples.reading.read_batches`, the labels from outcomes; of ``batch_rows`` rows but the last."""
    first_us, join = begun_join(cfg, window, tally)
    waiting: list[Samples] = []
    for samples in join.samples(_blocks(cfg, window, first_us, batch_rows, tally, only)):
        waiting.append(samples)
        while sum(map(len, waiting)) >= batch_rows:
            together = Samples.concat(waiting)
            yield together.slice(0, batch_rows)
            waiting = [together.slice(batch_rows, len(together))]
    if sum(map(len, waiting)):
        yield Samples.concat(waiting)
    join.count(first_us, min(window.end_us, window.as_of_us + 1))


def begun_join(cfg: SamplesConfig, window: Window, tally: Tally) -> tuple[int, Join]:
    """The moment that no sample of the window happened before, and the join of its impressions, of which none is read.

    Parameters
    ----------
    tally : is given the counts of the join, and what the outcomes say

    Raises
    ------
    GbdtlrError
        The outcomes cannot be read; see :func:`~gbdtlr.samples.outcome_files.read_outcomes`.
    """
    first_us = first_event(cfg, window)
    length_us = window_us(cfg)
    # Who pretends to know all at once knows what comes later.
    as_of_us = NEVER if cfg.of_unfinal == AT_ONCE else window.as_of_us
    end_us = min(window.end_us - 1 + length_us + slack_us(cfg), as_of_us) + 1
    read = read_outcomes(cfg, first_us - length_us, end_us, as_of_us, tally)
    tally.newest_outcome_us = read.outcomes.newest_us
    tally.joined = Joined()
    return first_us, Join(cfg, read, tally.joined)


def impression_files(
    cfg: SamplesConfig, window: Window, first_us: int, tally: Tally, only: Container[str] | None
) -> tuple[Window, list[Placed]]:
    """All rows that matter to a window, and the files that may hold some, those of the earliest first.

    Parameters
    ----------
    first_us : as of :func:`begun_join`
    """
    # Whether a row repeats another is told by those of a window before it.
    reach = Window(first_us - window_us(cfg), window.end_us, window.as_of_us)
    files = find_files(cfg.path)
    tally.n_files = len(files)
    there = placed(files, Where.of(cfg), reach, tally)
    return reach, sorted((each for each in there if only is None or each.file.path in only), key=_first)


def window_us(cfg: SamplesConfig) -> int:
    """How long an outcome is waited for, in microseconds."""
    return int(outcomes_of(cfg).window.total_seconds() * 1_000_000)


def slack_us(cfg: SamplesConfig) -> int:
    """By how much two readings of a time may differ."""
    return 0 if cfg.timezone == "UTC" else SLACK_US


def first_event(cfg: SamplesConfig, window: Window) -> int:
    """No sample of the window happened before this moment."""
    if window.unfinal:
        return max(window.start_us, window.as_of_us - window_us(cfg) - slack_us(cfg))
    if window.known_after_us is None:
        return window.start_us
    return max(window.start_us, window.known_after_us - window_us(cfg) - slack_us(cfg))


def _blocks(
    cfg: SamplesConfig,
    window: Window,
    first_us: int,
    batch_rows: int,
    tally: Tally,
    only: Container[str] | None,
) -> Iterator[Impressions]:
    """Impressions in order of time, those of the window before ``first_us`` too."""
    reach, chosen = impression_files(cfg, window, first_us, tally, only)

    def take(batch: pa.RecordBatch, faults: Faults, tally: Tally) -> Item | None:
        return impressions_of(batch, cfg, window, reach, faults, tally)

    readings = [Reading(each.file, cfg, reach, batch_rows, take) for each in chosen]
    pending: list[Impressions] = []
    joined = tally.joined or Joined()
    for i, item in _numbered(readings):
        impressions, n_wanted, n_keyless = item
        pending.append(impressions)
        joined.impressions += n_wanted
        joined.keyless += n_keyless
        # Files to come hold nothing earlier than the first of them does.
        first = chosen[i].first_us
        if first is not None and sum(map(len, pending)) >= 2 * batch_rows:
            together = Impressions.concat(pending)
            early = together.event_us < first
            if 2 * np.count_nonzero(early) >= len(early):
                yield together.take(np.flatnonzero(early)).in_order(cfg.numeric, cfg.linear)
                together = together.take(np.flatnonzero(~early))
            pending = [together]
    if pending:
        yield Impressions.concat(pending).in_order(cfg.numeric, cfg.linear)
    finish(readings, cfg, tally, () if window.unfinal else only)


def _first(each: tuple[object, int | None]) -> int:
    return -(2**63) if each[1] is None else each[1]


def _numbered(readings: Sequence[Reading[Item]]) -> Iterator[tuple[int, Item]]:
    """What is read of all files in order, each beside the file's number."""

    def stream(i: int) -> Iterator[tuple[int, Item]]:
        yield from ((i, item) for item in readings[i].items())

    # Of files on a disk the next batch is decoded while this one is sorted and joined.
    width = WIDTH if in_a_bucket(one.file for one in readings) else 2
    yield from in_order_ahead([partial(stream, i) for i in range(len(readings))], width)


def impressions_of(
    batch: pa.RecordBatch, cfg: SamplesConfig, window: Window, reach: Window, faults: Faults, tally: Tally
) -> Item | None:
    """Rows of ``batch`` that are wanted, or tell of others whether they repeat them; None where there are none.

    Parameters
    ----------
    window : of the rows that are wanted
    reach : of all rows

    Returns
    -------
    impressions, n_wanted, n_keyless : rows with a key; how many rows were wanted, and how many of these have none
    """
    event_us, finality, has_event, _, mature = window.moments(batch, cfg, faults, tally)
    known_us = finality.known_us
    deadline_us = known_us if finality.deadline_us is None else finality.deadline_us
    near = has_event & (event_us >= reach.start_us) & (event_us < reach.end_us)
    rows = np.flatnonzero(mature | near)
    if not len(rows):
        return None
    key, has_key = key_hashes(batch.column(str(cfg.key)), str(cfg.key), faults.path)
    n_wanted, n_keyless = int(np.count_nonzero(mature)), int(np.count_nonzero(mature & ~has_key))
    wanted = mature & has_key
    tally.mature[faults.path] = tally.mature.get(faults.path, 0) + int(np.count_nonzero(wanted))
    rows = rows[has_key[rows]]
    samples = None
    if wanted.any():
        chosen = batch if wanted.all() else batch.filter(from_numpy(wanted))
        weight = weights_of(chosen, cfg.weight, faults)
        if faults:
            return None
        label = np.zeros(len(chosen), np.int8)
        table = feature_table(chosen, cfg, faults.path)
        samples = Samples(table, label, weight, event_us[wanted], known_us[wanted])
    place = np.where(wanted, np.cumsum(wanted) - 1, -1)
    return Impressions(key[rows], event_us[rows], deadline_us[rows], place[rows], samples), n_wanted, n_keyless


def labelled(file: File, cfg: SamplesConfig, window: Window, outcomes: Outcomes) -> Reading[Samples]:
    """A file's own mature impressions as samples, repeats among them, for counting."""

    def take(batch: pa.RecordBatch, faults: Faults, tally: Tally) -> Samples | None:
        item = impressions_of(batch, cfg, window, window, faults, tally)
        return None if item is None else labelled_block(item[0], outcomes)

    return Reading(file, cfg, window, 65536, take)


def labelled_block(block: Impressions, outcomes: Outcomes) -> Samples | None:
    """The samples among some rows, with the labels and weights of their outcomes; None where there are none."""
    place = outcomes.find(block.key, block.event_us, block.deadline_us)[block.row >= 0]
    if block.samples is None:
        return None
    label = outcomes.is_one(place).astype(np.int8)
    outcome_us = np.where(label == 1, outcomes.time_us(place), NEVER)
    weight = block.samples.weight * outcomes.weights(place)
    return replace(block.samples, label=label, weight=weight, outcome_us=outcome_us)


@dataclass
class Join:
    """Impressions that become samples."""

    cfg: SamplesConfig
    read: Read
    joined: Joined

    def samples(self, blocks: Iterator[Impressions]) -> Iterator[Samples]:
        """Samples of blocks in order of time."""
        repeats = Repeats(window_us(self.cfg))
        for block in blocks:
            repeated = repeats.among(block.key, block.event_us)
            self.joined.repeated += int(np.count_nonzero(repeated & (block.row >= 0)))
            block = block.take(np.flatnonzero(~repeated)) if repeated.any() else block
            samples = labelled_block(block, self.read.outcomes)
            if samples is not None:
                self.joined.positives += int(samples.label.sum())
                yield thin_negatives(samples, self.cfg.negative_keep_rate, self.cfg.numeric, self.cfg.linear)

    def count(self, first_us: int, end_us: int) -> None:
        """Count the outcomes of a time, all impressions of which, and of a window before, have been seen."""
        joined, read = self.joined, self.read
        repeated, joined.unmatched, joined.late = read.outcomes.fates(first_us, end_us, window_us(self.cfg))
        same, joined.outcomes_keyless = (
            int(np.count_nonzero((time >= first_us) & (time < end_us))) for time in (read.same, read.keyless)
        )
        joined.outcomes_repeated = repeated + same
        joined.outcomes = read.outcomes.number(first_us, end_us) + same + joined.outcomes_keyless
