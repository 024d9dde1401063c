"""Weights of leaves, one to each row and tree: summed over the trees of a row, and the mirror of it; sets of buckets,
and what is found by them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.bits import bit_of, ones, word_of
from gbdtlr.compute.compiled import kernel


@kernel()
def _add_leaf_weights(leaves: Any, offsets: Any, weights: Any, out: Any) -> None:
    for t in range(leaves.shape[0]):
        first = np.uint64(offsets[t])
        for i in range(leaves.shape[1]):
            out[i] += weights[first + np.uint64(leaves[t, i])]


def add_leaf_weights(leaves: Any, offsets: Any, weights: Any, out: Any) -> None:
    """``out[i] += sum_t weights[offsets[t] + leaves[t, i]]``, all float64, trees in order."""
    _add_leaf_weights(leaves, offsets, weights, out)


@kernel()
def add_leaf_counts(leaves: Any, offsets: Any, weight: Any, counts: Any) -> None:
    """``counts[offsets[t] + leaves[t, i]] += weight[i]``, (n_codes,) or longer."""
    for t in range(leaves.shape[0]):
        first = np.uint64(offsets[t])
        for i in range(leaves.shape[1]):
            counts[first + np.uint64(leaves[t, i])] += weight[i]


@kernel()
def set_bits(numbers: Any, words: Any, before: Any) -> None:
    """The set of these numbers, uint32 (n,) and sorted, as bits of ``words``, uint64, zeros; before each, int32, how
    many numbers there are."""
    for i in range(len(numbers)):
        words[word_of(numbers[i])] |= bit_of(numbers[i])
    n = np.int64(0)
    for w in range(len(words)):
        before[w] = n
        n += np.int64(ones(words[w]))


@kernel()
def find_bits(words: Any, before: Any, n: int, asked: Any, out: Any) -> None:
    """Where each of the numbers ``asked``, uint32 (m,), is in the set of :func:`set_bits`, of ``n``: int32 (m,), n for
    those not in it."""
    for i in range(len(asked)):
        w = word_of(asked[i])
        out[i] = n
        if w < np.uint64(len(words)):
            bit = bit_of(asked[i])
            if words[w] & bit:
                out[i] = before[w] + np.int64(ones(words[w] & (bit - np.uint64(1))))


@kernel()
def add_found(at: Any, values: Any, out: Any) -> None:
    """``out[i] += values[at[i]]``, nothing where there are not so many; float64 each."""
    for i in range(len(at)):
        if at[i] < len(values):
            out[i] += values[at[i]]


@kernel()
def add_found_lines(at: Any, lines: Any, out: Any) -> None:
    """As :func:`add_found`, of lines of any width, float32 each."""
    for i in range(len(at)):
        p = at[i]
        if p < len(lines):
            for k in range(lines.shape[1]):
                out[i, k] += lines[p, k]
