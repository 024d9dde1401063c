"""Files of one window may hold a column in different types: what the values mean stays the same."""

from __future__ import annotations

import itertools
from decimal import Decimal as D
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples_kit import DAY, FOREVER, config, rows, with_column, write

from gbdtlr.errors import SchemaError
from gbdtlr.samples import Samples, read
from gbdtlr.samples.batch import concat_tables
from gbdtlr.samples.formats.columns import TEXT_DICTIONARY, feature_column
from gbdtlr.values.categories import texts
from gbdtlr.values.numbers import numbers

BIG = 2**53 + 1
COLUMNS: dict[str, tuple[pa.Array, list[Any], list[Any]]] = {
    # as a number or refused, as a category or id or refused
    "int8": (pa.array([1, None], pa.int8()), [1, np.nan], ["1", None]),
    "int64": (pa.array([BIG, None]), [2.0**53, np.nan], [str(BIG), None]),
    "uint64": (pa.array([2**64 - 1, 1], pa.uint64()), [2.0**64, 1], [str(2**64 - 1), "1"]),
    "float": (pa.array([7.0, None]), [7, np.nan], ["7", None]),
    "fraction": (pa.array([0.5]), [0.5], []),
    "float32": (pa.array([7.0], pa.float32()), [7], ["7"]),
    "half": (pa.array([np.float16(7)], pa.float16()), [7], ["7"]),
    "bool": (pa.array([True, False, None]), [1, 0, np.nan], ["true", "false", None]),
    "decimal": (pa.array([D(BIG), None], pa.decimal128(38, 0)), [2.0**53, np.nan], [str(BIG), None]),
    "text": (pa.array(["a", "7.0", None]), [], ["a", "7", None]),
    "dictionary": (pa.array(["TRUE", None]).dictionary_encode(), [], ["true", None]),
    "dictionary of numbers": (pa.array([7, None]).dictionary_encode(), [7, np.nan], ["7", None]),
    "no value": (pa.nulls(2), [np.nan] * 2, [None] * 2),
    "no value of a type": (pa.nulls(2, pa.timestamp("us")), [np.nan] * 2, [None] * 2),
    "no row": (pa.array([], pa.list_(pa.int8())), [], []),
}


@pytest.mark.parametrize("pair", list(itertools.permutations(COLUMNS, 2)), ids="+".join)
def test_numbers_and_ids_of_two_files_are_those_of_each(pair: tuple[str, str]) -> None:
    for role, is_category, read_column in ((0, True, numbers), (1, True, texts), (1, False, texts)):
        columns = [COLUMNS[name] for name in pair]
        if any(not column[role + 1] and len(column[0]) for column in columns):
            continue
        features = [feature_column(column[0], role == 0, not is_category, is_category) for column in columns]
        found = read_column(concat_tables([pa.table({"x": feature}) for feature in features])["x"])
        expected = [value for column in columns for value in column[role + 1]]
        if role:
            assert found.to_pylist() == expected
        else:
            np.testing.assert_array_equal(found, expected)


whole = st.lists(st.none() | st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=4)


@given(st.lists(whole, min_size=1, max_size=4))
def test_whole_numbers_that_are_ids_and_numbers_stay_exact_between_files(parts: list[list[int | None]]) -> None:
    tables = []
    for values in parts:
        for kind in (pa.int64(), pa.uint64(), pa.decimal128(38, 0)):
            try:
                column = pa.array(values, kind)
                break
            except (pa.ArrowInvalid, OverflowError):
                continue
        tables.append(pa.table({"n": feature_column(column, True, True)}))
    column = concat_tables(tables)["n"]
    expected = [value for values in parts for value in values]
    assert texts(column).to_pylist() == [None if value is None else str(value) for value in expected]
    np.testing.assert_array_equal(numbers(column), [np.nan if value is None else float(value) for value in expected])


def test_texts_that_are_ids_alone_and_hardly_repeat_get_no_dictionary() -> None:
    plain, few = (pa.array([f"u{i % n}" for i in range(3000)]) for n in (3000, 30))
    assert feature_column(plain, False, True, False).equals(plain)
    assert feature_column(plain[5:9], False, True, False).to_pylist() == ["u5", "u6", "u7", "u8"]
    for column, is_wide, is_category in (
        (plain, True, True),
        (plain, False, False),
        (few, True, False),
        (plain.dictionary_encode(), True, False),
    ):
        found = feature_column(column, False, is_wide, is_category)
        assert found.type == TEXT_DICTIONARY
        assert found.to_pylist() == column.to_pylist()


def test_a_window_reads_whole_numbers_truths_and_texts_together(tmp_path: Any) -> None:
    shops = [
        pa.array([BIG, None]),
        pa.array([2**64 - 1, 1], pa.uint64()),
        pa.array([7.0, None]),
        pa.array([True, False]),
        pa.array(["TRUE", "7.0"]),
        pa.array([D("7.00"), None], pa.decimal128(10, 2)),
        pa.nulls(2, pa.timestamp("us")),
    ]
    for i, shop in enumerate(shops):
        table = with_column(with_column(rows(2), "shop", shop), "user", shop)
        write(table, tmp_path / f"{i}.parquet")
    write(with_column(rows(0), "shop", pa.array([], pa.binary())), tmp_path / "nothing.parquet")
    samples = read(config(tmp_path), DAY, FOREVER, FOREVER)
    expected = [str(BIG), None, str(2**64 - 1), "1", "7", None, "true", "false", "true", "7", "7", None, None, None]
    for name in ("shop", "user"):
        assert texts(samples.table[name]).to_pylist() == expected
    one_by_one = Samples.concat([samples.take(np.array([i])) for i in range(len(samples))])
    assert texts(one_by_one.table["shop"]).to_pylist() == expected


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("shop", pa.array([0, 1], pa.timestamp("us")), r"shop is timestamp\[us\], expected text or whole numbers"),
        ("user", pa.array([b"a", None]), "user is binary, expected text or whole numbers"),
        ("price", pa.array(["1", "2"]), "price is string, expected a number"),
        ("shop", pa.array([1.0, 0.5]), r"shop holds 0\.5 \(double\), no whole number; write fractions as texts"),
        ("user", pa.array([2.0**53, 1]), "user holds .* too large for a float to tell whole numbers apart"),
        ("label", pa.array([0, 1], pa.timestamp("us")), r"label is timestamp\[us\], expected 0 or 1"),
    ],
)
def test_what_is_no_category_or_number_is_refused_by_file_and_name(
    tmp_path: Any, name: str, values: pa.Array, reason: str
) -> None:
    path = write(with_column(rows(2), name, values), tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match=rf"x\.parquet: {reason}.*; mend the file, or \[samples\] in the config"):
        read(config(path), DAY, FOREVER, FOREVER)


def test_all_columns_whose_values_cannot_serve_are_listed(tmp_path: Any) -> None:
    table = with_column(with_column(rows(2), "shop", [0.5, 1.0]), "user", [2.0**60, 1.0])
    with pytest.raises(SchemaError, match=r"shop holds 0\.5 .*; user holds 1\.15"):
        read(config(write(table, tmp_path / "x.parquet")), DAY, FOREVER, FOREVER)


def test_truths_and_numbers_of_one_column_that_is_a_number_and_an_id_are_told_apart_or_refused() -> None:
    truths = feature_column(pa.array([True, False]), True, True)
    assert texts(truths).to_pylist() == ["true", "false"]
    np.testing.assert_array_equal(numbers(truths), [1, 0])
    both = concat_tables([pa.table({"n": truths}), pa.table({"n": feature_column(pa.array([1, 0]), True, True)})])["n"]
    assert texts(both).to_pylist() == ["true", "false", "1", "0"]
    with pytest.raises(SchemaError):
        numbers(both)
