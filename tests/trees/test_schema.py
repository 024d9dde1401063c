"""Frames of every kind become the numbers the trees were grown on; what cannot is listed."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees_kit import frozen, grow, training_rows

from gbdtlr.errors import DamagedError, FormatError, SchemaError
from gbdtlr.trees import Feature, FrozenTrees, Schema
from gbdtlr.trees.frozen import SLICE

SCHEMA = Schema((Feature("x"), Feature("shop", ("7", "a", "é")), Feature("open", ("false", "true"))))
TABLE = pa.table(
    {
        "shop": ["a", None, "é", "zz", "7", ""],
        "unused": [None] * 6,
        "open": [True, False, None, True, False, True],
        "x": [1.5, None, math.inf, -0.0, math.nan, -math.inf],
    }
)
NAN, INF = math.nan, math.inf
EXPECTED = np.array([[1.5, 1, 1], [NAN, NAN, 0], [INF, 2, NAN], [0, 3, 1], [NAN, 0, 0], [-INF, NAN, 1]])


def views() -> dict[str, Any]:
    """The table with string views, where this pyarrow can cast them to texts at all."""
    try:
        column = TABLE["shop"].cast(pa.string_view())
        column.cast(pa.string())
    except pa.ArrowNotImplementedError:
        return {}
    return {"string views": TABLE.set_column(0, "shop", column)}


def frames() -> dict[str, Any]:
    chunked = pa.concat_tables([TABLE.slice(0, 2), TABLE.slice(2, 0), TABLE.slice(2)])
    dictionary = TABLE.set_column(0, "shop", TABLE["shop"].dictionary_encode())
    pieces = [pa.array(part).dictionary_encode() for part in (["a", None], ["é", "zz", "7", ""])]
    pandas = TABLE.to_pandas()
    return {
        "table": TABLE,
        "batch": TABLE.combine_chunks().to_batches()[0],
        "chunked": chunked,
        "sliced": pa.concat_tables([TABLE, TABLE]).slice(3, 6).take([3, 4, 5, 0, 1, 2]),
        "dictionary": dictionary,
        "dictionaries that differ": TABLE.set_column(0, "shop", pa.chunked_array(pieces)),
        "large strings": TABLE.set_column(0, "shop", TABLE["shop"].cast(pa.large_string())),
        **views(),
        "pandas": pandas,
        "pandas objects": pandas.astype({"shop": object, "open": object, "x": object}),
        "pandas category": pandas.astype({"shop": "category"}),
        "pandas nullable": pandas.astype({"x": "Float64", "open": "boolean", "shop": "string"}),
        "pandas arrow": pandas.astype({"shop": pd.ArrowDtype(pa.string()), "x": pd.ArrowDtype(pa.float64())}),
        "pandas index": pandas.set_axis(list("zzzzzz")),
        "lists": TABLE.to_pydict(),
        "arrays": {name: np.array(values) for name, values in TABLE.to_pydict().items()},
        "arrow arrays": {name: TABLE[name] for name in TABLE.column_names},
    }


@pytest.mark.parametrize("kind", frames())
def test_any_frame_gives_the_same_matrix(kind: str) -> None:
    np.testing.assert_array_equal(SCHEMA.matrix(frames()[kind]), EXPECTED)


def test_a_row_is_a_row_of_the_matrix() -> None:
    for row, expected in zip(TABLE.to_pylist(), EXPECTED, strict=True):
        np.testing.assert_array_equal(SCHEMA.row(row), expected)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([7, 7], 0),
        ([7.0, 7.0], 0),
        ([7, None], 0),
        (np.array([7, 7], np.uint8), 0),
        (np.array(["7", "7"]), 0),
        (pd.Series([7, None], dtype="Int64"), 0),
        (pd.Series([7, 7], dtype="category"), 0),
        (pa.array([7.0, None], pa.float32()), 0),
        ([2**70, 1.0], 3),
        (["07", "x"], 3),
    ],
)
def test_a_category_has_one_spelling(values: Any, code: float) -> None:
    matrix = SCHEMA.matrix({"x": [0, 0], "shop": values, "open": [True, True]})
    assert matrix[0, 1] == code
    first = next(iter(values))
    for value in (first, first.as_py() if isinstance(first, pa.Scalar) else first):
        if not isinstance(value, pa.Scalar):
            assert SCHEMA.row({"x": 0, "shop": value, "open": True})[1] == code


@pytest.mark.parametrize(
    "value", [3, 3.0, True, np.float32(3), np.int8(3), np.True_, decimal.Decimal(3)], ids=lambda v: type(v).__name__
)
def test_numbers_of_any_kind(value: Any) -> None:
    expected = float(value)
    assert SCHEMA.row({"x": value, "shop": "a", "open": "true"})[0] == expected
    column = [value] if not isinstance(value, np.generic) else np.array([value])
    assert SCHEMA.matrix({"x": column, "shop": ["a"], "open": [True]})[0, 0] == expected


@pytest.mark.parametrize("missing", [None, math.nan, np.nan, pd.NA, pd.NaT, np.float32("nan")], ids=repr)
def test_missing_of_any_kind(missing: Any) -> None:
    row = SCHEMA.row({"x": missing, "shop": missing, "open": missing})
    assert np.isnan(row).all()


@given(values=st.lists(st.one_of(st.none(), st.integers(0, 2**64 - 1)), min_size=1, max_size=6), known=st.data())
def test_an_unsigned_category_is_its_digits_in_a_row_and_in_any_column(
    values: list[int | None], known: st.DataObject
) -> None:
    vocabulary = known.draw(st.lists(st.sampled_from([str(value) for value in values]), unique=True))
    schema = Schema((Feature("shop", tuple(vocabulary)),))
    expected = [[math.nan] if value is None else [[*vocabulary, str(value)].index(str(value))] for value in values]
    rows = [schema.row({"shop": value}) for value in values]
    np.testing.assert_array_equal(rows, expected)
    columns = [values, np.array(values, object), pa.array(values, pa.uint64()), pd.array(values, "UInt64")]
    if None not in values:
        columns.append(np.array(values, np.uint64))
        np.testing.assert_array_equal([schema.row({"shop": np.uint64(value)}) for value in values], expected)
    for column in columns:
        np.testing.assert_array_equal(schema.matrix({"shop": column}), expected)


def test_whole_numbers_past_the_exact_ones() -> None:
    matrix = SCHEMA.matrix({"x": pa.array([2**63 - 1, None]), "shop": ["a", "a"], "open": [True, True]})
    assert matrix[0, 0] == 2.0**63
    assert np.isnan(matrix[1, 0])


def test_columns_without_a_type() -> None:
    nothing = {name: pa.nulls(2) for name in SCHEMA.names}
    assert np.isnan(SCHEMA.matrix(nothing)).all()
    assert SCHEMA.matrix({name: [] for name in SCHEMA.names}).shape == (0, 3)
    empty = TABLE.slice(0, 0)
    assert SCHEMA.matrix(empty).shape == SCHEMA.matrix(empty.to_pandas()).shape == (0, 3)


def test_all_faults_are_listed_at_once() -> None:
    with pytest.raises(SchemaError) as caught:
        SCHEMA.matrix({"x": ["1", "2"], "open": [{}, {}]})
    assert str(caught.value) == (
        "no column shop; column x holds string, numbers expected; list it under categorical or convert it; "
        "column open holds {} (dict), a text, a whole number or a truth value expected"
    )
    with pytest.raises(SchemaError) as caught:
        SCHEMA.row({"x": "1", "open": dt.date(2020, 1, 1)})
    assert str(caught.value) == (
        "no value for shop; x is '1' (str), a number expected; "
        "open is datetime.date(2020, 1, 1) (date), a text, a whole number or a truth value expected"
    )


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ({"x": [1, 2], "shop": ["a"], "open": [True, True]}, "lengths differ: x has 2, shop has 1"),
        ({"x": 1.0, "shop": ["a"], "open": [True]}, "column x is float; an array or a list expected"),
        ({"x": np.zeros((1, 2)), "shop": ["a"], "open": [True]}, "column x has 2 dimensions"),
        ({"x": [1, "a"], "shop": ["a"], "open": [True]}, "column x holds 'a' .str., a number expected"),
        ({"x": [dt.datetime(2020, 1, 1)], "shop": ["a"], "open": [True]}, "column x holds datetime"),
        ({"x": [1], "shop": [b"a"], "open": [True]}, "column shop holds b'a' .bytes., a text"),
        (pa.table([[1.0], [2.0], ["a"], [True]], names=["x", "x", "shop", "open"]), "column x is there more than once"),
        (pd.DataFrame([[1.0, 2.0, "a", True]], columns=["x", "x", "shop", "open"]), "column x has 2 dimensions"),
        ([[1, 2]], "rows come as a DataFrame"),
        (np.zeros((2, 3)), "rows come as a DataFrame"),
    ],
    ids=range(10),
)
def test_frames_that_cannot_be_used(frame: Any, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        SCHEMA.matrix(frame)


def test_rare_values_stay_out_of_the_vocabulary() -> None:
    frame = {"n": [1] * 7, "c": ["b", "b", "a", "a", "rare", None, None], "i": [7, 7, 10, 10, 9, None, None]}
    schema = Schema.fit(frame, ["n"], ["c", "i"], min_category_count=2)
    assert schema.features == (Feature("n"), Feature("c", ("a", "b")), Feature("i", ("10", "7")))
    matrix = schema.matrix({"n": [1, 1, 1], "c": ["rare", "never seen", None], "i": [9, 11, None]})
    np.testing.assert_array_equal(matrix[:, 1:], [[2, 2], [2, 2], [math.nan, math.nan]])
    empty = Schema.fit(frame, [], ["c"], min_category_count=100)
    np.testing.assert_array_equal(empty.matrix(frame)[:, 0], [0, 0, 0, 0, 0, math.nan, math.nan])


def test_fit_lists_what_is_wrong() -> None:
    with pytest.raises(SchemaError, match="no column gone; column t holds string"):
        Schema.fit({"t": ["a"]}, ["t", "gone"], [], min_category_count=1)


@given(
    st.lists(
        st.one_of(
            st.builds(Feature, st.text(max_size=8)),
            st.builds(Feature, st.text(max_size=8), st.lists(st.text(max_size=5), unique=True).map(tuple)),
        ),
        unique_by=lambda feature: feature.name,
    )
)
@settings(max_examples=50, deadline=None)
def test_json_brings_the_schema_back(features: list[Feature]) -> None:
    schema = Schema(tuple(features))
    assert Schema.from_json(schema.to_json()) == schema


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        b'{"format": 1}',
        b'{"format": "1", "features": []}',
        b'{"format": 1, "features": [{}]}',
        b'{"format": 1, "features": [{"name": 3, "kind": "numeric"}]}',
        b'{"format": 1, "features": [{"name": "a", "kind": "text"}]}',
        b'{"format": 1, "features": [{"name": "a", "kind": "categorical"}]}',
        b'{"format": 1, "features": [{"name": "a", "kind": "categorical", "vocabulary": ["x", "x"]}]}',
        b'{"format": 1, "features": [{"name": "a", "kind": "categorical", "vocabulary": [1]}]}',
        b'{"format": 1, "features": [{"name": "a", "kind": "numeric"}, {"name": "a", "kind": "numeric"}]}',
        b"[" * 100_000,
    ],
)
def test_damaged_json_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedError, match="schema"):
        Schema.from_json(data)


def test_a_newer_format_says_so() -> None:
    with pytest.raises(FormatError, match="upgrade"):
        Schema.from_json(b'{"format": 3, "features": "who knows"}')


def test_frozen_trees_come_back_from_their_files() -> None:
    matrix, label = training_rows(41, 300)
    trees = frozen(grow(matrix, label))
    files = trees.to_files()
    again = FrozenTrees.from_files(files)
    assert again.to_files() == files
    np.testing.assert_array_equal(again.encode_matrix(matrix), trees.encode_matrix(matrix))
    for name in files:
        with pytest.raises(DamagedError, match=name):
            FrozenTrees.from_files({key: data for key, data in files.items() if key != name})
    with pytest.raises(DamagedError, match="UTF-8"):
        FrozenTrees.from_files({**files, "booster.txt": b"\xff"})
    fewer = {"format": 1, "features": json.loads(files["schema.json"])["features"][1:]}
    with pytest.raises(DamagedError, match="4 features and the schema 3"):
        FrozenTrees.from_files({**files, "schema.json": json.dumps(fewer).encode()})


def test_frames_longer_than_a_slice_equal_their_matrix() -> None:
    rng = np.random.default_rng(42)
    n = 2 * SLICE + 11
    matrix, label = training_rows(42, n)
    trees = frozen(grow(matrix[:500], label[:500]))
    columns = {name: matrix[:, f] for f, name in enumerate(trees.schema.names)}
    cuts = np.sort(rng.integers(0, n, 5))
    pieces = [pa.table(dict(zip(columns, part.T, strict=True))) for part in np.split(matrix, cuts)]
    expected = trees.encode_matrix(matrix)
    weights = rng.normal(size=trees.n_codes)
    for frame in (columns, pd.DataFrame(columns), pa.concat_tables(pieces)):
        np.testing.assert_array_equal(trees.encode(frame), expected)
        np.testing.assert_array_equal(trees.margin(frame, weights, 1.0), trees.margin_matrix(matrix, weights, 1.0))
    row = {name: float(values[5]) for name, values in columns.items()}
    np.testing.assert_array_equal(trees.encode_row(row), expected[:, 5])
    assert trees.row_margin(row, weights, 1.0) == trees.margin_matrix(matrix[5:6], weights, 1.0)[0]


@given(
    kinds=st.lists(st.booleans(), min_size=1, max_size=5),
    data=st.data(),
)
def test_a_plain_row_is_what_any_mapping_gives(kinds: list[bool], data: st.DataObject) -> None:
    features = tuple(Feature(f"f{j}", ("a", "b", "7") if kind else None) for j, kind in enumerate(kinds))
    numbers = st.sampled_from([1.5, 3, True, None, math.nan, -0.0, np.float32(0.1), np.int64(9), np.int8(3), 10**20])
    categories = st.sampled_from(["a", "b", "zebra", "", None, math.nan, 7, 7.0, True, np.str_("b")])
    row = {f.name: data.draw(numbers if f.vocabulary is None else categories) for f in features}
    schema = Schema(features)
    found = schema.row(row)
    np.testing.assert_array_equal(found, schema.row(MappingProxyType(row)))
    assert found.flags.writeable
    assert found.flags.c_contiguous


@pytest.mark.parametrize("wrong", ["1", np.str_("1"), np.array("1"), np.array([1.0]), b"1", 1j])
def test_only_numbers_are_taken_for_numbers_in_a_row(wrong: Any) -> None:
    schema = Schema((Feature("shop", ("a",)), Feature("x"), Feature("y")))
    with pytest.raises(SchemaError, match="x is"):
        schema.row({"shop": "a", "x": wrong, "y": 1.0})


def test_whole_numbers_too_large_for_a_float_are_refused_in_a_row() -> None:
    schema = Schema((Feature("shop", ("a",)), Feature("x")))
    with pytest.raises(SchemaError, match="too large"):
        schema.row({"shop": "a", "x": 10**400})
