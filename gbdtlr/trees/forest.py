"""The trees of a LightGBM booster as arrays, read from its text format without LightGBM."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gbdtlr.errors import DamagedError, TreesError

CATEGORICAL, DEFAULT_LEFT = 1, 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2
MAX_LEAVES = 2**16
ZERO = 1.0000000180025095e-35
"""LightGBM's kZeroThreshold, a float32: numbers up to it count as zero."""
_OBJECTIVES = ("binary", "cross_entropy", "xentropy")


@dataclass(frozen=True)
class Forest:
    """Splits and leaves of all trees, one array per attribute, trees in order; names follow LightGBM's.

    Splits of tree t are ``splits[t]:splits[t + 1]``, leaves ``offsets[t]:offsets[t + 1]``. Children are split
    numbers within the tree, or ``~leaf`` where negative; a child's number is above its parent's. Categories of
    split j that go left are the set bits of ``cat_words[cat_start[j]:cat_start[j + 1]]``, 32 to a word.
    """

    feature_names: tuple[str, ...]
    splits: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    split_feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    decision_type: npt.NDArray[np.uint8]
    left_child: npt.NDArray[np.int32]
    right_child: npt.NDArray[np.int32]
    cat_start: npt.NDArray[np.int64]
    cat_words: npt.NDArray[np.uint32]
    leaf_value: npt.NDArray[np.float64]

    @property
    def n_trees(self) -> int:
        return len(self.splits) - 1

    @property
    def is_categorical(self) -> npt.NDArray[np.bool_]:
        """(n_splits,)"""
        return (self.decision_type & CATEGORICAL).astype(np.bool_)

    @property
    def missing_type(self) -> npt.NDArray[np.uint8]:
        """(n_splits,)"""
        return (self.decision_type >> np.uint8(2)) & np.uint8(3)

    @property
    def default_left(self) -> npt.NDArray[np.bool_]:
        """(n_splits,)"""
        return (self.decision_type & DEFAULT_LEFT).astype(np.bool_)

    @property
    def effective_threshold(self) -> npt.NDArray[np.float64]:
        """(n_splits,) that decide on any number as LightGBM does, which first sets numbers up to ZERO to zero."""
        tiny = np.abs(self.threshold) <= ZERO
        moved = np.where(self.threshold >= 0, ZERO, np.nextafter(-ZERO, -np.inf))
        return np.where(tiny & ~self.is_categorical, moved, self.threshold)

    @classmethod
    def parse(cls, text: str) -> Forest:
        """Trees of ``Booster.model_to_string()``, all checked: no index in the result leads out of an array.

        Raises
        ------
        TreesError
            Leaves that do not add up to log-odds: several classes, another objective, linear leaves.
        DamagedError
            Not a LightGBM model, or cut short, or with impossible values.
        """
        header, trees = _sections(text)
        n_trees_averaged = _check_header(header, len(trees))
        names = tuple(header.get("feature_names", "").split())
        n_features = _whole(header, "max_feature_idx", "header") + 1
        if len(names) != n_features:
            raise DamagedError(f"the booster lists {len(names)} feature names for {n_features} features")
        parts = [_tree(lines, t, n_features) for t, lines in enumerate(trees)]

        def joined(key: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
            return np.concatenate([np.zeros(0, dtype), *(part[key] for part in parts)]).astype(dtype)

        return cls(
            feature_names=names,
            splits=_starts([len(part["split_feature"]) for part in parts]),
            offsets=_starts([len(part["leaf_value"]) for part in parts]),
            split_feature=joined("split_feature", np.int32),
            threshold=joined("threshold", np.float64),
            decision_type=joined("decision_type", np.uint8),
            left_child=joined("left_child", np.int32),
            right_child=joined("right_child", np.int32),
            cat_start=_starts(joined("n_cat_words", np.int64)),
            cat_words=joined("cat_words", np.uint32),
            leaf_value=joined("leaf_value", np.float64) / n_trees_averaged,
        )


def _starts(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _sections(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Lines ``key=value`` of the header and of each tree."""
    body, end, _ = text.partition("\nend of trees")
    if not text.startswith("tree\n") or not end:
        raise DamagedError(
            "not a whole LightGBM model: it must begin with 'tree' and hold 'end of trees'; "
            "write it with Booster.save_model or model_to_string"
        )
    blocks = re.split(r"^Tree=", body, flags=re.MULTILINE)
    trees = []
    for t, block in enumerate(blocks[1:]):
        number, _, lines = block.partition("\n")
        if number.strip() != str(t):
            raise DamagedError(f"the booster's tree {t} is numbered {number[:20]!r}")
        trees.append(_pairs(lines))
    return _pairs(blocks[0]), trees


def _pairs(lines: str) -> dict[str, str]:
    pairs = {}
    for line in lines.splitlines():
        key, _, value = line.partition("=")
        if key in pairs and key:
            raise DamagedError(f"the booster gives {key[:40]!r} twice in one section")
        pairs[key] = value
    return pairs


def _check_header(header: Mapping[str, str], n_trees: int) -> int:
    """What the leaf outputs must be divided by: random forests predict the mean of their trees."""
    if header.get("version") not in ("v2", "v3", "v4"):
        raise TreesError(f"LightGBM model format {header.get('version')!r}; v2, v3 and v4 are understood")
    n_per_iteration = _whole(header, "num_tree_per_iteration", "header")
    if n_per_iteration != 1 or _whole(header, "num_class", "header") != 1:
        raise TreesError("a multi-class booster has a margin per class; gbdtlr takes yes/no outcomes only")
    objective, *settings = header.get("objective", "none").split()
    if objective not in _OBJECTIVES:
        raise TreesError(f"the booster's objective is {objective[:40]}, whose raw score is not log-odds; use binary")
    for setting in settings:
        key, _, value = setting.partition(":")
        if key == "sigmoid" and _number(value, "sigmoid", "header") != 1:
            raise TreesError(f"the booster's sigmoid is {value}, so its raw score is not log-odds; leave it at 1")
    sizes = header.get("tree_sizes")
    if sizes is not None and len(sizes.split()) != n_trees:
        raise DamagedError(f"the booster promises {len(sizes.split())} trees and holds {n_trees}")
    if n_trees == 0:
        raise TreesError("the booster has no trees")
    return n_trees if "average_output" in header else 1


def _tree(lines: Mapping[str, str], t: int, n_features: int) -> dict[str, npt.NDArray[Any]]:
    where = f"tree {t}"
    n_leaves = _whole(lines, "num_leaves", where)
    if not 1 <= n_leaves <= MAX_LEAVES:
        raise TreesError(f"{where} has {n_leaves} leaves; 1 to {MAX_LEAVES} are possible")
    if lines.get("is_linear", "0").strip() != "0":
        raise TreesError(f"{where} has linear models in its leaves (linear_tree), so a leaf has no one output")
    n_splits = n_leaves - 1

    def whole(key: str, length: int, least: int, most: int) -> npt.NDArray[np.int64]:
        values = _numbers(lines, key, where, length, int, np.int64)
        if length and not (least <= values.min() and values.max() <= most):
            raise DamagedError(f"{where} of the booster has {key} outside {least}..{most}")
        return values

    tree: dict[str, npt.NDArray[Any]] = {
        "split_feature": whole("split_feature", n_splits, 0, n_features - 1),
        "decision_type": whole("decision_type", n_splits, 0, 11),
        "left_child": whole("left_child", n_splits, -n_leaves, n_splits - 1),
        "right_child": whole("right_child", n_splits, -n_leaves, n_splits - 1),
        "threshold": _numbers(lines, "threshold", where, n_splits, float, np.float64),
        "leaf_value": _numbers(lines, "leaf_value", where, n_leaves, float, np.float64),
    }
    # An infinite threshold is LightGBM's way to split what is missing from what is not.
    if np.isnan(tree["threshold"]).any() or not np.isfinite(tree["leaf_value"]).all():
        raise DamagedError(f"{where} of the booster has a threshold or leaf output that is no number")
    children = np.stack([tree["left_child"], tree["right_child"]], axis=1)
    parents = np.arange(n_splits)[:, None]
    reached = np.sort(children[children >= 0]), np.sort(~children[children < 0])
    if (
        not np.array_equal(reached[0], np.arange(1, n_splits))
        or not np.array_equal(reached[1], np.arange(n_leaves) if n_splits else [])
        or ((children >= 0) & (children <= parents)).any()
    ):
        raise DamagedError(f"{where} of the booster is not a tree: a split or leaf is unreachable or reached twice")
    n_cat = _whole(lines, "num_cat", where)
    if n_cat < 0:
        raise DamagedError(f"{where} of the booster has num_cat {n_cat}")
    tree["n_cat_words"] = np.zeros(n_splits, np.int64)
    tree["cat_words"] = np.zeros(0, np.uint32)
    categorical = (tree["decision_type"] & CATEGORICAL) != 0
    if categorical.any():
        words = lines.get("cat_threshold", "").split()
        bounds = whole("cat_boundaries", n_cat + 1, 0, len(words))
        bits = whole("cat_threshold", len(words), 0, 2**32 - 1)
        which = tree["threshold"][categorical]
        ordered = bounds[0] == 0 and bounds[-1] == len(words) and (np.diff(bounds) >= 0).all()
        if not ordered or not ((which >= 0) & (which < n_cat) & (which == np.floor(which))).all():
            raise DamagedError(f"{where} of the booster has category sets out of range")
        begins, ends = bounds[which.astype(np.int64)], bounds[which.astype(np.int64) + 1]
        tree["n_cat_words"][categorical] = ends - begins
        sets = [bits[begin:end] for begin, end in zip(begins, ends, strict=True)]
        tree["cat_words"] = np.concatenate(sets).astype(np.uint32)
    return tree


def _whole(lines: Mapping[str, str], key: str, where: str) -> int:
    try:
        return int(lines[key])
    except (KeyError, ValueError):
        raise DamagedError(f"{where} of the booster has no whole number {key}") from None


def _number(text: str, key: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DamagedError(f"{where} of the booster has {key} {text[:40]!r}, which is no number") from None


def _numbers(
    lines: Mapping[str, str],
    key: str,
    where: str,
    length: int,
    parse: Callable[[str], int | float],
    dtype: npt.DTypeLike,
) -> npt.NDArray[Any]:
    words = lines.get(key, "").split()
    if len(words) != length:
        raise DamagedError(f"{where} of the booster has {len(words)} values of {key}; {length} expected")
    try:
        return np.array([parse(word) for word in words], dtype=dtype)
    except (ValueError, OverflowError):
        raise DamagedError(f"{where} of the booster has a value of {key} that is no number") from None
