"""Counts: how often each key occurs, and the events they are made of; both as parts of rows give them, to add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbdtlr.values.hashing import U64

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """How often each key occurs; ``a + b`` counts both.

    Attributes
    ----------
    keys : uint64 (n,), rising
    n : int64 (n,), above zero
    """

    keys: U64
    n: I64

    @classmethod
    def of(cls, keys: U64) -> Counts:
        """Counts of keys as they come."""
        found, n = np.unique(keys, return_counts=True)
        return cls(found, n.astype(np.int64))

    @classmethod
    def none(cls) -> Counts:
        """Counts of nothing."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.keys)

    def __add__(self, other: Counts) -> Counts:
        if not len(self) or not len(other):
            return other if len(other) else self
        keys = np.concatenate([self.keys, other.keys])
        order = np.argsort(keys, kind="stable")
        keys, n = keys[order], np.concatenate([self.n, other.n])[order]
        first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        return Counts(keys[first], np.add.reduceat(n, first))

    def take(self, chosen: NDArray[np.bool_]) -> Counts:
        """Those that are chosen, (n,)."""
        return Counts(self.keys[chosen], self.n[chosen])

    def most_frequent(self, most: int) -> Counts:
        """The ``most`` that occur most often; of those that occur as often, the lower keys."""
        if len(self) <= most:
            return self
        chosen = np.zeros(len(self), bool)
        chosen[np.lexsort((self.keys, -self.n))[:most]] = True
        return self.take(chosen)


@dataclass(frozen=True)
class Events:
    """Positives: who took which item when; in any order.

    Attributes
    ----------
    user, item : uint64 (n,), their keys
    at_us : int64 (n,), microseconds since 1970 UTC
    """

    user: U64
    item: U64
    at_us: I64

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Events:
        """Events at ``rows``, or where they are true."""
        return Events(self.user[rows], self.item[rows], self.at_us[rows])

    def slice(self, start: int, stop: int) -> Events:
        """Events from ``start`` up to ``stop``, without copying them."""
        return Events(self.user[start:stop], self.item[start:stop], self.at_us[start:stop])

    @staticmethod
    def concat(parts: Sequence[Events]) -> Events:
        """All events of the parts."""
        return Events(
            np.concatenate([np.empty(0, np.uint64), *(part.user for part in parts)]),
            np.concatenate([np.empty(0, np.uint64), *(part.item for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.at_us for part in parts)]),
        )


def items_of(events: Events) -> Counts:
    """How often each item was taken in a part."""
    return Counts.of(events.item)


def places_in(keys: U64, wanted: U64) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each wanted key stands among rising ``keys``, and whether it does; where not, any place that there is."""
    if not len(keys):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), bool)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return places, np.asarray(keys[places] == wanted)


GUESSES, AROUND = 4, 16
FEW = 1 << 16
"""Keys that are guessed at once at most: of many, a search meets the same memory again and again."""


def guessed_in(keys: U64, wanted: U64) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """:func:`places_in`, in a fraction of the time where few are wanted of millions.

    Hashes are spread evenly, so each guess from how far the last one missed comes nearer: some reads of memory that is
    far away in place of one for every halving. What is not met so is searched for.
    """
    n, most = len(keys), len(keys) - 1
    if n <= FEW or len(wanted) > FEW:
        return places_in(keys, wanted)
    density = n / 2.0**64
    guess = np.minimum((wanted * density).astype(np.intp), most)
    for _ in range(GUESSES):
        there = keys[guess]
        missed = np.where(wanted >= there, (wanted - there) * density, (there - wanted) * -density)
        guess = np.clip(guess + np.rint(missed).astype(np.intp), 0, most)
    low, high = np.maximum(guess - AROUND, 0), np.minimum(guess + AROUND, most)
    far = (keys[low] > wanted) | (keys[high] < wanted)
    while (low < high).any():
        middle = (low + high) >> 1
        below = keys[middle] < wanted
        low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
        low = np.minimum(low, high)
    low[far] = places_in(keys, wanted[far])[0]
    return low, np.asarray(keys[low] == wanted)
