"""Kinds of samples on engines: late labels, weighed ones, two logs, tables and vectors are the same on workers."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from engine_kit import pretended
from pyarrow import parquet

from gbdtlr.config import Config
from gbdtlr.embeddings import pmi
from gbdtlr.engine import LOCAL, Engine, open_engine
from gbdtlr.engine.wire import packed, unpacked
from gbdtlr.jobs import run, train_embeddings, train_trees, update_lr, window_parts
from gbdtlr.samples import dealing
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.join import spread

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS / "jobs"))
labels, logs, shop = (importlib.import_module(name) for name in ("labels_kit", "methods_kit", "shop_kit"))
at = importlib.import_module("jobs_kit").at
STAMP = pa.timestamp("us", "UTC")
NOW = labels.START + 2 * labels.DAY
HOUR = labels.HOUR
Job = Callable[..., Any]


@pytest.fixture(autouse=True)
def _small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the few rows were many."""
    monkeypatch.setattr(dealing, "SHARE_BYTES", 30_000)


@dataclass(frozen=True)
class Story:
    """Jobs one after the other on one config."""

    config: Config
    jobs: list[tuple[Job, datetime]]

    def first(self, n: int) -> Story:
        """The first jobs of it."""
        return Story(self.config, self.jobs[:n])

    def told(self, made: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
        """Each file of the store, and what the jobs said, each on an engine of its own."""
        said = {}
        with monkeypatch.context() as patch:
            patch.setattr(run, "open_engine", lambda *_, **__: made())
            for number, (job, at) in enumerate(self.jobs):
                result = job(self.config, at)
                assert result.status == "published", result.reason
                said[f"job {number}"] = repr(result).encode()
        store = Path(self.config.store)
        paths = [path for path in sorted(store.rglob("*")) if path.is_file() and path.parent.name != "releases"]
        files = {str(path.relative_to(store)): path.read_bytes() for path in paths}
        shutil.rmtree(store)  # manifests say where it was
        return files | said


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with hourly files of views, which know of their clicks."""
    folder = tmp_path_factory.mktemp("views")
    labels.write_views(folder / "log", 56)
    return folder


def late(folder: Path, method: str, unfinal: str, **samples: Any) -> Story:
    """Views whose labels are final six hours later."""
    config = labels.config(folder, method, unfinal=unfinal, samples=samples)
    return Story(config, [(train_trees, NOW), (update_lr, NOW + 1.5 * HOUR), (update_lr, NOW + 3 * HOUR)])


def by_deadline(folder: Path, method: str, unfinal: str) -> Story:
    """The same, whose deadline stands in each row."""
    story = late(folder, method, unfinal)
    table = story.config.as_dict()
    del table["samples"]["label_window"]
    table["samples"] |= {"label_deadline": "until"}
    return Story(Config.from_dict(table), story.jobs)


def check(story: Story, monkeypatch: pytest.MonkeyPatch, workers: tuple[int, ...]) -> dict[str, bytes]:
    """The story is the same on so many workers as in this process; what is told in it."""
    expected = story.told(lambda: LOCAL, monkeypatch)
    for n in workers:
        found = story.told(partial(pretended, n), monkeypatch)
        assert {name for name in expected if found.get(name) != expected[name]} == set(), n
        assert found == expected
    return expected


SOME, MANY = (3,), (1, 2, 5)
LATE = [
    (by_deadline, "refit", "weigh"),
    (by_deadline, "incremental", "wait"),
    (late, "ftrl", "weigh"),
    (late, "incremental", "weigh"),
]


@pytest.mark.parametrize(("story", "method", "unfinal"), LATE[:1])
def test_labels_that_come_late(views, monkeypatch, story, method, unfinal):
    told = check(story(views, method, unfinal).first(2), monkeypatch, SOME)
    assert bool(re.search(rb"'unfinal': {'rows': [1-9]", told["job 1"])) == (unfinal == "weigh")


@pytest.mark.slow
@pytest.mark.parametrize(("story", "method", "unfinal"), LATE)
def test_labels_that_come_late_at_length(views, monkeypatch, story, method, unfinal):
    check(story(views, method, unfinal), monkeypatch, MANY)


# Two logs


def two_logs(folder: Path) -> None:
    """Views and clicks in hourly files; some views come twice, in other files, some clicks of none, late or again."""
    parts = [labels.views(60, labels.START + h * HOUR, HOUR) for h in range(56)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    n, rng = len(columns["at"]), np.random.default_rng(0)
    keys = np.array([f"r{i}" for i in range(n)], object)
    keys[rng.choice(n, 20)] = None
    shown = labels.table_of(columns).select(["at", "x", "shop"]).append_column("request", pa.array(keys.tolist()))
    write(shown, "at", folder / "shown")
    again = shown.take(rng.permutation(n)[:200])
    moved = pa.array(again["at"].cast(pa.int64()).to_numpy() + rng.integers(0, 3, 200) * 3_600_000_000, STAMP)
    write(pa.concat_tables([again, again.set_column(0, "at", moved)]), "at", folder / "shown", "again")
    there = columns["click"] >= 0
    clicks = pa.table(
        {"request": pa.array(keys[there].tolist()), "clicked_at": pa.array(columns["click"][there], STAMP)}
    )
    unseen = np.flatnonzero(~there)[1100:1150]  # of the second day
    late = pa.array(columns["at"][unseen] + 7 * 3_600_000_000, STAMP)
    odd = pa.table({"request": [*keys[unseen[:25]].tolist(), *["no one's"] * 25], "clicked_at": late})
    write(pa.concat_tables([clicks, odd, clicks.slice(700, 40)]), "clicked_at", folder / "clicks")


def write(table: pa.Table, time: str, folder: Path, name: str = "") -> None:
    """The rows in a file for each hour."""
    folder.mkdir(parents=True, exist_ok=True)
    hour = (table[time].cast(pa.int64()).to_numpy() - labels.to_us(labels.START)) // 3_600_000_000
    for h in np.unique(hour).tolist():
        path = folder / f"{labels.START + h * HOUR:%Y-%m-%dT%H}{name}.parquet"
        parquet.write_table(table.filter(pa.array(hour == h)), path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two logs."""
    folder = tmp_path_factory.mktemp("pair")
    two_logs(folder)
    return folder


def joined(folder: Path, method: str, unfinal: str, **trees: Any) -> Story:
    """The jobs on two logs."""
    table = labels.config(folder, method).as_dict()
    for key in ("label_time", "label_window", "unfinal", "label"):
        del table["samples"][key]
    table["samples"] |= {"path": str(folder / "shown"), "key": "request"}
    outcomes = {"path": str(folder / "clicks"), "key": "request", "time": "clicked_at", "window": "6h"}
    outcomes |= {"partition": "%Y-%m-%dT%H", "unfinal": unfinal}
    table["trees"] |= trees
    jobs = [(train_trees, NOW), (update_lr, NOW + 1.5 * HOUR), (update_lr, NOW + 3 * HOUR)]
    return Story(Config.from_dict({**table, "outcomes": outcomes}), jobs)


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the few impressions were many, by time and by key."""
    monkeypatch.setattr(spread, "ROWS", 300)
    monkeypatch.setattr(window_parts, "BATCH_ROWS", 500)


@pytest.mark.usefixtures("many_parts")
def test_two_logs(pair, monkeypatch):
    told = check(joined(pair, "incremental", "weigh", max_rows=1000).first(2), monkeypatch, SOME)
    said = told["job 0"].decode()
    for name in ("keyless", "repeated", "positives", "outcomes_repeated", "unmatched", "late"):
        assert f"'{name}': 0" not in said


@pytest.mark.slow
@pytest.mark.usefixtures("many_parts")
@pytest.mark.parametrize(("method", "unfinal"), [("refit", "wait"), ("ftrl", "weigh"), ("incremental", "weigh")])
def test_two_logs_at_length(pair, monkeypatch, method, unfinal):
    check(joined(pair, method, unfinal, max_rows=1000), monkeypatch, MANY)


@pytest.mark.slow
@pytest.mark.usefixtures("many_parts")
def test_a_worker_that_dies_while_two_logs_are_joined_changes_nothing(pair, monkeypatch):
    story = joined(pair, "refit", "weigh").first(1)
    expected = story.told(lambda: LOCAL, monkeypatch)
    engine = pretended(2)
    cluster = engine.crew._cluster
    assert story.told(lambda: engine, monkeypatch) == expected
    for call in range(2, cluster.n_calls, max(1, cluster.n_calls // 3)):
        assert story.told(partial(pretended, 2, {call: call % 2}), monkeypatch) == expected, call


# Tables


def of_table(folder: Path, method: str, path: str) -> Story:
    config = logs.config(folder, method, samples={"path": path})
    return Story(config, [(train_trees, logs.START + 24 * HOUR), (update_lr, logs.START + 26 * HOUR)])


def delta_table(folder: Path) -> Path:
    """A table of hourly files, the first of which have rows that are deleted since."""
    deltalake = pytest.importorskip("deltalake")
    place = folder / "table"
    for h in range(27):
        deltalake.write_deltalake(str(place), logs.rows(60, logs.START + h * HOUR, HOUR), mode="append")
    deltalake.DeltaTable(str(place)).delete("x > 1.5")
    return place


def test_delta_tables(tmp_path, monkeypatch):
    check(of_table(tmp_path, "incremental", f"delta+{delta_table(tmp_path)}"), monkeypatch, SOME)


@pytest.mark.slow
def test_iceberg_tables(tmp_path, monkeypatch):
    pytest.importorskip("pyiceberg")
    with catalog_of(tmp_path, monkeypatch) as catalog:
        table = catalog.create_table("ns.events", logs.rows(60, logs.START, HOUR).schema)
        for h in range(0, 27, 3):
            table.append(logs.rows(180, logs.START + h * HOUR, 3 * HOUR))
        check(of_table(tmp_path, "refit", "iceberg+lake:ns.events"), monkeypatch, SOME)


@contextlib.contextmanager
def catalog_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A catalog of Iceberg's in a file."""
    from pyiceberg.catalog import load_catalog
    from pyiceberg.utils.config import Config as Catalogs

    for name in [name for name in os.environ if name.startswith("PYICEBERG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", f"sqlite:///{folder}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__WAREHOUSE", f"file://{folder}/warehouse")
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Catalogs())  # which is read once in the life of a process
    catalog = load_catalog("lake")
    catalog.create_namespace("ns")
    yield catalog
    catalog.engine.dispose()


def test_what_a_table_says_of_its_files_stays_where_it_is_asked(tmp_path):
    """Of a file, a worker is told how its columns stand in it, and not what the snapshot says of all files."""
    deltalake = pytest.importorskip("deltalake")
    for h in range(9):
        deltalake.write_deltalake(str(tmp_path / "table"), logs.rows(9, logs.START + h * HOUR, HOUR), mode="append")
    files = find_files([f"delta+{tmp_path}/table"])
    assert files[0].span_us("at", "UTC") is not None
    there = unpacked(packed(files))
    assert there == files
    assert there[0].span_us("at", "UTC") is None
    assert there[0].stored.types == files[0].stored.types
    assert len(packed(files)) < 9 * 1500


# Vectors


@pytest.mark.parametrize(
    ("method", "workers"),
    [
        ("pmi", SOME),
        *(pytest.param(method, n, marks=pytest.mark.slow) for method, n in (("pmi", MANY), ("file", SOME))),
    ],
)
def test_vectors(tmp_path, monkeypatch, method, workers):
    shop.write_shop(tmp_path)
    monkeypatch.setattr(pmi, "SHARD", 500)
    brought = {}
    if method == "file":
        table = pa.table({"id": np.arange(40), "vector": [[float(i), 1.0, i % 3 + 0.5, 2.0] for i in range(40)]})
        parquet.write_table(table, tmp_path / "vectors.parquet")
        brought = {"method": "file", "path": str(tmp_path / "vectors.parquet")}
    config = shop.shop_of(tmp_path, content=["c"], **brought)
    jobs = [(train_trees, at(5)), (train_embeddings, at(5, 1)), (update_lr, at(5, 6)), (train_embeddings, at(6))]
    story = Story(config, jobs if workers != SOME else jobs[:2])
    told = check(story, monkeypatch, workers)
    assert sum(name.endswith("vectors.npy") for name in told) == len(story.jobs) // 2


# Real workers


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Ray's own
@pytest.mark.parametrize("kind", ["deadlines", "weighed", "two logs", "delta", "vectors"])
def test_all_of_it_on_ray(ray_cluster, views, pair, tmp_path, monkeypatch, kind):
    assert ray_cluster.is_dir()
    if kind == "deadlines":
        story = by_deadline(views, "incremental", "wait")
    elif kind == "weighed":
        story = late(views, "refit", "weigh")
    elif kind == "two logs":
        story = joined(pair, "incremental", "weigh", max_rows=1000)
    elif kind == "delta":
        story = of_table(tmp_path, "refit", f"delta+{delta_table(tmp_path)}")
    else:
        shop.write_shop(tmp_path)
        config = shop.shop_of(tmp_path, content=["c"])
        story = Story(config, [(train_trees, at(5)), (train_embeddings, at(5, 1)), (update_lr, at(5, 6))])
    expected = story.told(lambda: LOCAL, monkeypatch)
    for workers in (2, 5):
        assert (
            story.told(lambda workers=workers: open_engine("ray", threads=1, workers=workers), monkeypatch) == expected
        )
