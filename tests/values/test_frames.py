"""Frames: whatever holds columns by name is scored, and what cannot be is told what to do; rows likewise."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from values_kit import OnlyStream

from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.scoring import Scorer
from gbdtlr.values.frames import column_names, column_of, frame_of

ROWS = [
    {"x": 0.5, "n": 3, "c": "a", "u": "7"},
    {"x": None, "n": 4, "c": None, "u": "0"},
    {"x": 2.5, "n": 5, "c": "é", "u": None},
]
TABLE = pa.Table.from_pylist(ROWS)
PANDAS = pd.DataFrame(ROWS)


class OnlyArray:
    """What has one batch and nothing else that a frame has."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return TABLE.to_batches()[0].__arrow_c_array__(requested_schema)


class Subclass(pd.DataFrame):
    """What libraries on top of pandas make."""

    @property
    def _constructor(self) -> Any:
        return Subclass


class Other:
    """A DataFrame of a library nobody here knows."""

    columns = tuple(PANDAS.columns)

    def __getitem__(self, name: str) -> Any:
        return PANDAS[name]


class Later:
    """A frame that is computed when it is asked for."""

    columns = tuple(PANDAS.columns)

    def __getitem__(self, name: str) -> Any:
        raise AssertionError("nobody may begin to compute it")

    def compute(self) -> Any:
        raise AssertionError("nobody may compute it")


def broken() -> Any:
    def batches() -> Any:
        yield TABLE.to_batches()[0]
        raise OSError("the connection was lost")

    return pa.RecordBatchReader.from_batches(TABLE.schema, batches())


FRAMES: dict[str, Callable[[], Any]] = {
    "table": lambda: TABLE,
    "batch": lambda: TABLE.to_batches()[0],
    "reader": lambda: TABLE.to_reader(),
    "stream": lambda: OnlyStream(TABLE),
    "stream of batches": lambda: OnlyStream(pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])),
    "array": OnlyArray,
    "pandas": lambda: PANDAS,
    "pandas subclass": lambda: Subclass(PANDAS),
    "pandas subclass, several types": lambda: Subclass(PANDAS.assign(u=pd.Series([7, "0", None], dtype=object))),
    "polars": lambda: pl.DataFrame(ROWS),
    "duckdb relation": lambda: duckdb.sql("select * from table_here", connection=connected()),
    "duckdb reader": lambda: connected().sql("select * from table_here").to_arrow_table(),
    "duckdb columns": lambda: connected().sql("select * from table_here").fetchnumpy(),
    "mapping": lambda: MappingProxyType(TABLE.to_pydict()),
    "columns of several libraries": lambda: OrderedDict(
        x=TABLE["x"], n=PANDAS["n"], c=pl.Series(["a", None, "é"]), u=["7", "0", None]
    ),
    "records": lambda: masked_records(),
    "somebody's": Other,
}


def connected() -> Any:
    connection = duckdb.connect()
    connection.register("table_here", TABLE)
    return connection


def masked_records() -> Any:
    records = np.zeros(3, [("x", "f8"), ("n", "i4"), ("c", "U8"), ("u", "O")])
    records["x"], records["n"], records["c"] = [0.5, math.nan, 2.5], [3, 4, 5], ["a", "", "é"]
    records["u"] = ["7", 0, None]
    return records.view(np.recarray)


@pytest.mark.parametrize("kind", FRAMES)
def test_whatever_holds_columns_by_name_is_scored(kind: str, scorer: Scorer) -> None:
    expected = [scorer.score_row(row) for row in ROWS]
    np.testing.assert_array_equal(scorer.score(FRAMES[kind]()), expected)
    assert scorer.score_with_release(FRAMES[kind]()).probability.tolist() == expected
    frame = frame_of(FRAMES[kind]())
    assert frame_of(frame) is frame
    assert set(column_names(frame)) == {"x", "n", "c", "u"}
    assert len(column_of(frame, "x")) == 3


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: pl.DataFrame(ROWS).lazy(), r"not as polars LazyFrame; call \.collect\(\) on it first"),
        (Later, r"not as \w+ Later; call \.compute\(\) on it first"),
        (lambda: iter(ROWS), r"not as list_iterator; make a frame of them, as with pandas\.DataFrame\(rows\)"),
        (lambda: (row for row in ROWS), "not as generator; make a frame of them"),
        (lambda: ROWS, "not as list; make a frame of them"),
        (lambda: PANDAS.iloc[0], "a Series is one row or one column, rows are expected; score_row takes it"),
        (lambda: pl.Series([1.0]), "a Series is one row or one column"),
        (lambda: np.zeros((2, 2)), "not as numpy ndarray; columns are found by name"),
        (lambda: None, "not as NoneType; columns are found by name"),
        (lambda: "x", "not as str; columns are found by name"),
        (lambda: duckdb.connect(), "DuckDBPyConnection"),
        (lambda: ROWS[0], "column x is float; an array or a list expected"),
    ],
    ids=range(12),
)
def test_what_cannot_be_scored_is_told_what_to_do(make: Callable[[], Any], reason: str, scorer: Scorer) -> None:
    with pytest.raises(SchemaError, match=reason):
        scorer.score(make())


def test_a_stream_that_breaks_off_is_no_traceback_of_arrow(scorer: Scorer) -> None:
    with pytest.raises(SamplesError, match="cannot be read: the connection was lost"):
        scorer.score(broken())
    with pytest.raises(SamplesError, match="cannot be read"):
        scorer.score(OnlyStream(TABLE["x"]))  # type: ignore[arg-type]  # a column is no frame


def test_a_column_given_twice_is_refused(scorer: Scorer) -> None:
    twice = pa.Table.from_arrays([*TABLE.columns, TABLE["x"]], [*TABLE.column_names, "x"])
    for frame in (twice, OnlyStream(twice), twice.to_batches()[0], pd.concat([PANDAS, PANDAS[["x"]]], axis=1)):
        with pytest.raises(SchemaError, match=r"column x .* more than once"):
            scorer.score(frame)


@pytest.mark.parametrize("types", [None, object, "numbers alone"])
def test_rows_that_tell_the_names_of_their_values(types: Any, scorer: Scorer) -> None:
    frame = PANDAS[["x", "n"]].assign(c=7, u=7) if types == "numbers alone" else PANDAS.astype(types or {})
    Row = namedtuple("Row", frame.columns)
    for i, values in enumerate(frame.astype(object).to_dict("records")):
        expected = scorer.score_row(values)
        rows = [
            frame.iloc[i],
            Row(**values),
            list(frame.itertuples(index=False))[i],
            frame.to_records(index=False)[i],
            MappingProxyType(values),
            {name: pa.scalar(None if value != value else value) for name, value in values.items()},
        ]
        for row in rows:
            assert scorer.score_row(row) == expected
            assert scorer.score_row_with_release(row).probability == expected


def test_rows_that_cannot_be_scored_are_told_why(scorer: Scorer) -> None:
    for rows in (PANDAS.head(1), TABLE.slice(0, 1), pl.DataFrame(ROWS[:1])):
        with pytest.raises(SchemaError, match="holds rows; score takes them, score_row takes one of them, as a dict"):
            scorer.score_row(rows)
    for row in ((0.5, 3, "a", "7"), [0.5], np.zeros(4), "x", None, 7, {1, 2}):
        with pytest.raises(SchemaError, match="the values of a row have no names"):
            scorer.score_row(row)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="more than one value has the same name"):
        scorer.score_row(pd.Series([1, 2], index=["x", "x"]))


def test_what_lies_under_the_mask_of_a_row_is_missing(scorer: Scorer) -> None:
    names = ("x", "n")
    fixed = {"c": "a", "u": "7"}
    masked = np.ma.masked_array([0.5, 3.0], [True, False])
    expected = scorer.score_row({"x": None, "n": 3, **fixed})
    assert scorer.score_row({**dict(zip(names, masked, strict=True)), **fixed}) == expected
    both = np.ma.masked_array(np.array([0.5, 3, "a", "7"], object), [True, False, False, False])
    assert scorer.score_row(both, names=("x", "n", "c", "u")) == expected


def test_a_row_of_a_database_is_scored_as_a_dict(scorer: Scorer) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute("select 0.5 as x, 3 as n, 'a' as c, 7 as u").fetchone()
        assert scorer.score_row(row) == scorer.score_row(dict(row))
