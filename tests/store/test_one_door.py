"""Samples are read from a bucket with what the store is opened with there, and by the same URLs."""

from __future__ import annotations

import uuid

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from gbdtlr.buckets.upload import upload
from gbdtlr.errors import SamplesError
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.tables import read_tables

TABLE = pa.table({"x": range(1000), "word": ["a", "b"] * 500})
URLS = {
    "s3": "s3://bucket",
    "gs": "gs://bucket",
    "az": "az://bucket",
    "abfs": "abfs://bucket@test.dfs.core.windows.net",
}


@pytest.mark.parametrize("kind", URLS)
def test_samples_of_every_cloud(kind, request, tmp_path):
    request.getfixturevalue("az" if kind == "abfs" else kind)
    parquet.write_table(TABLE, tmp_path / "x.parquet", row_group_size=300)
    csv.write_csv(TABLE, tmp_path / "x.csv")
    top = f"{URLS[kind]}/{uuid.uuid4().hex}"
    for key in ("a/b [1] %20é.csv", "a/hour=01/x.parquet"):
        upload(str(tmp_path / f"x.{key.rpartition('.')[2]}"), f"{top}/{key}")
    found = find_files([top])
    assert [file.path for file in found] == [f"{top}/a/b [1] %20é.csv", f"{top}/a/hour=01/x.parquet"]
    assert all(file.stamp() for file in found)
    assert find_files([f"{top}/*/hour=0*/*.parquet"]) == found[1:]
    for file in found:
        assert [one.path for one in find_files([file.path])] == [file.path]
        assert pa.concat_tables(read_tables(file.path)).cast(TABLE.schema).equals(TABLE)


def test_folders_written_as_empty_objects_are_no_files(s3, tmp_path):  # noqa: ARG001
    (tmp_path / "empty").write_bytes(b"")
    csv.write_csv(TABLE, tmp_path / "x.csv")
    top = f"s3://bucket/{uuid.uuid4().hex}"
    upload(str(tmp_path / "empty"), f"{top}/date=01.csv")
    upload(str(tmp_path / "x.csv"), f"{top}/date=01.csv/x.csv")
    assert [file.path for file in find_files([top])] == [f"{top}/date=01.csv/x.csv"]


def test_a_bucket_that_forbids_is_told(s3, monkeypatch):
    monkeypatch.setenv("GBDTLR_STORE_TIMEOUT", "2s")
    s3.fault("kind=denied&times=99")
    with pytest.raises(SamplesError, match=r"cannot list s3://bucket/x: "):
        find_files(["s3://bucket/x/*.csv"])
