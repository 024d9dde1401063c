"""Compiled loops over rows: feature values to byte planes, byte planes to leaves, leaves to margins.

Blocks of rows small enough for the cache go through all trees before the next block begins. A block is first
quantised to one byte per row and *plane* (see :mod:`gbdtlr.trees.planes`), so that every split is a comparison of
bytes. Then each tree's splits are replayed in the order they were grown. Growing gives the left half of a split
leaf its old number and the right half a new one, so the leaf of a row is what remains after::

    leaf = leftmost leaf of the tree
    for split in splits, parents first:
        if leaf == split.first and row goes right:
            leaf = split.second

with ``first`` the leftmost leaf below the left child and ``second`` the leftmost below the right. No row waits for
another and nothing branches, so one instruction serves as many rows as a register holds bytes
(:mod:`gbdtlr.trees.lanes`).

Rows come as one line of numbers: that of feature f in row i is at ``starts[f] + i * row_stride``. So a matrix in any
order is taken as it is, and so are columns that lie in one piece of memory anywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import always_inline, kernel
from gbdtlr.trees.lanes import (
    BLOCK,
    NARROW,
    WIDE,
    match_narrow,
    match_wide,
    replay_narrow,
    replay_wide,
)
from gbdtlr.trees.planes import CHUNK
from gbdtlr.trees.quantise import quantise

U = np.uint64
"""Type of indices where it matters: numba makes provision for negative ones, at up to a third of the time."""

TOGETHER = 4
"""Trees whose weights are added to a row's margin at once: it is read and written for each four."""

FEW = 2 * NARROW
"""Rows of a block up to which they are sent down in small numbers, so that fewer of them are none."""


@kernel()
def encode(
    values: Any, starts: Any, row_stride: int, n_rows: int, planes: Any, codes_out: Any, tree_stride: int
) -> None:
    """Leaf of row i in tree t to ``codes_out[t * tree_stride + i]``.

    Parameters
    ----------
    values, starts, row_stride : float64, int64 (n_features,); row i of feature f at ``starts[f] + i * row_stride``
    planes : Planes
    codes_out : uint8 or uint16, as the planes' codes
    """
    bytes_ = np.empty(planes.n_lines * BLOCK, np.uint8)
    leaf = np.empty(BLOCK, planes.root_leaf.dtype)
    for start in range(0, n_rows, BLOCK):
        n = min(BLOCK, n_rows - start)
        quantise(values, starts, row_stride, start, n, planes, bytes_)
        for t in range(planes.root_leaf.shape[0]):
            _replay(bytes_, n, t, planes, leaf, 0)
            codes = codes_out[t * tree_stride + start :]
            for i in range(n):
                codes[i] = leaf[i]


@kernel()
def margin(
    values: Any, starts: Any, row_stride: int, n_rows: int, planes: Any, offsets: Any, weights: Any, bias: float,
    margin_out: Any,
) -> None:  # fmt: skip
    """``margin_out[i] = bias + sum_t weights[offsets[t] + leaf of row i in tree t]``, trees in order.

    Parameters
    ----------
    values, starts, row_stride, planes : as for :func:`encode`
    offsets : int64 (n_trees + 1,)
    weights : float64 (n_codes,)
    margin_out : float64 (n_rows,)
    """
    bytes_ = np.empty(planes.n_lines * BLOCK, np.uint8)
    leaf = np.empty(TOGETHER * BLOCK, planes.root_leaf.dtype)
    n_trees = planes.root_leaf.shape[0]
    for start in range(0, n_rows, BLOCK):
        n = min(BLOCK, n_rows - start)
        quantise(values, starts, row_stride, start, n, planes, bytes_)
        total = margin_out[start : start + n]
        for i in range(n):
            total[i] = bias
        for t in range(0, n_trees, TOGETHER):
            n_together = min(TOGETHER, n_trees - t)
            for k in range(n_together):
                _replay(bytes_, n, t + k, planes, leaf, k)
            if n_together == TOGETHER:
                _add(leaf, n, weights, offsets[t : t + TOGETHER], total)
            else:
                for k in range(n_together):
                    of_tree, weight = leaf[k * BLOCK : (k + 1) * BLOCK], weights[offsets[t + k] :]
                    for i in range(n):
                        total[i] += weight[U(of_tree[i])]


@always_inline
def _add(leaf: Any, n: int, weights: Any, offsets: Any, total_out: Any) -> None:
    """Add the weights of four trees' leaves, lines of ``leaf``, one after the other."""
    w0, w1, w2, w3 = weights[offsets[0] :], weights[offsets[1] :], weights[offsets[2] :], weights[offsets[3] :]
    for row in range(n):
        i = U(row)
        total = total_out[i]
        total += w0[U(leaf[i])]
        total += w1[U(leaf[i + U(BLOCK)])]
        total += w2[U(leaf[i + U(2 * BLOCK)])]
        total += w3[U(leaf[i + U(3 * BLOCK)])]
        total_out[i] = total


@always_inline
def _replay(bytes_: Any, n: int, t: int, planes: Any, leaf_out: Any, line: int) -> None:
    """Leaves of the block's n rows in tree t to a line of ``leaf_out``; behind the n stands any other leaf."""
    root, leaf = planes.root_leaf[t], leaf_out[line * BLOCK : (line + 1) * BLOCK]
    for i in range(BLOCK):
        leaf[i] = root
    split_plane, split_bin, first, second = planes.split_plane, planes.split_bin, planes.first, planes.second
    n_planes = planes.variants.shape[0] + 2 * planes.lookups.shape[0]
    for begin in range(planes.tree_start[t], planes.tree_start[t + 1], CHUNK):
        end = min(begin + CHUNK, planes.tree_start[t + 1])
        if planes.n_lines > n_planes:
            for j in range(begin, end):
                if split_plane[j] >= n_planes:
                    _match(bytes_, n, planes.terms, planes.term_start[j], planes.term_start[j + 1], split_plane[j])
        if n > FEW:
            for at in range(0, n, WIDE):
                replay_wide(bytes_, split_plane, split_bin, first, second, begin, end, leaf_out, line, at)
        else:
            for at in range(0, n, NARROW):
                replay_narrow(bytes_, split_plane, split_bin, first, second, begin, end, leaf_out, line, at)


@always_inline
def _match(bytes_: Any, n: int, terms: Any, begin: int, end: int, line: int) -> None:
    """Whether the block's n rows go right by their category, to a line of ``bytes_``."""
    if n > FEW:
        for at in range(0, n, WIDE):
            match_wide(bytes_, terms, begin, end, line, at)
    else:
        for at in range(0, n, NARROW):
            match_narrow(bytes_, terms, begin, end, line, at)
