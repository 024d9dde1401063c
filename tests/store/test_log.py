"""The release log: few requests however long it is, and entries that say exactly what was written."""

from __future__ import annotations

import shutil
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from store_kit import T0, Watched, publish, put_head, put_trees

from gbdtlr.errors import NoReleaseError, StoreError
from gbdtlr.store import Entry, Store
from gbdtlr.store.entry import MAX_NUMBER, dump, key_of, load, number_of

NAME = "20130215T000000Z-1a2b3c4d"
LONG = 100_000


@pytest.fixture(scope="module", params=["local", "memory"])
def long(request, tmp_path_factory):
    """A log of 100,000 entries, of which only the last two are worth reading, and its newest entry."""
    path = tmp_path_factory.mktemp("long")
    store = Store.open(str(path) if request.param == "local" else f"memory://{uuid.uuid4().hex}")
    live = publish(store)
    if request.param == "local":
        for number in range(2, LONG - 1):
            path.joinpath(key_of(number)).write_bytes(b"")
    else:
        for number in range(2, LONG - 1):
            store.backend.put(key_of(number), b"")
    store.append(live, LONG - 1)
    store.append(live, LONG)
    yield store
    shutil.rmtree(path)


def counted(store, hint):
    store.backend.put("releases/hint", hint)
    watched = Watched(store.backend)
    return Store(watched), watched.calls


@pytest.mark.parametrize(
    ("hint", "at_least", "at_most"),
    [
        (b"100000", 0, 3),
        (b"99999", 0, 4),
        (b"99990", 0, 10),
        (b"garbage", 0, 40),
        (b"1", 0, 40),
        (b"12345678", 0, 60),
        (b"100000", 100_000, 2),
        (b"garbage", 99_998, 8),
        (b"garbage", 99_000, 24),
    ],
)
def test_a_few_requests_find_the_newest_of_many(long, hint, at_least, at_most):
    store, calls = counted(long, hint)
    assert store.live(at_least).number == LONG
    assert len(calls) <= at_most
    assert not [call for call in calls if call[0] == "list"]


def test_a_few_requests_answer_all_else(long):
    store, calls = counted(long, b"100000")
    assert [entry.number for entry in store.entries(last=2)] == [LONG - 1, LONG]
    assert len(calls) <= 5
    calls.clear()
    with pytest.raises(NoReleaseError, match="no release 123456; the newest is 100000"):
        store.entry(123456)
    assert len(calls) <= 4
    calls.clear()
    live = store.live()
    assert store.append(live, LONG + 1).number == LONG + 1
    assert len(calls) <= 11
    long.backend.delete(key_of(LONG + 1))


def test_entry_holds_what_was_given():
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    trees = put_trees(store).name
    given = {
        "as_of": datetime(2013, 2, 15, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=-5))),
        "trees": trees,
        "head": put_head(store, trees).name,
        "why": "train-trees",
        "reason": "ünïcode \U0001f600 \ud800",
        "forced": True,
        "base": None,
        "rolled_back_to": None,
        "embeddings": None,
        "metrics": {"ne": 0.1 + 0.2, "n": 10**30, "tiny": 5e-324, "deep": [{"a": [None, True]}], "": -0.0},
    }
    entry = store.append(given, 1)
    assert entry == store.live() == Entry(number=1, **given)
    assert store.live().as_of.utcoffset() == timedelta()
    alone = {"kind": "release", "promoted": None, "live": None, "candidate": None, "held": None, "user": "", "host": ""}
    assert entry.to_dict() == {**given, **alone, "number": 1, "as_of": "2013-02-15T06:02:03.456789Z"}


def test_a_dict_read_from_json_can_be_appended_again():
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    entry = publish(store)
    assert store.append(entry.to_dict(), 2).as_of == entry.as_of


def test_two_writers_never_write_the_same_bytes():
    entry = Entry(1, T0, NAME, NAME, "update-lr")
    assert dump(entry) != dump(entry)
    assert load(dump(entry), 1, "") == entry


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trees": "../x"}, "is not the name of a version"),
        ({"head": None}, "head: Expected `str`"),
        ({"as_of": T0.replace(tzinfo=None)}, "as_of: .*timezone"),
        ({"as_of": "yesterday"}, "is not an ISO 8601 time"),
        ({"as_of": 5}, "as_of: Expected `datetime`"),
        ({"why": ""}, "why: .*length >= 1"),
        ({"forced": 1}, "forced: Expected `bool`"),
        ({"base": 0}, "base: Expected `int` >= 1"),
        ({"base": True}, "base: Expected `int | null`, got `bool`"),
        ({"metrics": {"ne": float("nan")}}, "cannot be written as JSON"),
        ({"metrics": {"x": object()}}, "cannot be written as JSON"),
        ({"metrics": {"x": "y" * (5 << 20)}}, "record less"),
        ({"nonsense": 1}, "has no nonsense"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_written(values, said):
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    trees = put_trees(store).name
    good = {"as_of": T0, "trees": trees, "head": put_head(store, trees).name, "why": "x"}
    with pytest.raises(StoreError, match=said):
        store.append({**good, **values}, 1)
    assert store.live() is None


@pytest.mark.parametrize("number", [0, -1, MAX_NUMBER + 1, True])
def test_impossible_numbers(number):
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    with pytest.raises(StoreError, match="number: Expected `int`"):
        store.append({"as_of": T0, "trees": NAME, "head": NAME, "why": "x"}, number)


def test_numbers_and_keys():
    for number in (1, 42, MAX_NUMBER):
        assert number_of(key_of(number)) == number
    assert key_of(42) == "releases/00000042.json"
    for key in (
        "releases/hint",
        "releases/0000042.json",
        "releases/00000000.json",
        "releases/٠٠٠٠٠٠٤٢.json",
        "x",
        "",
    ):
        assert number_of(key) is None


def test_a_hole_in_the_log_is_found(tmp_path):
    store = Store.open(str(tmp_path))
    for i in range(3):
        publish(store, i)
    (tmp_path / key_of(2)).unlink()
    bad = [finding for finding in store.check() if not finding.ok]
    assert [finding.what for finding in bad] == [key_of(2)]
    assert "missing, though the log goes on to 3" in bad[0].problem
    assert store.live().number == 3


def test_live_release_without_its_versions_is_found(tmp_path):
    store = Store.open(str(tmp_path))
    live = publish(store)
    (tmp_path / live.head_id.manifest).unlink()
    bad = [finding for finding in store.check() if not finding.ok]
    assert [finding.what for finding in bad] == [key_of(1)]
    assert "though this release is live" in bad[0].problem


def test_check_names_every_damage(tmp_path):
    store = Store.open(str(tmp_path))
    entries = [publish(store, i) for i in range(4)]
    (tmp_path / entries[0].trees_id.folder / "booster.txt").write_bytes(b"rot")
    (tmp_path / entries[1].head_id.folder / "weights.npz").unlink()
    (tmp_path / entries[2].head_id.manifest).write_bytes(b'{"format": 2}')
    (tmp_path / key_of(1)).write_bytes(b"")
    findings = list(store.check())
    assert len(findings) == 12
    assert {finding.what for finding in findings if not finding.ok} == {
        str(entries[0].trees_id),
        str(entries[1].head_id),
        str(entries[2].head_id),
        key_of(1),
    }
    assert all(bool(finding.problem) != finding.ok for finding in findings)


@pytest.mark.parametrize("at", range(13))
def test_what_is_published_and_pruned_during_a_check_is_no_damage(at):
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    for i in range(4):
        publish(store, i)
    findings = []
    for finding in store.check():
        if len(findings) == at:
            publish(store, 9)
            store.prune(keep=1, min_age=timedelta(), now=datetime(2099, 1, 1, tzinfo=UTC))
        findings.append(finding)
    assert len(findings) in (12, 13)
    assert [finding for finding in findings if not finding.ok] == []
