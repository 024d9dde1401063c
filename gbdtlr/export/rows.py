"""Rows: what an exported model is asked, as the numbers, texts and buckets that its inputs take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head import Codes
from gbdtlr.model import Model
from gbdtlr.trees import FrozenTrees
from gbdtlr.trees.forest import ZERO
from gbdtlr.values.categories import texts, written
from gbdtlr.values.frames import column_of, frame_of

UNSEEN = "\N{WHITE QUESTION MARK ORNAMENT} in no vocabulary"
_ODD = (np.nan, np.inf, -np.inf, 0.0, -0.0, ZERO, -ZERO, 1e-36, -1e-36, 2e-35, 5e-324, 1.0, -1.0, 1e300, -1e300)


@dataclass(frozen=True)
class Rows:
    """Rows as the inputs of exported models take them.

    Attributes
    ----------
    matrix : float64 (n, n_features), categories by number, missing as NaN
    texts : of each categorical feature, (n,) texts in their one spelling, empty for missing
    buckets : uint32 (n_wide, n)
    """

    matrix: NDArray[np.float64]
    texts: tuple[Sequence[str], ...]
    buckets: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.matrix)

    @classmethod
    def of(cls, model: Model, rows: Any) -> Rows:
        """Rows of any frame (``values.frames``); raises as ``Model.margin``."""
        frame, schema = frame_of(rows), model.trees.schema
        spell = written if schema.as_written else texts
        categories = (feature.name for feature in schema.features if feature.vocabulary is not None)
        matrix = schema.matrix(frame)
        return cls(
            np.ascontiguousarray(matrix),
            tuple([text or "" for text in spell(column_of(frame, name)).to_pylist()] for name in categories),
            model.head.wide.buckets(frame).reshape(len(model.head.wide.names), len(matrix)),
        )

    @classmethod
    def random(cls, model: Model, n: int, seed: int) -> Rows:
        """Rows that are hard to place: thresholds and their neighbours, infinities, missing and unseen values.

        Half of their buckets are in use. Every row has other values in all columns, whatever rows occur in life.
        """
        rng = np.random.default_rng(seed)
        forest, schema, wide = model.trees.forest, model.trees.schema, model.head.wide
        columns, spelled = [], []
        for i, feature in enumerate(schema.features):
            if feature.vocabulary is None:
                own = forest.threshold[(forest.split_feature == i) & ~forest.is_categorical]
                columns.append(_numbers(rng, own, n))
                continue
            code = rng.integers(0, len(feature.vocabulary) + 2, n)  # the last but one is unseen, the last missing
            words = (*feature.vocabulary, UNSEEN, "")
            spelled.append([words[c] for c in code.tolist()])
            columns.append(np.where(code > len(feature.vocabulary), np.nan, code))
        buckets = np.empty((len(wide.names), n), np.uint32)
        for own_out, used in zip(buckets, model.head.layout.buckets, strict=True):
            own_out[:] = rng.integers(0, wide.n_buckets, n)
            if len(used):
                known = rng.random(n) < 0.5
                own_out[known] = rng.choice(used, int(known.sum()))
        return cls(np.column_stack(columns).astype(np.float64), tuple(spelled), buckets)

    def rounded(self, is_number: NDArray[np.bool_]) -> Rows:
        """The same with the features that ``is_number`` names, (n_features,), as the nearest float32."""
        matrix = self.matrix.copy()
        with np.errstate(over="ignore"):
            matrix[:, is_number] = matrix[:, is_number].astype(np.float32)
        return replace(self, matrix=matrix)

    def codes(self, model: Model) -> Codes:
        """What the model's head reads of them."""
        return Codes.unlabelled(model.trees.encode_matrix(self.matrix), self.buckets)


def is_number(trees: FrozenTrees) -> NDArray[np.bool_]:
    """Which features are numbers, (n_features,)."""
    return np.array([feature.vocabulary is None for feature in trees.schema.features], bool)


def _numbers(rng: np.random.Generator, thresholds: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    finite = thresholds[np.isfinite(thresholds)]
    middle, width = (float(np.median(finite)), float(np.ptp(finite)) or 1.0) if len(finite) else (0.0, 1.0)
    values: NDArray[np.float64] = rng.normal(middle, width, n)
    near = np.concatenate([thresholds, np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)])
    for choices, share in ((near, 0.4), (np.array(_ODD), 0.2)):
        if len(choices):
            replaced = rng.random(n) < share
            values[replaced] = rng.choice(choices, int(replaced.sum()))
    return values
