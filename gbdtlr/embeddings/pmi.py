"""PMI: vectors of items whose products say how much likelier two of them are with one user than by chance.

For items i and j, ``n_ij`` users took both, ``n_i = sum_j n_ij``, ``N = sum_i n_i``, and ``e_ij = n_i n_j / N`` would
have by chance::

    M(i, j)  = max(0, log((n_ij + PRIOR) / (e_ij + PRIOR))),  M(i, i) = 0
    vectors  = U sqrt(S),  of the truncated decomposition M = U S U^T with the largest S

Without ``PRIOR`` that is positive PMI, which skip-gram factorises (Levy and Goldberg 2014), and so item2vec (Barkan and
Koenigstein 2016): here there are no epochs and nothing is drawn. So many more users, of whom as many took both as
chance has it, keep pairs that were seen once from looking like those that go together.

A user's positives count once for each item, in order of time, and each is paired with the :data:`NEXT` that follow
it, so that one who takes thousands counts for thousands of pairs and not for millions. All of it is counted in whole
numbers by parts, which add up to the same whoever counts which.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts, Slice
from gbdtlr.embeddings.counts import I64, Counts, Events, items_of, places_in
from gbdtlr.embeddings.spectrum import Rows, factors
from gbdtlr.errors import SamplesError
from gbdtlr.values.hashing import U64, mix

MOST_ITEMS = 200_000
"""The most items that are given vectors: the most frequent. Their pairs are counted, and these grow with the square."""
NEXT = 100
"""Positives of a user that one is paired with: so many that follow it."""
PRIOR = 3.0
"""Users at chance: more of them tell more of what is hidden on the click stream with tastes, a shift of PMI less."""
SHARD = 1 << 16
"""Events that are counted at once, about."""
BLOCK = 4096
"""Rows of the matrix that are multiplied at once: fixed, as sums go by blocks."""


@dataclass(frozen=True)
class Trained:
    """Vectors, and what they were made of.

    Attributes
    ----------
    keys : uint64 (n,), rising
    vectors : float64 (n, dimensions), of mean square length 1
    n_rare : items with fewer positives than were asked for
    n_beyond : items that were left out because there were more than :data:`MOST_ITEMS`
    n_alone : items that were with no other more often than by chance, and so have no vector
    n_pairs : pairs of items that any user took both of
    """

    keys: U64
    vectors: NDArray[np.float64]
    n_rare: int
    n_beyond: int
    n_alone: int
    n_pairs: int


def train(events: Parts[Events], dimensions: int, min_item_count: int) -> Trained:
    """Vectors of the items that occur at least so often; the same bytes however the events are cut into parts.

    Raises
    ------
    SamplesError
        No two items are with one user more often than by chance.
    """
    counts = events.sum(items_of, zero=Counts.none())
    frequent = counts.take(counts.n >= min_item_count)
    items = frequent.most_frequent(MOST_ITEMS).keys
    by_user = _by_user(events, items)
    pairs = by_user.sum(pairs_of, items, zero=Counts.none())
    row, column, value = matrix(pairs, len(items))
    if not len(value):
        raise SamplesError(
            f"no vectors can be made: {int(counts.n.sum())} positives are of {len(counts)} items, of which "
            f"{len(items)} have at least {min_item_count}, and no user took two of these more often than by chance; "
            "give [embeddings] window more time, or lower min_item_count"
        )
    together = np.unique(row)
    place = np.zeros(len(items), np.int64)
    place[together] = np.arange(len(together))
    keys = items[together]
    blocks = Parts(list(_blocks(place[row], place[column], value, len(keys))))
    vectors = factors(blocks, keys, dimensions)
    vectors /= math.sqrt(float(np.mean(np.einsum("ij,ij->i", vectors, vectors)))) or 1.0
    n_rare, n_beyond = len(counts) - len(frequent), len(frequent) - len(items)
    return Trained(keys, vectors, n_rare, n_beyond, len(items) - len(keys), len(pairs))


@dataclass(frozen=True)
class Sharded:
    """A part's events by shards of users; :class:`gbdtlr.compute.parts.Rows`.

    Attributes
    ----------
    ends : int64 (n_shards + 1,), where those of each shard begin, and how many there are
    """

    events: Events
    ends: I64

    def __len__(self) -> int:
        return len(self.events)

    def slices(self, start: int, stop: int) -> list[Slice]:
        """Those events."""
        return [(self.events, start, stop)]

    def drop(self, stop: int) -> None:
        """Nothing: all of it goes at once."""


def _by_user(events: Parts[Events], items: U64) -> Parts[Events]:
    """The events of these items in other parts, such that each user is whole in one."""
    n_shards = max(1, math.ceil(events.sum(len, zero=0) / SHARD))
    split = events.derive(split_by_user, items, n_shards)
    ends = [own.tolist() for own in split.map(ends_of)]
    shards = [[(p, own[s], own[s + 1]) for p, own in enumerate(ends) if own[s] < own[s + 1]] for s in range(n_shards)]
    return split.gather(shards, joined_events)


def split_by_user(events: Events, items: U64, n_shards: int) -> Sharded:
    """A part's events of these items, by shards of users."""
    events = events.take(places_in(items, events.item)[1])
    shard = mix(events.user) % np.uint64(n_shards)
    order = np.argsort(shard, kind="stable")
    ends = np.searchsorted(shard[order], np.arange(n_shards + 1, dtype=np.uint64))
    return Sharded(events.take(order), ends)


def ends_of(sharded: Sharded) -> I64:
    """Where the events of each shard begin, and how many there are."""
    return sharded.ends


def joined_events(slices: Sequence[Slice]) -> Events:
    """All events of some slices."""
    return Events.concat([events.slice(start, stop) for events, start, stop in slices])


def pairs_of(events: Events, items: U64) -> Counts:
    """How many of a part's users took both of two items, by ``smaller place * len(items) + larger place``."""
    place = np.searchsorted(items, events.item)
    order = np.lexsort((events.at_us, place, events.user))
    user, place, at_us = events.user[order], place[order], events.at_us[order]
    first = np.append(True, (user[1:] != user[:-1]) | (place[1:] != place[:-1]))[: len(user)]
    user, place, at_us = user[first], place[first], at_us[first]
    order = np.lexsort((place, at_us, user))
    user, place = user[order], place[order].astype(np.uint64)
    last = np.searchsorted(user, user, side="right") - 1
    found = [np.empty(0, np.uint64)]
    rows = np.arange(len(user))
    for lag in range(1, NEXT + 1):
        rows = rows[rows + lag <= last[rows]]
        if not len(rows):
            break
        one, other = place[rows], place[rows + lag]
        found.append(np.minimum(one, other) * np.uint64(len(items)) + np.maximum(one, other))
    return Counts.of(np.concatenate(found))


def matrix(pairs: Counts, n_items: int) -> tuple[I64, I64, NDArray[np.float64]]:
    """Entries above zero of M, by row and then column.

    Returns
    -------
    row, column : int64 (n_entries,)
    value : float64 (n_entries,)
    """
    one, other = (each.astype(np.int64) for each in np.divmod(pairs.keys, np.uint64(max(n_items, 1))))
    times = np.zeros(n_items, np.int64)
    np.add.at(times, one, pairs.n)
    np.add.at(times, other, pairs.n)
    total = max(float(times.sum()), 1.0)
    expected = times[one].astype(np.float64) * times[other] / total
    value = np.log((pairs.n + PRIOR) / (expected + PRIOR))
    kept = value > 0
    one, other, value = one[kept], other[kept], value[kept]
    row, column, value = np.append(one, other), np.append(other, one), np.append(value, value)
    order = np.lexsort((column, row))
    return row[order], column[order], value[order]


def _blocks(row: I64, column: I64, value: NDArray[np.float64], n: int) -> Iterator[Rows]:
    for start in range(0, n, BLOCK):
        end = min(start + BLOCK, n)
        low, high = np.searchsorted(row, [start, end])
        starts = np.searchsorted(row[low:high], np.arange(start, end + 1))
        yield Rows(start, starts, column[low:high], value[low:high], n)
