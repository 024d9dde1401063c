"""Reading: the mature samples of a window, out of files of any format, a few batches at a time."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pyarrow as pa

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import ConfigError, NoSamplesError, SamplesError, SchemaError
from gbdtlr.samples.ahead import in_order_ahead
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.files import File
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.partition import Partition
from gbdtlr.samples.texts import has_torn_end
from gbdtlr.samples.window import Faults, Tally, Window
from gbdtlr.times import MOMENT, format_time, from_us, to_us

# Files of a bucket that are waited for together.
_WIDTH = 8


def read_batches(
    cfg: SamplesConfig,
    start: datetime,
    end: datetime,
    as_of: datetime,
    *,
    known_after: datetime | None = None,
    batch_rows: int = 65536,
    tally: Tally | None = None,
    only: Container[str] | None = None,
) -> Iterator[Samples]:
    """Samples with an event in ``[start, end)`` whose label was known by ``as_of``, and none else.

    Memory is that of a few batches, however large the files are. Files whose path and row groups whose statistics
    place them outside of the window are not read.

    Parameters
    ----------
    cfg : where the samples are and what their columns mean
    start, end : moments, aware
    as_of : moment, aware; a label known exactly then counts as known
    known_after : moment, aware; only labels that became known after it
    batch_rows : rows of a batch, about
    tally : filled in with what was come across
    only : the files to open, of those that match; the others hold nothing that is looked for

    Returns
    -------
    Batches in canonical order, none of them empty; no batches where the window has no mature rows

    Raises
    ------
    NoSamplesError
        No files match.
    SchemaError
        Columns missing or of the wrong type; the message lists all of a file.
    SamplesError
        A file that cannot be read, or rows that cannot be learned from: labels other than 0 and 1, no event time,
        weights below zero.
    """
    tally = Tally() if tally is None else tally
    window = Window.of(cfg, start, end, as_of, known_after)
    waiting: list[Samples] = []
    n_waiting = 0
    for samples in _pieces(cfg, window, batch_rows, tally, only):
        # Many small files make many small pieces; what follows is faster on few large ones.
        waiting.append(samples)
        n_waiting += len(samples)
        if n_waiting > batch_rows // 2:
            yield Samples.concat(waiting)
            waiting, n_waiting = [], 0
    if waiting:
        yield Samples.concat(waiting)


def read_unfinal(cfg: SamplesConfig, start: datetime, as_of: datetime, *, batch_rows: int = 65536) -> Iterator[Samples]:
    """Samples from ``start`` up to ``as_of`` whose label is not final by then, as they look then.

    The label is 1 where the outcome had come, else 0; ``known_us``, when it will be final, is later than ``as_of``.
    Nothing that is learned for good or judges may see them. No file is opened that holds none of them, as far as
    paths and statistics tell.

    Parameters
    ----------
    cfg : with deadlines

    Raises
    ------
    NoSamplesError, SchemaError, SamplesError
        As :func:`read_batches`.
    """
    window = Window.of(cfg, start, as_of + MOMENT, as_of, None, unfinal=True)
    yield from _pieces(cfg, window, batch_rows, Tally(), None)


def read(
    cfg: SamplesConfig,
    start: datetime,
    end: datetime,
    as_of: datetime,
    *,
    known_after: datetime | None = None,
    batch_rows: int = 65536,
    tally: Tally | None = None,
) -> Samples:
    """All samples of :func:`read_batches` at once, at least one.

    Raises
    ------
    NoSamplesError
        There are none; the message says what the window was and what there is.
    """
    tally = Tally() if tally is None else tally
    batches = read_batches(cfg, start, end, as_of, known_after=known_after, batch_rows=batch_rows, tally=tally)
    parts = list(batches)
    if not parts:
        raise NoSamplesError(_nothing(Window.of(cfg, start, end, as_of, known_after), cfg, as_of, known_after, tally))
    return Samples.concat(parts)


def files_of(cfg: SamplesConfig, start: datetime, end: datetime) -> list[File]:
    """Files that may hold events in ``[start, end)``, by their path; nothing is opened."""
    return list(_placed(find_files(cfg.path), cfg, Window.of(cfg, start, end, end, None), Tally()))


def known_in(cfg: SamplesConfig, file: File, start: datetime, then: datetime, now: datetime) -> tuple[int, Tally]:
    """How many samples of one file with events from ``start`` on were known by ``then``, and its tally at ``now``.

    The tally's ``next_known_us`` is no later than the next moment at which the file, as it is, has something new.
    """
    # One feature is read along, as any; thinning would hide rows.
    categorical = () if cfg.numeric else cfg.categorical[:1]
    cfg = replace(cfg, negative_keep_rate=1.0, wide=(), numeric=cfg.numeric[:1], categorical=categorical)
    end = now + timedelta(microseconds=1)
    reading, then_us = _Reading(file, cfg, Window.of(cfg, start, end, now, None), 65536), to_us(then)
    known_then = sum(int((samples.known_us <= then_us).sum()) for samples in reading.samples())
    tally = reading.tally
    if tally.last_us is not None and tally.last_us > to_us(now):
        # Events to come, in a log of the past that is played again, may lie in row groups that were left alone.
        tally.waits_until(to_us(now))
    return known_then, tally


def _pieces(
    cfg: SamplesConfig, window: Window, batch_rows: int, tally: Tally, only: Container[str] | None
) -> Iterator[Samples]:
    files = find_files(cfg.path)
    tally.n_files = len(files)
    placed = _placed(files, cfg, window, tally)
    opened = [_Reading(file, cfg, window, batch_rows) for file in placed if only is None or file.path in only]
    # Disks answer at once, and Arrow uses all cores for one file already: only buckets are worth the threads.
    if any(one.file.remote for one in opened):
        yield from in_order_ahead([one.samples for one in opened], _WIDTH)
    else:
        for one in opened:
            yield from one.samples()
    for one in opened:
        tally.add(one.tally)
    seen = set().union(*(one.seen for one in opened))
    never = [name for name in cfg.features if name not in seen]
    # A few files out of many may well lack a feature that is rarely given.
    if never and tally.n_rows and only is None and not window.unfinal:
        raise SchemaError(
            f"{', '.join(never)}: no value in any row of {len(opened)} files; mend the files or [samples]"
        )


def _placed(files: list[File], cfg: SamplesConfig, window: Window, tally: Tally) -> Iterator[File]:
    """Files that may hold rows of the window, by their path."""
    if cfg.partition is None:
        yield from files
        return
    partition = Partition.of(cfg.partition, cfg.timezone)
    spans = [partition.span_us(file.path) for file in files]
    if all(span is None for span in spans):
        raise ConfigError(
            f"[samples] partition {cfg.partition!r} is found in the path of none of {len(files)} files, "
            f"such as {files[0].path}"
        )
    for file, span in zip(files, spans, strict=True):
        bounds = None if span is None else (span[0], span[1] - 1)
        if bounds is not None:
            tally.spans(*bounds)
        if window.may_hold(bounds):
            yield file
        elif (later := window.waits(bounds)) is not None:
            tally.waits_until(later)


@dataclass
class _Reading:
    """One file's share: its samples, and what was come across on the way."""

    file: File
    cfg: SamplesConfig
    window: Window
    batch_rows: int
    tally: Tally = field(default_factory=Tally)
    seen: set[str] = field(default_factory=set)

    def samples(self) -> Iterator[Samples]:
        faults = Faults(self.file.path)
        try:
            for batch in self._batches():
                samples = self.window.select(batch, self.cfg, faults, self.tally)
                # After a fault the rest of the file is read only to count.
                if samples is not None and not faults:
                    yield samples
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            remedy = "let this user read it" if isinstance(error, PermissionError) else "write it again or move it away"
            raise SamplesError(f"cannot read {self.file.path}: {reason}; {remedy}") from None
        if self.file.format == "csv" and has_torn_end(self.file):
            self.tally.unfinished += 1
        faults.check()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        # Each reader loads its part of Arrow only when a file calls for it: start-up is part of every update.
        if self.file.format == "json":
            from gbdtlr.samples.json_columns import json_batches

            yield from json_batches(self.file, self.cfg, self.seen)
        elif self.file.format == "csv":
            from gbdtlr.samples.csv import csv_batches

            yield from csv_batches(self.file, self.cfg, self.seen)
        else:
            from gbdtlr.samples.parquet import parquet_batches

            yield from parquet_batches(self.file, self.cfg, self.window, self.tally, self.batch_rows, self.seen)


def _nothing(window: Window, cfg: SamplesConfig, as_of: datetime, known_after: datetime | None, tally: Tally) -> str:
    if tally.n_in_window or tally.next_known_us is not None:
        after = f" after {format_time(known_after)}" if known_after is not None else ""
        if tally.next_known_us is None:
            later = ""
        else:
            later = f"; the next one becomes known at {format_time(from_us(tally.next_known_us))}"
        known = f"no label became known{after} by {format_time(as_of)}"
        n = f"{tally.n_in_window} samples" if tally.n_in_window else "samples"
        return f"{n} {window}, but {known}{later}"
    where = f"{tally.n_files} files with no rows at all"
    torn = sum(has_torn_end(file) for file in find_files(cfg.path))
    if torn:
        where += f" (in {torn} of them the last line has no end, and is left alone as somebody may be writing it)"
    if tally.first_us is not None and tally.last_us is not None:
        where = (
            f"the {tally.n_files} files have events from {format_time(from_us(tally.first_us))} "
            f"to {format_time(from_us(tally.last_us))}"
        )
    return f"no samples {window}: {where}; check --as-of and [samples] timezone and path"
