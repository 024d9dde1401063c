"""Reading: the mature samples of a window, out of files of any format, a few batches at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import ConfigError, NoSamplesError, SchemaError
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.dealing import Share
from gbdtlr.samples.files import File
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.one_file import Reading
from gbdtlr.samples.partition import Partition
from gbdtlr.samples.shares import read_shares
from gbdtlr.samples.texts import has_torn_end
from gbdtlr.samples.window import Tally, Window
from gbdtlr.times import format_time, from_us, to_us


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
    found = Found.of(cfg, start, end, as_of, known_after=known_after, only=only)
    tally = Tally() if tally is None else tally
    tally.add(found.tally)
    seen: set[str] = set()
    for share in read_shares([found.files], cfg, found.window, batch_rows):
        yield from share.batches
        tally.add(share.tally)
        seen |= share.seen
    found.check(cfg, tally, seen)


@dataclass(frozen=True)
class Found:
    """What there is to be read, before anything is opened.

    Attributes
    ----------
    window : which rows are looked for
    files : those that may hold some, by their path
    tally : what is known already
    whole : whether these are all files of the window, and not only some of them
    """

    window: Window
    files: Share
    tally: Tally
    whole: bool

    @classmethod
    def of(
        cls,
        cfg: SamplesConfig,
        start: datetime,
        end: datetime,
        as_of: datetime,
        *,
        known_after: datetime | None = None,
        only: Container[str] | None = None,
    ) -> Found:
        """What is to be read for :func:`read_batches`; parameters and errors as there."""
        window, tally = Window.of(cfg, start, end, as_of, known_after), Tally()
        files = find_files(cfg.path)
        tally.n_files = len(files)
        placed = tuple(file for file in _placed(files, cfg, window, tally) if only is None or file.path in only)
        return cls(window, placed, tally, only is None)

    def check(self, cfg: SamplesConfig, tally: Tally, seen: Collection[str]) -> None:
        """Nothing, if every feature had a value somewhere.

        Parameters
        ----------
        tally : of all that was read
        seen : columns that had values

        Raises
        ------
        SchemaError
        """
        never = [name for name in cfg.features if name not in seen]
        # A few files out of many may well lack a feature that is rarely given.
        if never and tally.n_rows and self.whole:
            raise SchemaError(
                f"{', '.join(never)}: no value in any row of {len(self.files)} files; mend the files or [samples]"
            )


def read(
    cfg: SamplesConfig,
    start: datetime,
    end: datetime,
    as_of: datetime,
    *,
    known_after: datetime | None = None,
    batch_rows: int = 65536,
    tally: Tally | None = None,
    watch: Callable[[Samples], None] | None = None,
) -> Samples:
    """All samples of :func:`read_batches` at once, at least one.

    Parameters
    ----------
    watch : called with each batch

    Raises
    ------
    NoSamplesError
        There are none; the message says what the window was and what there is.
    """
    tally = Tally() if tally is None else tally
    batches = read_batches(cfg, start, end, as_of, known_after=known_after, batch_rows=batch_rows, tally=tally)
    parts = []
    for batch in batches:
        if watch is not None:
            watch(batch)
        parts.append(batch)
    if not parts:
        raise nothing_read(Window.of(cfg, start, end, as_of, known_after), cfg, as_of, known_after, tally)
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
    cfg = replace(cfg, negative_keep_rate=1.0, wide=(), dense=(), numeric=cfg.numeric[:1], categorical=categorical)
    end = now + timedelta(microseconds=1)
    reading, then_us = Reading(file, cfg, Window.of(cfg, start, end, now, None), 65536), to_us(then)
    known_then = sum(int((samples.known_us <= then_us).sum()) for samples in reading.samples())
    tally = reading.tally
    if tally.last_us is not None and tally.last_us > to_us(now):
        # Events to come, in a log of the past that is played again, may lie in row groups that were left alone.
        tally.waits_until(to_us(now))
    return known_then, tally


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


def nothing_read(
    window: Window, cfg: SamplesConfig, as_of: datetime, known_after: datetime | None, tally: Tally
) -> NoSamplesError:
    """The error that a window without mature rows is, by what was come across in reading it."""
    return NoSamplesError(_nothing(window, cfg, as_of, known_after, tally))


def _nothing(window: Window, cfg: SamplesConfig, as_of: datetime, known_after: datetime | None, tally: Tally) -> str:
    if tally.n_in_window:
        after = f" after {format_time(known_after)}" if known_after is not None else ""
        if tally.next_known_us is None:
            later = ""
        else:
            later = f"; the next one becomes known at {format_time(from_us(tally.next_known_us))}"
        known = f"no label became known{after} by {format_time(as_of)}"
        return f"{tally.n_in_window} samples {window}, but {known}{later}"
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
