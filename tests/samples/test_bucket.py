"""Samples in a bucket are read as those on disk are."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from samples_kit import DAY, FOREVER, config, rows, write

from gbdtlr.errors import NoSamplesError, SamplesError
from gbdtlr.samples import Tally, read
from gbdtlr.samples.tables import TableWriter, read_tables

moto_server = pytest.importorskip("moto.server")
pytest.importorskip("pyarrow.fs", reason="needs S3").S3FileSystem  # noqa: B018


@pytest.fixture(scope="module")
def bucket():
    from pyarrow import fs

    from gbdtlr.samples import files

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
    patch.setattr(files, "_BUCKETS", {})
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


def test_a_file_of_the_bucket_that_cannot_be_read_is_named(bucket, tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and no more")
    upload(bucket, path, "broken/x.parquet")
    with pytest.raises(SamplesError, match=r"cannot read s3://logs/broken/x\.parquet: "):
        read(config("s3://logs/broken"), DAY, FOREVER, FOREVER)
