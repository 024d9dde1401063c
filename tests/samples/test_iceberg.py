"""Iceberg tables are read as their snapshot means them, and nothing outside of the window is opened."""

from __future__ import annotations

import os
from datetime import timedelta
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyarrow import parquet
from samples_kit import DAY, FOREVER, config, rows, write

from gbdtlr.errors import ConfigError, NoSamplesError, SamplesError
from gbdtlr.samples import Tally, files_of, read
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.lakes.names import pinned

pytest.importorskip("pyiceberg")
HOUR = timedelta(hours=1)
END = DAY + 99 * HOUR


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    from pyiceberg.catalog import load_catalog
    from pyiceberg.utils.config import Config

    for name in list(os.environ):
        if name.startswith("PYICEBERG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__WAREHOUSE", f"file://{tmp_path}/warehouse")
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())  # which is read once in the life of a process
    catalog = load_catalog("lake")
    catalog.create_namespace("ns")
    yield catalog
    catalog.engine.dispose()


PATH = "iceberg+lake:ns.events"


def read_all(path=PATH, **changes):
    found = read(config(path, **changes), DAY, END, FOREVER)
    return found.take(found.event_us.argsort(kind="stable"))


def test_rows_of_a_partitioned_table_are_those_of_a_plain_file(catalog, tmp_path):
    from pyiceberg.transforms import DayTransform, IdentityTransform

    table = rows(24)
    names = [None if i % 4 == 3 else ["a b/ü", "%20", "7"][i % 3] for i in range(24)]
    table = table.set_column(table.schema.get_field_index("shop"), "shop", pa.array(names))
    made = catalog.create_table("ns.events", table.schema)
    with made.update_spec() as spec:
        spec.add_field("shop", IdentityTransform(), "shop_part")
        spec.add_field("at", DayTransform(), "day")
        spec.add_field("count", IdentityTransform(), "number")
    made.append(table)
    plain = read(config(write(table, tmp_path / "plain.parquet")), DAY, END, FOREVER)
    found = read_all()
    assert found.event_us.tolist() == plain.event_us.tolist()
    assert found.label.tolist() == plain.label.tolist()
    assert found.table.to_pydict() == plain.table.to_pydict()


def test_only_files_that_may_hold_rows_of_the_window_are_opened(catalog):
    made = catalog.create_table("ns.events", rows(1).schema)
    for hour in range(5):
        made.append(rows(2, DAY + hour * HOUR, timedelta(minutes=1)))
    cfg = config(PATH)
    start = DAY + 3 * HOUR
    for file in set(find_files(cfg.path)) - set(files_of(cfg, start, start + HOUR)):
        os.remove(file.path)
    tally = Tally()
    assert len(read(cfg, start, start + HOUR, FOREVER, tally=tally)) == 2
    assert (tally.n_files, len(tally.mature)) == (5, 1)


def test_who_has_a_table_with_a_broken_file_is_told_what_can_be_done_and_it_helps(catalog):
    made = catalog.create_table("ns.events", rows(1).schema)
    made.append(rows(4))
    older, before = pinned(PATH).partition("&")[0], {file.path for file in find_files([PATH])}
    made.append(rows(4, DAY + 9 * HOUR))
    (broken,) = {file.path for file in find_files([PATH])} - before
    os.truncate(broken, 99)
    with pytest.raises(SamplesError) as caught:
        read_all()
    assert str(caught.value).startswith(f"cannot read {PATH} (its file {broken}): ")
    assert "; roll the table back to a snapshot without that file" in str(caught.value)
    assert len(read_all(older)) == 4


def test_renamed_and_added_columns_are_found_by_their_numbers(catalog):
    """A column that got the name of another one is still itself, and added ones are missing in older files."""
    from pyiceberg.types import DoubleType

    table = rows(6)
    made = catalog.create_table("ns.events", table.schema)
    made.append(table)
    with made.update_schema() as schema:
        schema.rename_column("price", "cost")
    with made.update_schema() as schema:
        schema.add_column("price", DoubleType())
    found = read_all(numeric=("cost", "count"), categorical=("shop",))
    assert found.table.column("cost").to_pylist() == table.column("price").to_pylist()
    path = pinned(PATH)
    with made.update_schema() as schema:
        schema.rename_column("cost", "other")
    made.append(rows(2, DAY + 50 * HOUR).rename_columns([{"price": "other"}.get(n, n) for n in table.schema.names]))
    assert read_all(path, numeric=("cost", "count")).table.equals(found.table), "a snapshot and its names, again"
    assert len(read_all(numeric=("other", "price"))) == 8


def test_files_without_numbers_are_read_by_the_names_the_table_gives_them(catalog, tmp_path):
    table = rows(6)
    made = catalog.create_table("ns.events", table.schema)
    write(table, tmp_path / "mine.parquet")
    made.add_files([f"file://{tmp_path}/mine.parquet"])
    with made.update_schema() as schema:
        schema.rename_column("price", "cost")
    found = read_all(numeric=("cost", "count"))
    assert found.table.column("cost").to_pylist() == table.column("price").to_pylist()


def test_a_snapshot_is_read_again_as_it_was(catalog):
    made = catalog.create_table("ns.events", rows(1).schema)
    made.append(rows(4))
    path = pinned(PATH)
    assert path.startswith(f"{PATH}?snapshot=") and path.endswith("&schema=0")  # noqa: PT018 - one thing
    assert pinned(path) == path
    made.overwrite(rows(9))
    assert len(read_all(path)) == 4
    assert len(read_all(path.partition("&")[0])) == 4
    assert len(read_all()) == 9


def test_rows_that_files_of_their_own_delete_are_refused_by_name(catalog, monkeypatch):
    made = catalog.create_table("ns.events", rows(1).schema)
    made.append(rows(4))
    from pyiceberg.table import FileScanTask

    deletes = [SimpleNamespace(content=SimpleNamespace(name="POSITION_DELETES"))]
    monkeypatch.setattr(FileScanTask, "delete_files", property(lambda _: deletes, lambda *_: None), raising=False)
    with pytest.raises(SamplesError, match="deleted by position_deletes, which this version cannot read"):
        find_files([PATH])


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("iceberg+lake:ns.none", NoSamplesError, "there is no Iceberg table at"),
        ("iceberg+lake:nowhere.none", NoSamplesError, "there is no Iceberg table at"),
        ("iceberg+lake:ns.events", NoSamplesError, "has no files"),
        ("iceberg+lake:ns.events?snapshot=7", NoSamplesError, "has no such snapshot"),
        ("iceberg+lake:ns.events?snapshot=x", ConfigError, "expected iceberg"),
        ("iceberg+lake", ConfigError, "expected iceberg"),
        ("iceberg+ocean:ns.events", ConfigError, "the catalog ocean is not configured"),
    ],
)
def test_what_is_no_table_is_told(catalog, path, error, words):
    catalog.create_table("ns.events", rows(1).schema)
    with pytest.raises(error, match=words):
        find_files([path])


def test_files_of_other_formats_are_refused(catalog):
    from gbdtlr.samples.lakes.iceberg import _Columns

    table = catalog.create_table("ns.events", rows(1).schema)
    columns = _Columns.of(table, table.schema())
    file = SimpleNamespace(file_path="/x.orc", file_format=SimpleNamespace(name="ORC"))
    with pytest.raises(SamplesError, match=r"x.orc is ORC, expected parquet"):
        columns.file(PATH, SimpleNamespace(file=file, delete_files=set()))


def test_values_of_partitions_alone_are_read(catalog):
    """As in tables that were Hive's, whose files do not have the columns they are partitioned by."""
    from pyiceberg.transforms import IdentityTransform

    table = rows(6).set_column(5, "shop", pa.array(["one"] * 6))
    made = catalog.create_table("ns.events", table.schema)
    with made.update_spec() as spec:
        spec.add_field("shop", IdentityTransform(), "shop")
    made.append(table)
    (file,) = find_files([PATH])
    stored = parquet.read_table(file.path)
    parquet.write_table(stored.drop_columns(["shop"]), file.path)
    assert read_all().table.column("shop").to_pylist() == ["one"] * 6
