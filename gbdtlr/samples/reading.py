"""Reading: the mature samples of a window, out of files of any format, a few batches at a time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import NoSamplesError
from gbdtlr.samples.ahead import in_order_ahead
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.texts import has_torn_end
from gbdtlr.samples.join.joining import joined_batches, labelled, slack_us
from gbdtlr.samples.join.outcomes import Outcomes
from gbdtlr.samples.opening import WIDTH, Where, finish, in_a_bucket, note_to_come, placed, samples_in
from gbdtlr.samples.shares import gathered
from gbdtlr.samples.window import Tally, Window
from gbdtlr.times import MOMENT, format_time, from_us, to_us


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
    if cfg.key is not None:
        yield from joined_batches(cfg, window, batch_rows, tally, only)
        return
    # Many small files make many small pieces; what follows is faster on few large ones.
    yield from gathered(_pieces(cfg, window, batch_rows, tally, only), batch_rows)


def read_unfinal(
    cfg: SamplesConfig, start: datetime, as_of: datetime, *, batch_rows: int = 65536, tally: Tally | None = None
) -> Iterator[Samples]:
    """Samples from ``start`` up to ``as_of`` whose label is not final by then, as they look then.

    The label is 1 where the outcome had come, else 0; ``known_us``, when it will be final, is later than ``as_of``.
    Nothing that is learned for good or judges may see them. No file is opened that holds none of them, as far as
    paths and statistics tell.

    Parameters
    ----------
    cfg : with deadlines
    tally : its ``newest_outcome_us`` is when the newest outcome came that is there, of whichever row is known

    Raises
    ------
    NoSamplesError, SchemaError, SamplesError
        As :func:`read_batches`.
    """
    window = Window.of(cfg, start, as_of + MOMENT, as_of, None, unfinal=True)
    tally = Tally() if tally is None else tally
    if cfg.key is not None:
        yield from joined_batches(cfg, window, batch_rows, tally, None)
    else:
        yield from _pieces(cfg, window, batch_rows, tally, None)


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
    window = Window.of(cfg, start, end, end, None)
    return [each.file for each in placed(find_files(cfg.path, f"[{cfg.table}] path"), Where.of(cfg), window, Tally())]


def first_events(cfg: SamplesConfig, files: Sequence[File], otherwise_us: int) -> list[int]:
    """Moments before which the files have no events, by tables or paths; ``otherwise_us`` where they do not say."""
    spans = Where.of(cfg).spans_us(files)
    return [otherwise_us if span is None else span[0] for span in spans]


def reach_of(cfg: SamplesConfig) -> timedelta:
    """How long before a moment those impressions happened that matter to what becomes known after it."""
    return timedelta() if cfg.outcomes is None else 2 * cfg.outcomes.window + timedelta(microseconds=slack_us(cfg))


class Known(NamedTuple):
    """What a file holds of samples with events from some moment on.

    Attributes
    ----------
    known : how many were known by the update before
    positives, positives_now : for how many of these, and of those known by now, there is an outcome that says 1; None
        where labels stand in the files
    tally : its ``next_known_us`` is no later than the next moment at which the file, as it is, has something new
    """

    known: int
    positives: int | None
    positives_now: int | None
    tally: Tally


def known_in(
    cfg: SamplesConfig, file: File, start: datetime, then: datetime, now: datetime, outcomes: Outcomes | None = None
) -> Known:
    """What one file holds of samples with events from ``start`` on, known by ``then`` and by ``now``.

    Parameters
    ----------
    outcomes : where they give the labels, those of the file's events
    """
    # One feature is read along, as any; thinning would hide rows.
    categorical = () if cfg.numeric else cfg.categorical[:1]
    cfg = replace(
        cfg,
        negative_keep_rate=1.0,
        wide=(),
        dense=(),
        user_score=None,
        numeric=cfg.numeric[:1],
        categorical=categorical,
    )
    end = now + timedelta(microseconds=1)
    window, then_us = Window.of(cfg, start, end, now, None), to_us(then)
    reading = samples_in(file, cfg, window, 65536) if outcomes is None else labelled(file, cfg, window, outcomes)
    known, positives, positives_now = 0, 0, 0
    for samples in reading.items():
        by_then = samples.known_us <= then_us
        known += int(by_then.sum())
        positives += int(samples.label[by_then].sum())
        positives_now += int(samples.label.sum())
    note_to_come(reading.tally, now)
    if outcomes is None:
        return Known(known, None, None, reading.tally)
    return Known(known, positives, positives_now, reading.tally)


def _pieces(
    cfg: SamplesConfig, window: Window, batch_rows: int, tally: Tally, only: Container[str] | None
) -> Iterator[Samples]:
    files = find_files(cfg.path, f"[{cfg.table}] path")
    tally.n_files = len(files)
    there = (each.file for each in placed(files, Where.of(cfg), window, tally))
    opened = [samples_in(file, cfg, window, batch_rows) for file in there if only is None or file.path in only]
    if in_a_bucket(one.file for one in opened):
        yield from in_order_ahead([one.items for one in opened], WIDTH)
    else:
        for one in opened:
            yield from one.items()
    finish(opened, cfg, tally, () if window.unfinal else only)


def nothing_read(
    window: Window, cfg: SamplesConfig, as_of: datetime, known_after: datetime | None, tally: Tally
) -> NoSamplesError:
    """The error that a window without mature rows is, by what was come across in reading it."""
    return NoSamplesError(_nothing(window, cfg, as_of, known_after, tally))


def _nothing(window: Window, cfg: SamplesConfig, as_of: datetime, known_after: datetime | None, tally: Tally) -> str:
    if tally.joined is not None and tally.joined.impressions:
        told = tally.joined
        return (
            f"{told.impressions} impressions {window} whose windows are over, but {told.keyless} have no key, and "
            f"{told.repeated} have one that another had shortly before; check [samples] key"
        )
    if tally.n_mature and cfg.negative_keep_rate < 1:
        return (
            f"{tally.n_mature} samples {window} whose label is known, but all are negatives, of which [samples] "
            f"negative_keep_rate leaves {cfg.negative_keep_rate:g}: none of these; raise it, or give the window more "
            "time"
        )
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
    torn = sum(has_torn_end(file) for file in find_files(cfg.path, f"[{cfg.table}] path"))
    if torn:
        where += f" (in {torn} of them the last line has no end, and is left alone as somebody may be writing it)"
    if tally.first_us is not None and tally.last_us is not None:
        where = (
            f"the {tally.n_files} files have events from {format_time(from_us(tally.first_us))} "
            f"to {format_time(from_us(tally.last_us))}"
        )
    return f"no samples {window}: {where}; check --as-of and [samples] timezone and path"
