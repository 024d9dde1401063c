"""Jobs on tables: what a head learned can be read again, and what is new is what the table's snapshots say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from methods_kit import HOUR, START, config, rows, write_hour

from gbdtlr.config import Config
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.release import Release
from gbdtlr.store import Store

deltalake = pytest.importorskip("deltalake")


def on_table(folder: Path, method: str, path: str, store: str = "of-table", **head: Any) -> Config:
    return config(folder, method, store=store, samples={"path": path}, **head)


def append(place: Path, h: int, n: int = 60, seed: int = 0) -> None:
    deltalake.write_deltalake(str(place), rows(n, START + h * HOUR, HOUR, seed), mode="append")


def live(config: Config) -> Release:
    release = Release.live(Store.open(config.store))
    assert release is not None
    return release


@pytest.mark.parametrize("method", [pytest.param("incremental", marks=pytest.mark.slow), "ftrl"])
def test_an_update_learns_what_the_table_has_won(tmp_path, method):
    """As of files of the same rows, late ones too; and files that are compacted hold nothing that is new."""
    place = tmp_path / "table"
    for h in range(26):
        append(place, h)
        write_hour(tmp_path / "log", h, 60)
    plain, table = config(tmp_path, method), on_table(tmp_path, method, f"delta+{place}")
    for each in (plain, table):
        assert train_trees(each, START + 26 * HOUR).status == "published"
    for h in (26, 27):
        append(place, h)
        write_hour(tmp_path / "log", h, 60)
    append(place, 20, 7, seed=1)
    write_hour(tmp_path / "log", 20, 7, seed=1, name="late")
    for now in (28, 29):
        for each in (plain, table):
            assert update_lr(each, START + now * HOUR).status == "published"
        ledgers = [live(each).head_manifest["ledger"] for each in (plain, table)]
        assert [ledger["rows"] for ledger in ledgers] == [ledgers[0]["rows"]] * 2
        assert [ledger["late"] for ledger in ledgers] == [7 if now == 28 else 0] * 2
        deltalake.DeltaTable(str(place)).optimize.compact()


def test_a_window_is_read_again_exactly(tmp_path):
    """The config in the manifests has the table's version: with it, any later day gives the same bytes."""
    place = tmp_path / "table"
    for h in range(26):
        append(place, h)
    first = on_table(tmp_path, "refit", f"delta+{place}")
    train_trees(first, START + 24 * HOUR)
    update_lr(first, START + 26 * HOUR)
    made = live(first)
    version = f"delta+{place}?version=25"
    assert made.head_manifest["config"]["samples"]["path"] == [version]
    assert made.slow.trees_manifest["config"]["samples"]["path"] == [version]

    append(place, 3, 50, seed=2)
    deltalake.DeltaTable(str(place)).optimize.compact()
    again = Config.from_dict({**made.head_manifest["config"], "store": str(tmp_path / "again")})
    train_trees(again, START + 24 * HOUR)
    update_lr(again, START + 26 * HOUR)
    assert live(again).head.to_bytes() == made.head.to_bytes()
    other = on_table(tmp_path, "refit", f"delta+{place}", store="other")
    train_trees(other, START + 24 * HOUR)
    update_lr(other, START + 26 * HOUR)
    assert live(other).head.to_bytes() != made.head.to_bytes()


def test_an_update_learns_what_a_database_has_won(tmp_path):
    path = tmp_path / "d.duckdb"

    def insert(hours: range) -> None:
        with duckdb.connect(str(path)) as connection:
            for h in hours:
                connection.register("given", rows(60, START + h * HOUR, HOUR))
                exists = "events" in {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
                connection.execute(("INSERT INTO events" if exists else "CREATE TABLE events AS") + " FROM given")

    insert(range(26))
    for h in range(26):
        write_hour(tmp_path / "log", h, 60)
    query = f"sql:ATTACH '{path}' AS d (READ_ONLY); SELECT * FROM d.events"
    plain, table = config(tmp_path, "ftrl"), on_table(tmp_path, "ftrl", query)
    for each in (plain, table):
        assert train_trees(each, START + 26 * HOUR).status == "published"
    insert(range(26, 28))
    for h in (26, 27):
        write_hour(tmp_path / "log", h, 60)
    for each in (plain, table):
        assert update_lr(each, START + 28 * HOUR).status == "published"
    of_plain, of_table = (live(each).head_manifest["ledger"] for each in (plain, table))
    assert (of_table["rows"], of_table["late"]) == (of_plain["rows"], 0)
