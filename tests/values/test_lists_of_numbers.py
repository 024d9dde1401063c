"""Dense columns: a value means the same in every kind of column, frame and row, to the last bit, or is refused."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbdtlr.errors import DamagedError, FormatError, SchemaError
from gbdtlr.head import DenseColumn, DenseColumns
from gbdtlr.head.dense import MOST
from gbdtlr.samples.formats.lists import list_array
from gbdtlr.values.vectors import vectors

SIZE = 3
COLUMNS = DenseColumns(
    (
        DenseColumn("score", (0.5,), (2.0,)),
        DenseColumn("hidden", (0.0, 1.0, -3.0), (1.0, 0.1, 7.0), is_list=True),
    )
)

number = st.floats() | st.integers(-(2**60), 2**60) | st.booleans()
element = st.none() | number
lists = st.none() | st.lists(element, min_size=SIZE, max_size=SIZE)


def meant(values: list[Any], column: DenseColumn) -> np.ndarray:
    """What the values mean, by their definition."""
    out = np.zeros((len(values), column.size), np.float32)
    for i, value in enumerate(values):
        parts = [None] * column.size if value is None else value if column.is_list else [value]
        for j, part in enumerate(parts):
            x = math.nan if part is None else float(part)
            if math.isfinite(x):
                with np.errstate(over="ignore"):
                    z = np.float64(x - column.centre[j]) / column.scale[j]
                out[i, j] = np.float32(min(max(z, -MOST), MOST))
    return out.T


@given(scores=st.lists(element, min_size=1, max_size=5), hidden=st.lists(lists, min_size=5, max_size=5))
@settings(max_examples=100, deadline=None)
def test_every_column_and_row_gives_the_same_bits(scores: list[Any], hidden: list[Any]) -> None:
    hidden = hidden[: len(scores)]
    expected = np.concatenate([meant(scores, COLUMNS.columns[0]), meant(hidden, COLUMNS.columns[1])])
    rows = [{"score": score, "hidden": each} for score, each in zip(scores, hidden, strict=True)]
    by_row = np.stack([COLUMNS.row_values(row) for row in rows], axis=1)
    np.testing.assert_array_equal(by_row, expected, strict=True)
    floats = [None if each is None else [None if x is None else float(x) for x in each] for each in hidden]
    matrix = np.array(
        [[math.nan] * SIZE if each is None else [math.nan if x is None else x for x in each] for each in floats]
    )
    arrow = {
        "list": pa.array(floats, pa.list_(pa.float64())),
        "large": pa.array(floats, pa.large_list(pa.float64())),
        "fixed": pa.array(floats, pa.list_(pa.float64(), SIZE)),
        "as we keep it": list_array(matrix),
    }
    objects = np.empty(len(floats), object)
    objects[:] = floats
    ways = {
        "python": hidden,
        "objects": objects,
        "matrix": matrix,
        "masked": np.ma.MaskedArray(np.where(np.isnan(matrix), 7.0, matrix), np.isnan(matrix)),
        "pandas": pd.Series(objects),
        "polars list": pl.Series(floats, dtype=pl.List(pl.Float64)),
        "polars array": pl.Series(floats, dtype=pl.Array(pl.Float64, SIZE)),
        "chunks": pa.chunked_array([arrow["list"].slice(0, 1), arrow["list"].slice(1)]),
        "sliced": pa.concat_arrays([arrow["fixed"], arrow["fixed"]]).slice(len(floats)),
        **arrow,
    }
    for name, column in ways.items():
        found = COLUMNS.values({"score": scores, "hidden": column})
        np.testing.assert_array_equal(found, expected, strict=True, err_msg=name)
    numbered = {f"hidden_{j}": matrix[:, j] for j in range(SIZE)}
    np.testing.assert_array_equal(COLUMNS.values({"score": scores, **numbered}), expected, strict=True)
    named = [
        {"score": row["score"], **{f"hidden_{j}": matrix[i, j] for j in range(SIZE)}} for i, row in enumerate(rows)
    ]
    np.testing.assert_array_equal(np.stack([COLUMNS.row_values(row) for row in named], axis=1), expected, strict=True)


@pytest.mark.parametrize(
    "value", [[1.0], [1.0] * 4, 2.0, "1", b"1", [1.0, "2", 3.0], [[1.0], 2.0, 3.0], {"a": 1}, [], 1j]
)
def test_what_is_no_such_list_is_refused_in_rows_and_columns(value: Any) -> None:
    good = {"score": Decimal("1.5"), "hidden": (1, 2.0, np.float32(3))}
    assert (
        COLUMNS.row_values(good).tolist()
        == COLUMNS.values({name: [each] for name, each in good.items()})[:, 0].tolist()
    )
    row = {**good, "hidden": value}
    for read in (lambda: COLUMNS.row_values(row), lambda: COLUMNS.values({name: [each] for name, each in row.items()})):
        with pytest.raises(SchemaError, match="hidden "):
            read()
    with pytest.raises(SchemaError, match="score "):
        COLUMNS.row_values({**good, "score": [1.0, 2.0]})
    with pytest.raises(SchemaError, match="score "):
        COLUMNS.values({"score": [[1.0, 2.0]], "hidden": [good["hidden"]]})


def test_lists_of_several_lengths_are_told_by_their_row() -> None:
    for column in ([[1.0, 2.0], None, [1.0]], pa.array([[1.0, 2.0], None, [1.0]])):
        with pytest.raises(SchemaError, match="list of 1 in row 2, a list of 2 numbers expected"):
            vectors(column)


def test_centre_and_scale_are_those_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, [0.1, 5.0, 1e200], (500, 3))
    values[::7] = np.nan
    values[3, 1] = np.inf
    column = DenseColumn.fit({"v": values}, "v", {"v"}, is_list=True)
    finite = np.where(np.isfinite(values), values, np.nan)
    assert column.centre == pytest.approx(np.nanmean(finite, axis=0))
    assert column.scale == pytest.approx([*np.nanstd(finite[:, :2], axis=0), 1e200], rel=0.2)
    z = DenseColumns((column,)).values({"v": values})
    assert z.mean(axis=1) == pytest.approx(0, abs=1e-6)
    steady = DenseColumn.fit({"v": [4.0, 4.0, None]}, "v", {"v"}, is_list=False)
    assert (steady.centre, steady.scale) == ((4.0,), (1.0,))
    assert DenseColumn.fit({"v": [None, None]}, "v", {"v"}, is_list=False).scale == (1.0,)


def test_constants_survive_their_bytes_and_damage_is_told() -> None:
    anchored = DenseColumns(tuple(each.anchored(0.5) for each in COLUMNS.columns), 3.0)
    assert DenseColumns.from_arrays(anchored.to_arrays()) == anchored
    data = anchored.to_json()
    assert DenseColumns.from_json(data).to_json() == data
    assert DenseColumns.from_json(data).same_values(anchored)
    assert DenseColumns.from_json(data).columns[0].anchor == (0.0,)
    with pytest.raises(FormatError, match="newer"):
        DenseColumns.from_json(data.replace(b'"format": 1', b'"format": 2'))
    for good, bad in (
        (b"0.1", b"0.0"),
        (b"0.1, ", b""),
        (b'"hidden"', b'"score"'),
        (b"true", b"false"),
        (b"7.0", b"-7.0"),
    ):
        assert good in data
        with pytest.raises(DamagedError):
            DenseColumns.from_json(data.replace(good, bad, 1))
    arrays = anchored.to_arrays()
    for name, value in (
        ("dense_sizes", np.array([2, 3])),
        ("dense_scale", arrays["dense_scale"] * 0),
        ("dense_names", np.frombuffer(b"a\na", np.uint8)),
        ("dense_l2", np.array([-1.0])),
    ):
        with pytest.raises((ValueError, KeyError, IndexError)):
            DenseColumns.from_arrays({**arrays, name: value})
    with pytest.raises(SchemaError, match="2 anchors and 3 numbers"):
        COLUMNS.columns[1].anchored([1.0, 2.0])
