"""What every backend must do, and what the store does on each of them alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from store_kit import T0, Watched, publish, put_head, put_trees, verified

from gbdtlr.errors import Conflict, DamagedError, NoReleaseError, StoreError
from gbdtlr.store import Store, VersionId
from gbdtlr.store.backend import NotFound, each
from gbdtlr.store.objects import PART


class TestBackend:
    @pytest.fixture
    def backend(self, store):
        return store.backend

    def test_gives_back_what_was_put(self, backend):
        for data in (b"", b"x", bytes(range(256)) * 100):
            backend.put("trees/a/b.txt", data)
            assert backend.get("trees/a/b.txt", len(data)) == data
            assert backend.head("trees/a/b.txt").size == len(data)

    def test_large_objects_travel_in_parts(self, backend):
        data = bytes(1000) + b"middle" * (PART // 4) + b"end"
        assert len(data) > PART
        backend.put("trees/a/large", data)
        assert backend.get("trees/a/large", len(data)) == data

    def test_nothing_larger_than_expected_is_read(self, backend):
        backend.put("a", b"12345")
        with pytest.raises(DamagedError, match="5 bytes, more than the 4 expected"):
            backend.get("a", 4)

    def test_missing(self, backend):
        assert backend.head("trees/none") is None
        assert list(backend.list("trees")) == []
        backend.delete("trees/none")
        with pytest.raises(NotFound):
            backend.get("trees/none", 10)

    def test_put_if_absent_writes_once(self, backend):
        backend.put_if_absent("releases/1", b"first")
        with pytest.raises(Conflict):
            backend.put_if_absent("releases/1", b"second")
        assert backend.get("releases/1", 10) == b"first"

    def test_list_finds_all_below_a_folder_and_nothing_beside(self, backend):
        keys = {"trees/a/x", "trees/a/y", "trees/b/x", "heads/a/b/c"}
        for key in (*keys, "treesandmore/x"):
            backend.put(key, b"12")
        assert {stat.key for stat in backend.list("trees")} == {key for key in keys if key.startswith("trees")}
        assert {stat.key for stat in backend.list("")} == {*keys, "treesandmore/x"}
        assert {stat.size for stat in backend.list("")} == {2}

    def test_list_goes_on_past_one_page(self, backend):
        each(backend, lambda i: backend.put(f"releases/{i}", b""), range(1100))
        assert sum(1 for _ in backend.list("releases")) == 1100

    def test_delete(self, backend):
        backend.put("trees/a/x", b"1")
        backend.delete("trees/a/x")
        assert backend.head("trees/a/x") is None
        assert list(backend.list("")) == []

    def test_times_are_of_the_last_writing(self, backend):
        backend.put("a", b"1")
        first = backend.head("a").modified
        assert first.tzinfo is not None
        assert abs(first - datetime.now(UTC)) < timedelta(minutes=5)
        backend.put("a", b"1")
        assert backend.head("a").modified >= first
        (listed,) = backend.list("")  # in some clouds finer than the second a head gives
        assert abs(listed.modified - backend.head("a").modified) < timedelta(seconds=1)


class TestStore:
    def test_version_comes_back_whole(self, store, url):
        written = put_trees(store, 1)
        read = Store.open(url).read_version("trees", written.name)
        assert read == written
        assert read.as_of == T0 + timedelta(hours=1)
        assert read.manifest["config"] == {"i": 1}
        assert store.read_manifest("trees", written.name) == written.manifest
        assert store.list_versions() == [written.id] == [VersionId("trees", written.name)]

    def test_same_content_is_the_same_version(self, store):
        first, again = put_trees(store), put_trees(store)
        assert first == again
        assert store.list_versions() == [first.id]
        assert put_trees(store, extra=b"1").name != first.name
        assert put_trees(store, 1).name != first.name

    def test_heads_lie_under_their_trees(self, store):
        trees = [put_trees(store, i).name for i in (0, 1)]
        heads = [put_head(store, name) for name in trees]
        assert heads[0].name != heads[1].name
        assert store.read_version("heads", heads[1].name, trees[1]) == heads[1]
        with pytest.raises(DamagedError):
            store.read_version("heads", heads[1].name, trees[0])
        assert store.has_version("heads", heads[0].name, trees[0])
        assert not store.has_version("heads", heads[0].name, trees[1])

    def test_a_version_without_manifest_does_not_exist(self, store):
        version = put_trees(store)
        store.backend.delete(version.id.manifest)
        assert store.list_versions() == []
        with pytest.raises(DamagedError, match=r"no manifest\.json"):
            store.read_version("trees", version.name)

    def test_writing_again_mends_what_rotted(self, store):
        version = put_trees(store)
        store.backend.put(f"{version.id.folder}/booster.txt", b"rot")
        store.backend.delete(f"{version.id.folder}/schema.json")
        with pytest.raises(DamagedError):
            store.read_version("trees", version.name)
        put_trees(store)
        assert store.read_version("trees", version.name) == version
        store.backend.put(version.id.manifest, b"rot")
        put_trees(store)
        assert store.read_version("trees", version.name) == version

    def test_nothing_is_live_at_first(self, store):
        assert store.live() is None
        assert store.entries() == []
        with pytest.raises(NoReleaseError, match="run gbdtlr train-trees first"):
            store.entry(1)

    def test_log(self, store, url):
        entries = [publish(store, i, forced=i == 2, reason="why not", base=i or None) for i in range(5)]
        for other in (store, Store.open(url)):
            assert other.live() == entries[-1]
            assert other.live(at_least=2) == entries[-1]
            assert other.entries() == entries
            assert other.entries(last=2) == entries[-2:]
            assert other.entries(last=99) == entries
            assert other.entry(3) == entries[2]
            for absent in (0, -1, 6, 10**12):
                with pytest.raises(NoReleaseError, match=f"no release {absent}; the newest is 5"):
                    other.entry(absent)
        assert entries[2].forced
        assert entries[3].base == 3

    def test_a_number_is_given_once(self, store, url):
        entry = publish(store)
        with pytest.raises(Conflict):
            Store.open(url).append(entry, 1)
        assert store.append(entry, 2) == replace(entry, number=2)
        assert store.live().number == 2

    def test_the_log_has_no_gaps(self, store):
        entry = publish(store)
        with pytest.raises(StoreError, match="release 4 cannot be written before release 3"):
            store.append(entry, 4)
        assert [entry.number for entry in store.entries()] == [1]

    @pytest.mark.parametrize("missing", ["trees", "head"])
    def test_nothing_goes_live_that_is_not_there(self, store, missing):
        entry = publish(store)
        store.backend.delete(entry.trees_id.manifest if missing == "trees" else entry.head_id.manifest)
        with pytest.raises(StoreError, match=r"release 2 cannot be written: .* has no manifest\.json: it was pruned"):
            store.append(entry, 2)
        with pytest.raises(StoreError, match="it was pruned"):
            store.append({**entry.to_dict(), "rolled_back_to": 1}, 2)
        assert store.live() == entry

    def test_rollback_is_a_new_entry(self, store):
        old = publish(store, 0)
        publish(store, 1)
        entry = store.append(replace(old, why="rollback", rolled_back_to=1), 3)
        assert store.live() == entry
        assert (entry.trees, entry.head, entry.rolled_back_to) == (old.trees, old.head, 1)
        assert verified(store) == entry

    def test_newest_damaged_is_said_not_skipped(self, store):
        publish(store, 0)
        publish(store, 1)
        store.backend.put("releases/00000002.json", b"garbage")
        with pytest.raises(DamagedError, match=r"00000002\.json is damaged"):
            store.live()
        assert store.entry(1).number == 1

    @pytest.mark.parametrize(
        "hint", [None, b"", b"1", b"2", b"4", b"17", b"99999999", b"9" * 16, b"9" * 99, b"-3", b"\xff\x00"]
    )
    def test_the_hint_decides_nothing(self, store, hint):
        entries = [publish(store, i) for i in range(3)]
        if hint is None:
            store.backend.delete("releases/hint")
        else:
            store.backend.put("releases/hint", hint)
        assert store.live() == entries[-1]
        assert store.live(at_least=1) == store.live(at_least=3) == store.live(at_least=50) == entries[-1]
        assert store.entries() == entries
        with pytest.raises(NoReleaseError, match="the newest is 3"):
            store.entry(4)

    def test_clock_is_the_backends_and_leaves_nothing(self, store):
        publish(store)
        before = {stat.key for stat in store.backend.list("")}
        assert abs(store.clock() - datetime.now(UTC)) < timedelta(minutes=5)
        assert {stat.key for stat in store.backend.list("")} == before

    def test_few_requests(self, store):
        watched = Watched(store.backend)
        counted = Store(watched)
        for i in range(20):
            entry = publish(store, i)
        counted.live()
        assert len(watched.calls) == 3
        watched.calls.clear()
        counted.live(at_least=entry.number)
        assert len(watched.calls) == 2
        watched.calls.clear()
        counted.read_version("trees", entry.trees)
        assert len(watched.calls) == 3, "manifest and two files"
