"""Delta tables are read as their snapshot means them, and nothing outside of the window is opened."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import struct
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet
from samples_kit import DAY, FOREVER, config, rows, with_column

from gbdtlr.errors import ConfigError, NoSamplesError, SamplesError, SchemaError
from gbdtlr.samples import Samples, Tally, files_of, read
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.lakes.names import at_snapshots, pinned
from gbdtlr.samples.tables import read_tables
from gbdtlr.times import to_us
from tests.samples.outcomes_kit import clicks, joined_config, minutes, samples_config, shown

deltalake = pytest.importorskip("deltalake")

HOUR = timedelta(hours=1)


def same(a: Samples, b: Samples) -> None:
    """The same rows, in whatever order files have them."""
    a, b = (s.take(s.event_us.argsort(kind="stable")) for s in (a, b))
    assert a.event_us.tolist() == b.event_us.tolist()
    assert a.known_us.tolist() == b.known_us.tolist()
    assert a.label.tolist() == b.label.tolist()
    for name in a.table.column_names:
        assert a.table.column(name).to_pylist() == b.table.column(name).to_pylist(), name


def in_files(table: pa.Table, folder: Path, **changes) -> Samples:
    """The rows as a plain parquet file gives them."""
    folder.mkdir(exist_ok=True)
    parquet.write_table(table, folder / "plain.parquet")
    return read(config(folder / "plain.parquet", **changes), DAY, DAY + 99 * HOUR, FOREVER)


def log_of(folder: Path, version: int = 0) -> Path:
    return folder / f"_delta_log/{version:020}.json"


def edit_log(folder: Path, change) -> None:
    """Each action of the first commit, changed in place by ``change(kind, action)``."""
    actions = [json.loads(line) for line in log_of(folder).read_text().splitlines()]
    for action in actions:
        for kind, value in action.items():
            change(kind, value)
    log_of(folder).write_text("".join(json.dumps(action) + "\n" for action in actions))


def test_rows_of_a_partitioned_table_are_those_of_a_plain_file(tmp_path):
    """Partition columns are in the paths alone, with values that paths must spell in another way, or missing."""
    table = rows(24)
    names = [None if i % 4 == 3 else ["a b/ü", "%20", "7"][i % 3] for i in range(24)]
    table = table.set_column(table.schema.get_field_index("shop"), "shop", pa.array(names))
    place = tmp_path / "a table"
    deltalake.write_deltalake(str(place), table, partition_by=["shop", "count"])
    assert len(find_files([f"delta+{place}"])) == 24
    cfg = config(f"delta+{place}")
    same(read(cfg, DAY, DAY + 99 * HOUR, FOREVER), in_files(table, tmp_path))
    scored = pa.concat_tables(read_tables(f"delta+{place}"), promote_options="permissive").sort_by("at")
    assert scored.select(table.schema.names).to_pylist() == table.to_pylist()


def test_only_files_that_may_hold_rows_of_the_window_are_opened(tmp_path):
    """By the statistics of the log, which are cut to milliseconds: an event just after a file's greatest is found."""
    place = tmp_path / "t"
    for hour in range(6):
        deltalake.write_deltalake(str(place), rows(2, DAY + hour * HOUR + timedelta(microseconds=1999)), mode="append")
    cfg = config(f"delta+{place}")
    for file in find_files(cfg.path):
        assert file.span_us("at", "UTC") is not None
    start = DAY + 3 * HOUR
    for file in set(find_files(cfg.path)) - set(files_of(cfg, start, start + HOUR)):
        os.remove(file.path)
    tally = Tally()
    found = read(cfg, start, start + HOUR, FOREVER, tally=tally)
    assert len(found) == 2
    assert (tally.n_files, len(tally.mature)) == (6, 2)
    with pytest.raises(SamplesError, match="cannot read"):
        read(cfg, DAY, start, FOREVER)

    one = tmp_path / "one"
    deltalake.write_deltalake(str(one), rows(1, DAY + timedelta(microseconds=999)))
    assert len(read(config(f"delta+{one}"), DAY + timedelta(microseconds=999), DAY + HOUR, FOREVER)) == 1


def test_a_partition_that_is_the_event_time_places_files(tmp_path):
    table = rows(4, step=timedelta(days=1))
    table = table.append_column("day", pc.cast(table.column("at"), pa.date32()))
    deltalake.write_deltalake(str(tmp_path / "t"), table, partition_by=["day"])
    cfg = config(f"delta+{tmp_path / 't'}", event_time="day", timezone="Europe/Berlin")
    assert len(files_of(cfg, DAY + timedelta(hours=20), DAY + timedelta(hours=30))) == 1
    assert len(read(cfg, DAY + timedelta(hours=20), DAY + timedelta(hours=30), FOREVER)) == 1


def test_a_version_is_read_again_as_it_was(tmp_path):
    place = tmp_path / "t"
    deltalake.write_deltalake(str(place), rows(4))
    path = pinned(f"delta+{place}")
    assert path == f"delta+{place}?version=0"
    deltalake.write_deltalake(str(place), rows(9), mode="overwrite")
    assert len(read(config(path), DAY, DAY + 99 * HOUR, FOREVER)) == 4
    assert len(read(config(f"delta+{place}"), DAY, DAY + 99 * HOUR, FOREVER)) == 9
    assert pinned(path) == path
    with pytest.raises(NoSamplesError, match="has no such version"):
        read(config(f"delta+{place}?version=7"), DAY, DAY + HOUR, FOREVER)


def z85(data: bytes) -> str:
    """Base 85 in ZeroMQ's letters, which a log has its inline deletion vectors in."""
    theirs = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    ours = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    return base64.b85encode(data + b"\0" * (-len(data) % 4)).decode().translate(str.maketrans(theirs, ours))


def vector(numbers: list[int]) -> bytes:
    """A deletion vector of a few row numbers: a roaring bitmap of one array."""
    array = struct.pack("<IIHHI", 12346, 1, 0, len(numbers) - 1, 16) + struct.pack(f"<{len(numbers)}H", *numbers)
    return struct.pack("<IQI", 1681511377, 1, 0) + array


def test_deleted_rows_are_left_out_whatever_row_groups_are_read(tmp_path):
    place, table = tmp_path / "t", rows(12)
    properties = deltalake.WriterProperties(max_row_group_size=4)
    deltalake.write_deltalake(str(place), table, writer_properties=properties)
    before = {file.path: file.stamp() for file in find_files([f"delta+{place}"])}
    data = vector([1, 5, 6])

    def delete(kind, value):
        if kind == "protocol":
            features = ["deletionVectors"]
            value.update(minReaderVersion=3, minWriterVersion=7, readerFeatures=features, writerFeatures=features)
        if kind == "add":
            value["deletionVector"] = {
                "storageType": "i", "pathOrInlineDv": z85(data), "sizeInBytes": len(data), "cardinality": 3,
            }  # fmt: skip

    edit_log(place, delete)
    left = table.take([0, 2, 3, 4, 7, 8, 9, 10, 11])
    cfg = config(f"delta+{place}")
    same(read(cfg, DAY, DAY + 99 * HOUR, FOREVER), in_files(left, tmp_path))
    late = read(cfg, DAY + 4 * HOUR, DAY + 99 * HOUR, FOREVER, batch_rows=3)
    assert late.table.column("count").to_pylist() == [4, 7, 8, 9, 10, 11]
    after = {file.path: file.stamp() for file in find_files(cfg.path)}
    assert after.keys() == before.keys()
    assert after != before, "what the log deletes makes the file another one"


@pytest.mark.parametrize("mode", ["name", "id"])
def test_columns_that_files_call_otherwise_are_found(tmp_path, mode):
    """Two columns that swapped their names among them: the numbers or physical names count, not what is alike."""
    place, table = tmp_path / "t", rows(6)
    names = table.schema.names
    swap = {"price": "count", "count": "price"}
    if mode == "id":
        table = table.cast(
            pa.schema(each.with_metadata({"PARQUET:field_id": str(i + 1)}) for i, each in enumerate(table.schema))
        )
    deltalake.write_deltalake(str(place), table, partition_by=["shop"] if mode == "name" else None)

    def rename(kind, value):
        if kind == "protocol":
            features = ["columnMapping"]
            value.update(minReaderVersion=3, minWriterVersion=7, readerFeatures=features, writerFeatures=features)
        if kind == "metaData":
            schema = json.loads(value["schemaString"])
            for i, each in enumerate(schema["fields"]):
                key = "delta.columnMapping."
                each["metadata"] = {f"{key}id": i + 1, f"{key}physicalName": each["name"]}
                each["name"] = "new " + swap.get(each["name"], each["name"])
            value["partitionColumns"] = [f"new {name}" for name in value["partitionColumns"]]
            value["schemaString"] = json.dumps(schema)
            value["configuration"] = {
                "delta.columnMapping.mode": mode, "delta.columnMapping.maxColumnId": str(len(names)),
            }  # fmt: skip

    edit_log(place, rename)
    if mode == "id":
        (file,) = find_files([f"delta+{place}"])
        parquet.write_table(table.rename_columns([f"col-{i}" for i in range(len(names))]), file.path)
    cfg = config(
        f"delta+{place}", event_time="new at", label_time="new known_at", label="new label",
        numeric=("new price", "new count"), categorical=("new shop",), wide=("new user",),
    )  # fmt: skip
    found = read(cfg, DAY, DAY + 99 * HOUR, FOREVER)
    found = found.take(found.event_us.argsort())
    assert found.table.column("new price").to_pylist() == table.column("count").to_pylist()
    assert found.table.column("new count").to_pylist() == table.column("price").to_pylist()
    assert found.table.column("new shop").to_pylist() == table.column("shop").to_pylist()
    assert all(file.span_us("new at", "UTC") for file in find_files(cfg.path)) or mode == "id"


def test_columns_added_later_are_missing_in_older_files(tmp_path):
    place, table = tmp_path / "t", rows(6)
    deltalake.write_deltalake(str(place), table.slice(0, 3).drop_columns(["price"]))
    deltalake.write_deltalake(str(place), table.slice(3), mode="append", schema_mode="merge")
    found = read(config(f"delta+{place}"), DAY, DAY + 99 * HOUR, FOREVER)
    found = found.take(found.event_us.argsort())
    assert found.table.column("price").to_pylist() == [None] * 3 + table.column("price").to_pylist()[3:]


def test_features_that_are_not_known_are_refused_by_name(tmp_path):
    place = tmp_path / "t"
    deltalake.write_deltalake(str(place), rows(3))

    def demand(kind, value):
        if kind == "protocol":
            value.update(minReaderVersion=3, minWriterVersion=7, readerFeatures=["later"], writerFeatures=["later"])

    edit_log(place, demand)
    with pytest.raises(SamplesError, match=r"cannot read delta\+.*later"):
        find_files([f"delta+{place}"])


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("delta+{}/none", NoSamplesError, "there is no Delta table at"),
        ("delta+{}/t?version=x", ConfigError, r"delta\+FOLDER\?version=NUMBER"),
        ("delta+ftp://x/y", ConfigError, "a folder of this machine or a URL of s3://"),
        ("delta+", ConfigError, r"expected delta\+FOLDER"),
    ],
)
def test_what_is_no_table_is_told(tmp_path, path, error, words):
    with pytest.raises(error, match=words):
        find_files([path.format(tmp_path)])


def test_a_column_that_was_renamed_is_looked_for_among_those_there_are(tmp_path):
    deltalake.write_deltalake(str(tmp_path / "t"), rows(4).rename_columns({"shop": "merchant"}))
    with pytest.raises(SchemaError, match=r"shop is missing, expected.*; its columns are at, known_at, .*merchant"):
        read(config(f"delta+{tmp_path / 't'}"), DAY, DAY + HOUR, FOREVER)


def test_a_file_that_is_gone_and_a_log_that_is_damaged_are_told(tmp_path):
    place = tmp_path / "t"
    deltalake.write_deltalake(str(place), rows(4))
    cfg = config(f"delta+{place}")
    next(place.glob("*.parquet")).unlink()
    with pytest.raises(
        SamplesError, match=r"delta\+.*t\?version=0 \(its file .*\): it is not there; its table lists it all the same"
    ):
        read(cfg, DAY, DAY + HOUR, FOREVER)
    log_of(place).write_text("{oops")
    with pytest.raises(SamplesError, match=r"cannot read delta\+.*; check the table and .samples. path") as error:
        read(cfg, DAY, DAY + HOUR, FOREVER)
    assert "unknown" not in str(error.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def badly_spelled(path: Path) -> None:
    """Texts that are not UTF-8, as a broken writer leaves them."""
    table = parquet.read_table(path)
    texts = pa.array([b"\xff\xfe"] * len(table), pa.binary())
    column = pa.Array.from_buffers(pa.string(), len(table), texts.buffers())
    parquet.write_table(table.set_column(table.schema.get_field_index("shop"), "shop", column), path)


@pytest.mark.parametrize("breaks", [cut, badly_spelled, Path.unlink])
def test_who_has_a_table_with_a_broken_file_is_told_what_can_be_done_and_it_helps(tmp_path, breaks):
    place = tmp_path / "t"
    deltalake.write_deltalake(str(place), rows(4))
    before = {*place.glob("*.parquet")}
    deltalake.write_deltalake(str(place), rows(4, DAY + 9 * HOUR), mode="append")
    (broken,) = {*place.glob("*.parquet")} - before
    breaks(broken)
    cfg = config(f"delta+{place}")
    for reads in (lambda: read(cfg, DAY, DAY + 99 * HOUR, FOREVER), lambda: list(read_tables(f"delta+{place}"))):
        with pytest.raises(SamplesError) as caught:
            reads()
        told = str(caught.value)
        assert f"delta+{place}?version=1 (its file {broken}): " in told
        assert told.endswith("or overwrite the partition that the file is in")
    assert len(read(config(f"delta+{place}?version=0"), DAY, DAY + 99 * HOUR, FOREVER)) == 4
    deltalake.DeltaTable(str(place)).restore(0)
    assert len(read(cfg, DAY, DAY + 99 * HOUR, FOREVER)) == 4


def test_a_table_whose_columns_cannot_serve_is_to_be_mended_and_not_its_files(tmp_path):
    place = tmp_path / "t"
    deltalake.write_deltalake(str(place), with_column(rows(4), "price", ["cheap"] * 4))
    with pytest.raises(SchemaError, match=r"delta\+.*price is string, expected a number; mend the table, or .samples."):
        read(config(f"delta+{place}"), DAY, DAY + HOUR, FOREVER)
    deltalake.write_deltalake(
        str(place), with_column(rows(4), "label", [7] * 4), mode="overwrite", schema_mode="overwrite"
    )
    with pytest.raises(SamplesError, match=r"^delta\+.*t\?version=1 \(its file .*\): 1 rows with a label other than"):
        read(config(f"delta+{place}"), DAY, DAY + HOUR, FOREVER)


def test_an_empty_table_is_told(tmp_path):
    deltalake.DeltaTable.create(str(tmp_path / "t"), rows(1).schema)
    with pytest.raises(NoSamplesError, match="has no files in version 0"):
        find_files([f"delta+{tmp_path / 't'}"])


@pytest.mark.parametrize("path", ["{}", "{}/t", "{}/**", "{}/**/*.parquet"])
def test_a_table_read_as_a_folder_of_files_is_told(tmp_path, path):
    """Its folder has what was deleted, too, and what was written again."""
    place = tmp_path / "t"
    for mode in ("overwrite", "overwrite"):
        deltalake.write_deltalake(str(place), rows(4), mode=mode)
    with pytest.raises(SamplesError, match=rf"{place} is a Delta table.* name it as delta\+{place}, or"):
        find_files([path.format(tmp_path)])
    assert len(find_files([f"{place}/*.parquet"])) == 2, "as somebody who knows of it asks"


def test_tables_stand_beside_files(tmp_path):
    from gbdtlr.config import Config

    table = rows(8)
    deltalake.write_deltalake(str(tmp_path / "t"), table.slice(0, 4))
    in_files(table.slice(4), tmp_path)
    cfg = config([f"delta+{tmp_path / 't'}", str(tmp_path / "plain.parquet")])
    same(read(cfg, DAY, DAY + 99 * HOUR, FOREVER), in_files(table, tmp_path / "all"))
    assert at_snapshots(Config(cfg)).samples.path == (f"delta+{tmp_path / 't'}?version=0", cfg.path[1])


def test_a_table_of_several_names_is_read_once(tmp_path, monkeypatch):
    deltalake.write_deltalake(str(tmp_path / "t"), rows(8), partition_by=["shop"])
    (tmp_path / "link").symlink_to(tmp_path / "t")
    monkeypatch.chdir(tmp_path)
    names = ["delta+t", "delta+./t/", f"delta+{tmp_path}/t?version=0", "delta+../" + tmp_path.name + "/t", "delta+link"]
    assert len(find_files(names)) == len(find_files(["delta+t"])) == 4
    with pytest.raises(SamplesError, match="is named by a table and as a file as well; name it once, by the table"):
        find_files(["delta+t", f"{tmp_path}/t/*/*.parquet"])


def test_a_table_in_a_bucket(bucket, tmp_path):
    s3 = bucket
    table = rows(6)
    place = tmp_path / "t"
    deltalake.write_deltalake(str(place), table, partition_by=["shop"])
    for path in place.rglob("*.*"):
        if path.is_file() and path.suffix in (".parquet", ".json"):
            with s3.open_output_stream(f"lake/a/t/{path.relative_to(place)}", compression=None) as sink:
                sink.write(path.read_bytes())
    found = read(config("delta+s3://lake/a/t"), DAY, DAY + 99 * HOUR, FOREVER)
    same(found, in_files(table, tmp_path))
    assert pinned("delta+s3://lake/a/t") == "delta+s3://lake/a/t?version=0"
    with pytest.raises(SamplesError, match=r"s3://lake/a/t is a Delta table.* delta\+s3://lake/a/t, or"):
        find_files(["s3://lake/a"])


@pytest.fixture
def bucket(monkeypatch):
    from pyarrow import fs

    moto_server = pytest.importorskip("moto.server")
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
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    s3 = fs.S3FileSystem(endpoint_override=told["AWS_ENDPOINT_URL"], region="us-east-1", allow_bucket_creation=True)
    s3.create_dir("lake")
    yield s3
    server.stop()


def test_a_date_is_no_moment(tmp_path):
    """Statistics of dates are left alone: which moments they are, the reader of the file knows."""
    table = rows(3)
    table = table.append_column("day", pa.array([dt.date(2024, 3, 1)] * 3))
    deltalake.write_deltalake(str(tmp_path / "t"), table)
    (file,) = find_files([f"delta+{tmp_path / 't'}"])
    assert file.span_us("day", "UTC") is None
    assert file.span_us("shop", "UTC") is None


def test_impressions_and_outcomes_may_stand_in_tables(tmp_path):
    """And outcomes out of reach are in files that are left alone."""
    at = minutes(*range(0, 600, 5))
    impressions = shown(at, [f"k{i}" for i in range(120)])
    late = [t + timedelta(minutes=i % 90) for i, t in enumerate(at)]
    outcomes = clicks(late[::3], [f"k{i}" for i in range(0, 120, 3)])
    for place in ("shown", "clicks"):
        (tmp_path / place).mkdir()
    parquet.write_table(impressions, tmp_path / "shown/x.parquet")
    parquet.write_table(outcomes, tmp_path / "clicks/x.parquet")
    for i in range(4):
        deltalake.write_deltalake(str(tmp_path / "s"), impressions.slice(30 * i, 30), mode="append")
        deltalake.write_deltalake(str(tmp_path / "c"), outcomes.slice(10 * i, 10), mode="append")
    tables = {"path": f"delta+{tmp_path}/s"}, {"path": f"delta+{tmp_path}/c"}
    for start, end in ((0, 10), (1, 4)):
        bounds = DAY + start * HOUR, DAY + end * HOUR, FOREVER
        same(read(samples_config(tmp_path, *tables), *bounds), read(samples_config(tmp_path), *bounds))
    (last,) = (file for file in find_files([tables[1]["path"]]) if file.span_us("clicked_at", "UTC")[0] > to_us(at[80]))
    os.remove(last.path)
    assert len(read(samples_config(tmp_path, *tables), DAY, DAY + 4 * HOUR, DAY + 5 * HOUR)) == 48
    config = at_snapshots(joined_config(tmp_path, *tables))
    assert config.outcomes.path == (f"delta+{tmp_path}/c?version=3",)
    assert config.samples.outcomes == config.outcomes
