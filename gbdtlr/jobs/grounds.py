"""Grounds: the samples trees are grown on, which are in one place: all of the window, or as many as fit there.

Where ``[trees] max_rows`` is less than the window holds, every row is counted where it is read, and a share of them is
chosen by their hashes: always the same ones, exactly so many unless hashes are equal, whoever reads which. Weights make
up for the rest. What all rows tell better than some - the vocabularies, and the totals that guards compare - is of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from gbdtlr.compute.memory import free_bytes
from gbdtlr.compute.parts import Parts
from gbdtlr.compute.threads import n_threads
from gbdtlr.config import Config, SamplesConfig
from gbdtlr.engine import Engine
from gbdtlr.errors import SamplesError
from gbdtlr.jobs import guards
from gbdtlr.jobs.coding import is_dealt
from gbdtlr.jobs.counted import Counted, Counts, below, bytes_of, count_shares, counts_of, limit_of, notes_of, sums_of
from gbdtlr.jobs.run import Run
from gbdtlr.jobs.window_parts import Make, Part, WindowParts
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
from gbdtlr.trees import FrozenTrees, Schema, train

Result = TypeVar("Result")

COPIES = 2
"""How often LightGBM's features are in memory as numbers of 8 bytes, for a moment."""


@dataclass(frozen=True)
class Grounds:
    """Samples for trees.

    Attributes
    ----------
    samples : they, of weights that stand for all
    n_rows : how many there are in the window
    totals : sums over all of these
    schema : of all of them
    tally : what was come across in reading
    """

    samples: Samples
    n_rows: int
    totals: guards.Totals
    schema: Schema
    tally: Tally
    learned = MappingProxyType[str, int]({})
    """How trees are grown elsewhere than in one place, for logs and the manifest"""

    @property
    def n_used(self) -> int:
        """How many trees are grown on."""
        return len(self.samples)

    def ask(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What ``function(samples, *arguments)`` says of the samples, or of as many as are enough to tell."""
        return function(self.samples, *arguments)

    def grow(self, run: Run, progress: Callable[[int, int, str], None] | None) -> FrozenTrees:
        """Trees of the samples; raises as :func:`gbdtlr.trees.train`."""
        cfg = run.config
        return train(self.samples, cfg.trees, cfg.samples, schema=self.schema, threads=n_threads(), progress=progress)

    @property
    def thinned(self) -> dict[str, int]:
        """How many rows stand for how many, for logs and the manifest; nothing where they are all."""
        return {} if len(self.samples) == self.n_rows else {"grown_on": len(self.samples)}

    @classmethod
    def read(cls, run: Run, whole: Whole | None = None) -> Grounds:
        """The samples of the trees' window, or ``max_rows`` of them.

        Parameters
        ----------
        whole : the window, if it was counted already

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
            schema = Schema.fit(
                samples.table,
                config.samples.numeric,
                config.samples.categorical,
                min_category_count=config.trees.min_category_count,
            )
            return cls(samples, len(samples), totals, schema, tally)
        whole = whole or Whole.counted_by(run)
        limit = whole.limit(config.trees.max_rows)
        batches = whole.dealt.kept(limit)
        if not batches:
            raise whole.all_alike()
        samples = Samples.concat(batches)
        if limit is not None:
            samples = replace(samples, weight=samples.weight * (whole.n_rows / len(samples)))
        return cls(samples, whole.n_rows, whole.totals, whole.schema, whole.tally)


@dataclass(frozen=True)
class Whole:
    """All rows of the trees' window, which have been counted where they are read.

    Attributes
    ----------
    dealt : where they are
    counted : notes of them
    """

    dealt: Dealt | Joined
    counted: Parts[Counted]
    n_rows: int
    totals: guards.Totals
    schema: Schema
    tally: Tally

    @classmethod
    def counted_by(cls, run: Run) -> Whole:
        """The window of a run's trees; raise NoSamplesError if there are no rows."""
        config, window = run.config, run.config.trees.window
        dealt = Dealt.of(run) if is_dealt(config.samples) else Joined.of(run)
        counted, tally = dealt.counted()
        n, weight, positives = counted.sum(sums_of, zero=(0, 0.0, 0.0))
        if not n:
            raise nothing_read(dealt.window, config.samples, run.as_of, None, tally)
        totals = guards.Totals(n, weight, positives, window / timedelta(hours=1))
        schema = _schema(config, counted.sum(counts_of, zero=Counts()).by_name)
        return cls(dealt, counted, n, totals, schema, tally)

    def limit(self, most: int | None) -> int | None:
        """What the chances of no more than so many rows are below; None where there are no more."""
        return limit_of(self.counted, most) if most is not None and self.n_rows > most else None

    def n_below(self, limit: int | None) -> int:
        """How many rows' chances are below a limit, if there is one."""
        return self.n_rows if limit is None else self.counted.sum(below, limit)

    def fits_here(self, n_rows: int, n_features: int) -> bool:
        """Whether so many of them, and what trees need beside them, have room in this process's memory."""
        free, n_bytes = free_bytes(), self.counted.sum(bytes_of)
        return free is None or n_rows * (n_bytes / self.n_rows + COPIES * 8 * n_features) < free

    def all_alike(self) -> SamplesError:
        """What is wrong where no row is below a limit."""
        return SamplesError(
            f"the {self.n_rows} rows of the trees' window are all alike: none can be chosen by [trees] max_rows"
        )


@dataclass(frozen=True)
class Dealt:
    """The window's rows in shares, where the engine reads them."""

    engine: Engine
    cfg: SamplesConfig
    found: Found

    @classmethod
    def of(cls, run: Run) -> Dealt:
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
class Joined:
    """The window's rows as impressions and outcomes give them, batch by batch."""

    engine: Engine
    cfg: SamplesConfig
    start: datetime
    as_of: datetime

    @classmethod
    def of(cls, run: Run) -> Joined:
        return cls(run.engine, run.config.samples, run.as_of - run.config.trees.window, run.as_of)

    @property
    def window(self) -> Window:
        return Window.of(self.cfg, self.start, self.as_of, self.as_of, None)

    def counted(self) -> tuple[Parts[Counted], Tally]:
        """As of :class:`Dealt`."""
        read = self._read(Counted.of, self.cfg)
        return read.parts, read.tally

    def kept(self, limit: int | None) -> list[Samples]:
        """As of :class:`Dealt`."""
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
                f"{self._free / 2**30:.3g} GiB are free; set [trees] max_rows, such as to {fit}, take less by "
                "[samples] negative_keep_rate or [trees] window, or have workers of a cluster learn them"
            )


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


def _schema(config: Config, counts: Mapping[str, Mapping[str, int]]) -> Schema:
    cfg = config.samples
    return Schema.of_counts(cfg.numeric, cfg.categorical, counts, min_category_count=config.trees.min_category_count)
