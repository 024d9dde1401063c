"""Then: rows judged by what was live when they happened, which is what served them.

A label becomes known some time after its row happened. By then the live head has learned what came in between, and
knows more, or of another hour of the day, than the one that served the row. Whoever asks what a head, a half-life or a
ridge is worth must ask the release that was live at the row's event time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.config import SamplesConfig
from gbdtlr.errors import GbdtlrError, StoreUnavailable
from gbdtlr.head import Candidates, Codes, Head
from gbdtlr.head.codes import cut, happened_between
from gbdtlr.metrics import Quality
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


class Then:
    """Looks on while rows are coded, and keeps those that happened under other slow artifacts as these read them.

    Only rows whose label became known after ``since`` count.
    """

    def __init__(self, store: Store, base: Release, since: datetime, samples: SamplesConfig) -> None:
        """What was live in the log that ends with ``base``.

        Parameters
        ----------
        samples : what can be read; releases that need other columns judge nothing
        """
        self._store, self._base = store, base
        self._since_us = to_us(since)
        self._columns = set(samples.features)
        self._timeline = Timeline(store, base.entry)
        self._slow: dict[Names, Slow | None] = {base.entry.slow: base.slow}
        self._dense = {base.entry.trees: base.head.dense}
        self._coded: dict[Names, list[Codes]] = {}

    def add(self, samples: Samples, codes: Codes) -> None:  # noqa: ARG002 - the other onlookers'
        """Look at a batch of samples."""
        rows = np.flatnonzero(samples.known_us > self._since_us)
        rows = rows[np.argsort(samples.event_us[rows], kind="stable")]
        for names, own in self._by_slow(samples.event_us, rows):
            if names != self._base.entry.slow and (slow := self._slow_of(names)) is not None:
                mask = np.zeros(len(samples), bool)
                mask[own] = True
                coded = slow.bare(self._base.head.wide, self._dense[slow.trees_name]).encode(samples.filter(mask))
                self._coded.setdefault(names, []).append(coded)

    def served(self, known: Parts[Codes]) -> list[Served]:
        """All rows whose release can be loaded, oldest release first.

        Parameters
        ----------
        known : those of the rows that ``base``'s head has not learned, as it reads them
        """
        coded = {names: Parts(cut(parts)) for names, parts in self._coded.items()}
        coded[self._base.entry.slow] = known
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

    def _by_slow(self, event_us: NDArray[np.int64], rows: NDArray[np.intp]) -> Iterator[tuple[Names, NDArray[np.intp]]]:
        """Rows, in order of event time, by the slow artifacts that were live then; none for those before any."""
        if not len(rows):
            return
        first, last = (self._timeline.at(int(event_us[rows[end]])) for end in (0, -1))
        if first is not None and last is not None and first.slow == last.slow:
            yield first.slow, rows
        elif first != last:  # at least two rows
            yield from self._by_slow(event_us, rows[: len(rows) // 2])
            yield from self._by_slow(event_us, rows[len(rows) // 2 :])

    def _slow_of(self, names: Names) -> Slow | None:
        if names not in self._slow:
            if len(self._slow) > MOST_SLOW:
                return None
            self._slow[names] = self._load_slow(names)
        return self._slow[names]

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
