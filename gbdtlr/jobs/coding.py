"""Coding: the head's window as codes, batch by batch."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config, SamplesConfig
from gbdtlr.engine import LOCAL, Engine
from gbdtlr.head import Codes
from gbdtlr.head.codes import Batches, cut, known_after, known_by
from gbdtlr.jobs.guards.seen import Observer
from gbdtlr.jobs.then import Names, Others
from gbdtlr.jobs.user_scores import UserScores
from gbdtlr.samples import Found, Samples, Share, Tally, Window, deal, read_batches, read_shares, windows_of
from gbdtlr.times import MOMENT, to_us
from gbdtlr.values.arrays import give_back

NEWEST = 1000
"""Rows as they came that golden rows are taken from."""


@dataclass(frozen=True)
class CodedWindow:
    """Mature samples of a window as codes, and the newest of them as they came.

    Attributes
    ----------
    parts : the samples in pieces, in canonical order
    newest : some rows of the last part, for golden rows
    tally : what was come across in reading them
    on_others : those that happened under other slow artifacts, as these read them, by their names
    """

    parts: Parts[Codes] = field(default_factory=Parts)
    newest: pa.Table | None = None
    tally: Tally = field(default_factory=Tally)
    on_others: Mapping[Names, Parts[Codes]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.parts.sum(len, zero=0)

    def known_after(self, moment: datetime) -> Parts[Codes]:
        """Only samples whose label became known after ``moment``."""
        return self.parts.derive(known_after, to_us(moment))

    def known_by(self, moment: datetime) -> Parts[Codes]:
        """Only samples whose label was known by ``moment``."""
        return self.parts.derive(known_by, to_us(moment))


class Onlooker(Protocol):
    """What notes something of every batch: of the samples, and of their codes."""

    def add(self, samples: Samples, codes: Codes, /) -> None: ...


class Coder(Protocol):
    """What makes codes of samples: a model, or a live one beside a head in the making."""

    def encode(self, samples: Samples, /) -> Codes: ...


@dataclass
class CodedShare:
    """A share of the files, coded, and what is to be known of its samples as they came.

    Attributes
    ----------
    codes : the samples
    others : of those that happened under other slow artifacts, by their names
    newest : some rows of the last batch, if there was one
    tally : what was come across in reading
    columns : those that had values
    observer : has seen all of them
    """

    codes: Batches = field(default_factory=Batches)
    others: dict[Names, Batches] = field(default_factory=dict)
    newest: pa.Table | None = None
    tally: Tally = field(default_factory=Tally)
    columns: set[str] = field(default_factory=set)
    observer: Observer | None = None

    def add(self, samples: Samples, codes: Codes, others: Others | None) -> None:
        """Take a batch."""
        self.codes.append(codes)
        if others is not None:
            for names, own in others.encode(samples):
                self.others.setdefault(names, Batches()).append(own)
        if self.observer is not None:
            self.observer.add(samples, codes)
        self.newest = samples.table.slice(max(0, len(samples) - NEWEST))


def code_shares(
    shares: Sequence[Share],
    cfg: SamplesConfig,
    window: Window,
    model: Coder,
    others: Others | None,
    observer: Observer | None,
    users: UserScores | None = None,
) -> Iterator[CodedShare]:
    """Each share's rows of the window, coded batch by batch."""
    for share in read_shares(shares, cfg, window):
        coded = CodedShare(observer=None if observer is None else observer.afresh())
        for batch in share.batches:
            samples = batch if users is None else users.on(batch)
            coded.add(samples, model.encode(samples), others)
        coded.tally, coded.columns = share.tally, share.seen
        yield coded


Notes = tuple[Tally, set[str], tuple[Names, ...], bool, "Observer | None"]


def notes_of(share: CodedShare) -> Notes:
    """What is said of a share: tally, columns, other slow artifacts, whether there are newest rows, what was seen."""
    return share.tally, share.columns, tuple(share.others), share.newest is not None, share.observer


def newest_of(share: CodedShare, asked: bool) -> pa.Table | None:
    """The newest rows, where they are asked for."""
    return share.newest if asked else None


def codes_of(share: CodedShare) -> Batches:
    """The samples on the trees of the head in the making."""
    return share.codes


def on_other(share: CodedShare, names: Names) -> Batches:
    """The samples that happened under those slow artifacts, as they read them."""
    return share.others.get(names) or Batches()


def code_window(
    config: Config,
    model: Coder,
    as_of: datetime,
    known_after: datetime | None = None,
    *,
    observer: Observer | None = None,
    counter: Onlooker | None = None,
    others: Others | None = None,
    only: Container[str] | None = None,
    engine: Engine = LOCAL,
    users: UserScores | None = None,
) -> CodedWindow:
    """The head's window up to ``as_of``, coded batch by batch: the samples themselves are never all in memory.

    With ``known_after``, the window reaches back from there, and only what became known later is read: every sample
    is in exactly one of the intervals of a chain of moments. With ``only``, no other files are opened.

    Parameters
    ----------
    model : what samples are coded by; its weights play no part
    observer : notes what the samples hold
    counter : looks on where rows say until when their outcome may come
    others : slow artifacts that some of them are coded on besides
    engine : where they are read, coded and kept
    users : gives rows their users' scores, where these are worked out
    """
    start, end = start_of(config, as_of, known_after), as_of + MOMENT
    cfg = config.samples if users is None else users.reading
    if not is_dealt(cfg):
        coded = CodedShare(observer=observer)
        read = read_batches(cfg, start, end, as_of, known_after=known_after, tally=coded.tally, only=only)
        for batch in read:
            samples = batch if users is None else users.on(batch)
            codes = model.encode(samples)
            if counter is not None:
                counter.add(samples, codes)
            coded.add(samples, codes, others)
        on_others = {names: cut(Parts([batches])) for names, batches in coded.others.items()}
        window = CodedWindow(cut(Parts([coded.codes])), coded.newest, coded.tally, on_others)
        give_back()  # what reading took is more than fitting needs
        return window
    found = Found.of(cfg, start, end, as_of, known_after=known_after, only=only)
    shares = engine.parts(deal(found.files), code_shares, cfg, found.window, model, others, observer, users)
    tally, columns, names, last = found.tally, set[str](), dict[Names, None](), -1
    for i, (own, seen, on_slow, has_newest, looked) in enumerate(shares.map(notes_of)):
        tally.add(own)
        columns |= seen
        names.update(dict.fromkeys(on_slow))
        last = i if has_newest else last
        if observer is not None and looked is not None:
            observer.take(looked)
    found.check(cfg, tally, columns)
    newest = None if last < 0 else shares.map(newest_of, each=[i == last for i in range(len(shares))])[last]
    on_others = {each: cut(shares.derive(on_other, each)) for each in names}
    window = CodedWindow(cut(shares.derive(codes_of)), newest, tally, on_others)
    give_back()  # what reading took is more than fitting needs
    return window


def is_dealt(samples: SamplesConfig) -> bool:
    """Whether files are read share by share, where an engine says: each row has its label, and nothing waits for more.

    Impressions are read in the order of their time instead, and of rows with a deadline delays are counted on the way.
    """
    return samples.key is None and not windows_of(samples)


def start_of(config: Config, as_of: datetime, known_after: datetime | None = None) -> datetime:
    """Where the head's window begins, by parameters as of :func:`code_window`."""
    return (as_of if known_after is None else known_after) - config.head.window
