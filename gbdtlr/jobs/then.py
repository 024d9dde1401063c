"""Then: rows judged by what was live when they happened, which is what served them.

A label becomes known some time after its row happened. By then the live head has learned what came in between, and
knows more, or of another hour of the day, than the one that served the row. Whoever asks what a head, a half-life or a
ridge is worth must ask the release that was live at the row's event time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.config import SamplesConfig
from gbdtlr.errors import GbdtlrError, StoreUnavailable
from gbdtlr.head import Candidates, Codes, Head
from gbdtlr.head.codes import happened_between
from gbdtlr.metrics import Quality
from gbdtlr.model import Model
from gbdtlr.model.model import quality_of
from gbdtlr.release import Release, Slow
from gbdtlr.release.fits import published_in
from gbdtlr.release.timeline import Timeline
from gbdtlr.samples import Samples
from gbdtlr.store import Entry, Store
from gbdtlr.times import to_us

MOST = 8
"""Releases that rows of one update are judged by; where more were live, each row by the newest of them that is not
newer than the row."""
MOST_SLOW = 2
"""Slow artifacts beside the live ones that rows are coded on."""

Names = tuple[str, str | None]
"""Of slow artifacts, as ``Entry.slow`` has them."""


@dataclass(frozen=True)
class Served:
    """Rows and what was live when they happened.

    Attributes
    ----------
    number : of the release
    head : its head
    candidates : what that was a blend of; None where it was not fitted
    rows : as this head reads them
    trees : its
    start_us, end_us : it was live for rows of this time
    """

    number: int
    head: Head
    candidates: Candidates | None
    rows: Parts[Codes]
    trees: str
    start_us: int
    end_us: int


def quality(served: Sequence[Served]) -> Quality:
    """Quality of what was live then, on the labels of all rows."""
    total = Quality()
    for each in served:
        total = total + each.rows.sum(quality_of, each.head, zero=Quality())
    return total


@dataclass(frozen=True)
class Others:
    """Slow artifacts that were live before those that are, and when: rows of that time are coded as these read them.

    Attributes
    ----------
    since_us : only rows whose label became known later count
    starts_us : int64 (n,), when slow artifacts became live, in rising order; before the first, nobody knows
    names : of these, (n,)
    models : of those that could be loaded
    """

    since_us: int
    starts_us: NDArray[np.int64]
    names: tuple[Names, ...]
    models: Mapping[Names, Model]

    def encode(self, samples: Samples) -> Iterator[tuple[Names, Codes]]:
        """The rows that happened under each of the slow artifacts, coded."""
        span = self.starts_us.searchsorted(samples.event_us, side="right") - 1
        span[samples.known_us <= self.since_us] = -1
        for i in np.unique(span[span >= 0]).tolist():
            if (model := self.models.get(self.names[i])) is not None:
                yield self.names[i], model.encode(samples.filter(span == i))


class Then:
    """What was live in the log that ends with a release, for rows whose label became known after ``since``."""

    def __init__(self, store: Store, base: Release, since: datetime, config: SamplesConfig, start: datetime) -> None:
        """What was live in the log that ends with ``base``.

        Parameters
        ----------
        config : what can be read of the samples; releases that need others judge nothing
        start : no row happened earlier
        """
        self._store, self._base = store, base
        self._columns = set(config.features)
        self._timeline = Timeline(store, base.entry)
        self._slow: dict[Names, Slow | None] = {base.entry.slow: base.slow}
        self._dense = {base.entry.trees: base.head.dense}
        length = config.final_after
        if length is not None and config.label_deadline is None:  # hours are left for clocks that go back
            start = max(start, since - length - timedelta(hours=2))
        self.others = self._others(to_us(start), to_us(since))

    def _others(self, start_us: int, since_us: int) -> Others:
        """Those before the live ones that were live after ``start_us``: the newest ``MOST_SLOW`` that load."""
        starts, found, models = [], [], {}
        first = self._timeline.at(start_us)
        for number, names in self._runs(1 if first is None else first.number, self._base.entry.number):
            if names is None:
                continue
            if names not in self._slow:
                if len(self._slow) > MOST_SLOW:
                    break
                self._slow[names] = slow = self._load_slow(names)
                if slow is not None:
                    models[names] = slow.bare(self._base.head.wide, self._dense[slow.trees_name])
            entry = self._timeline.entry(number)
            if entry is not None:
                starts.append(to_us(entry.as_of))
                found.append(names)
        return Others(since_us, np.array(starts[::-1], np.int64), tuple(found[::-1]), models)

    def _runs(self, first: int, last: int) -> Iterator[tuple[int, Names | None]]:
        """Runs of releases on the same slow artifacts, newest first: the number of the first of each, and the names.

        Takes the logarithm of how many releases there are, in requests, for each run.
        """
        while last >= first:
            names, low, step = self._names_of(last), last, 1
            while low - step >= first and self._names_of(low - step) == names:
                low, step = low - step, step * 2
            below = max(first - 1, low - step)
            while low - below > 1:
                middle = (low + below) // 2
                low, below = (middle, below) if self._names_of(middle) == names else (low, middle)
            yield low, names
            last = low - 1

    def _names_of(self, number: int) -> Names | None:
        entry = self._timeline.entry(number)
        return None if entry is None else entry.slow

    def served(self, known: Parts[Codes], on_others: Mapping[Names, Parts[Codes]]) -> list[Served]:
        """All rows whose release can be loaded, oldest release first.

        Parameters
        ----------
        known : those of the rows that ``base``'s head has not learned, as it reads them
        on_others : those that happened under other slow artifacts, as ``others`` reads them, by their names
        """
        coded = {**on_others, self._base.entry.slow: known}
        if not known.sum(len, zero=0):
            return []
        moments = np.array([each for parts in coded.values() for each in parts.map(first_and_last)])
        entries = self._timeline.between(int(moments[:, 0].min()), int(moments[:, 1].max()), MOST)
        starts = [*(to_us(entry.as_of) for entry in entries), np.iinfo(np.int64).max]
        found = []
        for entry, (start, end) in zip(entries, pairwise(starts), strict=True):
            parts = coded.get(entry.slow, Parts()).derive(happened_between, start, end)
            if parts.sum(len, zero=0) and (served := self._load(entry, parts, start, end)) is not None:
                found.append(served)
        return found

    def _load(self, entry: Entry, rows: Parts[Codes], start_us: int, end_us: int) -> Served | None:
        slow = self._slow.get(entry.slow)
        if slow is None:
            return None
        if entry.number == self._base.entry.number:
            fits = self._base.fits
            candidates = None if fits is None else fits.candidates
            return Served(entry.number, self._base.head, candidates, rows, entry.trees, start_us, end_us)
        try:
            release = Release.of(entry, slow, self._store.read_version("heads", entry.head, under=entry.trees))
            is_alike = release.head.dense.same_values(self._dense[entry.trees])
            if release.head.wide != self._base.head.wide or not is_alike:
                return None
            candidates = published_in(release.learned, release.head.layout)  # without the memory, which is large
            return Served(entry.number, release.head, candidates, rows, entry.trees, start_us, end_us)
        except StoreUnavailable:
            raise
        except GbdtlrError:  # pruned, or beyond use
            return None

    def _load_slow(self, names: Names) -> Slow | None:
        try:
            slow = Slow.load(self._store, *names, known=self._base.slow)
        except StoreUnavailable:
            raise
        except GbdtlrError:
            return None
        if not set(slow.trees.schema.names) <= self._columns:
            return None
        try:
            dense = slow.dense.chosen(self._base.head.dense.names)  # each trees have constants of their own
        except KeyError:
            return None
        self._dense[slow.trees_name] = dense
        return slow


def first_and_last(codes: Codes) -> tuple[int, int]:
    """When the first of a part's rows happened, and the last; of none, the last before the first."""
    widest = np.iinfo(np.int64)
    return int(codes.event_us.min(initial=widest.max)), int(codes.event_us.max(initial=widest.min))
