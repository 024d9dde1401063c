"""Coding: the head's window as codes, batch by batch."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config, SamplesConfig
from gbdtlr.engine import LOCAL, Engine
from gbdtlr.head import Codes
from gbdtlr.head.codes import Batches, cut, known_after, known_by
from gbdtlr.jobs.then import Names, Others
from gbdtlr.jobs.user_scores import UserScores
from gbdtlr.jobs.window_parts import WindowParts
from gbdtlr.samples import Samples, Tally
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

    def afresh(self) -> Any:
        """One that looks at the same things and has seen nothing."""

    def add(self, samples: Samples, codes: Codes, /) -> None:
        """Note a batch."""

    def take(self, other: Any, /) -> None:
        """Note what another has seen of later samples."""


class Coder(Protocol):
    """What makes codes of samples: a model, or a live one beside a head in the making."""

    def encode(self, samples: Samples, /) -> Codes: ...


@dataclass
class CodedShare:
    """Samples, coded, and what is to be known of them as they came.

    Attributes
    ----------
    codes : the samples
    others : of those that happened under other slow artifacts, by their names
    newest : some rows of the last batch, if there was one
    onlookers : have seen all of them
    """

    onlookers: Sequence[Onlooker]
    codes: Batches = field(default_factory=Batches)
    others: dict[Names, Batches] = field(default_factory=dict)
    newest: pa.Table | None = None

    @classmethod
    def of(
        cls,
        batches: Iterator[Samples],
        model: Coder,
        others: Others | None,
        onlookers: Sequence[Onlooker],
        users: UserScores | None = None,
    ) -> CodedShare:
        """Samples, coded batch by batch, with their users' scores where these are worked out."""
        coded = cls([each.afresh() for each in onlookers])
        for batch in batches:
            samples = batch if users is None else users.on(batch)
            coded._add(samples, model.encode(samples), others)
        return coded

    def _add(self, samples: Samples, codes: Codes, others: Others | None) -> None:
        self.codes.append(codes)
        if others is not None:
            for names, own in others.encode(samples):
                self.others.setdefault(names, Batches()).append(own)
        for each in self.onlookers:
            each.add(samples, codes)
        self.newest = samples.table.slice(max(0, len(samples) - NEWEST))


Notes = tuple[tuple[Names, ...], bool, Sequence[Onlooker]]


def notes_of(share: CodedShare) -> Notes:
    """What is said of a share: other slow artifacts, whether there are newest rows, and who has looked on."""
    return tuple(share.others), share.newest is not None, share.onlookers


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
    onlookers: Sequence[Onlooker] = (),
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
    onlookers : note what the samples hold
    others : slow artifacts that some of them are coded on besides
    engine : where they are read, coded and kept
    users : gives rows their users' scores, where these are worked out
    """
    span = start_of(config, as_of, known_after), as_of + MOMENT
    read = WindowParts.read(
        engine,
        config.samples if users is None else users.reading,
        span,
        as_of,
        CodedShare.of,
        model,
        others,
        onlookers,
        users,
        known_after=known_after,
        only=only,
    )
    shares, names, last = read.parts, dict[Names, None](), -1
    for i, (on_slow, has_newest, looked) in enumerate(shares.map(notes_of)):
        names.update(dict.fromkeys(on_slow))
        last = i if has_newest else last
        for onlooker, each in zip(onlookers, looked, strict=True):
            onlooker.take(each)
    newest = None if last < 0 else shares.map(newest_of, each=[i == last for i in range(len(shares))])[last]
    on_others = {each: cut(shares.derive(on_other, each)) for each in names}
    window = CodedWindow(cut(shares.derive(codes_of)), newest, read.tally, on_others)
    give_back()  # what reading took is more than fitting needs
    return window


def is_dealt(samples: SamplesConfig) -> bool:
    """Whether each row has what is to be known of it, so that each share of the files is read alone."""
    return samples.key is None


def start_of(config: Config, as_of: datetime, known_after: datetime | None = None) -> datetime:
    """Where the head's window begins, by parameters as of :func:`code_window`."""
    return (as_of if known_after is None else known_after) - config.head.window
