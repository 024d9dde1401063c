"""Looked: what a second look at each share's rows says, once it is known which of all are chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Slice
from gbdtlr.config import SamplesConfig
from gbdtlr.samples import Samples, Share, Window, chances, read_shares

PARTS = 2
"""Rows to grow on, and the newest, to stop by."""


@dataclass(frozen=True)
class Choice:
    """Which rows of the window are for trees, and of these, which are to stop by, and which tell of all.

    Attributes
    ----------
    limit : chances of rows for trees are below it, if there is one
    few : chances of rows that tell of all are below it, if there is one
    cut_us : rows that happened later are to stop by, if there are to be any
    """

    limit: int | None
    few: int | None
    cut_us: int | None

    def taken(self, samples: Samples, cfg: SamplesConfig) -> tuple[Samples, Samples]:
        """Rows for trees, and those among them that tell of all."""
        if self.limit is None and self.few is None:
            return samples, samples
        chance = chances(samples, cfg.numeric, cfg.linear)
        used = samples if self.limit is None else samples.filter(chance < np.uint64(self.limit))
        return used, samples if self.few is None else samples.filter(chance < np.uint64(self.few))

    def is_newest(self, samples: Samples) -> NDArray[np.bool_]:
        """Which rows are to stop by."""
        if self.cut_us is None:
            return np.zeros(len(samples), np.bool_)
        return samples.event_us > self.cut_us


@dataclass
class Looked:
    """What is kept of a share's rows after they were looked at.

    Attributes
    ----------
    n_rows : to grow on, and to stop by, (2,)
    classes : negatives and positives with a weight above zero of each of the two, (2, 2)
    is_weighed : whether any has a weight other than 1
    some : rows that tell of all
    """

    n_rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    is_weighed: bool
    some: list[Samples]

    def __len__(self) -> int:
        return sum(map(len, self.some))

    def slices(self, start: int, stop: int) -> list[Slice]:
        """As of :class:`gbdtlr.compute.parts.Rows`; none is ever dropped, as they are few."""
        found: list[Slice] = []
        for samples in self.some:
            first, last = max(start, 0), min(stop, len(samples))
            if first < last:
                found.append((samples, first, last))
            start, stop = start - len(samples), stop - len(samples)
        return found

    def drop(self, stop: int) -> None:
        """Nothing."""


def look(shares: Sequence[Share], cfg: SamplesConfig, window: Window, choice: Choice) -> Iterator[Looked]:
    """Look at each share's rows."""
    for share in read_shares(shares, cfg, window):
        looked = Looked(np.zeros(PARTS, np.int64), np.zeros((PARTS, 2), np.int64), False, [])
        for samples in share.batches:
            used, some = choice.taken(samples, cfg)
            newest = choice.is_newest(used).astype(np.int64)
            looked.n_rows += np.bincount(newest, minlength=PARTS)
            counted = used.weight > 0
            kinds = (2 * newest + used.label)[counted]
            looked.classes += np.bincount(kinds, minlength=2 * PARTS).reshape(PARTS, 2)
            looked.is_weighed |= bool((used.weight != 1).any())
            if len(some):
                looked.some.append(some)
        yield looked


def sizes_of(looked: Looked) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """How many rows there are, their classes, and whether they are weighed."""
    return looked.n_rows, looked.classes, looked.is_weighed


def end_to_end(slices: list[Slice]) -> Samples:
    """Rows of samples, one after the other."""
    return Samples.concat([samples.slice(start, stop) for samples, start, stop in slices])


def in_one(n: int) -> list[int]:
    """Bounds of one part of all rows."""
    return [0, n]


def weighed(samples: Samples, scale: float) -> Samples:
    """The samples with their weights multiplied."""
    return replace(samples, weight=samples.weight * scale)
