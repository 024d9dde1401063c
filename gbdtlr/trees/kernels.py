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
another and nothing branches, so one instruction serves as many rows as a register holds bytes.

Matrices come as flat arrays with their strides in elements, so that each kernel is compiled for one type of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import inline, kernel
from gbdtlr.trees.forest import ZERO
from gbdtlr.trees.walks import ABREAST, CATEGORY, SLOT, Part

U = np.uint64
"""Type of indices where it matters: numba makes provision for negative ones, at up to a third of the time."""

BLOCK = 2048
"""Rows quantised and replayed at a time."""


@kernel()
def encode(
    values: Any, feature_stride: int, row_stride: int, n_rows: int, planes: Any, codes_out: Any, tree_stride: int
) -> None:
    """Leaf of row i in tree t to ``codes_out[t * tree_stride + i]``.

    Parameters
    ----------
    values : float64, row i of feature f at ``f * feature_stride + i * row_stride``
    planes : Planes
    codes_out : uint8 or uint16, as the planes' codes
    """
    bytes_ = np.empty((planes.variants.shape[0] + 2 * planes.lookups.shape[0], BLOCK), np.uint8)
    goes_left = np.empty(BLOCK, np.uint8)
    for start in range(0, n_rows, BLOCK):
        n = min(BLOCK, n_rows - start)
        _quantise_numbers(values, feature_stride, row_stride, start, n, planes, bytes_)
        _quantise_categories(values, feature_stride, row_stride, start, n, planes, bytes_)
        for t in range(planes.root_leaf.shape[0]):
            begin = t * tree_stride + start
            _replay(bytes_, n, t, planes, goes_left, codes_out[begin : begin + n])


@kernel()
def margin(
    values: Any, feature_stride: int, row_stride: int, n_rows: int, planes: Any, offsets: Any, weights: Any,
    bias: float, margin_out: Any,
) -> None:  # fmt: skip
    """``margin_out[i] = bias + sum_t weights[offsets[t] + leaf of row i in tree t]``, trees in order.

    Parameters
    ----------
    values, planes : as for :func:`encode`
    offsets : int64 (n_trees + 1,)
    weights : float64 (n_codes,)
    margin_out : float64 (n_rows,)
    """
    bytes_ = np.empty((planes.variants.shape[0] + 2 * planes.lookups.shape[0], BLOCK), np.uint8)
    goes_left = np.empty(BLOCK, np.uint8)
    leaf = np.empty(BLOCK, planes.root_leaf.dtype)
    for start in range(0, n_rows, BLOCK):
        n = min(BLOCK, n_rows - start)
        _quantise_numbers(values, feature_stride, row_stride, start, n, planes, bytes_)
        _quantise_categories(values, feature_stride, row_stride, start, n, planes, bytes_)
        total = margin_out[start : start + n]
        total[:] = bias
        for t in range(planes.root_leaf.shape[0]):
            _replay(bytes_, n, t, planes, goes_left, leaf)
            weight = weights[offsets[t] : offsets[t + 1]]
            for i in range(n):
                total[i] += weight[leaf[i]]


@kernel()
def row_codes(row: Any, walks: Any, codes_out: Any) -> None:
    """Code (leaf plus its tree's offset) of one row, float64 (n_features,), in every tree; int64 (n_trees,)."""
    codes = np.empty(_room(walks), np.int64)
    _walk(row, walks, codes)
    codes_out[:] = codes[: codes_out.shape[0]]


@kernel()
def row_margin(row: Any, walks: Any, weights: Any, bias: float) -> Any:
    """Margin of one row, float64, added up in the order of :func:`margin`, so equal to it to the last bit."""
    codes = np.empty(_room(walks), np.int64)
    _walk(row, walks, codes)
    total = bias
    for t in range(walks[0]):
        total += weights[codes[t]]
    return total


@inline
def _bins(x: Any, n: int, least: float, scale: float, cells: Any, thresholds: Any, n_steps: int, bins_out: Any) -> None:
    """``bins_out[i]``, how many thresholds are below ``x[i]``.

    The cell of a number, ``(x - least) * scale`` cut to a whole number, never falls as the number rises, rounding
    included. So all thresholds of lower cells are below x, none of higher cells is, and what remains is a
    bisection, without branches, among the at most 2^n_steps - 1 of its own cell.
    """
    last = np.float64(cells.shape[0] - 1)
    for i in range(n):
        cell = (x[i] - least) * scale
        cell = cell if cell > 0.0 else 0.0  # NaN, from infinity times zero, too
        cell = cell if cell < last else last
        bins_out[i] = np.int64(cell)
    step = U(1) << U(n_steps - 1)
    above = thresholds[step - U(1) :]
    for i in range(n):
        low = U(cells[bins_out[i]])
        bins_out[i] = low + step if above[low] < x[i] else low
    for _ in range(n_steps - 1):
        step >>= U(1)
        above = thresholds[step - U(1) :]
        for i in range(n):
            low = bins_out[i]
            bins_out[i] = low + step if above[low] < x[i] else low


@inline
def _quantise_numbers(
    values: Any, feature_stride: int, row_stride: int, start: int, n: int, planes: Any, bytes_out: Any
) -> None:
    """Bytes of rows ``start:start + n`` on all numeric planes."""
    x = np.empty(BLOCK, np.float64)
    bins = np.empty(BLOCK, np.uint64)
    nan = np.empty(BLOCK, np.uint8)
    for s in range(planes.searches.shape[0]):
        feature, first_cell, n_cells, first_threshold, n_steps, first_plane, end_plane = planes.searches[s]
        at = feature * feature_stride + start * row_stride
        for i in range(n):
            value = values[at + i * row_stride]
            missing = value != value
            nan[i] = missing
            x[i] = 0.0 if missing else value
        cells = planes.cells[first_cell : first_cell + n_cells]
        thresholds = planes.thresholds[first_threshold:]
        _bins(x, n, planes.grids[s, 0], planes.grids[s, 1], cells, thresholds, n_steps, bins)
        for p in range(first_plane, end_plane):
            byte = bytes_out[p]
            missing_type, left = planes.variants[p] & 3, planes.variants[p] >> 2
            code = np.uint8(0) if left else np.uint8(255)
            if missing_type == 0:
                for i in range(n):
                    byte[i] = bins[i]
            elif missing_type == 2:
                for i in range(n):
                    byte[i] = code if nan[i] else np.uint8(bins[i] + left)
            else:
                for i in range(n):
                    byte[i] = code if (x[i] >= -ZERO) & (x[i] <= ZERO) else np.uint8(bins[i] + left)


@inline
def _quantise_categories(
    values: Any, feature_stride: int, row_stride: int, start: int, n: int, planes: Any, bytes_out: Any
) -> None:
    """Group and bit of rows ``start:start + n`` on all categorical planes."""
    for s in range(planes.lookups.shape[0]):
        feature, first_group, n_groups, plane = planes.lookups[s]
        at = feature * feature_stride + start * row_stride
        groups = planes.groups[first_group : first_group + n_groups]
        group, bit = bytes_out[plane], bytes_out[plane + 1]
        for i in range(n):
            value = values[at + i * row_stride]
            # LightGBM cuts the fraction off, so -0.9 is category 0; NaN fails the comparison and is in no group.
            known = (value > -1.0) & (value < 8.0 * n_groups)
            category = np.int64(value) if known else 0
            group[i] = groups[category >> 3] if known else np.uint8(0)
            bit[i] = 1 << (category & 7)


@inline
def _replay(bytes_: Any, n: int, t: int, planes: Any, goes_left: Any, leaf_out: Any) -> None:
    """Leaves of the block's n rows in tree t; ``goes_left`` is room for n bytes."""
    for i in range(n):
        leaf_out[i] = planes.root_leaf[t]
    for j in range(planes.tree_start[t], planes.tree_start[t + 1]):
        first, second = planes.first[j], planes.second[j]
        if planes.split_plane[j] >= 0:
            byte, k = bytes_[planes.split_plane[j]], planes.split_bin[j]
            for i in range(n):
                leaf = leaf_out[i]
                leaf_out[i] = second if (leaf == first) & (byte[i] > k) else leaf
        else:
            _match(bytes_, n, planes.terms[planes.term_start[j] : planes.term_start[j + 1]], goes_left)
            for i in range(n):
                leaf = leaf_out[i]
                leaf_out[i] = second if (leaf == first) & (goes_left[i] == 0) else leaf


@inline
def _match(bytes_: Any, n: int, terms: Any, goes_left_out: Any) -> None:
    """Not zero where a row's category is in the set that the terms spell."""
    for i in range(n):
        goes_left_out[i] = 0
    for term in range(terms.shape[0]):
        plane, g0, g1, g2, g3, wanted0, wanted1, wanted2, wanted3 = terms[term]
        group, bit = bytes_[plane], bytes_[plane + 1]
        for i in range(n):
            g = group[i]
            wanted = np.uint8(wanted0) if g == np.uint8(g0) else np.uint8(0)
            wanted = np.uint8(wanted1) if g == np.uint8(g1) else wanted
            wanted = np.uint8(wanted2) if g == np.uint8(g2) else wanted
            wanted = np.uint8(wanted3) if g == np.uint8(g3) else wanted
            goes_left_out[i] |= bit[i] & wanted


@inline
def _walk(row: Any, walks: Any, codes_out: Any) -> None:
    """Codes of one row in all trees; ``codes_out`` has room for a multiple of ``ABREAST``."""
    slots, table = _part(walks, Part.SLOTS).view(np.int64), _part(walks, Part.TABLE)
    n_slots = slots.shape[0] // SLOT
    value = np.zeros(n_slots + 1, np.float64)
    line = np.zeros(n_slots + 1, np.uint64)
    bit = np.zeros(n_slots + 1, np.uint64)
    for s in range(n_slots):
        x, way = row[slots[SLOT * s]], slots[SLOT * s + 1]
        if way == CATEGORY:
            first, length, n_categories = slots[SLOT * s + 2], slots[SLOT * s + 3], slots[SLOT * s + 4]
            # LightGBM cuts the fraction off, so -0.9 is category 0; NaN fails the comparison and is none.
            category = np.int64(x) if (x > -1.0) & (x < n_categories) else n_categories
            line[s] = first + (category >> 6) * length
            bit[s] = category & 63
            x = np.nan
        else:
            missing_type = way & 3
            missing = x != x
            if missing_type == 1:
                missing |= (x >= -ZERO) & (x <= ZERO)
            if missing:
                x = 0.0 if missing_type == 0 else (-np.inf if way & 4 else np.nan)
        value[s] = x
    if table.shape[0] > 1:
        _descend(walks, value, line, bit, table, True, codes_out)
    else:
        _descend(walks, value, line, bit, table, False, codes_out)


@inline
def _descend(walks: Any, value: Any, line: Any, bit: Any, table: Any, has_sets: bool, codes_out: Any) -> None:
    """Code of the leaf each tree's walk ends in; ``has_sets`` is known where this is compiled into its caller."""
    roots = _part(walks, Part.ROOTS).view(np.int32)
    thresholds, links = _part(walks, Part.THRESHOLDS).view(np.float64), _part(walks, Part.LINKS)
    columns, codes = _part(walks, Part.COLUMNS).view(np.int32), _part(walks, Part.CODES).view(np.int32)
    node = np.empty(ABREAST, np.uint64)
    for first in range(0, roots.shape[0], ABREAST):
        for k in range(ABREAST):
            node[k] = U(roots[first + k])
        walking = True
        while walking:
            steps = U(0)
            for k in range(ABREAST):
                at = node[k]
                slot, left = links[at] & U(0xFFFFFFFF), links[at] >> U(32)
                right = U(not (value[slot] <= thresholds[at]))
                if has_sets:
                    right &= ~(table[line[slot] + U(columns[at])] >> bit[slot])
                node[k] = left + right
                steps |= node[k] ^ at
            walking = steps != U(0)
        for k in range(ABREAST):
            codes_out[first + k] = codes[node[k]]


@inline
def _room(walks: Any) -> Any:
    """Trees, filled up to a multiple of ``ABREAST``."""
    return _part(walks, Part.ROOTS).view(np.int32).shape[0]


@inline
def _part(walks: Any, part: int) -> Any:
    return walks[walks[part] : walks[part + 1]]
