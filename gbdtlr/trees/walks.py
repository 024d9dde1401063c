"""Trees to walk down from the root, for one row at a time, where filling planes would not pay.

Every split and every leaf is a *node*. The two children of a split are neighbours, so that one link is enough, and
where a row goes is added to it; a leaf is its own left child, and has everything on its left::

    node = link[node] + goes_right(node)        until it stays where it is

Which way a row goes is decided without a branch, the same way for every node. A feature has a *slot* for each way
its splits treat missing values. There a missing value is minus infinity already, which every threshold has on its
left, or NaN, which none has. A category's value is NaN too, and what may send it left is a bit of the *table*: for 64
categories at a time it has a line of one word per split of the slot, and at its end a line without a bit.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gbdtlr.trees.forest import MISSING_NONE, Forest

CATEGORY = 16
"""Way of the slots that hold categories; others are a missing type, and 4 for default left."""

ABREAST = 8
"""Trees walked down side by side: no step waits for that of another tree."""

SLOT = 5
"""Numbers that make up a slot: feature, way, and, of categories, first word of the table, words per line, how many
categories the lines before the last have."""


class Part(IntEnum):
    """Place in the first numbers of :func:`walks_of` where it is written where each part starts, END behind them."""

    SLOTS = 1
    ROOTS = 2
    THRESHOLDS = 3
    LINKS = 4
    COLUMNS = 5
    CODES = 6
    TABLE = 7
    END = 8


def walks_of(forest: Forest) -> npt.NDArray[np.uint64]:
    """The forest's trees, for the one-row kernels: all in one array, as numba takes its time for each it is handed.

    Returns
    -------
    walks : uint64; the number of trees, the starts of all parts, then these, each filled up to whole words:
        SLOTS, int64 (n_slots * SLOT,);
        ROOTS, int32 (n_trees,), node of each tree's root, filled up with zeros to a multiple of ABREAST;
        THRESHOLDS, float64 (n_nodes,), infinity of leaves; node 0 is a leaf of no tree;
        LINKS, uint64 (n_nodes,), slot, and the left child times 2^32;
        COLUMNS, int32 (n_nodes,), of a categorical split, its word in each line of the table, else 0;
        CODES, int32 (n_nodes,), of leaves;
        TABLE, uint64; the first word is that of splits without categories, and 0
    """
    n_splits, split_tree = np.diff(forest.splits), np.repeat(np.arange(forest.n_trees), np.diff(forest.splits))
    root = 1 + 2 * forest.splits[:-1] + np.arange(forest.n_trees)  # a tree of n splits has 2 n + 1 nodes
    left = root[split_tree] + 1 + 2 * (np.arange(len(split_tree)) - forest.splits[split_tree])
    n_nodes = int(root[-1] + 2 * n_splits[-1] + 1)
    split_node, codes = np.zeros(len(split_tree), np.int64), np.zeros(n_nodes, np.int32)
    split_node[forest.splits[:-1][n_splits > 0]] = root[n_splits > 0]
    codes[root[n_splits == 0]] = forest.offsets[:-1][n_splits == 0]
    for side, child in enumerate((forest.left_child, forest.right_child)):
        inner = child >= 0
        split_node[forest.splits[split_tree[inner]] + child[inner]] = left[inner] + side
        codes[left[~inner] + side] = forest.offsets[split_tree[~inner]] + ~child[~inner]

    way = forest.missing_type + 4 * (forest.default_left & (forest.missing_type != MISSING_NONE))
    way = np.where(forest.is_categorical, CATEGORY, way)
    keys, slot = np.unique(forest.split_feature.astype(np.int64) * 32 + way, return_inverse=True)
    slots = np.zeros((len(keys), SLOT), np.int64)
    slots[:, 0], slots[:, 1] = keys // 32, keys % 32
    column, table = _table(forest, slots, slot)

    thresholds = np.full(n_nodes, np.inf)
    links = len(slots) + (np.arange(n_nodes) << 32)  # the slot behind the last is a leaf's
    columns = np.zeros(n_nodes, np.int32)
    thresholds[split_node], columns[split_node] = forest.effective_threshold, column
    links[split_node] = slot + (left << 32)
    roots = np.zeros(-(-forest.n_trees // ABREAST) * ABREAST, np.int32)
    roots[: forest.n_trees] = root
    parts: list[npt.NDArray[Any]] = [slots.ravel(), roots, thresholds, links, columns, codes, table]
    return _as_one(forest.n_trees, parts)


def weighted(walks: npt.NDArray[np.uint64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """The same walks, the threshold of each leaf being its weight.

    Parameters
    ----------
    weights : float64 (n_codes,), numbers
    """
    start = [int(place) for place in walks[: Part.END + 1]]
    left = walks[start[Part.LINKS] : start[Part.COLUMNS]] >> np.uint64(32)
    leaves = np.flatnonzero(left == np.arange(len(left), dtype=np.uint64))
    codes = walks[start[Part.CODES] : start[Part.TABLE]].view(np.int32)
    walks = walks.copy()
    walks[start[Part.THRESHOLDS] : start[Part.LINKS]].view(np.float64)[leaves] = weights[codes[leaves]]
    walks.flags.writeable = False
    return walks


def _table(
    forest: Forest, slots: npt.NDArray[np.int64], slot: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Column of each split, and the table; fills in where the lines of each slot are."""
    column = np.zeros(len(slot), np.int64)
    n_words = np.diff(forest.cat_start)
    end = 1
    for s in np.flatnonzero(slots[:, 1] == CATEGORY):
        mine = np.flatnonzero(slot == s)
        column[mine] = np.arange(len(mine))
        n_lines = -(-int(n_words[mine].max()) // 2)
        slots[s, 2:] = end, len(mine), 64 * n_lines
        end += (n_lines + 1) * len(mine)
    table = np.zeros(end, np.uint64)
    split = np.repeat(np.arange(len(slot)), n_words)
    place = np.arange(len(split)) - forest.cat_start[split]  # of the word in its split's set
    at = slots[slot[split], 2] + place // 2 * slots[slot[split], 3] + column[split]
    for half in (0, 1):
        here = place % 2 == half
        table[at[here]] |= forest.cat_words[here].astype(np.uint64) << np.uint64(32 * half)
    return column, table


def _as_one(n_trees: int, parts: list[npt.NDArray[Any]]) -> npt.NDArray[np.uint64]:
    lengths = [-(-part.nbytes // 8) for part in parts]
    starts = np.cumsum([Part.END + 1, *lengths])
    walks = np.zeros(starts[-1], np.uint64)
    walks[0], walks[1 : Part.END + 1] = n_trees, starts
    for part, (start, end) in zip(parts, pairwise(starts), strict=True):
        walks[start:end].view(part.dtype)[: len(part)] = part
    walks.flags.writeable = False
    return walks
