"""A store written by format 1 is kept here and must be read, to the byte, for ever."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from store_kit import verified

from gbdtlr.store import Entry, Store

GOLDEN = Path(__file__).with_name("golden") / "format1"
TREES = "20130215T000000Z-56a3cf3c"
HEADS = "20130215T000000Z-7644c28c", "20130215T030000Z-9b8bf140"


def write(url: str) -> Store:
    """What the golden store was made by, at its time."""
    store = Store.open(url)
    as_of = datetime(2013, 2, 15, tzinfo=UTC), datetime(2013, 2, 15, 3, 0, 0, 250000, tzinfo=UTC)
    manifest = {"config": {"trees": {"window": "28d"}}, "metrics": {"ne": 0.8643, "n": 37928}, "note": "ünïcode"}
    trees = store.write_version("trees", {"booster.txt": b"tree\n", "schema.json": b"{}\n"}, manifest, as_of[0])
    entry = {"trees": trees.name, "why": "train-trees", "metrics": {"ne": 0.9309}}
    heads = [
        store.write_version("heads", {"weights.npz": bytes(range(256))}, {"lineage": {"i": i}}, moment, trees.name)
        for i, moment in enumerate(as_of)
    ]
    store.append({**entry, "as_of": as_of[0], "head": heads[0].name}, 1)
    store.append({**entry, "as_of": as_of[1], "head": heads[1].name, "why": "update-lr", "base": 1, "forced": True}, 2)
    back = {"why": "rollback", "reason": "worse", "base": 2, "rolled_back_to": 1}
    store.append({**entry, **back, "as_of": as_of[1], "head": heads[0].name}, 3)
    return store


def test_is_read(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "store")
    store = Store.open(str(tmp_path / "store"))
    live = verified(store)
    late = datetime(2013, 2, 15, 3, 0, 0, 250000, tzinfo=UTC)
    metrics = {"ne": 0.9309}
    assert store.entries() == [
        Entry(1, datetime(2013, 2, 15, tzinfo=UTC), TREES, HEADS[0], "train-trees", metrics=metrics),
        Entry(2, late, TREES, HEADS[1], "update-lr", forced=True, base=1, metrics=metrics),
        Entry(3, late, TREES, HEADS[0], "rollback", "worse", base=2, rolled_back_to=1, metrics=metrics),
    ]
    assert live == store.entry(3)
    trees = store.read_version("trees", TREES)
    assert trees.files == {"booster.txt": b"tree\n", "schema.json": b"{}\n"}
    assert trees.manifest["note"] == "ünïcode"
    assert store.read_version("heads", HEADS[1], TREES).as_of == late


def test_the_same_content_still_has_the_same_bytes(tmp_path):
    store = write(str(tmp_path / "store"))
    for version in store.list_versions():
        for file in (GOLDEN / version.folder).iterdir():
            assert (tmp_path / "store" / version.folder / file.name).read_bytes() == file.read_bytes()
    assert [version.name for version in store.list_versions()] == [TREES, *HEADS]
