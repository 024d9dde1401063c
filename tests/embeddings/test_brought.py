"""Vectors from parquet files, and what is said of files that hold something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from gbdtlr.embeddings import keys_of, read_vectors
from gbdtlr.errors import ConfigError, GbdtlrError, NoSamplesError

LIST, FIXED = pa.list_(pa.float64()), pa.list_(pa.float32(), 2)


def write(path: Path, ids: list[object], vectors: list[object], kind: pa.DataType = LIST) -> str:
    parquet.write_table(pa.table({"id": ids, "vector": pa.array(vectors, kind), "more": ids}), path)
    return str(path)


@pytest.mark.parametrize("kind", [LIST, FIXED, pa.large_list(pa.float16()), pa.list_(pa.int32())])
def test_vectors_of_several_files(tmp_path: Path, kind: pa.DataType) -> None:
    half = np.float16 if "half" in str(kind) else float
    write(tmp_path / "a.parquet", [3, 1], [[half(1), half(2)], [half(3), half(4)]], kind)
    write(tmp_path / "b.parquet", ["x"], [[half(5), half(6)]], kind)
    keys, vectors = read_vectors(str(tmp_path))
    assert (keys[1:] > keys[:-1]).all()
    expected = {"1": [3, 4], "3": [1, 2], "x": [5, 6]}
    by_key = dict(zip(keys_of(list(expected))[0].tolist(), expected.values(), strict=True))
    assert [by_key[key] for key in keys.tolist()] == vectors.tolist()
    assert vectors.dtype == np.float32


def test_numbers_that_are_none_are_left_for_the_guard(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [1, 2], [[1.0, None], [float("inf"), 1.0]])
    assert np.isfinite(read_vectors(path)[1]).sum() == 2


@pytest.mark.parametrize(
    ("ids", "vectors", "kind", "told"),
    [
        ([1, 1, 2, 2, 2], [[1.0]] * 5, LIST, "3 ids come more than once"),
        ([1, None], [[1.0]] * 2, LIST, r"a\.parquet: 1 rows have no id; mend the file"),
        ([1, 2], [[1.0], None], LIST, "1 rows have no vector"),
        ([1, 2], [[1.0], [1.0, 2.0]], LIST, "vector has from 1 to 2 numbers"),
        ([1, 2, 3], [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0]], LIST, "vector has from 1 to 3 numbers"),
        ([1], [[]], LIST, "vector has from 0 to 0 numbers"),
        ([1.5], [[1.0]], LIST, r"a\.parquet: id holds 1\.5"),
        ([1], [1.0], pa.float64(), "vector is double, a list of numbers expected"),
        ([1], [["x"]], pa.list_(pa.string()), "vector is list<.*string>, a list of numbers expected"),
        ([], [], LIST, "has no vectors"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, ids: list[object], vectors: list[object], kind: object, told: str
) -> None:
    path = write(tmp_path / "a.parquet", ids, vectors, kind)
    with pytest.raises(GbdtlrError, match=told):
        read_vectors(path)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(NoSamplesError, match=r"^\[embeddings\] path: no files match"):
        read_vectors(str(tmp_path / "none.parquet"))
    with pytest.raises(ConfigError, match=r"\[embeddings\] path 'ftp://x'"):
        read_vectors("ftp://x")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 is not all")
    with pytest.raises(GbdtlrError, match=r"cannot read .*a\.parquet"):
        read_vectors(str(tmp_path / "a.parquet"))
    parquet.write_table(pa.table({"item": [1]}), tmp_path / "a.parquet")
    with pytest.raises(GbdtlrError, match="id and vector missing; there are item"):
        read_vectors(str(tmp_path / "a.parquet"))
    (tmp_path / "a.csv").write_text("id,vector\n1,2\n")
    with pytest.raises(GbdtlrError, match="parquet files alone"):
        read_vectors(str(tmp_path / "a.csv"))
    write(tmp_path / "a.parquet", [1], [[1.0]])
    write(tmp_path / "b.parquet", [2], [[1.0, 2.0]])
    with pytest.raises(GbdtlrError, match=r"b\.parquet: vector has 2 numbers, where those before have 1"):
        read_vectors(str(tmp_path / "*.parquet"))
