"""Samples in a bucket are read as those on disk are."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from samples_kit import DAY, FOREVER, config, rows, write

from gbdtlr.errors import ConfigError, NoSamplesError, SamplesError
from gbdtlr.samples import Tally, read
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.formats.writing import TableWriter
from gbdtlr.samples.tables import read_tables

moto_server = pytest.importorskip("moto.server")
pytest.importorskip("pyarrow.fs", reason="needs S3").S3FileSystem  # noqa: B018


@pytest.fixture(scope="module")
def bucket():
    from pyarrow import fs

    server = moto_server.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    told = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    patch = pytest.MonkeyPatch()
    for name, value in told.items():
        patch.setenv(name, value)
    s3 = fs.S3FileSystem(endpoint_override=told["AWS_ENDPOINT_URL"], region="us-east-1", allow_bucket_creation=True)
    s3.create_dir("logs")
    yield s3
    patch.undo()
    server.stop()


def upload(s3, path, key):
    with s3.open_output_stream(f"logs/{key}", compression=None) as sink:
        sink.write(path.read_bytes())


def test_windows_of_a_bucket(bucket, tmp_path):
    for hour in range(4):
        for suffix in (".parquet", ".csv.gz", ".jsonl"):
            path = write(rows(4, DAY + timedelta(hours=hour), timedelta(minutes=15)), tmp_path / f"{hour}{suffix}")
            upload(bucket, path, f"a/date=2024-03-01/hour={hour:02}/x{suffix}")
    upload(bucket, path, "a/date=2024-03-01/hour=01/_x.csv")
    upload(bucket, path, "a/_tmp/x.csv")
    upload(bucket, path, "ab/x.csv")
    tally = Tally()
    start = DAY + timedelta(hours=1)
    cfg = config("s3://logs/a", partition="date=%Y-%m-%d/hour=%H")
    samples = read(cfg, start, start + timedelta(hours=2), FOREVER, tally=tally)
    assert len(samples) == 24
    assert tally.n_files == 12
    assert list(tally.mature) == [
        f"s3://logs/a/date=2024-03-01/hour={hour}/x{suffix}"
        for hour in ("01", "02")
        for suffix in (".csv.gz", ".jsonl", ".parquet")
    ]
    assert len(read(config("s3://logs/a/*/hour=0[12]/*.parquet"), DAY, FOREVER, FOREVER)) == 8
    assert len(read(config("s3://logs/a/date=2024-03-01/hour=01/x.csv.gz"), DAY, FOREVER, FOREVER)) == 4


def test_nothing_there(bucket):  # noqa: ARG001
    with pytest.raises(NoSamplesError, match=r"no files match 's3://logs/none/\*.csv'; check the bucket"):
        read(config("s3://logs/none/*.csv"), DAY, FOREVER, FOREVER)
    with pytest.raises(NoSamplesError, match="no files match 's3://nobody/x'"):
        read(config("s3://nobody/x"), DAY, FOREVER, FOREVER)


def test_a_table_appears_in_the_bucket_at_the_end(bucket, tmp_path):
    upload(bucket, write(rows(), tmp_path / "x.parquet"), "in/x.parquet")
    with TableWriter("s3://logs/out/x.csv.gz") as writer:
        for table in read_tables("s3://logs/in/x.parquet"):
            writer.write(table)
        assert bucket.get_file_info("logs/out/x.csv.gz").type.name == "NotFound"
    assert [table["count"].to_pylist() for table in read_tables("s3://logs/out/x.csv.gz", ["count"])] == [[*range(8)]]

    def write_and_fail():
        with TableWriter("s3://logs/out/y.csv") as writer:
            writer.write(table)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert bucket.get_file_info("logs/out/y.csv").type.name == "NotFound"
    assert not [name for name in os.listdir(os.environ.get("TMPDIR", "/tmp")) if name.endswith(("-x.csv.gz", "-y.csv"))]


def uploads():
    """Keys of the uploads that were begun and neither completed nor taken back."""
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
    return [upload["Key"] for upload in client.list_multipart_uploads(Bucket="logs").get("Uploads", [])]


def large(n=3_000_000):
    """A table that no cloud takes in one piece."""
    return pa.table({"x": np.random.default_rng(0).random(n)})


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
@pytest.mark.parametrize("before", [None, b"before"])
def test_an_interrupted_upload_leaves_what_was_there(bucket, monkeypatch, error, before):
    key = f"cut/{error.__name__}-{before is None}.parquet"
    if before is not None:
        with bucket.open_output_stream(f"logs/{key}", compression=None) as sink:
            sink.write(before)
    opened, n_read = open, []

    class Failing:
        def __init__(self, path, mode):
            self.file = opened(path, mode)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def read(self, n):
            n_read.append(n)
            if len(n_read) == 3:
                raise error("in the middle")
            return self.file.read(6 << 20)

    monkeypatch.setattr("gbdtlr.buckets.upload.open", Failing, raising=False)

    def write_and_fail():
        with TableWriter(f"s3://logs/{key}") as writer:
            writer.write(large())

    with pytest.raises(SamplesError if error is OSError else error):
        write_and_fail()
    assert len(n_read) == 3
    info = bucket.get_file_info(f"logs/{key}")
    assert info.size == (None if before is None else len(before))
    assert uploads() == []
    assert not [name for name in os.listdir(tempfile.gettempdir()) if name.endswith(key.partition("/")[2])]


def test_a_killed_upload_leaves_no_object(bucket):
    """The process dies after the first piece was sent: the parent kills it where it waits for the parent's word."""
    script = (
        "import sys, numpy as np, pyarrow as pa\n"
        "from gbdtlr.buckets import upload; from gbdtlr.samples.formats.writing import TableWriter\n"
        "class Waiting:\n"
        "    def __init__(self, path, mode): self.file, self.n = open(path, mode), 0\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *_): self.file.close()\n"
        "    def read(self, n):\n"
        "        self.n += 1\n"
        "        if self.n == 3: print('sent', flush=True); sys.stdin.read()\n"
        "        return self.file.read(6 << 20)\n"
        "upload.open = Waiting\n"
        "with TableWriter('s3://logs/killed/x.parquet') as writer:\n"
        "    writer.write(pa.table({'x': np.random.default_rng(0).random(3_000_000)}))\n"
        "print('complete')\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert child.stdout.readline() == "sent\n"
    child.kill()
    assert child.communicate()[0] == ""
    assert bucket.get_file_info("logs/killed/x.parquet").type.name == "NotFound"


def test_one_object_of_several_names_is_read_once(bucket, tmp_path):
    for key in ("twice/[1]/x.csv", "twice/1/y.csv"):
        upload(bucket, write(rows(), tmp_path / "x.csv"), key)
    once = "s3://logs/twice/1/y.csv"
    names = ["s3://logs/twice", "S3://logs/twice/", "s3://logs//twice/*/y.csv", once]
    assert [file.path for file in find_files(names)] == [once, "s3://logs/twice/[1]/x.csv"]
    assert len(read(config(names), DAY, FOREVER, FOREVER)) == 16
    assert [file.path for file in find_files(["s3://logs/twice/[1]"])] == ["s3://logs/twice/[1]/x.csv"]
    assert [file.path for file in find_files(["s3://logs/twice/[1]/*.csv"])] == ["s3://logs/twice/[1]/x.csv"]
    assert [file.path for file in find_files(["s3://logs/twice/[12]/*.csv"])] == [once]


def test_what_is_in_a_bucket_is_whole_without_an_end_of_its_last_line(bucket, tmp_path):
    path = write(rows(), tmp_path / "x.csv")
    path.write_bytes(path.read_bytes().rstrip())
    upload(bucket, path, "whole/x.csv")
    assert len(read(config("s3://logs/whole"), DAY, FOREVER, FOREVER)) == 8


def test_names_that_are_not_utf8_are_refused(bucket):  # noqa: ARG001
    for name in ("s3://logs/caf\udce9.csv", "s3://b\udce9/x.csv"):
        with pytest.raises(ConfigError, match="the names of objects are UTF-8"):
            find_files([name])


def test_a_file_of_the_bucket_that_cannot_be_read_is_named(bucket, tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and no more")
    upload(bucket, path, "broken/x.parquet")
    with pytest.raises(SamplesError, match=r"cannot read s3://logs/broken/x\.parquet: "):
        read(config("s3://logs/broken"), DAY, FOREVER, FOREVER)
