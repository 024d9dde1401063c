"""Splits over byte planes: what a row's values look like once every comparison fits in a byte.

A *plane* holds one byte per row. For a numeric feature it is the row's bin, the number of the feature's thresholds
below its value, so that ``value <= thresholds[k]`` just where ``bin <= k``::

    thresholds      -1.5    0.2     3.0
    value     -7  -1.5  0.1    0.2   2.9   3.1
    bin        0    0    1      1     2     3

Where a missing value goes is part of the plane: 255 sends it right at every split; or all bins and splits move up
by one and 0 sends it left. A feature has a plane for each of these that its splits ask for, and, past 254
thresholds, one for each 254 of them.

For a categorical feature two planes spell the category c: its group of eight, ``c >> 3``, numbered from 1 among
the groups any split asks for, and within it ``1 << (c & 7)``. A split's set of categories is a list of *terms*
(group, bits); a row goes left where one of them matches.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gbdtlr.trees.forest import MISSING_NONE, Forest

PER_PLANE = 254
PER_TERM = 4
CHUNK = 32
"""Splits of a tree that are replayed together, and so the most whose categories are looked up beforehand."""
GRIDS = (1, 256, 1024, 4096)
"""Cells a feature's range may be cut into; more cells leave fewer thresholds to tell apart in each."""


class Search(NamedTuple):
    """Columns of :attr:`Planes.searches`."""

    feature: int
    first_cell: int
    n_cells: int
    first_threshold: int
    n_steps: int
    first_plane: int
    end_plane: int


class Planes(NamedTuple):
    """Everything the batch kernels read.

    searches : int32 (n_searches, 7), see Search
    grids : float64 (n_searches, 2), least threshold and cells per unit
    cells : uint8, of each search, how many of its thresholds lie in lower cells
    thresholds : float64, sorted within each search, then as many infinities as a bisection may look ahead
    variants : uint8 (n_planes,), missing type and 4 for default left
    lookups : int32 (n_lookups, 4): feature, start in ``groups``, how many there, plane of the group; the bits'
        plane is the next
    groups : uint8, number of each group of eight categories, 0 where no split asks for it
    split_plane : int32 (n_splits,); of a categorical split, behind all planes, the line where it is told by a byte
        above 0 that a row goes right, another one for each of CHUNK splits
    split_bin : uint8 (n_splits,), a row goes right where its byte is above
    first, second : code dtype (n_splits,), leftmost leaf below the left and below the right child
    terms : int32 (n_terms, 9), plane of the group, four groups, the bits wanted of each; 0 where there are fewer
    term_start : int64 (n_splits + 1,)
    tree_start : int64 (n_trees + 1,), first split of each tree
    root_leaf : code dtype (n_trees,), leftmost leaf of the tree
    n_lines : planes, and lines for categorical splits if there are any
    """

    searches: npt.NDArray[np.int32]
    grids: npt.NDArray[np.float64]
    cells: npt.NDArray[np.uint8]
    thresholds: npt.NDArray[np.float64]
    variants: npt.NDArray[np.uint8]
    lookups: npt.NDArray[np.int32]
    groups: npt.NDArray[np.uint8]
    split_plane: npt.NDArray[np.int32]
    split_bin: npt.NDArray[np.uint8]
    first: npt.NDArray[Any]
    second: npt.NDArray[Any]
    terms: npt.NDArray[np.int32]
    term_start: npt.NDArray[np.int64]
    tree_start: npt.NDArray[np.int64]
    root_leaf: npt.NDArray[Any]
    n_lines: int

    @classmethod
    def of(cls, forest: Forest, code_dtype: npt.DTypeLike) -> Planes:
        """Planes the forest's splits need, and its splits in their terms."""
        numbers = _Numbers(forest)
        lookups: list[tuple[int, int, int, int]] = []
        groups: list[npt.NDArray[np.uint8]] = []
        terms, term_start = _categorical(forest, len(numbers.variants), lookups, groups)
        first, second, root_leaf = _replay(forest)
        n_planes = len(numbers.variants) + 2 * len(lookups)
        place = np.arange(len(forest.threshold)) - np.repeat(forest.splits[:-1], np.diff(forest.splits))
        return cls(
            searches=np.array(numbers.searches, np.int32).reshape(-1, 7),
            grids=np.array(numbers.grids, np.float64).reshape(-1, 2),
            cells=np.concatenate([np.zeros(0, np.uint8), *numbers.cells]),
            thresholds=np.concatenate([np.zeros(0), *numbers.thresholds]),
            variants=np.array(numbers.variants, np.uint8),
            lookups=np.array(lookups, np.int32).reshape(-1, 4),
            groups=np.concatenate([np.zeros(0, np.uint8), *groups]),
            split_plane=np.where(forest.is_categorical, n_planes + place % CHUNK, numbers.split_plane).astype(np.int32),
            split_bin=numbers.split_bin,
            first=first.astype(code_dtype),
            second=second.astype(code_dtype),
            terms=terms,
            term_start=term_start,
            tree_start=forest.splits.copy(),
            root_leaf=root_leaf.astype(code_dtype),
            n_lines=n_planes + (CHUNK if forest.is_categorical.any() else 0),
        )


class _Numbers:
    """The numeric part of :class:`Planes`, put together feature by feature."""

    def __init__(self, forest: Forest) -> None:
        n_splits = len(forest.threshold)
        self.split_plane = np.full(n_splits, -1, np.int32)
        self.split_bin = np.zeros(n_splits, np.uint8)
        self.searches: list[Search] = []
        self.grids: list[tuple[float, float]] = []
        self.cells: list[npt.NDArray[np.uint8]] = []
        self.thresholds: list[npt.NDArray[np.float64]] = []
        self.variants: list[int] = []
        thresholds = forest.effective_threshold
        # Where nothing is ever missing the default direction is idle, and must not ask for a plane of its own.
        left = forest.default_left & (forest.missing_type != MISSING_NONE)
        variants = forest.missing_type + 4 * left
        numeric = np.flatnonzero(~forest.is_categorical)
        by_feature = numeric[np.argsort(forest.split_feature[numeric], kind="stable")]
        bounds = np.flatnonzero(np.diff(forest.split_feature[by_feature], prepend=-1, append=-1))
        for begin, end in pairwise(bounds):
            splits = by_feature[begin:end]
            distinct, rank = np.unique(thresholds[splits], return_inverse=True)
            for first in range(0, len(distinct), PER_PLANE):
                inside = (rank >= first) & (rank < first + PER_PLANE)
                self._add(
                    int(forest.split_feature[splits[0]]),
                    distinct[first : first + PER_PLANE],
                    splits[inside],
                    rank[inside] - first,
                    variants[splits[inside]],
                )

    def _add(
        self,
        feature: int,
        thresholds: npt.NDArray[np.float64],
        splits: npt.NDArray[np.intp],
        rank: npt.NDArray[np.intp],
        variants: npt.NDArray[Any],
    ) -> None:
        grid, cells, n_steps = _grid(thresholds)
        first_plane = len(self.variants)
        for variant in np.unique(variants):
            mine = variants == variant
            self.split_plane[splits[mine]] = len(self.variants)
            self.split_bin[splits[mine]] = rank[mine] + (variant >= 4)
            self.variants.append(int(variant))
        self.searches.append(
            Search(
                feature,
                sum(map(len, self.cells)),
                len(cells),
                sum(map(len, self.thresholds)),
                n_steps,
                first_plane,
                len(self.variants),
            )
        )
        self.grids.append(grid)
        self.cells.append(cells)
        self.thresholds.append(np.concatenate([thresholds, np.full(2**n_steps, np.inf)]))


def _grid(thresholds: npt.NDArray[np.float64]) -> tuple[tuple[float, float], npt.NDArray[np.uint8], int]:
    """The coarsest grid that leaves the fewest steps of bisection: its origin and scale, its cells, the steps."""
    finite = thresholds[np.isfinite(thresholds)]
    least, most = (float(finite[0]), float(finite[-1])) if len(finite) else (0.0, 0.0)
    best: tuple[tuple[float, float], npt.NDArray[np.uint8], int] | None = None
    for n_cells in GRIDS:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scale = float((n_cells - 1) / np.float64(most - least))
            if not np.isfinite(scale):
                scale = 0.0
            cell = np.clip(np.nan_to_num((thresholds - least) * scale, nan=0), 0, n_cells - 1).astype(np.int64)
        n_steps = int(np.bincount(cell).max()).bit_length()
        if best is None or n_steps < best[2]:
            cells = np.searchsorted(cell, np.arange(n_cells)).astype(np.uint8)
            best = (least, scale), cells, n_steps
    assert best is not None
    return best


def _categorical(
    forest: Forest,
    n_planes: int,
    lookups: list[tuple[int, int, int, int]],
    groups: list[npt.NDArray[np.uint8]],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    n_splits = len(forest.threshold)
    words_of = np.repeat(np.arange(n_splits), np.diff(forest.cat_start))
    # A word of 32 categories is four groups of eight, lowest first whatever the machine's byte order.
    octets = forest.cat_words.astype("<u4").view(np.uint8)
    split = np.repeat(words_of, 4)
    first_word = forest.cat_start[split]
    group = np.arange(len(octets)) - 4 * first_word
    kept = octets != 0
    split, group, bits = split[kept], group[kept], octets[kept].astype(np.int64)
    plane = np.zeros(len(split), np.int64)
    number = np.zeros(len(split), np.int64)
    start = 0
    for feature in np.unique(forest.split_feature[split]):
        mine = forest.split_feature[split] == feature
        asked, rank = np.unique(group[mine], return_inverse=True)
        for chunk in range(-(-len(asked) // 255)):
            local = asked[chunk * 255 : (chunk + 1) * 255]
            table = np.zeros(local[-1] + 1, np.uint8)
            table[local] = np.arange(1, len(local) + 1)
            lookups.append((int(feature), start, len(table), n_planes))
            groups.append(table)
            start += len(table)
            inside = np.flatnonzero(mine)[rank // 255 == chunk]
            plane[inside] = n_planes
            number[inside] = table[group[inside]]
            n_planes += 2
    return _terms(split, plane, number, bits, n_splits)


def _terms(
    split: npt.NDArray[np.int64],
    plane: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    bits: npt.NDArray[np.int64],
    n_splits: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """The groups of each split and plane, PER_TERM to a term; ``split`` is sorted, and ``plane`` within it."""
    n = len(split)
    starts = np.flatnonzero(np.diff(split, prepend=-1) | np.diff(plane, prepend=-1)) if n else np.zeros(0, np.int64)
    run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, n)))
    place = np.arange(n) - starts[run]
    new = place % PER_TERM == 0
    term = np.cumsum(new) - 1
    terms = np.zeros((int(new.sum()), 1 + 2 * PER_TERM), np.int32)
    terms[term, 0] = plane
    terms[term, 1 + place % PER_TERM] = group
    terms[term, 1 + PER_TERM + place % PER_TERM] = bits
    return terms, np.searchsorted(split[new], np.arange(n_splits + 1)).astype(np.int64)


def _replay(forest: Forest) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Leftmost leaf below each split's left child, below its right child, and of each tree."""
    tree_start = np.repeat(forest.splits[:-1], np.diff(forest.splits))
    leftmost = forest.left_child.astype(np.int64)
    while (inner := leftmost >= 0).any():
        leftmost[inner] = forest.left_child[tree_start[inner] + leftmost[inner]]
    leftmost = ~leftmost
    right = forest.right_child.astype(np.int64)
    is_leaf = right < 0
    second = np.where(is_leaf, ~right, leftmost[np.where(is_leaf, 0, tree_start + right)] if len(leftmost) else 0)
    root_leaf = np.zeros(forest.n_trees, np.int64)
    grown = np.diff(forest.splits) > 0
    root_leaf[grown] = leftmost[forest.splits[:-1][grown]]
    return leftmost, second, root_leaf
