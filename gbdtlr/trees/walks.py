"""Trees to walk down from the root, for one row at a time, where filling planes would not pay.

Which way a row goes is decided without a branch, the same way for every split. A feature has a *slot* for each way
its splits treat missing values. There a missing value is minus infinity already, which every threshold has on its
left, or NaN, which none has. A categorical split looks a bit up as well; its threshold sends right all without one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gbdtlr.trees.forest import MISSING_NONE, Forest

CATEGORY = 16
"""Way of the slots that hold categories; others are a missing type, and 4 for default left."""

NODE = 5
"""Numbers that make up a split in :attr:`Walks.nodes`."""


class Walks(NamedTuple):
    """Everything the one-row kernels read.

    root : int64 (n_trees,), a split's number in the whole forest, or ``~code``
    slots : int32 (n_slots, 2), feature and way
    threshold : float64 (n_splits,), minus infinity where the split is categorical
    nodes : int32 (n_splits * NODE,), of each split: slot, first word and number of words of its category set,
        left and right child as ``root``
    words : uint32, category sets, each followed by a word without a bit; the first word has none either
    """

    root: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    nodes: npt.NDArray[np.int32]
    words: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, forest: Forest) -> Walks:
        """The forest's trees, their leaves numbered as codes."""
        n_splits = np.diff(forest.splits)
        split, code = np.repeat(forest.splits[:-1], n_splits), np.repeat(forest.offsets[:-1], n_splits)

        def whole(child: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.where(child < 0, child - code, child + split)

        way = forest.missing_type + 4 * (forest.default_left & (forest.missing_type != MISSING_NONE))
        way = np.where(forest.is_categorical, CATEGORY, way)
        keys, slot = np.unique(forest.split_feature.astype(np.int64) * 32 + way, return_inverse=True)
        n_words = np.diff(forest.cat_start)
        first_word = np.where(forest.is_categorical, 1 + forest.cat_start[:-1] + np.cumsum(forest.is_categorical), 1)
        words = np.zeros(1 + len(forest.cat_words) + int(forest.is_categorical.sum()), np.uint32)
        first_word -= 1
        words[np.repeat(first_word - forest.cat_start[:-1], n_words) + np.arange(len(forest.cat_words))] = (
            forest.cat_words
        )
        return cls(
            root=np.where(n_splits > 0, forest.splits[:-1], ~forest.offsets[:-1]),
            slots=np.stack([keys // 32, keys % 32], axis=1).astype(np.int32),
            threshold=np.where(forest.is_categorical, -np.inf, forest.effective_threshold),
            nodes=np.stack([slot, first_word, n_words, whole(forest.left_child), whole(forest.right_child)], axis=1)
            .astype(np.int32)
            .ravel(),
            words=words,
        )
