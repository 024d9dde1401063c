"""Compiled walks of one row down all trees (:mod:`gbdtlr.trees.walks`): to its leaves, or to its margin."""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import inline, kernel
from gbdtlr.trees.forest import ZERO
from gbdtlr.trees.walks import ABREAST, CATEGORY, SLOT, Part

U = np.uint64
"""Type of indices where it matters: numba makes provision for negative ones, at up to a third of the time."""


@kernel()
def row_codes(row: Any, walks: Any, codes_out: Any) -> None:
    """Code (leaf plus its tree's offset) of one row, float64 (n_features,), in every tree; int64 (n_trees,)."""
    leaves, codes = np.empty(_room(walks), np.uint64), _part(walks, Part.CODES).view(np.int32)
    _walk(row, walks, leaves)
    for t in range(codes_out.shape[0]):
        codes_out[t] = codes[leaves[t]]


@kernel()
def row_margin(row: Any, walks: Any, bias: float) -> Any:
    """Margin of one row by weighted walks, float64; added up in the order of ``kernels.margin``, to the last bit."""
    leaves, weights = np.empty(_room(walks), np.uint64), _part(walks, Part.THRESHOLDS).view(np.float64)
    _walk(row, walks, leaves)
    total = bias
    for t in range(walks[0]):
        total += weights[leaves[t]]
    return total


@inline
def _walk(row: Any, walks: Any, leaves_out: Any) -> None:
    """Node of the leaf of one row in every tree; ``leaves_out`` has room for a multiple of ``ABREAST``."""
    slots, table = _part(walks, Part.SLOTS).view(np.int64), _part(walks, Part.TABLE)
    n_slots = slots.shape[0] // SLOT
    value = np.full(n_slots + 1, -np.inf)
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
        _descend(walks, value, line, bit, table, True, leaves_out)
    else:
        _descend(walks, value, line, bit, table, False, leaves_out)


@inline
def _descend(walks: Any, value: Any, line: Any, bit: Any, table: Any, has_sets: bool, leaves_out: Any) -> None:
    """Node of the leaf each tree's walk ends in; ``has_sets`` is known where this is compiled into its caller."""
    roots = _part(walks, Part.ROOTS).view(np.int32)
    thresholds, links = _part(walks, Part.THRESHOLDS).view(np.float64), _part(walks, Part.LINKS)
    columns = _part(walks, Part.COLUMNS).view(np.int32)
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
            leaves_out[first + k] = node[k]


@inline
def _room(walks: Any) -> Any:
    """Trees, filled up to a multiple of ``ABREAST``."""
    return _part(walks, Part.ROOTS).view(np.int32).shape[0]


@inline
def _part(walks: Any, part: int) -> Any:
    return walks[walks[part] : walks[part + 1]]
