"""Spread: the join of impressions with their outcomes over parts that are in many places; each file is read once.

The same samples in the same batches as of :func:`gbdtlr.samples.join.joining.joined_batches`, in three steps:

1. Each share of the files is read and put in order of time, and of its keys and times there are parts by key: each has
   all impressions of some keys, and so tells which of them repeat an earlier one; of these there are few.
2. The impressions go to parts by time: each puts its own in order, leaves out what repeats another, and looks up the
   outcomes, which every place has.
3. What is left is cut into batches of so many rows.

What an outcome was found for, be it in time or late, is told of each part by its place among all outcomes, so that
each is counted once.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gbdtlr.compute.parts import Parts, Slice, Span
from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.dealing import Share
from gbdtlr.samples.join.blocks import Block, joined_impressions, notes_of_block, told_of
from gbdtlr.samples.join.impressions import Impressions
from gbdtlr.samples.join.joining import (
    Join,
    begun_join,
    impression_files,
    labelled_block,
    window_us,
)
from gbdtlr.samples.join.key_times import KeyTimes, are_among, repeats_in
from gbdtlr.samples.join.outcome_files import outcomes_of
from gbdtlr.samples.join.outcomes import I64, Outcomes
from gbdtlr.samples.opening import check_seen
from gbdtlr.samples.thinning import thin_negatives
from gbdtlr.samples.window import Tally, Window
from gbdtlr.values.hashing import U64

ROWS = 262_144
"""Impressions of a part by time, or by key, about."""
MOST, MOST_KEYS = 1024, 128
"""Parts by time, or by key, at most."""


@dataclass
class Labelled:
    """Samples of a span of time in order; :class:`gbdtlr.compute.parts.Rows`.

    Attributes
    ----------
    samples : None where there are none
    n_repeated : impressions that are no samples as they repeat another
    n_positives : of the samples before negatives were thinned
    places, fates : which outcomes an impression was found for, and what has become of them, (n,) each
    """

    samples: Samples | None
    n_repeated: int
    n_positives: int
    places: I64
    fates: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return 0 if self.samples is None else len(self.samples)

    def slices(self, start: int, stop: int) -> list[Slice]:
        """Those rows."""
        return [(self.samples, start, stop)]

    def drop(self, stop: int) -> None:
        """Nothing: all of it goes at once."""


@dataclass(frozen=True)
class Plan:
    """A join that is to be made in many places; the outcomes have been read, and no impressions.

    Attributes
    ----------
    window : of the samples
    reach : of all rows that matter
    files : of the impressions, those of the earliest first
    first_us : no sample of the window happened before
    tally : is filled in with what was come across
    whole : whether these are all files of the window, and not only some of them
    """

    window: Window
    reach: Window
    files: Share
    first_us: int
    join: Join
    tally: Tally
    whole: bool

    @classmethod
    def of(cls, cfg: SamplesConfig, window: Window, only: Container[str] | None) -> Plan:
        """What is to be read for :func:`~gbdtlr.samples.join.joining.joined_batches`; as there."""
        tally = Tally()
        first_us, join = begun_join(cfg, window, tally)
        reach, placed = impression_files(cfg, window, first_us, tally, only)
        files = tuple(each.file for each in placed)
        return cls(window, reach, files, first_us, join, tally, only is None and not window.unfinal)

    def samples(self, blocks: Parts[Block], batch_rows: int) -> Parts[Samples]:
        """The samples in canonical order, each part of so many rows but the last.

        Parameters
        ----------
        blocks : what :func:`read_blocks` gives of shares of the files; used up
        """
        cfg, joined, columns = self.join.cfg, self.join.joined, set[str]()
        for own, seen, n_wanted, n_keyless in blocks.map(notes_of_block):
            self.tally.add(own)
            columns |= seen
            joined.impressions += n_wanted
            joined.keyless += n_keyless
        if self.whole:
            check_seen(cfg, self.tally, columns, len(self.files))
        labelled = _labelled(blocks, cfg, self.join.read.outcomes)
        del blocks
        joined.repeated, joined.positives = labelled.sum(counts_of, zero=(0, 0))
        for places, fates in labelled.map(fates_of):
            self.join.read.outcomes.note(places, fates)
        self.join.count(self.first_us, min(self.window.end_us, self.window.as_of_us + 1))
        return labelled.regroup(partial(batch_bounds, batch_rows), joined_samples)


def _labelled(blocks: Parts[Block], cfg: SamplesConfig, outcomes: Outcomes) -> Parts[Labelled]:
    """The samples among some impressions, which are used up, in parts by time."""
    inner, repeats = _between(blocks), _repeats(blocks.derive(moments_of), cfg)
    spans = _spans(blocks.map(cuts_of, inner))
    told = [repeats.take(np.arange(*each)) for each in pairwise(_cuts(repeats.event_us, inner))]
    by_time = blocks.gather([span for span in spans if span], joined_impressions)
    del blocks
    # They are part of the recipe: a lost worker's samples are made again of a few shares, and not of all keys.
    own = [each for each, span in zip(told, spans, strict=True) if span]
    return by_time.derive(label, cfg, outcomes, each=own)


def moments_of(block: Block) -> KeyTimes:
    """Keys and times of a share's impressions, by key."""
    if block.impressions is None:
        return KeyTimes.join([])
    moments = KeyTimes(block.impressions.key, block.impressions.event_us)
    return moments.take(np.argsort(moments.key, kind="stable"))


def _between(blocks: Parts[Block]) -> I64:
    """Moments that part all impressions by time, about evenly: the first of each part but the first."""
    told = [each for each in blocks.map(told_of) if len(each[1])]
    n = sum(n for n, _ in told)
    n_parts = min(MOST, -(-n // ROWS))
    if n_parts <= 1:
        return np.zeros(0, np.int64)
    at = np.concatenate([moments for _, moments in told])
    weight = np.concatenate([np.full(len(moments), n / len(moments)) for n, moments in told])
    order = np.argsort(at, kind="stable")
    so_far = np.cumsum(weight[order])
    places = np.searchsorted(so_far, n * np.arange(1, n_parts) / n_parts)
    inner: I64 = np.unique(at[order][np.minimum(places, len(order) - 1)])
    later: I64 = inner[inner > at.min()]
    return later


def cuts_of(block: Block, inner: I64) -> I64:
    """First row of each part by time, and the one after the last."""
    return _cuts(np.zeros(0, np.int64) if block.impressions is None else block.impressions.event_us, inner)


def cuts_by_key(moments: KeyTimes, inner: U64) -> I64:
    """First row of each part by key, and the one after the last."""
    return _cuts(moments.key, inner)


def _cuts(values: npt.NDArray[Any], inner: npt.NDArray[Any]) -> I64:
    cuts: I64 = np.concatenate([[0], values.searchsorted(inner), [len(values)]]).astype(np.int64)
    return cuts


def _spans(cuts: Sequence[I64]) -> list[Span]:
    """For each new part, rows of which old ones it has, of where each of the old ones is cut."""
    n_parts = len(cuts[0]) - 1 if cuts else 1
    return [
        [(p, int(own[i]), int(own[i + 1])) for p, own in enumerate(cuts) if own[i] < own[i + 1]] for i in range(n_parts)
    ]


def _repeats(moments: Parts[KeyTimes], cfg: SamplesConfig) -> KeyTimes:
    """Keys and times of the impressions that repeat an earlier one, in order of time.

    Raises
    ------
    SamplesError
        They are more than there may be outcomes, which take as much.
    """
    n_parts = max(1, min(MOST_KEYS, -(-moments.sum(len, zero=0) // (4 * ROWS))))
    inner = np.array([(i << 64) // n_parts for i in range(1, n_parts)], np.uint64)
    by_key = moments.gather(_spans(moments.map(cuts_by_key, inner)), KeyTimes.join)
    repeats, most = by_key.derive(repeats_in, window_us(cfg)), outcomes_of(cfg).max_outcomes
    if (n := repeats.sum(len, zero=0)) > most:
        raise SamplesError(
            f"{n:,} impressions have a key that one shortly before them had; on workers [outcomes] max_outcomes allows "
            f"{most:,}; check [samples] key"
        )
    found = KeyTimes.join([(each, 0, len(each)) for each in repeats])
    return found.take(np.argsort(found.event_us, kind="stable"))


def label(block: Impressions, repeats: KeyTimes, cfg: SamplesConfig, outcomes: Outcomes) -> Labelled:
    """The samples among all impressions of a span of time.

    Parameters
    ----------
    repeats : keys and times of those that repeat an earlier one
    """
    block = block.in_order(cfg.numeric, cfg.linear)
    key, event_us = block.key, block.event_us
    repeated = are_among(KeyTimes(key, event_us), repeats)
    repeated[1:] |= (key[1:] == key[:-1]) & (event_us[1:] == event_us[:-1])
    left = block.take(np.flatnonzero(~repeated)) if repeated.any() else block
    own = outcomes.afresh()
    samples = labelled_block(left, own)
    n_repeated = _n_samples(block) - _n_samples(left)
    if samples is None:
        return Labelled(None, n_repeated, 0, *own.noted())
    n_positives = int(samples.label.sum())
    thinned = thin_negatives(samples, cfg.negative_keep_rate, cfg.numeric, cfg.linear)
    return Labelled(thinned, n_repeated, n_positives, *own.noted())


def _n_samples(block: Impressions) -> int:
    return 0 if block.samples is None else len(block.samples)


def counts_of(labelled: Labelled) -> tuple[int, int]:
    """How many impressions repeat another, and how many samples are a 1."""
    return labelled.n_repeated, labelled.n_positives


def fates_of(labelled: Labelled) -> tuple[I64, npt.NDArray[np.int8]]:
    """Which outcomes an impression was found for, and what has become of them."""
    return labelled.places, labelled.fates


def batch_bounds(batch_rows: int, n: int) -> list[int]:
    """First row of each batch of ``n`` rows, and ``n``."""
    return [*range(0, n, batch_rows), n]


def joined_samples(slices: Sequence[Slice]) -> Samples:
    """Samples of slices of some, at least one."""
    return Samples.concat(
        [each if stop - start == len(each) else each.take(np.arange(start, stop)) for each, start, stop in slices]
    )
