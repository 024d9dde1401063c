"""Ensemble: a forest as the attributes of ONNX's ``TreeEnsemble``.

A column of its input is a feature, and is named a *slot* here: a feature that some splits take zero for missing in,
and others do not, has two. Categories are their number plus one, since onnxruntime packs sets of 1 to 64 into bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.errors import TreesError
from gbdtlr.trees import Schema
from gbdtlr.trees.forest import MISSING_NONE, MISSING_ZERO, Forest

LEQ, MEMBER = 0, 6
"""Modes of nodes, as ai.onnx.ml numbers them."""

Slot = tuple[int, bool]
"""Feature, and whether its zeros are missing."""


@dataclass(frozen=True)
class Ensemble:
    """Attributes of ``TreeEnsemble`` by name, and what its input's columns are.

    Attributes
    ----------
    slots : in the order of the input's columns
    tables : numbers of the operator's own type: ``nodes_splits``, ``leaf_weights``, ``membership_values``
    modes : uint8 (n_nodes,)
    integers : all other attributes, whole numbers
    """

    slots: tuple[Slot, ...]
    tables: dict[str, NDArray[Any]]
    modes: NDArray[np.uint8]
    integers: dict[str, list[int]]

    @classmethod
    def of(
        cls, forest: Forest, schema: Schema, leaf_weights: NDArray[np.float64], dtype: type[np.floating[Any]]
    ) -> Ensemble:
        """Ensemble that decides as LightGBM does and sums ``leaf_weights``, (n_leaves,).

        Parameters
        ----------
        dtype : float64 or float32, of inputs, thresholds and weights

        Raises
        ------
        TreesError
            Splits by category of a feature that has no vocabulary.
        """
        zero_is_missing = (forest.missing_type == MISSING_ZERO) & ~forest.is_categorical
        slots = sorted({*zip(forest.split_feature.tolist(), zero_is_missing.tolist(), strict=True)}) or [(0, False)]
        place = {slot: i for i, slot in enumerate(slots)}
        nodes: dict[str, list[Any]] = {name: [] for name in _NODES}
        members: list[float] = []
        roots = []
        thresholds = rounded_down(forest.effective_threshold, dtype)
        for t in range(forest.n_trees):
            first, stop, base = int(forest.splits[t]), int(forest.splits[t + 1]), len(nodes["splits"])
            roots.append(base)
            leaf = int(forest.offsets[t])
            if first == stop:  # one leaf is two of the same weight to ONNX
                _add(nodes, 0.0, 0, LEQ, False, (leaf, True), (leaf, True))
            for split in range(first, stop):
                feature = int(forest.split_feature[split])
                left, right = (
                    (leaf + ~child, True) if child < 0 else (base + child, False)
                    for child in (int(forest.left_child[split]), int(forest.right_child[split]))
                )
                slot = place[feature, bool(zero_is_missing[split])]
                if not forest.is_categorical[split]:
                    missing_left = bool(forest.default_left[split])
                    if forest.missing_type[split] == MISSING_NONE:  # then it counts as zero
                        missing_left = bool(forest.threshold[split] >= 0)
                    _add(nodes, float(thresholds[split]), slot, LEQ, missing_left, left, right)
                    continue
                own = _members(forest, split, schema, feature)
                # A set without any category that occurs: no number of one is at most zero.
                _add(nodes, 0.0, slot, MEMBER if own else LEQ, False, left, right)
                members += [*own, np.nan] if own else []
        integers = {f"nodes_{name}": nodes[name] for name in _NODES if name not in ("splits", "modes")}
        return cls(
            tuple(slots),
            {
                "nodes_splits": np.array(nodes["splits"], dtype),
                "leaf_weights": leaf_weights.astype(dtype),
                "membership_values": np.array(members, dtype),
            },
            np.array(nodes["modes"], np.uint8),
            {**integers, "leaf_targetids": [0] * len(leaf_weights), "tree_roots": roots},
        )


_NODES = (
    "splits",
    "featureids",
    "modes",
    "missing_value_tracks_true",
    "truenodeids",
    "trueleafs",
    "falsenodeids",
    "falseleafs",
)


def _add(
    nodes: dict[str, list[Any]],
    threshold: float,
    slot: int,
    mode: int,
    missing_left: bool,
    left: tuple[int, bool],
    right: tuple[int, bool],
) -> None:
    values = (threshold, slot, mode, int(missing_left), left[0], int(left[1]), right[0], int(right[1]))
    for name, value in zip(_NODES, values, strict=True):
        nodes[name].append(value)


def _members(forest: Forest, split: int, schema: Schema, feature: int) -> list[float]:
    """Numbers of the categories that go left, each plus one, of those that a row can have."""
    vocabulary = schema.features[feature].vocabulary
    if vocabulary is None:
        raise TreesError(
            f"the trees split {schema.features[feature].name} by category, but know no vocabulary of it; "
            "ONNX cannot be written of them"
        )
    words = forest.cat_words[forest.cat_start[split] : forest.cat_start[split + 1]]
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return [float(code + 1) for code in np.flatnonzero(bits[: len(vocabulary) + 1]).tolist()]


def rounded_down(values: NDArray[np.float64], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """The largest number of that type that is not above each value: ``x <= value`` holds of the same x of it."""
    with np.errstate(over="ignore"):
        near = values.astype(dtype)
    down: NDArray[Any] = np.where(near.astype(np.float64) > values, np.nextafter(near, dtype(-np.inf)), near)
    return down
