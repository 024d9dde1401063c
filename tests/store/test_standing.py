"""Where the log stands: candidates and holds are entries, the newest says what is live, and old readers refuse them."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_kit import T0, Watched, publish, put_head

from gbdtlr.errors import Conflict, DamagedError, FormatError, StoreError
from gbdtlr.store import Entry, Store
from gbdtlr.store.entry import key_of
from gbdtlr.store.manifest import FORMAT, canonical, seal, sha256, unseal

FAR = datetime(2099, 1, 1, tzinfo=UTC)


def empty() -> Store:
    return Store.open(f"memory://{uuid.uuid4().hex}")


def decide(store: Store, kind: str, **values: Any) -> Entry:
    """The next entry, of a kind that brings no pair of its own."""
    standing = store.standing()
    assert standing is not None
    live = standing.live
    given = {"as_of": T0, "trees": live.trees, "head": live.head, "why": kind, "kind": kind, **values}
    return store.append(given, standing.newest.number + 1)


def tried(store: Store, i: int, **values: Any) -> Entry:
    """The next entry, a candidate on the live trees."""
    standing = store.standing()
    assert standing is not None
    head = put_head(store, standing.live.trees, i)
    given = {"as_of": head.as_of, "trees": standing.live.trees, "head": head.name, "why": "x", "kind": "candidate"}
    return store.append({**given, **values}, standing.newest.number + 1)


def released(store: Store, i: int, **values: Any) -> Entry:
    """The next entry, a release on the live trees."""
    return tried(store, i, kind="release", **values)


ACTS = ("release", "rollback", "candidate", "withdrawal", "hold", "lift", "promote")


@settings(max_examples=60, deadline=None)
@given(acts=st.lists(st.sampled_from(ACTS), max_size=12))
def test_what_stands_is_what_reading_the_whole_log_says(acts):
    """Beside a reader that goes through all entries in order; however it is found, and whatever comes after it."""
    store = empty()
    live, candidate, held = publish(store).number, None, None
    for i, act in enumerate(acts, start=1):
        if act in ("release", "candidate"):
            entry = tried(store, i, kind=act)
        elif act == "rollback":
            entry = released(store, i, rolled_back_to=live)
        elif act == "promote":
            if candidate is None:
                continue
            entry = released(store, i, promoted=candidate)
        else:
            entry = decide(store, act)
        live = entry.number if entry.kind == "release" else live
        candidate = {"candidate": entry.number, "withdrawal": None, "promote": None}.get(act, candidate)
        held = {"hold": entry.number, "lift": None}.get(act, held)
        for reader in (store, Store(store.backend)):
            for at_least in (0, 1, live):
                standing = reader.standing(at_least)
                assert (standing.newest, standing.live.number) == (entry, live)
                assert (standing.candidate, standing.held) == (candidate, held)
            assert (None if candidate is None else reader.candidate().number) == candidate
        document = json.loads(store.backend.get(key_of(entry.number), 1 << 20))
        must_be_seen = entry.kind != "release" or candidate is not None or held is not None
        assert document["format"] == (2 if must_be_seen else 1), "what old readers may overlook, and nothing else"
    assert all(finding.ok for finding in store.check())


def test_an_old_reader_refuses_what_it_would_take_for_live_and_reads_on_afterwards():
    """``unseal`` as it was: format 1 is the newest it knows."""
    store = empty()
    publish(store)
    for entry in (tried(store, 1), decide(store, "withdrawal"), decide(store, "hold"), released(store, 2)):
        with pytest.raises(FormatError, match=rf"^release {entry.number} has format 2, newer than the 1"):
            unseal(store.backend.get(key_of(entry.number), 1 << 20), f"release {entry.number}")
    decide(store, "lift")
    entry = released(store, 3)
    assert unseal(store.backend.get(key_of(entry.number), 1 << 20), "it")["head"] == entry.head


def test_finding_what_is_live_costs_the_same_however_many_candidates_came_after_it():
    store = empty()
    live = publish(store)
    costs = []
    for n in (1, 40):
        for i in range(n):
            tried(store, i)
        watched = Watched(store.backend)
        assert Store(watched).live() == live
        costs.append(len(watched.calls))
        reader = Store(watched)
        reader.live()
        watched.calls.clear()
        assert reader.live(live.number) == live
        costs.append(len(watched.calls))
    assert costs == [4, 3, 4, 3]


def test_an_old_writer_that_comes_after_a_hold_loses_the_race_and_then_refuses():
    store = empty()
    live = publish(store)
    decide(store, "hold")
    with pytest.raises(Conflict):
        store.append({**live.to_dict()}, 2)


@pytest.mark.parametrize("kind", ["candidate", "hold", "lift", "withdrawal"])
def test_a_log_begins_with_a_release(kind):
    store = empty()
    trees = publish(empty_twin := empty())
    with pytest.raises(StoreError, match=f"no live release before that {kind}"):
        store.append({"as_of": T0, "trees": trees.trees, "head": trees.head, "why": "x", "kind": kind}, 1)
    assert store.newest() == 0
    assert empty_twin.newest() == 1


def test_a_candidate_without_its_versions_is_not_written():
    store = empty()
    live = publish(store)
    with pytest.raises(StoreError, match="release 2 cannot be written"):
        tried(store, 1, head=f"{live.head[:-8]}00000000")


@pytest.mark.parametrize(
    "change",
    [
        {"live": None},
        {"live": 3},
        {"live": 4},
        {"live": 2},
        {"candidate": 4},
        {"held": 9},
        {"kind": "release"},
        {"kind": "nonsense"},
    ],
)
def test_an_entry_that_cannot_be_is_damaged(change):
    """Also one whose bytes are as sealed: the log of another store, or a faulty writer."""
    store = empty()
    publish(store)
    tried(store, 1)
    entry = decide(store, "hold")
    payload = {**entry.to_dict(), **change}
    store.backend.put(key_of(3), seal(payload, "it", 2))
    with pytest.raises(DamagedError, match=r"00000003\.json is damaged"):
        Store(store.backend).live()


def test_a_rollback_over_a_damaged_entry_keeps_what_stood_before_it():
    store = empty()
    publish(store)
    tried(store, 1)
    hold = decide(store, "hold")
    live = store.live()
    store.append({**live.to_dict(), "rolled_back_to": 1}, 4)
    store.backend.put(key_of(4), b"rot")
    entry = Store(store.backend).append({**live.to_dict(), "rolled_back_to": 1}, 5)
    assert (entry.candidate, entry.held) == (2, hold.number)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_prune_keeps_what_is_live_and_what_is_tried_however_much_came_after(keep):
    store = empty()
    releases = [publish(store, i) for i in range(4)]
    stale, candidate = tried(store, 10), tried(store, 11)
    releases.append(released(store, 12))
    for _ in range(70):
        decide(store, "hold")
    report = store.prune(keep, timedelta(), FAR)
    there = set(store.list_versions())
    for entry in releases:
        assert (entry.head_id in there) == (entry in releases[-keep:])
    assert {candidate.head_id, candidate.trees_id} <= there
    assert (stale.head_id in there) == (keep > 1), "it is among the newest"
    assert report.n_needed == len(there)
    assert all(finding.ok for finding in store.check())
    decide(store, "withdrawal")
    store.prune(1, timedelta(), FAR)
    assert candidate.head_id not in set(store.list_versions())


def test_a_lost_candidate_is_damage_and_a_pruned_one_that_is_overtaken_is_none():
    store = empty()
    publish(store)
    candidate = tried(store, 1)
    released(store, 2)
    for key in (f"{candidate.head_id.folder}/weights.npz", candidate.head_id.manifest):
        store.backend.delete(key)
    (finding,) = (finding for finding in store.check() if not finding.ok)
    assert finding.what == key_of(2)
    assert "though this release is the candidate" in finding.problem
    tried(store, 3)
    assert all(finding.ok for finding in store.check())


def test_entries_of_older_versions_say_nothing_of_what_stands():
    """As they were written: without the newer fields."""
    store = empty()
    entry = publish(store)
    names = ("number", "as_of", "trees", "head", "why", "reason", "forced", "base", "rolled_back_to", "metrics")
    old = {name: value for name, value in entry.to_dict().items() if name in names}
    document = {**old, "format": FORMAT}
    store.backend.put(key_of(1), canonical({**document, "sha256": sha256(canonical(document))}) + b"\n")
    standing = Store(store.backend).standing()
    assert (standing.live, standing.candidate, standing.held) == (entry, None, None)
    assert (standing.live.user, standing.live.host) == ("", "")
