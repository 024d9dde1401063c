"""Files scored: of whatever types, names and shapes, each row as it was and with its probability."""

from __future__ import annotations

import decimal
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from gbdtlr.config import Config
from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.samples.tables import read_tables
from gbdtlr.scoring import Scorer, score_file

OUTPUTS = ("parquet", "csv", "jsonl", "jsonl.gz", "csv.zst")


@pytest.fixture
def rows(make_samples: Callable[..., pa.Table]) -> pa.Table:
    return make_samples(n=20, seed=7).select(["x", "y", "colour", "shop"])


@pytest.fixture
def scorer(filled: Config) -> Scorer:
    return Scorer.open(filled.store)


def written(path: Path) -> list[dict[str, Any]]:
    """Rows of an output, by a reader of its own format."""
    if path.name.endswith(".parquet"):
        return parquet.read_table(path).to_pylist()
    with pa.input_stream(path, compression="detect") as stream:
        data = stream.read()
    if ".jsonl" in path.name:
        return [json.loads(line, parse_constant=pytest.fail) for line in data.decode().split("\n") if line]
    as_texts = csv.ConvertOptions(column_types={"k": pa.string()})
    return csv.read_csv(pa.BufferReader(data), convert_options=as_texts).to_pylist()


def scored(scorer: Scorer, folder: Path, parts: list[pa.Table], suffix: str) -> list[dict[str, Any]]:
    source = folder / "in"
    source.mkdir()
    for i, part in enumerate(parts):
        parquet.write_table(part, source / f"{i}.parquet")
    assert score_file(scorer, str(source), str(folder / f"out.{suffix}")) == sum(map(len, parts))
    found = written(folder / f"out.{suffix}")
    expected = np.concatenate([scorer.score(part) for part in parts])
    np.testing.assert_allclose([row["probability"] for row in found], expected, rtol=1e-12)
    assert {row["release"] for row in found} == {5}
    return found


NOTHING = pa.nulls(10)
TIMES = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(10)]
KINDS: dict[str, tuple[pa.Array, pa.Array]] = {
    "nothing, texts": (NOTHING, pa.array(["x"] * 10)),
    "texts, nothing": (pa.array(["x"] * 10), NOTHING),
    "large texts, texts": (pa.array(["x"] * 10, pa.large_string()), pa.array(["y"] * 10)),
    "whole, fractions": (pa.array(range(10)), pa.array([i + 0.5 for i in range(10)])),
    "fractions, whole": (pa.array([i + 0.5 for i in range(10)]), pa.array(range(10))),
    "narrow, wide": (pa.array(range(10), pa.int8()), pa.array([2**40 + i for i in range(10)])),
    "signed, unsigned": (pa.array([-i for i in range(10)]), pa.array([2**64 - 1] * 10, pa.uint64())),
    "big, fractions": (pa.array([2**60 + 1] * 10), pa.array([1.5] * 10)),
    "texts, numbers": (pa.array(["7"] * 10), pa.array([7] * 10)),
    "truths, texts": (pa.array([True] * 10), pa.array(["yes"] * 10)),
    "seconds, nanoseconds": (pa.array(TIMES, pa.timestamp("s")), pa.array(TIMES, pa.timestamp("ns"))),
    "never, nanoseconds": (pa.array([datetime(9999, 1, 1)] * 10), pa.array(TIMES, pa.timestamp("ns"))),
    "decimals": (pa.array([decimal.Decimal("1.10")] * 10), pa.array([decimal.Decimal("123456.789")] * 10)),
    "lists": (pa.array([[1]] * 10), pa.array([[1.5, 2.0]] * 10)),
    "lists, texts": (pa.array([[1]] * 10), pa.array(["[1]"] * 10)),
    "dictionaries": (pa.array(["a"] * 10).dictionary_encode(), pa.array(["b"] * 10)),
}


@pytest.mark.parametrize("suffix", OUTPUTS)
@pytest.mark.parametrize("kinds", KINDS)
def test_other_columns_may_be_of_another_type_in_every_file(
    scorer: Scorer, rows: pa.Table, tmp_path: Path, kinds: str, suffix: str
) -> None:
    first, second = (rows.slice(10 * i, 10).append_column("k", column) for i, column in enumerate(KINDS[kinds]))
    found = scored(scorer, tmp_path, [first, second], suffix)
    assert [*found[0]] == ["x", "y", "colour", "shop", "k", "probability", "release"]
    if kinds == "big, fractions":
        assert {str(row["k"]) for row in found} == {str(2**60 + 1), "1.5"}
    if kinds == "whole, fractions":
        assert [float(row["k"]) for row in found] == [*map(float, range(10)), *(i + 0.5 for i in range(10))]
    if kinds == "signed, unsigned":
        assert [int(row["k"]) for row in found] == [*(-i for i in range(10)), *[2**64 - 1] * 10]


@pytest.mark.parametrize("suffix", OUTPUTS)
def test_features_may_be_of_another_type_in_every_file(
    scorer: Scorer, rows: pa.Table, tmp_path: Path, suffix: str
) -> None:
    first, second = rows.slice(0, 10), rows.slice(10)
    second = second.set_column(0, "x", second["x"].cast(pa.float32()))
    second = second.set_column(2, "colour", second["colour"].dictionary_encode())
    second = second.set_column(3, "shop", second["shop"].cast(pa.uint8()))
    third = first.set_column(3, "shop", first["shop"].cast(pa.string()))
    found = scored(scorer, tmp_path, [first, second, third], suffix)
    assert [str(row["shop"]) for row in found[:10]] == [str(row["shop"]) for row in found[20:]]


@pytest.mark.parametrize("suffix", OUTPUTS)
def test_columns_may_come_in_another_order_and_be_missing(
    scorer: Scorer, rows: pa.Table, tmp_path: Path, suffix: str
) -> None:
    first = rows.slice(0, 10).append_column("k", pa.array(range(10)))
    second = rows.slice(10).select(["shop", "colour", "y", "x"]).append_column("more", pa.array(["m"] * 10))
    found = scored(scorer, tmp_path, [first, second], suffix)
    assert [None if row.get("k") in (None, "") else int(row["k"]) for row in found] == [*range(10), *[None] * 10]
    assert [row.get("more") or None for row in found] == [*[None] * 10, *["m"] * 10]
    assert [row["shop"] for row in found] == rows["shop"].to_pylist()


def test_what_a_scored_file_cannot_have_is_said_with_its_name(scorer: Scorer, rows: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    parquet.write_table(rows, tmp_path / "in" / "a.parquet")
    parquet.write_table(rows.drop_columns(["x"]), tmp_path / "in" / "b.parquet")
    with pytest.raises(SchemaError, match=r"in/b\.parquet: no column x"):
        score_file(scorer, str(tmp_path / "in"), str(tmp_path / "out.parquet"))
    parquet.write_table(rows.append_column("release", rows["x"]), tmp_path / "in" / "b.parquet")
    with pytest.raises(SamplesError, match=r"in/b\.parquet has a column release already"):
        score_file(scorer, str(tmp_path / "in"), str(tmp_path / "out.parquet"))
    assert {path.name for path in tmp_path.iterdir()} == {"in", "samples", "store"}


# JSON lines.


def lines_of(rows: pa.Table, **more: Any) -> list[str]:
    return [
        json.dumps({**{k: v for k, v in row.items() if v is not None}, **{k: v[i % len(v)] for k, v in more.items()}})
        for i, row in enumerate(rows.to_pylist())
    ]


MIXED = [1, "a", 2.5, None, True, [], {}, {"k": [1, {"l": None}]}, "1", 2**70, "é", "\ud800", ["x", 1]]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_key_may_hold_anything(scorer: Scorer, rows: pa.Table, tmp_path: Path, suffix: str) -> None:
    values = MIXED if suffix == "jsonl" else [v for v in MIXED if v != "\ud800"]
    (tmp_path / "in.jsonl").write_text("\n".join(lines_of(rows, value=values, params=[[], {"k": 1}])) + "\n")
    assert score_file(scorer, str(tmp_path / "in.jsonl"), str(tmp_path / f"out.{suffix}")) == 20
    found = written(tmp_path / f"out.{suffix}")
    np.testing.assert_allclose([row["probability"] for row in found], scorer.score(rows), rtol=1e-12)
    for i, row in enumerate(found):
        value, params = values[i % len(values)], [[], {"k": 1}][i % 2]
        if suffix == "jsonl":
            assert (row["value"], row["params"]) == (value, params)
        else:
            assert json.loads(row["params"]) == params
            assert (row["value"] or None) == (value if value is None or isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_feature_may_be_of_several_types(scorer: Scorer, rows: pa.Table, tmp_path: Path, suffix: str) -> None:
    values = {"x": [True, 2, 0.5, None], "colour": ["red", 7, 7.0, True], "shop": [3, "3", 3.0, None]}
    source, output = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    source.write_text("\n".join(lines_of(rows.drop_columns([*values]), **values)))
    assert score_file(scorer, str(source), str(output)) == 20
    frame = {**rows.to_pydict(), **{name: [each[i % 4] for i in range(20)] for name, each in values.items()}}
    np.testing.assert_allclose([row["probability"] for row in written(output)], scorer.score(frame), rtol=1e-12)
    source.write_text("\n".join(lines_of(rows.drop_columns([*values]), **{**values, "x": [1, "1", 2, 3]})))
    with pytest.raises(SchemaError, match=r"in\.jsonl: line 2, column x is '1' \(str\), a number expected"):
        score_file(scorer, str(source), str(output))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_key_may_be_nested_deeply_where_lines_stay(
    scorer: Scorer, rows: pa.Table, tmp_path: Path, suffix: str
) -> None:
    lines = lines_of(rows)
    deep = "[" * 3000 + "]" * 3000
    lines[5] = lines[5][:-1] + f', "deep": {deep}}}'
    source, output = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    source.write_text("\n".join(lines))
    if suffix == "jsonl":
        assert score_file(scorer, str(source), str(output)) == 20
        assert deep in output.read_text().split("\n")[5]
    else:
        with pytest.raises(SamplesError, match=r"line 6 is nested too deeply for a column; write \.jsonl"):
            score_file(scorer, str(source), str(output))


def test_lines_stay_as_they_are(scorer: Scorer, rows: pa.Table, tmp_path: Path) -> None:
    texts = [line.replace(": ", ":") if i % 2 else line.replace(", ", " , ") for i, line in enumerate(lines_of(rows))]
    texts[3] = texts[3][:-1] + ', "big": 12345678901234567890123, "e": 1E5, "t": "\\u00e9\\ud800 NaN" }'
    texts[4] = texts[4][:-1] + ', "n": [NaN, -Infinity, "NaN"]}'
    (tmp_path / "in.jsonl").write_text("\ufeff" + "\r\n\n".join(texts), encoding="utf-8")
    assert score_file(scorer, str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")) == 20
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    for i, (before, after) in enumerate(zip(texts, lines, strict=True)):
        kept = before.replace('[NaN, -Infinity, "NaN"]', '[null, null, "NaN"]')[:-1].rstrip()
        assert after.startswith(kept + ', "probability": ')
        assert json.loads(after, parse_constant=pytest.fail)["probability"] == pytest.approx(scorer.score(rows)[i])


def test_lines_say_what_is_wrong_with_them(scorer: Scorer, rows: pa.Table, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"

    def message(text: str | bytes) -> str:
        source.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(SamplesError) as caught:
            score_file(scorer, str(source), str(output))
        assert not output.exists()
        return str(caught.value).removeprefix(f"{source}: ")

    lines = lines_of(rows, other=["café"])
    assert message("\n".join([*lines, lines[0][:-3]])).startswith("line 21, the last one, is cut off or not JSON")
    assert message("\n".join(lines).replace("caf\\u00e9", "caf\udce9").encode("utf-8", "surrogateescape")) == (
        "line 1, column other: b'caf\\xe9' is not UTF-8; mend it"
    )
    assert "has a column probability already" in message("\n".join(lines_of(rows, probability=[1])))
    assert "no column x in any row; release 5 was made" in message("\n".join(lines_of(rows.drop_columns(["x"]))))
    assert message("\n".join([*lines, '{"x": "7"}'])).startswith("line 21, column x is '7' (str), a number expected")
    source.write_text("\n".join(lines_of(rows.drop_columns(["x"]), x=[None], nested=[{"release": 1}])))
    assert score_file(scorer, str(source), str(output)) == 20


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_key_that_is_rarely_given_may_be_absent_from_a_file(
    scorer: Scorer, rows: pa.Table, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(lines_of(rows.drop_columns(["x"]))))
    (tmp_path / "in" / "b.jsonl").write_text("\n".join(lines_of(rows)))
    assert score_file(scorer, str(tmp_path / "in"), str(tmp_path / f"out.{suffix}")) == 40
    without = rows.set_column(0, "x", pa.nulls(20, pa.float64()))
    expected = np.concatenate([scorer.score(without), scorer.score(rows)])
    found = [row["probability"] for row in written(tmp_path / f"out.{suffix}")]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("source", ["parquet", "csv", "jsonl"])
def test_all_formats_are_scored_alike(scorer: Scorer, rows: pa.Table, tmp_path: Path, source: str, suffix: str) -> None:
    path = tmp_path / f"in.{source}"
    if source == "parquet":
        parquet.write_table(rows, path)
    elif source == "csv":
        csv.write_csv(rows, path)
    else:
        path.write_text("\n".join(lines_of(rows)))
    score_file(scorer, str(path), str(tmp_path / f"out.{suffix}"))
    found = [row["probability"] for row in written(tmp_path / f"out.{suffix}")]
    if suffix == "csv":
        np.testing.assert_allclose(found, scorer.score(rows), rtol=1e-12)
    else:
        assert found == scorer.score(rows).tolist()


def test_truth_words_of_csv_are_numbers_and_categories(scorer: Scorer, rows: pa.Table, tmp_path: Path) -> None:
    truths = pa.array([i % 2 == 0 for i in range(20)])
    table = rows.set_column(0, "x", truths).set_column(2, "colour", truths)
    words = [["True", "False"], ["TRUE", "false"]]
    frame = table.to_pandas()
    for name in ("x", "colour"):
        frame[name] = [words[i % 4 // 2][i % 2] for i in range(20)]
    frame.to_csv(tmp_path / "in.csv", index=False)
    score_file(scorer, str(tmp_path / "in.csv"), str(tmp_path / "out.jsonl"))
    found = [row["probability"] for row in written(tmp_path / "out.jsonl")]
    assert found == scorer.score(table).tolist()


# No rows.


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "x,y,colour,shop\n", "x,y,colour,shop", "other\n"])
def test_files_without_rows_are_no_fault(
    scorer: Scorer, tmp_path: Path, rows: pa.Table, text: str, suffix: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(text, encoding="utf-8")
    (tmp_path / "in" / "b.jsonl").write_text("")
    parquet.write_table(rows.slice(0, 0).drop_columns(["x"]), tmp_path / "in" / "c.parquet")
    out = tmp_path / f"out.{suffix}"
    assert score_file(scorer, str(tmp_path / "in"), str(out)) == 0
    if suffix == "parquet":
        assert {"y", "probability", "release"} <= {*parquet.read_table(out).schema.names}
    parquet.write_table(rows, tmp_path / "in" / "d.parquet")
    assert score_file(scorer, str(tmp_path / "in"), str(out)) == 20
    assert [row["probability"] for row in written(out)] == pytest.approx(scorer.score(rows))


# Names.


def cli(*args: str | bytes, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "gbdtlr", *args], capture_output=True, check=False, env={**os.environ, **environ}
    )


@pytest.mark.parametrize("name", [b"caf\xe9", "café".encode(), "日本".encode(), b"\xff[1]"])
@pytest.mark.parametrize("locale", [{}, {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
@pytest.mark.parametrize("suffix", ["parquet", "csv.gz", "jsonl"])
def test_names_may_be_any_bytes_in_any_locale(
    filled: Config, rows: pa.Table, tmp_path: Path, name: bytes, locale: dict[str, str], suffix: str
) -> None:
    folder = os.fsencode(tmp_path) + b"/" + name
    os.mkdir(folder)
    with open(folder + b"/" + name + b".parquet", "wb") as file:
        parquet.write_table(rows, file)
    out = folder + b"/out/" + name + b"." + suffix.encode()
    done = cli("score", "--store", filled.store, folder, "-o", out, "--json", **locale)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 20
    assert os.listdir(folder + b"/out") == [name + b"." + suffix.encode()]
    done = cli("score", "--store", filled.store, folder + b"/nothing", "-o", out, **locale)
    assert done.returncode == 1
    assert done.stderr.startswith(b"gbdtlr: error: no files match")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("locale", [{}, {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_samples_may_lie_in_a_folder_of_any_name(
    make_samples: Callable[..., pa.Table], make_config: Callable[..., Config], tmp_path: Path, locale: dict[str, str]
) -> None:
    folder = tmp_path / "café"
    folder.mkdir()
    with open(os.fsencode(folder) + b"/b\xe9.parquet", "wb") as file:
        parquet.write_table(make_samples(), file)
    config = make_config(tmp_path).as_dict()
    samples = "\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in config["samples"].items())
    text = f'store = "{tmp_path}/störe"\n[samples]\n{samples}\n[trees.params]\nnum_iterations = 2\n'
    text = text.replace(f"{tmp_path}/samples", str(folder))
    (tmp_path / "c.toml").write_text(text, encoding="utf-8")
    done = cli("train-trees", "-c", str(tmp_path / "c.toml"), "--as-of", "2024-03-02T01:00", "--json", **locale)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples"] == 400
    assert json.loads(cli("status", "-c", str(tmp_path / "c.toml"), "--json", **locale).stdout)["release"] == 1
    assert (tmp_path / "störe").is_dir()


def test_pandas_and_others_read_what_is_written(scorer: Scorer, rows: pa.Table, tmp_path: Path) -> None:
    found = scored(scorer, tmp_path, [rows], "jsonl")
    frame = pd.read_json(tmp_path / "out.jsonl", lines=True)
    assert frame["probability"].tolist() == pytest.approx([row["probability"] for row in found])
    assert sum(len(table) for table in read_tables(str(tmp_path / "out.jsonl"))) == 20
