"""In use: which buckets of a wide column have a parameter, and where each is among them.

A bit says of each bucket whether it has, and a number of each 64 how many have before them: kilobytes that stay in the
caches, where a table of all buckets does not, and a search takes a step more whenever there are twice as many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.bits import n_words
from gbdtlr.compute.compiled import read_only
from gbdtlr.head import kernels

FEW = 64
"""Buckets asked for up to which a search is quicker than to make the bits, where there are none yet."""
SPARSE = 8
"""Words of bits for each bucket in use from which a search takes less memory, and little more time."""

U32 = NDArray[np.uint32]


class InUse:
    """Buckets in use, and where each is among them.

    Attributes
    ----------
    buckets : uint32 (n_in_use,), sorted
    """

    def __init__(self, buckets: U32) -> None:
        self.buckets = buckets
        self._bits: tuple[NDArray[np.uint64], NDArray[np.int32]] | None = None

    def __len__(self) -> int:
        return len(self.buckets)

    def places(self, asked: U32) -> NDArray[np.int32]:
        """Where each of some buckets, (n,), is among those in use; their number for one that is not in use."""
        if self._bits is None and (len(asked) <= FEW or self._n_words > SPARSE * len(self)):
            return self._searched(asked)
        found = np.empty(len(asked), np.int32)
        kernels.find_bits(*self._made(), len(self), read_only(np.ascontiguousarray(asked, np.uint32)), found)
        return found

    def lookup(self, values: NDArray[Any], asked: U32) -> NDArray[Any]:
        """Value of each of some buckets, zero for those not in use; (n, ...) of ``values``'s rows, (n_in_use, ...)."""
        if not len(self):
            return np.zeros((len(asked), *values.shape[1:]), values.dtype)
        at = self.places(asked)
        found: NDArray[Any] = values.take(at, axis=0, mode="clip")
        found[at == len(self)] = 0
        return found

    @property
    def _n_words(self) -> int:
        return n_words(int(self.buckets[-1]) + 1) if len(self) else 0

    def _searched(self, asked: U32) -> NDArray[np.int32]:
        at = self.buckets.searchsorted(asked).astype(np.int32)
        if len(self):
            at[self.buckets.take(at, mode="clip") != asked] = len(self)
        return at

    def _made(self) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
        """The bits, and how many are set before each word; made once."""
        if self._bits is None:
            words, before = np.zeros(self._n_words, np.uint64), np.empty(self._n_words, np.int32)
            kernels.set_bits(read_only(self.buckets), words, before)
            self._bits = words, before
        return self._bits


def lookup(buckets: U32, values: NDArray[Any], asked: U32) -> NDArray[Any]:
    """As :meth:`InUse.lookup`, of sorted ``buckets``."""
    return InUse(buckets).lookup(values, asked)
