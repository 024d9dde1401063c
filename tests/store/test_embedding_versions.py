"""Versions of embeddings: named by entries, kept and pruned with them, and mapped from the disk instead of read."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta

import pytest
from store_kit import T0, Watched, publish, put_head, put_trees, verified

from gbdtlr.errors import DamagedError, FormatError, StoreError, StoreUnavailable
from gbdtlr.operate.releases import releases
from gbdtlr.store import Store, VersionId, manifest
from gbdtlr.store.copying import copy_release
from gbdtlr.store.entry import key_of
from gbdtlr.store.places import CACHE, KEPT


def put_embeddings(store: Store, i: int = 0):
    files = {"vectors.npy": b"vectors %d" % i * 9, "keys.npy": b"keys %d" % i}
    return store.write_version("embeddings", files, {"config": {"i": i}}, T0 + timedelta(hours=i))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_entry_names_them_and_one_without_is_as_it_was(store):
    old = publish(store, 0)
    embeddings = put_embeddings(store, 1)
    new = publish(store, 1, trees=old.trees, embeddings=embeddings.name)
    assert [entry.embeddings for entry in store.entries()] == [None, embeddings.name]
    assert new.versions == (new.trees_id, VersionId("embeddings", embeddings.name), new.head_id)
    assert new.slow == (old.trees, embeddings.name) != old.slow
    assert verified(store) == new
    documents = [json.loads(store.backend.get(key_of(number), 10_000)) for number in (1, 2)]
    assert [document["format"] for document in documents] == [1, 2]
    assert ["embeddings" in document for document in documents] == [False, True]
    found = releases(store)
    assert [entry["embeddings"] for entry in found] == [None, embeddings.name]


def test_who_knows_none_refuses_such_an_entry_by_its_format(store):
    entry = publish(store, embeddings=put_embeddings(store).name)
    with pytest.raises(FormatError, match="has format 2, newer than the 1"):
        manifest.unseal(store.backend.get(key_of(entry.number), 10_000), key_of(1), manifest.FORMAT)


def test_what_is_not_there_goes_not_live(store):
    with pytest.raises(StoreError, match=r"release 1 cannot be written: .*was pruned"):
        publish(store, embeddings="20130215T000000Z-01234567")
    with pytest.raises(StoreError, match="not the name of a version"):
        publish(store, embeddings="../x")


def test_check_reads_them_and_says_where_they_are_missed(store):
    embeddings = put_embeddings(store)
    publish(store, embeddings=embeddings.name)
    store.backend.put(f"{embeddings.id}/keys.npy", b"KEYS 0")
    bad = [finding for finding in store.check() if not finding.ok]
    assert [finding.what for finding in bad] == [str(embeddings.id)]
    store.backend.delete(embeddings.id.manifest)
    (bad,) = [finding for finding in store.check() if not finding.ok]
    assert bad.what == key_of(1)
    assert f"{embeddings.id} is no longer in the store, though this release is live" in bad.problem


def test_a_release_is_copied_with_them(store, tmp_path):
    entry = publish(store, embeddings=put_embeddings(store).name)
    target = Store.open(str(tmp_path / "copy"))
    assert copy_release(store, entry.number, target) == target.live() == entry
    assert {*target.list_versions()} == {*entry.versions}
    assert all(finding.ok for finding in target.check())


def test_prune_keeps_those_of_kept_releases(store):
    trees = put_trees(store).name
    names = [put_embeddings(store, i).name for i in range(4)]
    for i in (0, 1, 2):
        publish(store, i, trees, embeddings=names[i])
    now = store.clock() + timedelta(days=2)
    report = store.prune(keep=2, min_age=timedelta(days=1), now=now)
    gone = {version.name for version in report.versions if version.kind == "embeddings"}
    assert gone == {names[0], names[3]}
    assert [version.name for version in store.list_versions() if version.kind == "embeddings"] == names[1:3]
    assert [version.kind for version in store.list_versions()] == ["trees", *["embeddings"] * 2, *["heads"] * 2]
    assert [entry["pruned"] for entry in releases(store)] == [True, False, False]


def test_a_rollback_renews_them(store):
    old = publish(store, 0, embeddings=put_embeddings(store).name)
    publish(store, 1)
    assert store.append(replace(old, why="rollback", rolled_back_to=1), 3).embeddings == old.embeddings


def test_places_are_the_files_themselves_or_copies_of_them(store, cache, monkeypatch):
    monkeypatch.setenv(CACHE, str(cache))  # which clouds' tests have taken away
    written = put_embeddings(store)
    for _ in range(2):
        paths = store.places("embeddings", written.name)
        assert {name: path.read_bytes() for name, path in paths.items()} == written.files
        assert all(cache in path.parents for path in paths.values()) == (store.backend.place("x") is None)
        assert not list(cache.rglob("*.tmp"))


def test_a_local_file_is_not_read(tmp_path):
    store = Store.open(str(tmp_path / "store"))
    written = put_embeddings(store)
    watched = Watched(store.backend)
    watched.place = store.backend.place
    assert set(Store(watched).places("embeddings", written.name)) == set(written.files)
    assert watched.calls == [("get", written.id.manifest)]
    path = tmp_path / "store" / str(written.id) / "keys.npy"
    path.write_bytes(b"keys")
    with pytest.raises(DamagedError, match=r"keys\.npy is damaged: it has 4 bytes, its manifest says 6"):
        store.places("embeddings", written.name)
    path.unlink()
    with pytest.raises(DamagedError, match=r"keys\.npy is missing"):
        store.places("embeddings", written.name)


def test_a_copy_is_fetched_once_and_only_if_it_is_right():
    store = Store.open("memory://places")
    written = put_embeddings(store)
    store.places("embeddings", written.name)
    watched = Watched(store.backend)
    watched.place = store.backend.place
    paths = Store(watched).places("embeddings", written.name)
    assert watched.calls == [("get", written.id.manifest)]
    paths["keys.npy"].write_bytes(b"torn")
    store.backend.put(f"{written.id}/keys.npy", b"KEYS 0")
    with pytest.raises(DamagedError, match="sha256"):
        store.places("embeddings", written.name)
    assert paths["keys.npy"].read_bytes() == b"torn"


def test_the_cache_keeps_the_versions_used_last():
    store = Store.open("memory://cache")
    names = [put_embeddings(store, i).name for i in range(KEPT + 2)]
    for i, name in enumerate(names):
        folder = store.places("embeddings", name)["keys.npy"].parent
        os.utime(folder, (i, i))
    assert {path.name for path in folder.parent.iterdir()} == {*names[-KEPT:]}


def test_a_cache_that_cannot_be_written_is_said(cache):
    store = Store.open("memory://no-cache")
    written = put_embeddings(store)
    cache.write_text("a file where a folder should be")
    with pytest.raises(StoreUnavailable, match=f"set {CACHE} to a folder that can be written"):
        store.places("embeddings", written.name)


def test_own_keys_of_a_manifest_are_what_was_given(store):
    written = put_embeddings(store, 3)
    assert store.read_version("embeddings", written.name).own == {"config": {"i": 3}}
    head = put_head(store, put_trees(store).name)
    assert head.own == {"lineage": {"trees": head.under}}
