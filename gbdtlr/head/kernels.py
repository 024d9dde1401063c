"""Weights of leaves, one to each row and tree: summed over the trees of a row, and the mirror of it."""

from __future__ import annotations

from typing import Any

import numpy as np

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
