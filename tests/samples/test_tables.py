"""Whole files in and out: every column kept, types stable, nothing half-written."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from samples_kit import FORMATS, rows, whole, write, write_text

import gbdtlr.samples.formats.csv
import gbdtlr.samples.formats.jsonl
import gbdtlr.samples.tables
from gbdtlr.errors import NoSamplesError, SamplesError
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.formats.json_columns import Role
from gbdtlr.samples.formats.writing import TableWriter
from gbdtlr.samples.tables import open_sources, plain_numbers, read_tables


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(gbdtlr.samples.formats.csv, "_BLOCK", 600)
    monkeypatch.setattr(gbdtlr.samples.formats.jsonl, "_BLOCK", 600)
    monkeypatch.setattr(gbdtlr.samples.tables, "_BATCH_ROWS", 10)


def test_a_row_group_as_large_as_the_file_is_never_whole_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(gbdtlr.samples.tables, "_BATCH_ROWS", 8192)
    noise = np.random.default_rng(0).random((4, 1_000_000))
    path = tmp_path / "x.parquet"
    table = pa.table(list(noise), names=list("abcd"))
    parquet.write_table(table, path, row_group_size=10**9, use_dictionary=False, compression="none")
    del table
    assert path.stat().st_size > noise.nbytes
    before, held = pa.total_allocated_bytes(), []
    for table in read_tables(str(path)):
        held.append(pa.total_allocated_bytes() - before)
        del table
    assert len(held) > 40
    assert max(held) < noise.nbytes / 2


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_column_of_every_format_is_kept_in_a_stream(tmp_path, suffix):
    table, n_tables = whole(write(rows(100), tmp_path / f"x{suffix}"), ["price", "count"])
    assert n_tables > 3
    assert table.column_names == rows().column_names
    assert table["count"].to_pylist() == list(range(100))
    assert table["price"].to_pylist() == rows(100)["price"].to_pylist()
    assert table["shop"].to_pylist() == rows(100)["shop"].to_pylist()


def test_types_of_texts_do_not_hang_on_the_first_rows(tmp_path):
    lines = [*["1,,001,"] * 200, *["2.5,x,7,1e3"] * 200]
    table, n_tables = whole(write_text(tmp_path / "x.csv", "\n".join(["a,b,c,d", *lines])), ["a", "d"])
    assert n_tables > 2
    assert table["a"].to_pylist() == [1.0] * 200 + [2.5] * 200
    assert table["b"].to_pylist() == [None] * 200 + ["x"] * 200
    assert table["c"].to_pylist() == ["001"] * 200 + ["7"] * 200
    assert table["d"].to_pylist() == [None] * 200 + [1000.0] * 200

    rows_ = [*[{"a": 1, "b": None, "t": "2024-03-01"}] * 200, *[{"a": 2.5, "b": "x", "t": "soon", "c": [1]}] * 200]
    table, n_tables = whole(write_text(tmp_path / "x.jsonl", "\n".join(json.dumps(row) for row in rows_)))
    assert n_tables > 2
    assert table["a"].to_pylist() == [1.0] * 200 + [2.5] * 200
    assert table["b"].to_pylist() == [None] * 200 + ["x"] * 200
    assert table["t"].to_pylist() == ["2024-03-01"] * 200 + ["soon"] * 200
    assert table["c"].to_pylist() == [None] * 200 + [[1]] * 200


def test_unsigned_numbers_of_json_keep_their_digits(tmp_path):
    ids = [*range(200), *[2**64 - 1, 2**63 + 1] * 100]
    path = write_text(tmp_path / "x.jsonl", "\n".join(json.dumps({"id": i, "x": i / 2, "n": -i}) for i in ids))
    table, n_tables = whole(path)
    assert n_tables > 2
    assert table["id"].to_pylist() == ids
    assert table["x"].to_pylist() == [i / 2 for i in ids]
    assert table["n"].to_pylist() == [-i for i in ids]


def test_plain_numbers_of_csv_are_told_from_texts(tmp_path):
    parts = (
        ["1,1.5,007,3.10,5,x,,1,123456789012345678", ",-2e-05,7,3.9,5,1,,NaN,2"],
        ["0,0.25,8,-0.0,a,2,,3,4"],
    )
    (tmp_path / "in").mkdir()
    for i, lines in enumerate(parts):
        write_text(tmp_path / "in" / f"{i}.csv", "\n".join(["a,b,c,d,e,f,g,h,i", *lines * 90]))
    sources = open_sources(find_files([str(tmp_path / "in")]), {"d": Role.NUMBER})
    assert plain_numbers(sources, ()) == {"a": pa.int64(), "b": pa.float64(), "d": pa.float64()}
    assert plain_numbers(sources, {"a"}) == {"b": pa.float64(), "d": pa.float64()}
    write(rows(3), tmp_path / "in" / "2.parquet")
    assert plain_numbers(open_sources(find_files([str(tmp_path / "in")]), {}), ()) == {}


def test_files_without_rows_still_have_columns(tmp_path):
    for suffix in (".parquet", ".csv"):
        tables = list(read_tables(str(write(rows(0), tmp_path / f"x{suffix}")), ["price"]))
        assert [table.num_rows for table in tables] == [0]
        with TableWriter(str(tmp_path / f"y{suffix}")) as writer:
            writer.write(tables[0])
        assert whole(tmp_path / f"y{suffix}")[0].column_names == rows().column_names


def test_a_folder_is_one_stream(tmp_path):
    for i in range(3):
        write(rows(5), tmp_path / "in" / f"{i}.parquet")
    assert whole(tmp_path / "in")[0].num_rows == 15


def test_inputs_that_cannot_be_read_are_errors(tmp_path):
    with pytest.raises(NoSamplesError, match="no files match"):
        list(read_tables(str(tmp_path / "x.csv")))
    with pytest.raises(SamplesError, match="more than one column a"):
        list(read_tables(str(write_text(tmp_path / "x.csv", "a,b,a\n"))))
    with pytest.raises(SamplesError, match=r"cannot read .*x\.parquet"):
        list(read_tables(str(write_text(tmp_path / "x.parquet", "a,b,a\n"))))
