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

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.config import AT_ONCE, SamplesConfig
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.finality import NEVER
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.join.impressions import Impressions, Item, impressions_of
from gbdtlr.samples.join.outcome_files import Read, outcomes_of, read_outcomes
from gbdtlr.samples.join.outcomes import Outcomes
from gbdtlr.samples.join.repeats import Repeats
from gbdtlr.samples.joined import Joined
from gbdtlr.samples.opening import Placed, Reading, Where, finish, placed, read_together
from gbdtlr.samples.thinning import thin_negatives
from gbdtlr.samples.window import Faults, Tally, Window

I64 = npt.NDArray[np.int64]

SLACK_US = 2 * 3600 * 1_000_000
"""What is left for the second reading of times without a zone when clocks go back."""


def joined_batches(
    cfg: SamplesConfig, window: Window, batch_rows: int, tally: Tally, only: Container[str] | None
) -> Iterator[Samples]:
    """As :func:`gbdtlr.samples.reading.read_batches`, the labels from outcomes; of ``batch_rows`` rows but the last."""
    first_us, join = begun_join(cfg, window, tally)
    yield from in_batches(join.samples(_blocks(cfg, window, first_us, batch_rows, tally, only)), batch_rows)
    join.count(first_us, min(window.end_us, window.as_of_us + 1))


def begun_join(cfg: SamplesConfig, window: Window, tally: Tally) -> tuple[int, Join]:
    """The moment that no sample of the window happened before, and the join of its impressions, of which none is read.

    Parameters
    ----------
    tally : is given the counts of the join, and what the outcomes say

    Raises
    ------
    GbdtlrError
        The outcomes cannot be read; see :func:`~gbdtlr.samples.join.outcome_files.read_outcomes`.
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
    files = find_files(cfg.path, f"[{cfg.table}] path")
    tally.n_files = len(files)
    there = placed(files, Where.of(cfg), reach, tally)
    return reach, sorted((each for each in there if only is None or each.file.path in only), key=_first)


def in_batches(parts: Iterator[Samples], batch_rows: int) -> Iterator[Samples]:
    """The same samples, so many at a time; in the end fewer."""
    waiting: list[Samples] = []
    n_waiting = 0
    for samples in parts:
        start = 0
        while n_waiting + len(samples) - start >= batch_rows:
            stop = start + batch_rows - n_waiting
            yield Samples.concat([*waiting, samples.slice(start, stop)])
            waiting, n_waiting, start = [], 0, stop
        if start < len(samples):
            waiting.append(samples.slice(start, len(samples)))
            n_waiting += len(waiting[-1])
    if waiting:
        yield Samples.concat(waiting)


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
    reached = None
    for i, (impressions, n_wanted, n_keyless) in read_together(readings):
        joined.impressions += n_wanted
        joined.keyless += n_keyless
        first = chosen[i].first_us
        if first is not None and first != reached:
            reached = first
            # This file and those to come hold nothing earlier.
            n_early = sum(int(np.count_nonzero(part.event_us < first)) for part in pending)
            if 2 * n_early > max(batch_rows, sum(map(len, pending))):
                early, late = Impressions.concat(pending).before(first)
                yield early.in_order(cfg.numeric, cfg.linear)
                pending = [late] if len(late) else []
        pending.append(impressions)
    if pending:
        yield Impressions.concat(pending).in_order(cfg.numeric, cfg.linear)
    finish(readings, cfg, tally, () if window.unfinal else only)


def _first(each: tuple[object, int | None]) -> int:
    return -(2**63) if each[1] is None else each[1]


def labelled(file: File, cfg: SamplesConfig, window: Window, outcomes: Outcomes) -> Reading[Samples]:
    """A file's own mature impressions as samples, repeats among them, for counting."""

    def take(batch: pa.RecordBatch, faults: Faults, tally: Tally) -> Samples | None:
        item = impressions_of(batch, cfg, window, window, faults, tally)
        return None if item is None else labelled_block(item[0], outcomes)

    return Reading(file, cfg, window, 65536, take)


def labelled_block(block: Impressions, outcomes: Outcomes) -> Samples | None:
    """The samples among some rows, with the labels and weights of their outcomes; None where there are none."""
    place = outcomes.find(block.key, block.event_us, block.deadline_us)
    if block.samples is None:
        return None
    place = place if block.wanted.all() else place[block.wanted]
    label, outcome_us = np.zeros(len(place), np.int8), np.full(len(place), NEVER)
    ones = np.flatnonzero(place >= 0)  # few impressions have an outcome at all
    ones = ones[outcomes.is_one(place[ones])]
    label[ones], outcome_us[ones] = 1, outcomes.time_us(place[ones])
    weight = block.samples.weight if outcomes.weight is None else block.samples.weight * outcomes.weights(place)
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
            self.joined.repeated += int(np.count_nonzero(repeated & block.wanted))
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
