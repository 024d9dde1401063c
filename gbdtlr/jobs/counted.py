"""Counted: notes of each share's rows, to know how many there are, what they hold, and which are chosen of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.config import SamplesConfig
from gbdtlr.metrics import weighted_sum
from gbdtlr.samples import Samples, Share, Tally, Window, chances, read_shares
from gbdtlr.trees import category_counts

BITS = 16
"""Bits of the hashes that are looked at together."""


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
    n_bytes : their tables took
    last_us : when the last of them happened; the least there is where there are none
    """

    tally: Tally = field(default_factory=Tally)
    columns: set[str] = field(default_factory=set)
    chance: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    weight: float = 0.0
    positives: float = 0.0
    n_bytes: int = 0
    last_us: int = -(2**63)
    counts: Counts = field(default_factory=Counts)

    @classmethod
    def of(cls, batches: Iterable[Samples], cfg: SamplesConfig) -> Counted:
        """Notes of the rows of batches; without tally and columns."""
        counted, chance = cls(), [np.empty(0, np.uint64)]
        for samples in batches:
            chance.append(chances(samples, cfg.numeric, cfg.linear))
            counted.weight += float(samples.weight.sum())
            counted.positives += weighted_sum(samples.weight, samples.label)
            counted.n_bytes += samples.table.nbytes
            counted.last_us = max(counted.last_us, int(samples.event_us.max()))
            counted.counts += Counts(category_counts(samples.table, cfg.categorical))
        counted.chance = np.concatenate(chance)
        return counted


def count_shares(shares: Sequence[Share], cfg: SamplesConfig, window: Window) -> Iterator[Counted]:
    """Count each share's rows."""
    for share in read_shares(shares, cfg, window):
        counted = Counted.of(share.batches, cfg)
        counted.tally, counted.columns = share.tally, share.seen
        yield counted


def notes_of(counted: Counted) -> tuple[Tally, set[str]]:
    """What was come across in a share, and its columns that had values."""
    return counted.tally, counted.columns


def sums_of(counted: Counted) -> tuple[int, float, float]:
    """How many rows there are, their weight, and that of the positives."""
    return len(counted.chance), counted.weight, counted.positives


def below(counted: Counted, limit: int) -> int:
    """How many rows' chances are below a limit."""
    return int(np.count_nonzero(counted.chance < np.uint64(limit)))


def bytes_of(counted: Counted) -> int:
    """How many the rows' tables took."""
    return counted.n_bytes


def last_of(counted: Counted) -> int:
    """When the last row happened."""
    return counted.last_us


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
