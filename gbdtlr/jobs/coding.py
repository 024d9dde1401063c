"""Coding: the head's window as codes, batch by batch."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.head import Codes
from gbdtlr.head.codes import cut, known_after, known_by
from gbdtlr.samples import Samples, Tally, read_batches
from gbdtlr.times import MOMENT, to_us
from gbdtlr.values.arrays import give_back


@dataclass(frozen=True)
class CodedWindow:
    """Mature samples of a window as codes, and the newest of them as they came.

    Attributes
    ----------
    parts : the samples in pieces, in canonical order
    newest : some rows of the last part, for golden rows
    tally : what was come across in reading them
    """

    parts: Parts[Codes] = field(default_factory=Parts)
    newest: pa.Table | None = None
    tally: Tally = field(default_factory=Tally)

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


class Onlooker(Protocol):
    """What notes something of every batch: of the samples, and of their codes."""

    def add(self, samples: Samples, codes: Codes, /) -> None: ...


def code_window(
    config: Config,
    model: Coder,
    as_of: datetime,
    known_after: datetime | None = None,
    onlookers: Sequence[Onlooker] = (),
    only: Container[str] | None = None,
) -> CodedWindow:
    """The head's window up to ``as_of``, coded batch by batch: the samples themselves are never all in memory.

    With ``known_after``, the window reaches back from there, and only what became known later is read: every sample
    is in exactly one of the intervals of a chain of moments. With ``only``, no other files are opened.

    Parameters
    ----------
    model : what samples are coded by; its weights play no part
    """
    start = (as_of if known_after is None else known_after) - config.head.window
    parts: list[Codes] = []
    newest = None
    tally = Tally()
    end = as_of + MOMENT
    for samples in read_batches(config.samples, start, end, as_of, known_after=known_after, tally=tally, only=only):
        parts.append(model.encode(samples))
        for onlooker in onlookers:
            onlooker.add(samples, parts[-1])
        newest = samples.table.slice(max(0, len(samples) - 1000))
    made = Parts(cut(parts))
    give_back()  # what reading took is more than fitting needs
    return CodedWindow(made, newest, tally)
