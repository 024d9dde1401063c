"""What is wrong with samples is said all at once, with the file, the numbers and what was expected."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from samples_kit import DAY, FOREVER, config, rows, with_column, write, write_text

from gbdtlr.buckets.unanswered import Unanswered
from gbdtlr.errors import NoSamplesError, SamplesError, SchemaError
from gbdtlr.samples import read, require_both_classes

HOUR = timedelta(hours=1)


def message(kind: type[SamplesError], path, start=DAY, end=FOREVER, as_of=FOREVER, **keys) -> str:
    with pytest.raises(kind) as caught:
        read(config(path, **keys), start, end, as_of)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_missing_and_wrong_typed_columns_are_all_listed(tmp_path):
    table = rows().rename_columns(["at", "known_at", "label", "prize", "count", "shop", "user", "unused"])
    table = with_column(table, "count", ["a"] * 8)
    table = with_column(table, "shop", [0.5] * 8)
    table = with_column(table, "user", [[1]] * 8)
    table = with_column(table, "at", [True] * 8)
    text = message(SchemaError, write(table, tmp_path / "x.parquet"))
    assert text.startswith(str(tmp_path / "x.parquet"))
    for part in (
        "price is missing (there is prize), expected a number",
        "count is string, expected a number",
        "user is list<element: int64>, expected text or whole numbers",
        "at is bool, expected a time",
    ):
        assert part in text


def test_a_file_of_somebody_else_is_not_to_be_written_again(tmp_path, monkeypatch):
    path = write(rows(), tmp_path / "x.parquet")

    def denied(_file):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gbdtlr.samples.formats.file.File.random_access", denied)
    assert message(SamplesError, path).endswith("x.parquet: [Errno 13] Permission denied; let this user read it")


def test_a_bucket_that_does_not_answer_leaves_nothing_to_be_written_again(tmp_path, monkeypatch):
    path = write(rows(), tmp_path / "x.parquet")

    def silent(_file):
        raise Unanswered("error sending request")

    monkeypatch.setattr("gbdtlr.samples.formats.file.File.random_access", silent)
    told = "x.parquet: error sending request; see that the bucket answers, and run the command again"
    assert message(SamplesError, path).endswith(told)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_missing_columns_of_csv_are_all_listed(tmp_path, suffix):
    table = rows().drop_columns(["price", "label", "user"])
    text = message(SchemaError, write(table, tmp_path / f"x{suffix}"), weight="w")
    for name in ("price", "label", "user", "w"):
        assert f"{name} is missing" in text


def test_values_of_csv_that_are_no_numbers_are_all_listed(tmp_path):
    table = with_column(rows(), "price", ["1", "", "cheap", "NA", "5", "dear", "nan", "1e3"])
    table = with_column(table, "count", ["0x1", *"1234567"])
    text = message(SchemaError, write(table, tmp_path / "x.csv"))
    assert "price has 2 values such as 'cheap' (line 4), expected a number" in text
    assert "count has 1 values such as '0x1' (line 2), expected a number" in text


def test_a_column_given_twice_is_an_error(tmp_path):
    path = write_text(tmp_path / "x.csv", "at,known_at,label,price,count,shop,user,price\n1,2,0,1,1,a,u,1\n")
    assert "price is there 2 times, expected once" in message(SchemaError, path)


def test_json_of_the_wrong_type_is_an_error(tmp_path):
    table = with_column(with_column(rows(), "price", ["a"] * 8), "shop", [0.5] * 8)
    text = message(SchemaError, write(table, tmp_path / "x.jsonl"))
    assert "line 1, column price is 'a' (str), a number expected" in text
    assert "line 1, column shop is 0.5 (float), no whole number" in text


def test_json_columns_without_a_value_in_any_file_are_missing(tmp_path):
    write(rows().drop_columns(["price"]), tmp_path / "1.jsonl")
    write(rows().drop_columns(["price"]), tmp_path / "2.jsonl")
    assert "price: no value in any row of 2 files" in message(SchemaError, tmp_path)
    write(rows(), tmp_path / "3.jsonl")
    assert len(read(config(tmp_path), DAY, FOREVER, FOREVER)) == 24


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_unsound_rows_are_counted_over_the_whole_file(tmp_path, suffix):
    table = with_column(rows(200), "label", [2 if i % 10 == 3 else -1 if i == 5 else i % 2 for i in range(200)])
    table = table.append_column("w", pa.array([-1.0 if i % 50 == 7 else 1.0 for i in range(200)]))
    at = table["at"].to_pylist()
    table = with_column(
        table, "at", pa.array([None if i % 100 == 9 else t for i, t in enumerate(at)], table["at"].type)
    )
    options = {"row_group_size": 20} if suffix == ".parquet" else {}
    text = message(SamplesError, write(table, tmp_path / f"x{suffix}", **options), weight="w", end=DAY + 900 * HOUR)
    assert text.startswith(f"{tmp_path / f'x{suffix}'}: ")
    assert "21 rows with a label other than 0 or 1, such as " in text
    assert "2 rows with no at" in text
    assert "4 rows with a w (the weight) that is not a number from 0 to 1e+12, such as -1.0" in text


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), None])
def test_weights_are_finite(tmp_path, weight):
    table = rows().append_column("w", pa.array([weight, *[1.0] * 7]))
    assert "1 rows with a w (the weight)" in message(SamplesError, write(table, tmp_path / "x.parquet"), weight="w")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_times_that_are_none_are_counted(tmp_path, suffix):
    table = with_column(rows(4), "at", ["soon", "2024-03-01", "later", "2024-03-02"])
    table = with_column(table, "known_at", ["2024-03-02", "?", "2024-03-02", None])
    text = message(SamplesError, write(table, tmp_path / f"x{suffix}"))
    assert "2 rows with a at that is not a time, such as 'soon'" in text
    assert "1 rows with a known_at that is not a time, such as '?'" in text


def test_labels_that_are_no_labels(tmp_path):
    for label, shown in ((0.5, "0.5"), ("yes", "'yes'")):
        table = with_column(rows(2), "label", [label, "1" if isinstance(label, str) else 1.0])
        text = message(SamplesError, write(table, tmp_path / "x.parquet"))
        assert f"1 rows with a label other than 0 or 1, such as {shown}" in text


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_column_that_is_wrong_in_all_rows_is_perhaps_not_the_one_that_was_meant(tmp_path, suffix):
    path = write(rows(), tmp_path / f"x{suffix}")
    for keys in ({"event_time": "unused"}, {"label": "count", "numeric": ("price",)}):
        table = with_column(rows(), "count", [7] * 8)
        write(table, path)
        told = message(SamplesError, path, **keys)
        assert "8 rows with a " in told
        assert told.endswith("; name another column in [samples], or mend these rows")
    write(with_column(rows(), "label", [1, 0, 1, 0, 1, 0, 1, 7]), path)
    assert message(SamplesError, path).endswith("; mend or remove these rows")


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz", ".csv.zst", ".jsonl.gz", ".jsonl.zst"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, suffix):
    write(rows(), tmp_path / f"a{suffix}")
    broken = write(rows(5000), tmp_path / f"b{suffix}")
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    text = message(SamplesError, tmp_path)
    assert f"cannot read {broken}: " in text
    assert text.endswith("write it again or move it away")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "at,known_at,label,price,count,shop,user\n1,2,3\n"),
        ("x.jsonl", '{"at": "2024-03-01", "shop": "a"} {"at": "2024-03-01", "shop": "b"}\n'),
        ("x.jsonl", '{"at": "2024-03-01", "shop": "a"}\n["b"]\n'),
        ("x.jsonl", '{"at": 1\n{}\n'),
        ("x.parquet", ""),
        ("x.csv.gz", "at,known_at,label,price,count,shop,user\nx\n"),
    ],
)
def test_malformed_texts_are_named(tmp_path, name, text):
    path = write_text(tmp_path / name, text)
    assert str(path) in message(SamplesError, path)


def test_no_rows_in_the_window_says_what_the_data_has(tmp_path):
    path = write(rows(), tmp_path / "x.parquet")
    text = message(NoSamplesError, path, start=DAY + 24 * HOUR)
    assert "no samples from 2024-03-02T00:00:00Z to 2100-01-01T00:00:00Z" in text
    assert "the 1 files have events from 2024-03-01T00:00:00Z to 2024-03-01T07:00:00Z" in text


def test_what_the_partition_left_out_counts_as_data(tmp_path):
    write(rows(), tmp_path / "2024-03-01.parquet")
    text = message(NoSamplesError, tmp_path, start=DAY + 48 * HOUR, partition="%Y-%m-%d")
    assert "events from 2024-03-01T00:00:00Z to 2024-03-01T23:59:59.999999Z" in text


def test_rows_that_are_there_but_immature_are_said_to_be(tmp_path):
    path = write(rows(), tmp_path / "x.parquet")
    text = message(NoSamplesError, path, as_of=DAY)
    assert "8 samples from" in text
    assert "no label became known by 2024-03-01T00:00:00Z; the next one becomes known at 2024-03-01T00:30:00Z" in text


def test_files_without_rows(tmp_path):
    for suffix in (".parquet", ".csv", ".jsonl"):
        path = write(rows(0), tmp_path / f"x{suffix}")
        assert "1 files with no rows at all" in message(NoSamplesError, path)


def test_one_class_only_is_an_error(tmp_path):
    samples = read(config(write(rows(), tmp_path / "x.parquet")), DAY, FOREVER, FOREVER)
    require_both_classes(samples)
    with pytest.raises(SamplesError, match="0 positive and 5 negative samples: only one class, expected both"):
        require_both_classes(samples.filter(samples.label == 0))
    weightless = type(samples)(samples.table, samples.label, np.zeros(8), samples.event_us, samples.known_us)
    with pytest.raises(SamplesError, match="0 positive and 0 negative samples: none with a weight above zero"):
        require_both_classes(weightless)
