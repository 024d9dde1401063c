"""Grounds: the samples trees are grown on, which are in one place: all of the window, or as many as fit there.

Where ``[trees] max_rows`` is less than the window holds, every row is counted where it is read, and a share of them is
chosen by their hashes: always the same ones, exactly so many unless hashes are equal, whoever reads which. Weights make
up for the rest. What all rows tell better than some - the vocabularies, and the totals that guards compare - is of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.memory import free_bytes
from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config, SamplesConfig
from gbdtlr.engine import Engine
from gbdtlr.errors import SamplesError
from gbdtlr.jobs import guards
from gbdtlr.jobs.coding import is_dealt
from gbdtlr.jobs.run import Run
from gbdtlr.jobs.window_parts import Make, Part, WindowParts
from gbdtlr.metrics import weighted_sum
from gbdtlr.samples import (
    Found,
    Samples,
    Share,
    Tally,
    Window,
    chances,
    deal,
    nothing_read,
    read,
    read_shares,
)
from gbdtlr.trees import Schema, category_counts

COPIES = 2
"""How often LightGBM's features are in memory as numbers of 8 bytes, for a moment."""
BITS = 16
"""Bits of the hashes that are looked at together."""


@dataclass(frozen=True)
class Grounds:
    """Samples for trees.

    Attributes
    ----------
    samples : they, of weights that stand for all
    n_rows : how many there are in the window
    totals : sums over all of these
    schema : of all of them; None where that of the samples is the same
    tally : what was come across in reading
    """

    samples: Samples
    n_rows: int
    totals: guards.Totals
    schema: Schema | None
    tally: Tally

    @property
    def thinned(self) -> dict[str, int]:
        """How many rows stand for how many, for logs and the manifest; nothing where they are all."""
        return {} if len(self.samples) == self.n_rows else {"grown_on": len(self.samples)}

    @classmethod
    def read(cls, run: Run) -> Grounds:
        """The samples of the trees' window, or ``max_rows`` of them.

        Raises
        ------
        NoSamplesError
            There are none.
        SamplesError
            They cannot be read, or not be held here.
        """
        config, as_of, tally = run.config, run.as_of, Tally()
        window = config.trees.window
        if config.trees.max_rows is None:
            room = Room(len({*config.samples.numeric, *config.samples.categorical}))
            samples = read(config.samples, as_of - window, as_of, as_of, tally=tally, watch=room.take)
            totals = guards.Totals.of(samples.label, samples.weight, window)
            return cls(samples, len(samples), totals, None, tally)
        dealt = _Dealt.of(run) if is_dealt(config.samples) else _Joined.of(run)
        counted, tally = dealt.counted()
        n, weight, positives = counted.sum(sums_of, zero=(0, 0.0, 0.0))
        if not n:
            raise nothing_read(dealt.window, config.samples, as_of, None, tally)
        limit = limit_of(counted, config.trees.max_rows) if n > config.trees.max_rows else None
        totals = guards.Totals(n, weight, positives, window / timedelta(hours=1))
        schema = _schema(config, counted.sum(counts_of, zero=Counts()).by_name)
        del counted
        batches = dealt.kept(limit)
        if not batches:
            raise SamplesError(
                f"the {n} rows of the trees' window are all alike: none can be chosen by [trees] max_rows"
            )
        samples = Samples.concat(batches)
        if limit is not None:
            samples = replace(samples, weight=samples.weight * (n / len(samples)))
        return cls(samples, n, totals, schema, tally)


@dataclass(frozen=True)
class _Dealt:
    """The window's rows in shares, where the engine reads them."""

    engine: Engine
    cfg: SamplesConfig
    found: Found

    @classmethod
    def of(cls, run: Run) -> _Dealt:
        cfg, as_of = run.config.samples, run.as_of
        return cls(run.engine, cfg, Found.of(cfg, as_of - run.config.trees.window, as_of, as_of))

    @property
    def window(self) -> Window:
        return self.found.window

    def counted(self) -> tuple[Parts[Counted], Tally]:
        """Notes of all rows, and what was come across."""
        counted = self.engine.parts(deal(self.found.files), count_shares, self.cfg, self.window)
        tally, columns = self.found.tally, set[str]()
        for own, seen in counted.map(notes_of):
            tally.add(own)
            columns |= seen
        self.found.check(self.cfg, tally, columns)
        return counted, tally

    def kept(self, limit: int | None) -> list[Samples]:
        """Batches of the rows whose chance is below the limit, or of all where there is none."""
        shares = self.engine.parts(deal(self.found.files), keep_shares, self.cfg, self.window, limit)
        return [samples for share in shares for samples in share]


@dataclass(frozen=True)
class _Joined:
    """The window's rows as impressions and outcomes give them, batch by batch."""

    engine: Engine
    cfg: SamplesConfig
    start: datetime
    as_of: datetime

    @classmethod
    def of(cls, run: Run) -> _Joined:
        return cls(run.engine, run.config.samples, run.as_of - run.config.trees.window, run.as_of)

    @property
    def window(self) -> Window:
        return Window.of(self.cfg, self.start, self.as_of, self.as_of, None)

    def counted(self) -> tuple[Parts[Counted], Tally]:
        """As of :class:`_Dealt`."""
        read = self._read(Counted.of, self.cfg)
        return read.parts, read.tally

    def kept(self, limit: int | None) -> list[Samples]:
        """As of :class:`_Dealt`."""
        return [samples for batches in self._read(chosen, self.cfg, limit).parts for samples in batches]

    def _read(self, make: Make[Part], *broadcast: Any) -> WindowParts[Part]:
        return WindowParts.read(self.engine, self.cfg, (self.start, self.as_of), self.as_of, make, *broadcast)


class Room:
    """Looks on while samples are read for as long as they, and what trees need beside them, have room in memory."""

    def __init__(self, n_features: int) -> None:
        self._free, self._of_row = free_bytes(), COPIES * 8 * n_features
        self._rows = self._bytes = 0

    def take(self, samples: Samples) -> None:
        """Count a batch.

        Raises
        ------
        SamplesError
            There is no room for those so far.
        """
        self._rows += len(samples)
        self._bytes += samples.table.nbytes + len(samples) * self._of_row
        if self._free is not None and self._bytes > self._free:
            fit = self._rows * 3 // 4
            raise SamplesError(
                f"the trees' window does not fit this machine's memory: {self._rows} rows and more, where "
                f"{self._free / 2**30:.3g} GiB are free; set [trees] max_rows, such as to {fit}, or take less by "
                "[samples] negative_keep_rate or [trees] window"
            )


@dataclass(frozen=True)
class Counts:
    """How often each category occurs, by the column's name."""

    by_name: dict[str, dict[str, int]] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        total = {name: dict(counts) for name, counts in self.by_name.items()}
        for name, counts in other.by_name.items():
            own = total.setdefault(name, {})
            for text, n in counts.items():
                own[text] = own.get(text, 0) + n
        return Counts(total)


@dataclass
class Counted:
    """What is kept of a share's rows after they were counted.

    Attributes
    ----------
    chance : uint64 (n,), a hash of each row
    weight, positives : sums over them
    """

    tally: Tally = field(default_factory=Tally)
    columns: set[str] = field(default_factory=set)
    chance: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    weight: float = 0.0
    positives: float = 0.0
    counts: Counts = field(default_factory=Counts)

    @classmethod
    def of(cls, batches: Iterable[Samples], cfg: SamplesConfig) -> Counted:
        """Notes of the rows of batches; without tally and columns."""
        counted, chance = cls(), [np.empty(0, np.uint64)]
        for samples in batches:
            chance.append(chances(samples, cfg.numeric, cfg.linear))
            counted.weight += float(samples.weight.sum())
            counted.positives += weighted_sum(samples.weight, samples.label)
            counted.counts += Counts(category_counts(samples.table, cfg.categorical))
        counted.chance = np.concatenate(chance)
        return counted


def count_shares(shares: Sequence[Share], cfg: SamplesConfig, window: Window) -> Iterator[Counted]:
    """Count each share's rows."""
    for share in read_shares(shares, cfg, window):
        counted = Counted.of(share.batches, cfg)
        counted.tally, counted.columns = share.tally, share.seen
        yield counted


def keep_shares(
    shares: Sequence[Share], cfg: SamplesConfig, window: Window, limit: int | None
) -> Iterator[list[Samples]]:
    """Batches of each share's rows whose chance is below the limit, or of all where there is none."""
    for share in read_shares(shares, cfg, window):
        yield chosen(share.batches, cfg, limit)


def chosen(batches: Iterable[Samples], cfg: SamplesConfig, limit: int | None) -> list[Samples]:
    """What is left of batches when only rows whose chance is below the limit, if there is one, are kept."""
    kept = []
    for samples in batches:
        if limit is not None:
            samples = samples.filter(chances(samples, cfg.numeric, cfg.linear) < np.uint64(limit))
        if len(samples):
            kept.append(samples)
    return kept


def notes_of(counted: Counted) -> tuple[Tally, set[str]]:
    """What was come across in a share, and its columns that had values."""
    return counted.tally, counted.columns


def sums_of(counted: Counted) -> tuple[int, float, float]:
    """How many rows there are, their weight, and that of the positives."""
    return len(counted.chance), counted.weight, counted.positives


def counts_of(counted: Counted) -> Counts:
    """How often each category occurs."""
    return counted.counts


def limit_of(counted: Parts[Counted], most: int) -> int:
    """The largest number that no more than ``most`` rows' chances are below."""
    limit = 0
    for shift in range(64 - BITS, -1, -BITS):
        below = np.cumsum(counted.sum(spread_of, limit, shift))
        digit = int(below.searchsorted(most, side="right"))
        most -= int(below[digit - 1]) if digit else 0
        limit += digit << shift
    return limit


def spread_of(counted: Counted, limit: int, shift: int) -> NDArray[np.int64]:
    """Of the rows whose chances begin as the limit does, how many go on with each digit."""
    chance = counted.chance
    if shift + BITS < 64:
        chance = chance[chance >> np.uint64(shift + BITS) == np.uint64(limit >> (shift + BITS))]
    digits = (chance >> np.uint64(shift)) & np.uint64(2**BITS - 1)
    return np.bincount(digits.astype(np.int64), minlength=2**BITS)


def _schema(config: Config, counts: Mapping[str, Mapping[str, int]]) -> Schema:
    cfg = config.samples
    return Schema.of_counts(cfg.numeric, cfg.categorical, counts, min_category_count=config.trees.min_category_count)
