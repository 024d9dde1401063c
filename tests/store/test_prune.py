"""Pruning removes what no kept release needs and is old, and nothing else, whatever is published meanwhile."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from store_kit import T0, Watched, publish, put_head, put_trees, verified

from gbdtlr.errors import ConfigError, DamagedError, StoreError
from gbdtlr.store import Store
from gbdtlr.store.backend import is_temporary

DAY = timedelta(days=1)
LATER = datetime(2099, 1, 1, tzinfo=UTC)


def prune(store, keep=1, min_age=DAY, now=LATER, **kwargs):
    return store.prune(keep=keep, min_age=min_age, now=now, **kwargs)


def keys(store):
    return {stat.key for stat in store.backend.list("")}


def test_keeps_what_kept_releases_name(store):
    entries = [publish(store, i) for i in range(4)]
    report = prune(store, keep=2)
    assert report.versions == (
        *sorted(entry.head_id for entry in entries[:2]),
        *sorted(entry.trees_id for entry in entries[:2]),
    )
    assert (report.unfinished, report.temporary, report.n_kept, report.dry_run) == ((), (), 4, False)
    assert report.n_bytes > 0
    assert set(store.list_versions()) == {v for e in entries[2:] for v in (e.trees_id, e.head_id)}
    assert verified(store) == entries[-1]
    assert store.entries() == entries, "the log is history and stays"
    assert prune(store, keep=2).versions == ()


def test_trees_stay_as_long_as_one_of_their_heads(store):
    trees = put_trees(store).name
    entries = [publish(store, i, trees=trees) for i in range(3)]
    assert prune(store).versions == tuple(e.head_id for e in entries[:2])
    assert verified(store) == entries[-1]


def test_what_a_rollback_brought_back_is_kept(store):
    old = publish(store, 0)
    newer = publish(store, 1)
    live = store.append(replace(old, why="rollback", rolled_back_to=1), 3)
    assert set(prune(store).versions) == {newer.trees_id, newer.head_id}
    assert verified(store) == live


def test_keep_after(store):
    entries = [publish(store, i) for i in range(5)]
    prune(store, keep=1, keep_after=T0 + timedelta(hours=2))
    assert set(store.list_versions()) == {v for e in entries[2:] for v in (e.trees_id, e.head_id)}


def test_keep_after_looks_far_back(tmp_path, monkeypatch):
    monkeypatch.setattr("gbdtlr.store.prune._PAGE", 2)
    monkeypatch.setattr("os.fsync", lambda _: None)
    store = Store.open(str(tmp_path))
    entries = [publish(store, i) for i in range(9)]
    prune(store, keep=2, keep_after=T0 + timedelta(hours=3))
    assert set(store.list_versions()) == {v for e in entries[3:] for v in (e.trees_id, e.head_id)}


def test_nothing_young_is_removed(store):
    publish(store, 0)
    live = publish(store, 1)
    head = put_head(store, put_trees(store, 7).name)
    before = keys(store)
    now = datetime.now(UTC)
    assert prune(store, now=now, dry_run=True).versions == ()
    assert prune(store, now=now).versions == ()
    assert prune(store, now=now - timedelta(days=99)).versions == (), "a clock that is behind is no reason"
    assert keys(store) == before
    assert head.id in store.list_versions()
    assert verified(store) == live


def test_young_heads_keep_their_old_trees(tmp_path):
    store = Store.open(str(tmp_path))
    publish(store, 0)
    trees = put_trees(store, 5)
    head = put_head(store, trees.name)
    for file in (tmp_path / trees.id.folder).iterdir():
        os.utime(file, (0, 0))
    assert prune(store, now=datetime.now(UTC)).versions == ()
    assert store.read_version("trees", trees.name) == trees
    for file in (tmp_path / head.id.folder).iterdir():
        os.utime(file, (0, 0))
    assert prune(store, now=datetime.now(UTC)).versions == (head.id, trees.id)


def test_orphans_and_temporary_files(store):
    live = publish(store, 0)
    whole = put_head(store, put_trees(store, 1).name)
    torn = put_trees(store, 2)
    store.backend.delete(torn.id.manifest)
    temporary = ["releases/.00000002.json.ab.tmp", f"{live.trees_id.folder}/.x.cd.tmp", "trees/.x.ef.tmp"]
    for key in temporary:
        store.backend.put(key, b"torn")
    planned = prune(store, dry_run=True)
    assert planned.dry_run
    assert len(keys(store)) == 7 + 5 + 2 + 3, "a dry run removes nothing"
    assert planned.versions[0] == whole.id
    assert planned.unfinished == (torn.id,)
    assert set(planned.temporary) == set(temporary)
    report = prune(store)
    assert report == replace(planned, dry_run=False)
    assert len(keys(store)) == 7
    assert verified(store) == live


def test_files_of_others_are_left_alone(store):
    live = publish(store, 0)
    for key in (
        "README",
        "trees/README",
        "trees/mine/x",
        "heads/a/b/c",
        "releases/notes.txt",
        "releases/hint.bak",
    ):
        store.backend.put(key, b"mine")
    before = keys(store)
    assert prune(store).versions == ()
    assert keys(store) == before
    assert verified(store) == live


def test_nothing_is_removed_while_nothing_is_published(store):
    put_head(store, put_trees(store).name)
    store.backend.put("trees/.x.ab.tmp", b"")
    report = prune(store)
    assert report.versions == ()
    assert report.temporary == ("trees/.x.ab.tmp",)
    assert len(store.list_versions()) == 2


def test_nothing_is_removed_if_a_kept_entry_is_damaged(store):
    for i in range(3):
        publish(store, i)
    store.backend.put("releases/00000002.json", b"rot")
    before = keys(store)
    with pytest.raises(DamagedError, match=r"00000002\.json is damaged"):
        prune(store, keep=2)
    assert keys(store) == before
    assert prune(store, keep=1).n_kept == 2, "what is not kept need not be readable"


def test_impossible_wishes(store):
    for wish in ({"keep": 0}, {"min_age": -DAY}):
        with pytest.raises(ConfigError, match="prune must keep"):
            prune(store, **wish)


def test_rollback_to_what_is_gone_says_so(store):
    old = publish(store, 0)
    publish(store, 1)
    prune(store)
    with pytest.raises(StoreError, match=r"release 3 cannot be written: .*: it was pruned"):
        store.append(replace(old, why="rollback", rolled_back_to=1), 3)
    findings = {finding.what: finding for finding in store.check()}
    assert findings["releases/00000001.json"].ok
    assert "are no longer in the store" in findings["releases/00000001.json"].problem
    assert findings["releases/00000002.json"].problem == ""
    with pytest.raises(DamagedError, match="it was pruned"):
        store.read_version("trees", old.trees)


@pytest.mark.parametrize("work", ["rollback", "same content"])
def test_what_is_wanted_again_amid_a_prune_survives(tmp_path, monkeypatch, work):
    """Somebody brings an old version back between any two calls of a prune that is removing it.

    With one exception: a prune that was stopped between its last look at a file and removing it, for as long as
    another job takes to make and publish the very content that is being removed, cannot know.
    """
    monkeypatch.setattr("os.fsync", lambda _: None)
    n_back = n_steps = at = 0
    while at <= n_steps:
        store = Store.open(str(tmp_path / str(at)))
        old = publish(store, 0)
        publish(store, 1)
        for file in (tmp_path / str(at)).rglob("*"):
            os.utime(file, (0, 0))

        class Interrupted(Watched):
            def _call(self, name, key, *args):
                removing = name == "delete" and not key.endswith("manifest.json")
                if len(self.calls) == at and not (removing and work == "same content"):  # noqa: B023
                    self.calls.append(("", ""))
                    bring_back(store, old)  # noqa: B023
                return super()._call(name, key, *args)

        def bring_back(store, old):
            nonlocal n_back
            try:
                if work == "rollback":
                    store.append(replace(old, why="rollback", rolled_back_to=1), 3)
                else:
                    publish(store, 0)
                n_back += 1
            except StoreError as error:
                assert work == "rollback"
                assert "it was pruned" in str(error)  # noqa: PT017

        watched = Interrupted(store.backend)
        prune(Store(watched), now=datetime.now(UTC))
        n_steps = len(watched.calls)
        live = verified(store)
        assert live.number in (2, 3)
        at += 1
    assert n_steps > 20
    assert n_back >= 10


def test_keys_of_temporary_files():
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    publish(store)
    assert not any(is_temporary(key) for key in keys(store))
    assert is_temporary(".x.tmp")
    assert is_temporary("a/.x.ab.tmp")
    assert not is_temporary("a/x.tmp")
    assert not is_temporary(".a/x")
