"""Whole files in and out: every column kept, types stable, nothing half-written."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from samples_kit import FORMATS, rows, write, write_text

import gbdtlr.samples.csv
import gbdtlr.samples.jsonl
import gbdtlr.samples.tables
from gbdtlr.errors import ConfigError, NoSamplesError, SamplesError
from gbdtlr.samples.tables import TableWriter, plain_numbers, read_tables


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(gbdtlr.samples.csv, "_BLOCK", 600)
    monkeypatch.setattr(gbdtlr.samples.jsonl, "_BLOCK", 600)
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


def whole(path, numeric=()):
    tables = list(read_tables(str(path), numeric))
    assert len({str(table.schema) for table in tables}) == 1
    return pa.concat_tables(tables), len(tables)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_column_of_every_format_is_kept_in_a_stream(tmp_path, suffix):
    table, n_tables = whole(write(rows(100), tmp_path / f"x{suffix}"), ["price", "count"])
    assert n_tables > 3
    assert table.column_names == rows().column_names
    assert table["count"].to_pylist() == list(range(100))
    assert table["price"].to_pylist() == rows(100)["price"].to_pylist()
    assert table["shop"].to_pylist() == rows(100)["shop"].to_pylist()


@pytest.mark.parametrize("source", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("target", FORMATS)
def test_what_is_written_reads_back(tmp_path, source, target):
    path = write(rows(100), tmp_path / f"x{source}")
    out = tmp_path / "out" / f"y{target}"
    out.parent.mkdir()
    with TableWriter(str(out)) as writer:
        for table in read_tables(str(path), ["price", "count"]):
            writer.write(table.append_column("probability", pa.array([0.1 + 0.2] * len(table))))
    assert writer.n_rows == 100
    table, _ = whole(out, ["price", "count", "probability"])
    assert table.column_names == [*rows().column_names, "probability"]
    for name in ("price", "count", "shop", "user", "unused"):
        assert table[name].to_pylist() == rows(100)[name].to_pylist()
    assert table["probability"].to_pylist() == [0.1 + 0.2] * 100
    assert [p.name for p in out.parent.iterdir()] == [out.name]


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
    assert table["n"].to_pylist() == [-float(i) for i in ids]


def test_plain_numbers_of_csv_are_told_from_texts(tmp_path):
    parts = (
        ["1,1.5,007,3.10,5,x,,1,123456789012345678", ",-2e-05,7,3.9,5,1,,NaN,2"],
        ["0,0.25,8,-0.0,a,2,,3,4"],
    )
    (tmp_path / "in").mkdir()
    for i, lines in enumerate(parts):
        write_text(tmp_path / "in" / f"{i}.csv", "\n".join(["a,b,c,d,e,f,g,h,i", *lines * 90]))
    assert plain_numbers(str(tmp_path / "in")) == {"a": pa.int64(), "b": pa.float64(), "d": pa.float64()}
    write(rows(3), tmp_path / "in" / "2.parquet")
    assert plain_numbers(str(tmp_path / "in")) == {}


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


def test_json_lines_hold_what_json_can(tmp_path):
    table = pa.table(
        {
            "a": [1.5, float("nan"), float("inf"), None],
            "b": [datetime(2024, 3, 1, tzinfo=UTC)] * 4,
            "c": pa.array(["x", "é", None, ""]).dictionary_encode(),
            "d": [{"e": [1]}] * 4,
        }
    )
    with TableWriter(str(tmp_path / "x.jsonl")) as writer:
        writer.write(table)
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["a"] for line in lines] == [1.5, None, None, None]
    assert [line["c"] for line in lines] == ["x", "é", None, ""]
    assert lines[0]["b"] == "2024-03-01T00:00:00+00:00"
    assert lines[0]["d"] == {"e": [1]}


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz", ".jsonl"])
def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_text("before")

    def write_and_be_interrupted():
        with TableWriter(str(path)) as writer:
            writer.write(rows(50))
            assert path.read_text() == "before"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_be_interrupted()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_rows_that_do_not_fit_the_first_are_an_error(tmp_path):
    def write_two():
        with TableWriter(str(tmp_path / "x.csv")) as writer:
            writer.write(rows())
            writer.write(rows().drop_columns(["user"]))

    with pytest.raises(SamplesError, match=r"found the columns at, .* after at,"):
        write_two()
    assert not list(tmp_path.iterdir())


def test_what_a_format_cannot_hold_is_an_error(tmp_path):
    with pytest.raises(SamplesError, match=r"cannot write .*x\.csv: "), TableWriter(str(tmp_path / "x.csv")) as writer:
        writer.write(pa.table({"a": [[1]]}))
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_are_errors(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot write x\.xlsx: expected a name that ends in \.parquet"):
        TableWriter("x.xlsx")
    with pytest.raises(SamplesError, match=r"cannot write .*none/x\.csv"):
        TableWriter(str(write_text(tmp_path / "none", "a file") / "x.csv")).__enter__()


def test_inputs_that_cannot_be_read_are_errors(tmp_path):
    with pytest.raises(NoSamplesError, match="no files match"):
        list(read_tables(str(tmp_path / "x.csv")))
    with pytest.raises(SamplesError, match="more than one column a"):
        list(read_tables(str(write_text(tmp_path / "x.csv", "a,b,a\n"))))
    with pytest.raises(SamplesError, match=r"cannot read .*x\.parquet"):
        list(read_tables(str(write_text(tmp_path / "x.parquet", "a,b,a\n"))))
    lines = ['{"a": 1}'] * 200 + ['{"a": "x"}'] * 200
    with pytest.raises(SamplesError, match="a key changes its type along the file"):
        list(read_tables(str(write_text(tmp_path / "x.jsonl", "\n".join(lines)))))
