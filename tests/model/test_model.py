"""A model stands alone: LightGBM's scores when it is bare, one margin whichever way a row comes in, and no store."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.errors import DamagedError, MismatchError, SchemaError
from gbdtlr.head import Head, Layout, WideColumns
from gbdtlr.metrics import Quality
from gbdtlr.model import Golden, Model
from gbdtlr.model.golden import GOLDEN_ROWS
from gbdtlr.samples import Samples
from gbdtlr.trees import FrozenTrees

WIDE = WideColumns(("shop", "colour:shop"), 64)
N = 400


def rows(n: int = N, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "x": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.1),
            "y": rng.exponential(size=n),
            "shop": rng.integers(0, 20, n),
            "colour": pa.array(rng.choice(["red", "green"], n), mask=rng.random(n) < 0.1),
        }
    )


def matrix_of(table: pa.Table) -> npt.NDArray[np.float64]:
    columns = [table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in ("x", "y")]
    return np.column_stack(columns)


def samples(n: int = N, seed: int = 0) -> Samples:
    table = rows(n, seed)
    rng = np.random.default_rng([seed, 1])
    label = (rng.random(n) < np.where(np.nan_to_num(matrix_of(table)[:, 0]) > 0, 0.8, 0.2)).astype(np.int8)
    at = np.arange(n) * 60_000_000
    return Samples(table, label, rng.random(n), at, at + 1)


@pytest.fixture(scope="module")
def booster() -> lgb.Booster:
    given = samples()
    data = lgb.Dataset(matrix_of(given.table), given.label, feature_name=["x", "y"])
    params = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 6, "min_data_in_leaf": 5}
    return lgb.train(params, data, 7)


@pytest.fixture(scope="module")
def bare(booster: lgb.Booster) -> Model:
    return Model.of(FrozenTrees.from_booster_text(booster.model_to_string()), WIDE)


@pytest.fixture(scope="module")
def model(bare: Model) -> Model:
    """Weights drawn at random, some of the ids' too."""
    rng = np.random.default_rng(2)
    index = tuple(np.sort(rng.choice(64, 40, replace=False)).astype(np.uint32) for _ in WIDE.names)
    layout = Layout.of(bare.trees, WIDE).using(index)
    return bare.with_head(Head(layout, rng.normal(size=layout.n)))


def test_a_bare_model_gives_lightgbms_raw_score(booster: lgb.Booster, bare: Model, model: Model) -> None:
    table = rows(seed=3)
    expected = booster.predict(matrix_of(table), raw_score=True)
    np.testing.assert_allclose(bare.margin(table), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.bare().margin(table), expected, rtol=0, atol=1e-12)
    only = model.bare(WideColumns(("shop",), 8))
    assert only.head.wide == WideColumns(("shop",), 8)
    np.testing.assert_allclose(only.margin(table), expected, rtol=0, atol=1e-12)
    assert model.bare().trees is model.trees


def test_a_row_has_one_margin_whichever_way_it_comes_in(model: Model) -> None:
    table = rows(seed=4)
    margin = model.margin(table)
    assert [model.row_margin(row) for row in table.to_pylist()] == margin.tolist()
    parts = Parts([model.encode(table.slice(0, 150)), model.encode(table.slice(150))])
    np.testing.assert_allclose(model.margins(parts), margin, rtol=0, atol=1e-12)
    weight = model.head.leaf_weights
    for row, expected in zip(table.slice(0, 20).to_pylist(), margin, strict=False):
        codes = model.encode_row(row)
        leaves, buckets = np.split(codes, [model.trees.n_trees])
        total = model.head.bias + weight[leaves + model.trees.offsets[:-1]].sum()
        for bucket, index, ids in zip(buckets, model.head.layout.buckets, model.head.wide_weights, strict=True):
            total += ids[index == bucket].sum()
        assert total == pytest.approx(expected, abs=1e-12)


def test_codes_of_samples_carry_their_labels_and_those_of_a_frame_none(model: Model) -> None:
    given = samples(seed=5)
    codes, unlabelled = model.encode(given), model.encode(given.table)
    np.testing.assert_array_equal(codes.leaves, unlabelled.leaves)
    np.testing.assert_array_equal(codes.buckets, unlabelled.buckets)
    np.testing.assert_array_equal(codes.label, given.label)
    np.testing.assert_array_equal(codes.event_us, given.event_us)
    np.testing.assert_array_equal(codes.known_us, given.known_us)
    assert np.isnan(unlabelled.label).all()
    assert np.isnan(model.judge(Parts([unlabelled])).loss)


def test_what_is_wrong_with_the_trees_columns_is_told_before_what_is_with_the_ids(model: Model) -> None:
    given = rows()
    times = pa.array(range(N), pa.timestamp("us"))
    for n in (1, 3):
        with threads.limited(n):
            for _ in range(20):
                with pytest.raises(SchemaError, match=r"^column x "):
                    model.encode(given.set_column(0, "x", times).set_column(2, "shop", times))
            with pytest.raises(SchemaError, match=r"^column shop "):
                model.encode(given.set_column(2, "shop", times))


def test_codes_without_wide_columns_have_as_many_rows(bare: Model) -> None:
    codes = bare.bare(WideColumns((), 2)).encode(samples(9))
    assert codes.buckets.shape == (0, 9)
    assert len(codes) == 9


def test_judging_parts_is_judging_all_rows(model: Model) -> None:
    given = samples(seed=6)
    expected = Quality.of(model.margin(given.table), given.label, given.weight)
    parts = [model.encode(given.take(np.arange(a, b))) for a, b in ((0, 100), (100, 101), (101, N))]
    quality = model.judge(Parts(parts))
    assert quality.rows == N
    assert (quality.ne, quality.calibration) == pytest.approx((expected.ne, expected.calibration), rel=1e-6)
    assert model.judge(Parts()) == Quality()
    assert len(model.margins(Parts())) == 0


@pytest.mark.parametrize("how", ["margin", "row_margin"])
def test_all_columns_that_are_missing_are_named_at_once(model: Model, how: str) -> None:
    row: Any = {"y": 1.0, "colour": "red"}
    given = pa.table({name: [value] for name, value in row.items()}) if how == "margin" else row
    with pytest.raises(SchemaError, match=r"x.*shop"):
        getattr(model, how)(given)


def test_golden_rows_pass_the_model_they_are_of_and_no_other(model: Model, bare: Model) -> None:
    golden = Golden.of(rows(seed=7), model)
    assert len(golden.rows) == GOLDEN_ROWS
    again = Golden.from_bytes(golden.to_bytes())
    assert again == golden
    again.replay(model)
    with pytest.raises(MismatchError, match=r"golden row \d has margin"):
        again.replay(bare)
    leaves = [[leaf + 1 for leaf in golden.leaves[0]], *golden.leaves[1:]]
    with pytest.raises(MismatchError, match=r"golden row 0 falls into leaf .* 7 leaves differ"):
        Golden(golden.rows, leaves, golden.margins).replay(model)
    few = [each[:-1] for each in golden.leaves]
    with pytest.raises(MismatchError, match="the leaves of 6 trees, not 7"):
        Golden(golden.rows, few, golden.margins).replay(model)
    with pytest.raises(MismatchError, match="cannot be scored"):
        Golden([{"x": 1.0}], golden.leaves[:1], golden.margins[:1]).replay(model)
    with pytest.raises(DamagedError):
        Golden.from_bytes(golden.to_bytes()[:-3])


def test_rows_json_cannot_say_are_no_golden_rows(model: Model) -> None:
    table = rows(GOLDEN_ROWS)
    infinite = table.set_column(1, "y", pa.array([np.inf] + [1.0] * (GOLDEN_ROWS - 1)))
    assert len(Golden.of(infinite, model).rows) == GOLDEN_ROWS - 1
    empty = Golden.of(table.slice(0, 0), model)
    assert empty == Golden([], [], [])
    empty.replay(model)
