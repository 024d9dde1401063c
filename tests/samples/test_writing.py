"""What is written: whole or not at all, in JSON's words where it is JSON, and read back as it was."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from samples_kit import FORMATS, rows, whole, write, write_text

from gbdtlr.errors import ConfigError, SamplesError
from gbdtlr.samples.formats.writing import TableWriter
from gbdtlr.samples.tables import read_tables


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


def test_columns_that_come_late_are_an_error_and_missing_ones_are_missing(tmp_path):
    first = rows(3).drop_columns(["user"])

    def write_two():
        with TableWriter(str(tmp_path / "x.csv")) as writer:
            writer.write(first)
            writer.write(rows(3))

    with pytest.raises(SamplesError, match="found the columns user, which the rows before had not"):
        write_two()
    assert not list(tmp_path.iterdir())
    with TableWriter(str(tmp_path / "x.csv")) as writer:
        writer.write(rows(3))
        writer.write(first.select(first.schema.names[::-1]))
    assert whole(tmp_path / "x.csv")[0]["user"].to_pylist() == ["u0", "u1", "u2", None, None, None]


def test_what_a_format_cannot_hold_is_an_error(tmp_path):
    interval = pa.array([(1, 2, 3)], pa.month_day_nano_interval())
    table = pa.table({"a": [1], "b": interval, "c": pa.array([{}], pa.struct([]))})
    message = r"cannot write .*x\.parquet: parquet cannot hold b \(month_day_nano_interval\), c \(struct<>\); write"
    with pytest.raises(SamplesError, match=message), TableWriter(str(tmp_path / "x.parquet")) as writer:
        writer.write(table)
    far = pa.table({"t": pa.array([2**43], pa.timestamp("s"))})
    with (
        pytest.raises(SamplesError, match="a time beyond the year 30000"),
        TableWriter(str(tmp_path / "x.csv")) as writer,
    ):
        writer.write(far)
    assert not list(tmp_path.iterdir())


def test_csv_holds_what_is_nested_as_json_and_bytes_as_base64(tmp_path):
    table = pa.table(
        {
            "list": [[1, None]],
            "map": pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())),
            "bytes": [b"\xff\x00"],
            "seconds": pa.array([1500], pa.duration("ms")),
            "tokyo": pa.array([datetime(2024, 3, 1)], pa.timestamp("us", "Asia/Tokyo")),
            "nothing": pa.nulls(1),
            "interval": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        }
    )
    with TableWriter(str(tmp_path / "x.csv")) as writer:
        writer.write(table)
    assert whole(tmp_path / "x.csv")[0].to_pylist() == [
        {
            "list": "[1, null]",
            "map": '{"k": "v"}',
            "bytes": "/wA=",
            "seconds": "1.5",
            "tokyo": "2024-03-01 00:00:00.000000Z",
            "nothing": None,
            "interval": '{"months": 1, "days": 2, "nanoseconds": 3}',
        }
    ]


def test_times_are_written_where_the_system_has_no_time_zones(tmp_path, monkeypatch):
    table = pa.table({"t": pa.array([datetime(2024, 3, 1), None], pa.timestamp("us", "UTC"))})
    texts = []
    for knows in (True, False):
        monkeypatch.setattr("gbdtlr.samples.formats.writing._knows_utc", lambda knows=knows: knows)
        with TableWriter(str(tmp_path / "x.csv")) as writer:
            writer.write(table)
        texts.append((tmp_path / "x.csv").read_text().replace('"', ""))
    assert texts == ["t\n2024-03-01 00:00:00.000000Z\n\n"] * 2


def test_places_that_cannot_be_written_are_errors(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot write x\.xlsx: expected a name that ends in \.parquet"):
        TableWriter("x.xlsx")
    with pytest.raises(SamplesError, match=r"cannot write .*none/x\.csv"):
        TableWriter(str(write_text(tmp_path / "none", "a file") / "x.csv")).__enter__()
