"""A service or file system without put-if-absent is found out, whatever it answers; one with it is left as it was."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta

import pytest
from store_kit import Watched, publish, verified

from gbdtlr.errors import StoreUnavailable
from gbdtlr.store import Store
from gbdtlr.store.backend import Denied

REMEDY = "two jobs could both publish one release, so nothing was trained or published; keep the store in a bucket"


def everything(store):
    return {stat.key: store.backend.get(stat.key, 1 << 20) for stat in store.backend.list("")}


@pytest.mark.parametrize("n_releases", [0, 1, 3])
def test_passes_where_it_is_and_leaves_nothing(store, n_releases):
    for i in range(n_releases):
        publish(store, i)
    before = everything(store)
    watched = Watched(store.backend)
    Store(watched).ensure_put_if_absent()
    assert everything(store) == before
    # Before the first release it is asked twice on an object of its own; afterwards the first release's name does.
    names = [name for name, _ in watched.calls]
    assert names == (["get", "put_if_absent"] if n_releases else ["get", "put_if_absent", "put_if_absent", "delete"])


@pytest.mark.parametrize("n_releases", [0, 2])
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("ignore", "what is there is written over, as put-if-absent .* is ignored"),
        ("501", "plain writes are taken, but put-if-absent .* is not known"),
        ("400", "plain writes are taken, but put-if-absent .* is not known"),
    ],
)
def test_a_service_without_it_is_refused_in_words(s3, answer, told, n_releases):
    store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
    for i in range(n_releases):
        publish(store, i)
    before = everything(store)
    s3.absent(answer)
    with pytest.raises(StoreUnavailable, match=f"^{store.url}: {told}.*{REMEDY}"):
        store.ensure_put_if_absent()
    assert everything(store) == before
    s3.absent()
    store.ensure_put_if_absent()
    verified(store)


@pytest.mark.parametrize("cloud", ["gs", "az"])
@pytest.mark.parametrize("n_releases", [0, 1])
def test_other_clouds_gateways_that_ignore_it_are_refused(request, cloud, n_releases):
    server = request.getfixturevalue(cloud)
    store = Store.open(f"{cloud}://bucket/{uuid.uuid4().hex}")
    for i in range(n_releases):
        publish(store, i)
    server.absent("ignore")
    with pytest.raises(StoreUnavailable, match="is ignored"):
        store.ensure_put_if_absent()


@pytest.mark.parametrize("n_releases", [0, 2])
@pytest.mark.parametrize("answer", ["409", "denied", "undeletable"])
def test_a_service_that_keeps_what_is_there_in_another_way_passes(s3, answer, n_releases):
    store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
    for i in range(n_releases):
        publish(store, i)
    before = everything(store)
    s3.absent(answer)
    store.ensure_put_if_absent()
    left = set(everything(store)) - set(before)
    assert len(left) == (answer == "undeletable" and not n_releases)
    s3.absent()
    publish(store, n_releases)
    if left:  # what could not be removed is removed by a prune that may
        assert set(store.prune(1, timedelta(), store.clock() + timedelta(days=1)).temporary) == left


def test_a_service_that_takes_no_new_name_is_refused(s3):
    store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
    s3.absent("taken")
    with pytest.raises(StoreUnavailable, match=f"of a new name is refused as if it were there.*{REMEDY}"):
        store.ensure_put_if_absent()
    assert not everything(store)


def test_credentials_that_may_not_write_are_not_taken_for_a_service_without_it(s3):
    store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
    s3.fault("kind=denied&method=PUT&times=9")
    with pytest.raises(Denied, match="permission denied"):
        store.ensure_put_if_absent()


@pytest.mark.parametrize("times", [1, 2])
def test_answers_that_are_lost_are_no_sign(s3, times):
    store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
    for i in range(2):
        before = everything(store)
        s3.fault(f"kind=lost&method=PUT&times={times}")
        store.ensure_put_if_absent()
        s3.fault()
        assert everything(store) == before
        publish(store, i)


def test_a_service_that_is_down_is_told_as_such(s3):
    store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
    s3.fault("kind=slow-down&times=99")
    with pytest.raises(StoreUnavailable, match="503"):
        store.ensure_put_if_absent()
    s3.fault()
    assert not everything(store)


@pytest.mark.parametrize("n_releases", [0, 2])
def test_a_file_system_whose_links_replace_is_refused(tmp_path, monkeypatch, n_releases):
    store = Store.open(str(tmp_path / "store"))
    for i in range(n_releases):
        publish(store, i)
    before = everything(store)
    monkeypatch.setattr(os, "link", os.replace)
    with pytest.raises(StoreUnavailable, match="is written over"):
        store.ensure_put_if_absent()
    assert everything(store) == before


def test_a_file_system_without_links_is_refused(tmp_path, monkeypatch):
    def none(source, target):
        raise OSError(95, "Operation not supported", source, None, target)

    monkeypatch.setattr(os, "link", none)
    with pytest.raises(StoreUnavailable, match="no hard links"):
        Store.open(str(tmp_path)).ensure_put_if_absent()


@pytest.mark.parametrize("rot", [None, b"", b"rot", b"x" * (5 << 20)], ids=["lost", "empty", "rotten", "too large"])
def test_a_first_release_that_is_damaged_is_no_hindrance_and_stays_as_it_is(store, rot):
    publish(store, 0)
    publish(store, 1)
    first = "releases/00000001.json"
    store.backend.delete(first) if rot is None else store.backend.put(first, rot)
    store.ensure_put_if_absent()
    assert (store.backend.head(first) is None) == (rot is None)
    assert rot is None or store.backend.get(first, 5 << 20) == rot
