"""Bits in kernels: sets of small whole numbers, 64 in a word, which stay in the caches where tables of them do not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from gbdtlr.compute.compiled import inline

WORD = 64
"""Numbers of a word."""


def _ones(_typing: Any, word: Any) -> Any:
    """How many bits of a word, uint64, are set."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(word), generate


ones: Any = intrinsic(_ones)


def n_words(n: int) -> int:
    """Words for a set of numbers below ``n``."""
    return -(-n // WORD)


@inline
def word_of(number: Any) -> Any:
    """Which word says whether the number is in a set."""
    return np.uint64(number) >> np.uint64(6)


@inline
def bit_of(number: Any) -> Any:
    """The bit of that word that says so."""
    return np.uint64(1) << (np.uint64(number) & np.uint64(63))


@inline
def lowest(word: Any) -> Any:
    """Place of the lowest bit that is set, of one with any."""
    return ones((word & (~word + np.uint64(1))) - np.uint64(1))
