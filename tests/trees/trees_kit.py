"""Boosters of every shape, rows that are hard to place, and the slow ways to place them."""

from __future__ import annotations

import math
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from gbdtlr.trees import FrozenTrees
from gbdtlr.trees.forest import ZERO, Forest

Matrix = npt.NDArray[np.float64]

ODD = (
    math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-36, -1e-36, 1e-35, -1e-35, ZERO, -ZERO, 2e-35, 5e-324, -0.5, -0.999,
    -1.0, 0.999, 2.7, 5.0, 31.0, 32.0, 69.0, 70.0, 255.0, 256.0, 2047.0, 2048.0, 3e9, 1e10, -1e10, 1e300, -1e300,
)  # fmt: skip
"""Numbers on edges: of missing types, of categories and their words, of LightGBM's 32-bit whole numbers."""


def training_rows(seed: int, n: int, categories: tuple[int, ...] = (), missing: float = 0.0) -> tuple[Matrix, Any]:
    """Matrix with four numeric columns, then one for each number of categories, and labels they explain in part."""
    rng = np.random.default_rng(seed)
    columns = [rng.normal(size=n), np.exp(2 * rng.normal(size=n)), rng.integers(-3, 4, n), rng.normal(size=n).round(1)]
    score = columns[0] + np.log(columns[1]) / 2 + np.abs(columns[2]) / 2 - columns[3] + rng.normal(size=n)
    for size in categories:
        column = np.minimum(rng.geometric(min(0.5, 4 / size), n) - 1, size - 1)
        columns.append(column)
        score = score + 2 * rng.normal(size=size)[column]
    matrix = np.column_stack(columns).astype(np.float64)
    matrix[rng.random(matrix.shape) < missing] = np.nan
    return matrix, (score > np.median(score)).astype(np.int8)


def hard_rows(booster: lgb.Booster, matrix: Matrix, seed: int) -> Matrix:
    """Rows of the matrix, a third of their values replaced by odd ones or by thresholds and their neighbours."""
    rng = np.random.default_rng(seed)
    thresholds = Forest.parse(booster.model_to_string()).threshold
    near = np.concatenate([thresholds, np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)])
    hard = matrix.copy()
    for values, share in ((np.array(ODD), 0.2), (near, 0.15)):
        if len(values):
            replaced = rng.random(hard.shape) < share
            hard[replaced] = rng.choice(values, int(replaced.sum()))
    return hard


def grow(matrix: Matrix, label: Any, n_trees: int = 8, categorical: Any = (), **params: Any) -> lgb.Booster:
    """Booster on the matrix; columns numbered in ``categorical`` are categories."""
    settings = {
        "objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 3, "seed": 1,
        "min_data_per_group": 5, "cat_smooth": 1.0, **params,
    }  # fmt: skip
    data = lgb.Dataset(matrix, label, categorical_feature=list(categorical), params=settings)
    return lgb.train(settings, data, n_trees)


def frozen(booster: lgb.Booster) -> FrozenTrees:
    return FrozenTrees.from_booster_text(booster.model_to_string())


def assert_same_as_lightgbm(booster: lgb.Booster, matrix: Matrix, *, raw_score: bool = True) -> FrozenTrees:
    """Leaves of all kernels equal ``pred_leaf``, and leaf values add up to the raw score."""
    trees = frozen(booster)
    leaves = np.asarray(booster.predict(matrix, pred_leaf=True, num_threads=1)).reshape(len(matrix), -1).T
    codes = trees.encode_matrix(matrix)
    np.testing.assert_array_equal(codes, leaves)
    weights = np.random.default_rng(0).normal(size=trees.n_codes)
    margin = trees.margin_matrix(matrix, weights, 0.25)
    expected = np.full(len(matrix), 0.25)
    for t in range(trees.n_trees):
        expected += weights[trees.offsets[t] + leaves[t]]
    np.testing.assert_array_equal(margin, expected)
    for i in range(0, len(matrix), 1 + len(matrix) // 50):
        np.testing.assert_array_equal(trees.encode_row(matrix[i]), leaves[:, i])
        assert trees.row_margin(matrix[i], weights, 0.25) == margin[i]
    if raw_score:
        anchor = trees.margin_matrix(matrix, trees.leaf_values, 0.0)
        np.testing.assert_allclose(anchor, booster.predict(matrix, raw_score=True), rtol=0, atol=1e-9)
    return trees


def leaf_of(forest: Forest, t: int, row: Matrix) -> int:
    """Naive twin of the kernels: one row down one tree, as in LightGBM's Tree::Decision."""
    begin = int(forest.splits[t])
    if forest.splits[t + 1] == begin:
        return 0
    node = 0
    while node >= 0:
        j = begin + node
        value = float(row[forest.split_feature[j]])
        if abs(value) <= ZERO:
            value = 0.0
        if forest.is_categorical[j]:
            words = forest.cat_words[forest.cat_start[j] : forest.cat_start[j + 1]]
            category = int(value) if -1 < value < 32 * len(words) else -1
            left = category >= 0 and bool(int(words[category // 32]) >> category % 32 & 1)
        else:
            missing_type = forest.missing_type[j]
            if math.isnan(value) and missing_type != 2:
                value = 0.0
            if (missing_type == 1 and value == 0) or math.isnan(value):
                left = bool(forest.default_left[j])
            else:
                left = value <= forest.threshold[j]
        node = int(forest.left_child[j] if left else forest.right_child[j])
    return ~node
