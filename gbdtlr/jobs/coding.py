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
from gbdtlr.jobs.then import Others
from gbdtlr.samples import Found, Samples, Share, Tally, Window, deal, read_shares
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
    on_others : those that happened under other trees, as these read them, by the trees' names
    """

    parts: Parts[Codes] = field(default_factory=Parts)
    newest: pa.Table | None = None
    tally: Tally = field(default_factory=Tally)
    on_others: Mapping[str, Parts[Codes]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.parts.sum(len, zero=0)

    def known_after(self, moment: datetime) -> Parts[Codes]:
        """Only samples whose label became known after ``moment``."""
        return self.parts.derive(known_after, to_us(moment))

    def known_by(self, moment: datetime) -> Parts[Codes]:
        """Only samples whose label was known by ``moment``."""
        return self.parts.derive(known_by, to_us(moment))


class Coder(Protocol):
    """What makes codes of samples: a model, or a live one beside a head in the making."""

    def encode(self, samples: Samples, /) -> Codes: ...


@dataclass
class CodedShare:
    """A share of the files, coded, and what is to be known of its samples as they came.

    Attributes
    ----------
    codes : the samples
    others : of those that happened under other trees, by the trees' names
    newest : some rows of the last batch, if there was one
    tally : what was come across in reading
    columns : those that had values
    observer : has seen all of them
    """

    codes: Batches = field(default_factory=Batches)
    others: dict[str, Batches] = field(default_factory=dict)
    newest: pa.Table | None = None
    tally: Tally = field(default_factory=Tally)
    columns: set[str] = field(default_factory=set)
    observer: Observer | None = None

    def add(self, samples: Samples, codes: Codes, others: Others | None) -> None:
        """Take a batch."""
        self.codes.append(codes)
        if others is not None:
            for trees, own in others.encode(samples):
                self.others.setdefault(trees, Batches()).append(own)
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
) -> Iterator[CodedShare]:
    """Each share's rows of the window, coded batch by batch."""
    for share in read_shares(shares, cfg, window):
        coded = CodedShare(observer=None if observer is None else observer.afresh())
        for samples in share.batches:
            coded.add(samples, model.encode(samples), others)
        coded.tally, coded.columns = share.tally, share.seen
        yield coded


Notes = tuple[Tally, set[str], tuple[str, ...], bool, "Observer | None"]


def notes_of(share: CodedShare) -> Notes:
    """What is said of a share: tally, columns, names of other trees, whether there is a newest batch, and the seen."""
    return share.tally, share.columns, tuple(share.others), share.newest is not None, share.observer


def newest_of(share: CodedShare, asked: bool) -> pa.Table | None:
    """The newest rows, where they are asked for."""
    return share.newest if asked else None


def codes_of(share: CodedShare) -> Batches:
    """The samples on the trees of the head in the making."""
    return share.codes


def on_other(share: CodedShare, trees: str) -> Batches:
    """The samples that happened under those trees, as they read them."""
    return share.others.get(trees) or Batches()


def code_window(
    config: Config,
    model: Coder,
    as_of: datetime,
    known_after: datetime | None = None,
    *,
    observer: Observer | None = None,
    others: Others | None = None,
    only: Container[str] | None = None,
    engine: Engine = LOCAL,
) -> CodedWindow:
    """The head's window up to ``as_of``, coded batch by batch: the samples themselves are never all in memory.

    With ``known_after``, the window reaches back from there, and only what became known later is read: every sample
    is in exactly one of the intervals of a chain of moments. With ``only``, no other files are opened.

    Parameters
    ----------
    model : what samples are coded by; its weights play no part
    observer : notes what the samples hold
    others : trees that some of them are coded on besides
    engine : where they are read, coded and kept
    """
    found = Found.of(
        config.samples, start_of(config, as_of, known_after), as_of + MOMENT, as_of, known_after=known_after, only=only
    )
    shares = engine.parts(deal(found.files), code_shares, config.samples, found.window, model, others, observer)
    tally, columns, names, last = found.tally, set[str](), dict[str, None](), -1
    for i, (own, seen, on_trees, has_newest, looked) in enumerate(shares.map(notes_of)):
        tally.add(own)
        columns |= seen
        names.update(dict.fromkeys(on_trees))
        last = i if has_newest else last
        if observer is not None and looked is not None:
            observer.take(looked)
    found.check(config.samples, tally, columns)
    newest = None if last < 0 else shares.map(newest_of, each=[i == last for i in range(len(shares))])[last]
    on_others = {trees: cut(shares.derive(on_other, trees)) for trees in names}
    window = CodedWindow(cut(shares.derive(codes_of)), newest, tally, on_others)
    give_back()  # what reading took is more than fitting needs
    return window


def start_of(config: Config, as_of: datetime, known_after: datetime | None = None) -> datetime:
    """Where the head's window begins, by parameters as of :func:`code_window`."""
    return (as_of if known_after is None else known_after) - config.head.window
