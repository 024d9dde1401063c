"""Opening: which files may hold rows of a window, and one of them read batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import pyarrow as pa

from gbdtlr.compute.threads import n_threads
from gbdtlr.config import SamplesConfig
from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.samples.ahead import in_order_ahead
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.texts import has_torn_end
from gbdtlr.samples.formats.unreadable import unreadable
from gbdtlr.samples.lakes.passwords import hidden
from gbdtlr.samples.partition import Partition
from gbdtlr.samples.window import Faults, Tally, Window
from gbdtlr.times import to_us

WIDTH = 8
"""Files of a bucket that are waited for together."""
_ON_DISK = 4
"""Most files of a disk that are read together where logs are joined; more could not be joined as fast."""

Item = TypeVar("Item")
Take = Callable[[pa.RecordBatch, Faults, Tally], Item | None]
"""What is made of a batch; None where nothing is. Faults are told when the file has been read."""


class Placed(NamedTuple):
    """A file, and no event in it is earlier than ``first_us``; None where nothing says so."""

    file: File
    first_us: int | None


@dataclass(frozen=True)
class Where:
    """What tells the times of files.

    Attributes
    ----------
    time : the column of the events' times, of which tables know the bounds
    partition : a pattern in paths, if there is one
    table : of the config, which has it
    """

    time: str
    partition: str | None
    timezone: str
    table: str = "samples"

    @classmethod
    def of(cls, cfg: SamplesConfig) -> Where:
        """As the config of the samples says."""
        return cls(cfg.event_time, cfg.partition, cfg.timezone)

    def spans_us(self, files: Sequence[File]) -> list[tuple[int, int] | None]:
        """First and last moment that events of each file can have, by its table or else by its path, if one says so.

        Raises
        ------
        ConfigError
            There is a partition, and nothing says anything of any file.
        """
        spans = [file.span_us(self.time, self.timezone) for file in files]
        if self.partition is None:
            return spans
        partition = Partition.of(self.partition, self.timezone, self.table)
        for i, file in enumerate(files):
            if spans[i] is None and (found := partition.span_us(file.path)) is not None:
                spans[i] = found[0], found[1] - 1
        if files and all(span is None for span in spans):
            raise ConfigError(
                f"[{self.table}] partition {self.partition!r} is found in the path of none of {len(files)} files, "
                f"such as {files[0].path}"
            )
        return spans


def placed(files: list[File], where: Where, window: Window, tally: Tally) -> Iterator[Placed]:
    """Files that may hold rows of the window, by their tables or paths; raises as :meth:`Where.spans_us`."""
    for file, span in zip(files, where.spans_us(files), strict=True):
        if span is not None:
            tally.spans(*span)
        if window.may_hold(span):
            yield Placed(file, None if span is None else span[0])
        elif (later := window.waits(span)) is not None:
            tally.waits_until(later)


@dataclass
class Reading(Generic[Item]):
    """One file's share of a window: what is made of its batches, and what was come across on the way.

    Attributes
    ----------
    cfg : which columns are read, and what they mean
    window : what lies outside is not read, as far as the file says where it is
    take : makes something of a batch
    seen : features that had a value
    alone : whether no other file is read meanwhile, so that one may take several threads
    """

    file: File
    cfg: SamplesConfig
    window: Window
    batch_rows: int
    take: Take[Item]
    tally: Tally = field(default_factory=Tally)
    seen: set[str] = field(default_factory=set)
    alone: bool = True

    def items(self) -> Iterator[Item]:
        """What is made of its batches, in order; nothing more after a fault.

        Raises
        ------
        SamplesError
            The file cannot be read, or has unsound rows.
        """
        with hidden(self.file):
            yield from self._items()

    def _items(self) -> Iterator[Item]:
        faults = Faults(self.file)
        try:
            for batch in self._batches():
                item = self.take(batch, faults, self.tally)
                # After a fault the rest of the file is read only to count.
                if item is not None and not faults:
                    yield item
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise unreadable(self.file, error, "write it again or move it away") from None
        if self.file.format == "csv" and has_torn_end(self.file):
            self.tally.unfinished += 1
        faults.check(self.tally.n_rows, self.cfg.table)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        # Each reader loads its part of Arrow only when a file calls for it: start-up is part of every update.
        if self.file.format == "json":
            from gbdtlr.samples.formats.json_columns import json_batches

            yield from json_batches(self.file, self.cfg, self.seen)
        elif self.file.format == "csv":
            from gbdtlr.samples.formats.csv import csv_batches

            yield from csv_batches(self.file, self.cfg, self.seen)
        elif self.file.format == "sql":
            from gbdtlr.samples.lakes.sql import sql_batches

            yield from sql_batches(self.file, self.cfg, self.window, self.tally, self.batch_rows, self.seen)
        else:
            from gbdtlr.samples.formats.parquet import parquet_batches

            about = (self.tally, self.batch_rows, self.seen, self.alone)
            yield from parquet_batches(self.file, self.cfg, self.window, *about)


def samples_in(file: File, cfg: SamplesConfig, window: Window, batch_rows: int) -> Reading[Samples]:
    """A file's samples of the window, where their labels stand in it."""

    def take(batch: pa.RecordBatch, faults: Faults, tally: Tally) -> Samples | None:
        return window.select(batch, cfg, faults, tally)

    return Reading(file, cfg, window, batch_rows, take)


def in_a_bucket(files: Iterable[File]) -> bool:
    """Whether any of the files takes its time to answer.

    Disks answer at once, and Arrow uses all cores for one file already: only buckets are worth the threads.
    """
    return any(file.remote for file in files)


def read_together(readings: Sequence[Reading[Item]]) -> Iterator[tuple[int, Item]]:
    """What is read of logs that are joined, in order, each beside the number of its file; several files at a time."""
    at_once = WIDTH if in_a_bucket(one.file for one in readings) else min(_ON_DISK, max(2, n_threads()))

    def stream(i: int) -> Iterator[tuple[int, Item]]:
        readings[i].alone = len(readings) == 1
        yield from ((i, item) for item in readings[i].items())

    yield from in_order_ahead([partial(stream, i) for i in range(len(readings))], at_once)


def finish(readings: Sequence[Reading[Any]], cfg: SamplesConfig, tally: Tally, only: Container[str] | None) -> None:
    """Add up what all readings came across.

    Parameters
    ----------
    only : the files that were to be opened, if not all

    Raises
    ------
    SchemaError
        No file has a value of some feature.
    """
    for one in readings:
        tally.add(one.tally)
    if only is None:
        check_seen(cfg, tally, set().union(*(one.seen for one in readings)), len(readings))


def check_seen(cfg: SamplesConfig, tally: Tally, seen: Collection[str], n_files: int) -> None:
    """Nothing, if every feature had a value in some of all files of a window; ``SchemaError`` if not.

    Parameters
    ----------
    tally : of all that was read
    seen : columns that had values
    """
    never = [name for name in cfg.features if name not in seen]
    # A few files out of many may well lack a feature that is rarely given.
    if never and tally.n_rows:
        raise SchemaError(f"{', '.join(never)}: no value in any row of {n_files} files; mend the data, or [samples]")


def note_to_come(tally: Tally, now: datetime) -> None:
    """Note in a file's tally that it waits, where it has events to come, in a log of the past that is played again.

    They may lie in row groups that were left alone.
    """
    if tally.last_us is not None and tally.last_us > to_us(now):
        tally.waits_until(to_us(now))
