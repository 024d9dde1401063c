"""Content: what an item without a vector is known by - the mean vector of the items that share its values.

The values of the ``content`` columns together make the key of a group. An item is of every group that it was seen with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbdtlr.embeddings.counts import I64, places_in
from gbdtlr.values.hashing import U64, mix

MISSING = 0x9E3779B97F4A7C15
"""What stands for a value that is missing; a row that has none of them is of no group."""
CHUNK = 1 << 20
F16 = NDArray[np.float16]


def groups_of(columns: Sequence[tuple[U64, NDArray[np.bool_]]], n: int) -> tuple[U64, NDArray[np.bool_]]:
    """Key of the group of each of ``n`` rows, and whether it is of any.

    Parameters
    ----------
    columns : keys of the values of each content column, and where there is one, (n,) each
    """
    state, there = np.full(n, len(columns), np.uint64), np.zeros(n, bool)
    for keys, known in columns:
        state = mix(state ^ np.where(known, keys, np.uint64(MISSING)))
        there |= known
    return state, there


@dataclass(frozen=True)
class Pairs:
    """Which items were seen in which groups, each pair once; ``a + b`` has those of both.

    Attributes
    ----------
    group, item : uint64 (n,), rising by group and then by item
    """

    group: U64
    item: U64

    @classmethod
    def of(cls, group: U64, item: U64) -> Pairs:
        """The distinct pairs of rows."""
        order = np.lexsort((item, group))
        group, item = group[order], item[order]
        first = np.append(True, (group[1:] != group[:-1]) | (item[1:] != item[:-1]))[: len(group)]
        return cls(group[first], item[first])

    @classmethod
    def none(cls) -> Pairs:
        """No pairs."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.uint64))

    def __len__(self) -> int:
        return len(self.group)

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs.of(np.append(self.group, other.group), np.append(self.item, other.item))


@dataclass(frozen=True)
class Groups:
    """Groups of items with their mean vectors.

    Attributes
    ----------
    keys : uint64 (n_groups,), rising
    starts : int64 (n_groups + 1,), where the items of each begin
    items : int64 (n_pairs,), places of its items among the keys of the embeddings, rising
    means : float16 (n_groups, dimensions)
    """

    keys: U64
    starts: I64
    items: I64
    means: F16

    @classmethod
    def of(cls, pairs: Pairs, keys: U64, vectors: F16) -> Groups:
        """Groups of the items that have a vector; those without such an item have no mean and are left out.

        Parameters
        ----------
        keys, vectors : of the embeddings, (n,) rising and (n, dimensions)
        """
        places, there = places_in(keys, pairs.item)
        found, starts = np.unique(pairs.group[there], return_index=True)
        return cls._with_means(found, np.append(starts, there.sum()), places[there].astype(np.int64), vectors)

    @classmethod
    def _with_means(cls, keys: U64, starts: I64, items: I64, vectors: F16) -> Groups:
        means = np.zeros((len(keys), vectors.shape[1]), np.float16)
        low = 0
        while low < len(keys):  # as many groups at once as have about so many items together
            high = max(low + 1, int(np.searchsorted(starts, starts[low] + CHUNK, side="right")) - 1)
            members = vectors[items[starts[low] : starts[high]]].astype(np.float64)
            sums = np.add.reduceat(members, starts[low:high] - starts[low])
            means[low:high] = sums / np.diff(starts[low : high + 1])[:, None]
            low = high
        return cls(keys, starts.astype(np.int64), items, means)

    def __len__(self) -> int:
        return len(self.keys)

    def without(self, kept: NDArray[np.bool_], vectors: F16) -> Groups:
        """The groups of the items that are ``kept``, (n,); their means know nothing of the others.

        Parameters
        ----------
        vectors : float16 (n_kept, dimensions)
        """
        stays = kept[self.items]
        place = np.cumsum(kept) - 1
        group = np.repeat(np.arange(len(self)), np.diff(self.starts))[stays]
        found, starts = np.unique(group, return_index=True)
        items = place[self.items[stays]].astype(np.int64)
        return self._with_means(self.keys[found], np.append(starts, len(items)), items, vectors)
