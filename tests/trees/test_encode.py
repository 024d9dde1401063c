"""Leaves are LightGBM's own, on every row, of boosters of every shape."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees_kit import ODD, assert_same_as_lightgbm, frozen, grow, hard_rows, leaf_of, training_rows

from gbdtlr.compute import threads
from gbdtlr.errors import SchemaError
from gbdtlr.trees import FrozenTrees, kernels, row_kernels
from gbdtlr.trees.frozen import SLICE
from gbdtlr.trees.kernels import FEW
from gbdtlr.trees.lanes import BLOCK, NARROW, WIDE
from gbdtlr.trees.planes import CHUNK
from gbdtlr.values.lines import Lines, Names

CATEGORIES = (6, 40, 300)

SHAPES: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "missing is zero": {"use_missing": False},
    "zero is missing": {"zero_as_missing": True},
    "stumps": {"num_leaves": 2},
    "255 leaves": {"num_leaves": 255, "min_data_in_leaf": 1},
    "one data point per leaf": {"num_leaves": 400, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0},
    "coarse bins": {"max_bin": 63},
    "fine bins": {"max_bin": 5000, "min_data_in_bin": 1},
    "shallow": {"max_depth": 3},
    "deep": {"num_leaves": 60, "max_depth": -1, "min_gain_to_split": 0, "lambda_l2": 0},
    "big category sets": {"max_cat_threshold": 500, "min_data_per_group": 1, "cat_smooth": 0.1, "num_leaves": 63},
    "one-hot categories": {"max_cat_to_onehot": 1000},
    "monotone": {"monotone_constraints": [1, 1, 0, -1], "monotone_constraints_method": "advanced"},
    "extra random": {"extra_trees": True, "feature_fraction": 0.5, "bagging_fraction": 0.5, "bagging_freq": 1},
    "dart": {"boosting": "dart", "drop_rate": 0.5},
    "goss": {"data_sample_strategy": "goss"},
    "not from average": {"boost_from_average": False},
    "unbalanced": {"is_unbalance": True},
    "cross entropy": {"objective": "cross_entropy"},
}


@pytest.mark.parametrize("missing", [0.0, 0.1], ids=["whole", "gaps"])
@pytest.mark.parametrize("categories", [(), CATEGORIES], ids=["numbers", "categories"])
@pytest.mark.parametrize("shape", SHAPES)
def test_leaves_equal_lightgbm(shape: str, categories: tuple[int, ...], missing: float) -> None:
    params = dict(SHAPES[shape])
    if "monotone_constraints" in params:
        params["monotone_constraints"] = [*params["monotone_constraints"], *[0] * len(categories)]
    matrix, label = training_rows(3, 700, categories, missing)
    booster = grow(matrix, label, categorical=range(4, 4 + len(categories)), **params)
    assert booster.num_trees() == 8
    assert_same_as_lightgbm(booster, np.concatenate([matrix, hard_rows(booster, matrix, 4)]))


def test_random_forest_adds_up_to_its_log_odds() -> None:
    matrix, label = training_rows(3, 700)
    booster = grow(matrix, label, boosting="rf", bagging_freq=1, bagging_fraction=0.5)
    trees = assert_same_as_lightgbm(booster, hard_rows(booster, matrix, 4), raw_score=False)
    margin = trees.margin_matrix(matrix, trees.leaf_values, 0.0)
    np.testing.assert_allclose(1 / (1 + np.exp(-margin)), booster.predict(matrix), atol=1e-12)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(20, 400),
    categories=st.lists(st.sampled_from([2, 5, 33, 70]), max_size=2),
    missing=st.sampled_from([0.0, 0.02, 0.5]),
    n_trees=st.integers(1, 12),
    params=st.fixed_dictionaries(
        {
            "num_leaves": st.integers(2, 80),
            "min_data_in_leaf": st.integers(1, 20),
            "max_bin": st.sampled_from([3, 63, 255, 5000]),
            "min_data_in_bin": st.sampled_from([1, 3]),
            "use_missing": st.sampled_from([True, True, False]),
            "zero_as_missing": st.booleans(),
            "max_cat_to_onehot": st.sampled_from([1, 4, 100]),
            "learning_rate": st.sampled_from([0.05, 0.5]),
        }
    ),
)
@settings(max_examples=40, deadline=None)
def test_leaves_equal_lightgbm_whatever_the_booster(
    seed: int, n: int, categories: list[int], missing: float, n_trees: int, params: dict[str, Any]
) -> None:
    matrix, label = training_rows(seed, n, tuple(categories), missing)
    booster = grow(matrix, label, n_trees, range(4, 4 + len(categories)), **params)
    assert_same_as_lightgbm(booster, hard_rows(booster, matrix, seed))


def test_naive_twin_agrees() -> None:
    matrix, label = training_rows(5, 500, (40,), 0.1)
    booster = grow(matrix, label, categorical=[4])
    trees = frozen(booster)
    hard = hard_rows(booster, matrix, 6)[:60]
    twin = [[leaf_of(trees._forest, t, row) for row in hard] for t in range(trees.n_trees)]
    np.testing.assert_array_equal(trees.encode_matrix(hard), twin)


def test_features_with_more_thresholds_than_a_byte_holds() -> None:
    matrix, label = training_rows(7, 3000, (), 0.05)
    booster = grow(matrix, label, 40, max_bin=5000, min_data_in_bin=1, num_leaves=60, min_data_in_leaf=1)
    trees = assert_same_as_lightgbm(booster, hard_rows(booster, matrix, 8))
    features = trees._planes.searches[:, 0]
    assert np.bincount(features).max() > 1


def test_more_leaves_than_a_byte_holds() -> None:
    matrix, label = training_rows(9, 8000, (40,))
    booster = grow(
        matrix, label, 3, [4], num_leaves=1500, min_data_in_leaf=1, min_sum_hessian_in_leaf=0, max_bin=5000,
        min_data_in_bin=1,
    )  # fmt: skip
    trees = assert_same_as_lightgbm(booster, hard_rows(booster, matrix, 10))
    assert trees.code_dtype == np.uint16
    assert np.diff(trees.offsets).max() > 1000


@pytest.mark.parametrize("n_trees", [1, 5000])
def test_one_tree_and_thousands(n_trees: int) -> None:
    matrix, label = training_rows(11, 200)
    booster = grow(matrix, label, n_trees, num_leaves=3, learning_rate=0.001)
    trees = assert_same_as_lightgbm(booster, hard_rows(booster, matrix, 12))
    assert trees.n_trees == n_trees


def test_more_groups_of_categories_than_a_byte_holds() -> None:
    rng = np.random.default_rng(13)
    category = rng.integers(0, 5000, 20_000)
    label = (rng.random(5000) < 0.5)[category].astype(np.int8)
    booster = grow(
        category[:, None].astype(np.float64), label, 30, [0], max_bin=5000, min_data_in_bin=1, min_data_per_group=1,
        max_cat_threshold=5000, cat_smooth=0, cat_l2=0,
    )  # fmt: skip
    trees = assert_same_as_lightgbm(booster, np.append(np.arange(6000), ODD)[:, None].astype(np.float64))
    assert len(trees._planes.lookups) > 1


def test_trees_of_one_leaf() -> None:
    matrix, label = training_rows(14, 300)
    for booster in (grow(matrix, label * 0), grow(matrix, label, min_data_in_leaf=200)):
        trees = assert_same_as_lightgbm(booster, matrix)
        assert trees.n_codes == trees.n_trees == 1


def test_bundled_features() -> None:
    rng = np.random.default_rng(15)
    which = rng.integers(0, 30, 2000)
    matrix = np.where(np.arange(30) == which[:, None], rng.integers(1, 4, 2000)[:, None], 0).astype(np.float64)
    label = ((which % 7) * matrix.sum(axis=1) + rng.normal(size=2000) > 6).astype(np.int8)
    booster = grow(matrix, label, enable_bundle=True)
    assert_same_as_lightgbm(booster, hard_rows(booster, matrix, 16))


@pytest.mark.parametrize("threshold", ["0", "-0", "5e-36", "-5e-36", "1e-35", "-1e-35"])
@pytest.mark.parametrize("decision_type", [0, 2, 4, 6, 8, 10])
def test_thresholds_within_what_counts_as_zero(threshold: str, decision_type: int) -> None:
    import lightgbm as lgb

    matrix, label = training_rows(17, 300)
    text = grow(matrix, label, 1, num_leaves=2).model_to_string()
    text = re.sub("^threshold=.*$", f"threshold={threshold}", text, flags=re.MULTILINE)
    text = re.sub("^decision_type=.*$", f"decision_type={decision_type}", text, flags=re.MULTILINE)
    text = re.sub("^split_feature=.*$", "split_feature=0", text, flags=re.MULTILINE)
    text = re.sub("^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    rows = np.zeros((len(ODD), 4))
    rows[:, 0] = ODD
    assert_same_as_lightgbm(lgb.Booster(model_str=text), rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.bool_])
def test_any_type_of_matrix(dtype: Any) -> None:
    matrix, label = training_rows(18, 500)
    booster = grow(matrix, label)
    with np.errstate(invalid="ignore", over="ignore"):
        typed = (hard_rows(booster, matrix, 19) if dtype in (np.float32, np.float64) else matrix).astype(dtype)
    leaves = np.asarray(booster.predict(typed.astype(np.float64), pred_leaf=True)).T
    np.testing.assert_array_equal(frozen(booster).encode_matrix(typed), leaves)
    if dtype == np.float32:
        np.testing.assert_array_equal(np.asarray(booster.predict(typed, pred_leaf=True)).T, leaves)


def test_any_layout_of_matrix_and_codes() -> None:
    matrix, label = training_rows(20, 3 * BLOCK + 5)
    trees = frozen(grow(matrix, label))
    codes = trees.encode_matrix(matrix)
    wide = np.zeros((2 * len(matrix), 9))
    wide[::2, 1::2] = matrix
    read_only = matrix.copy()
    read_only.flags.writeable = False
    for same in (np.asfortranarray(matrix), wide[::2, 1::2], matrix[::-1][::-1], read_only):
        np.testing.assert_array_equal(trees.encode_matrix(same), codes)
    np.testing.assert_array_equal(trees.encode_matrix(matrix[::-1]), codes[:, ::-1])
    np.testing.assert_array_equal(trees.encode_matrix(matrix[:, ::-1][:, ::-1]), codes)
    room = np.full((2 * trees.n_trees, len(matrix) + 20), 77, np.uint8)
    out = room[::2, 10:-10]
    assert trees.encode_matrix(matrix, out=out) is out
    np.testing.assert_array_equal(out, codes)
    assert (room[1::2] == 77).all()
    assert (room[:, :10] == 77).all()
    assert (room[:, -10:] == 77).all()


EDGES = sorted({n + k for n in (0, NARROW, FEW, WIDE, BLOCK, BLOCK + NARROW, 2 * BLOCK) for k in (-1, 0, 1)} - {-1})


@pytest.mark.parametrize("n_leaves", [31, 400])
@pytest.mark.parametrize("categories", [(), (40, 300)], ids=["numbers", "categories"])
def test_any_number_of_rows(categories: tuple[int, ...], n_leaves: int) -> None:
    matrix, label = training_rows(21, EDGES[-1], categories, 0.1)
    params = {"min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0, "num_leaves": n_leaves}
    many = {"max_cat_to_onehot": 1000}  # splits on categories
    booster = grow(matrix, label, 9, range(4, 4 + len(categories)), **params, **many)
    trees = frozen(booster)
    leaves = np.asarray(booster.predict(matrix, pred_leaf=True)).T
    weights = np.random.default_rng(1).normal(size=trees.n_codes)
    margin = trees.margin_matrix(matrix, weights, 0.5)
    for n_rows in EDGES:
        codes = trees.encode_matrix(matrix[:n_rows])
        assert codes.dtype == (np.uint8 if n_leaves <= 256 else np.uint16)
        np.testing.assert_array_equal(codes, leaves[:, :n_rows])
        np.testing.assert_array_equal(trees.margin_matrix(matrix[:n_rows], weights, 0.5), margin[:n_rows])
    if categories:
        splits = trees.forest.splits
        place = np.flatnonzero(trees.forest.is_categorical)
        in_tree = place - splits[np.searchsorted(splits, place, "right") - 1]
        assert in_tree.max() > (CHUNK if n_leaves == 400 else 5)


def test_columns_that_lie_in_a_line() -> None:
    matrix, label = training_rows(27, 3 * SLICE + 7, (40,), 0.1)
    trees = frozen(grow(matrix[:500], label[:500], categorical=[4]))
    weights = np.random.default_rng(1).normal(size=trees.n_codes)
    names, n = trees.schema.names, len(matrix)
    numbers = np.full(len(names) * (n + 3) + 5, 7.0)
    starts = 5 + (n + 3) * np.random.default_rng(2).permutation(len(names))
    for start, column in zip(starts, matrix.T, strict=True):
        numbers[start : start + n] = column
    numbers.flags.writeable = False
    order = np.array([3, 0, 4, 1, 2])
    lines = Lines(Names(tuple(names[i] for i in order)), numbers, starts[order], n)
    np.testing.assert_array_equal(trees.encode(lines), trees.encode_matrix(matrix))
    margin = trees.margin(lines, weights, 0.5)
    np.testing.assert_array_equal(margin, trees.margin_matrix(matrix, weights, 0.5))
    np.testing.assert_array_equal(trees.margin(dict(lines), weights, 0.5), margin)
    fewer = Lines(Names(names[:4]), numbers, starts[:4], n)
    with pytest.raises(SchemaError, match=f"no column {names[4]}"):
        trees.encode(fewer)


def test_out_of_the_wrong_kind_is_refused() -> None:
    matrix, label = training_rows(22, 100)
    trees = frozen(grow(matrix, label))
    fixed = np.empty((8, 100), np.uint8)
    fixed.flags.writeable = False
    for out in (
        np.empty((8, 99), np.uint8),
        np.empty((8, 100), np.uint16),
        np.empty((100, 8), np.uint8).T,
        np.empty((8, 100), np.uint8)[::-1],
        fixed,
    ):
        with pytest.raises(ValueError, match="out must"):
            trees.encode_matrix(matrix, out=out)


def test_matrix_and_row_of_the_wrong_shape_are_refused() -> None:
    matrix, label = training_rows(23, 100)
    trees = frozen(grow(matrix, label))
    for wrong in (matrix[:, :3], matrix[0], matrix.astype(str)):
        with pytest.raises(SchemaError, match="matrix of 4 columns"):
            trees.encode_matrix(wrong)
    with pytest.raises(SchemaError, match="row of 4 numbers"):
        trees.encode_row(matrix[0, :3])
    none = np.full(trees.n_codes, np.nan)
    for weights in (np.zeros(3), np.zeros(trees.n_codes, np.float32), np.zeros(2 * trees.n_codes)[::2], none):
        with pytest.raises(ValueError, match="weights must"):
            trees.row_margin(matrix[0], weights, 0.0)


@pytest.mark.parametrize("size", [1e-300, 1.0, 1e300, np.inf])
def test_weights_of_any_size_are_added_up_one_row_at_a_time_too(size: float) -> None:
    """They stand where thresholds do, and lead no row astray."""
    matrix, label = training_rows(27, 500, (40,), 0.1)
    trees = frozen(grow(matrix, label, categorical=[4]))
    for weights in (np.full(trees.n_codes, -size), size * np.linspace(0.01, 1.0, trees.n_codes)):
        margin = trees.margin_matrix(matrix[:100], weights, 0.5)
        assert [trees.row_margin(row, weights, 0.5) for row in matrix[:100]] == margin.tolist()


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_threads_change_nothing(n_threads: int) -> None:
    matrix, label = training_rows(24, 40_000)
    trees = frozen(grow(matrix[:1000], label[:1000]))
    codes, margin = trees.encode_matrix(matrix), trees.margin_matrix(matrix, trees.leaf_values, 0.0)
    threads.set_threads(n_threads)
    try:
        np.testing.assert_array_equal(trees.encode_matrix(matrix), codes)
        np.testing.assert_array_equal(trees.margin_matrix(matrix, trees.leaf_values, 0.0), margin)
    finally:
        threads.set_threads(None)


def test_no_call_costs_a_compilation_of_its_own() -> None:
    matrix, label = training_rows(25, 3000, (40,), 0.1)
    small, big = (
        frozen(grow(matrix, label, categorical=[4])),
        frozen(grow(matrix, label, num_leaves=900, min_data_in_leaf=1, min_sum_hessian_in_leaf=0)),
    )
    frozen_weights = np.zeros(big.n_codes)
    frozen_weights.flags.writeable = False
    for trees in (small, big):
        for kind in (matrix, matrix.astype(np.float32), np.asfortranarray(matrix), matrix[::2], matrix[:1]):
            trees.encode_matrix(kind)
            trees.margin_matrix(kind, trees.leaf_values, 0)
        trees.encode(dict(zip(trees.schema.names, matrix.T, strict=True)))
        trees.row_margin(matrix[0], np.zeros(trees.n_codes), np.float32(1))
    big.row_margin(matrix[0].astype(np.float32), frozen_weights, 1)
    assert big.code_dtype == np.uint16
    assert len(kernels.encode.signatures) == len(kernels.margin.signatures) == 2  # of uint8 and of uint16
    assert len(row_kernels.row_margin.signatures) == 1


def test_many_threads_may_use_the_same_trees_at_once() -> None:
    matrix, label = training_rows(26, 2 * SLICE, (40,), 0.1)
    text = grow(matrix[:500], label[:500], categorical=[4]).model_to_string()
    expected = FrozenTrees.from_booster_text(text).encode_matrix(matrix)
    trees = FrozenTrees.from_booster_text(text)
    weights = np.arange(trees.n_codes, dtype=np.float64)
    margin = (weights[trees.offsets[:-1, None] + expected]).sum(axis=0)

    def use(i: int) -> None:
        np.testing.assert_array_equal(trees.encode_matrix(matrix), expected)
        np.testing.assert_array_equal(trees.encode_row(matrix[i]), expected[:, i])
        for j in range(i, 2000, 10):
            assert trees.row_margin(matrix[j], weights, 0.0) == margin[j]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
