"""In a bucket without put-if-absent no job trains or publishes anything; each says why."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from jobs_kit import at, config_of, whole

from gbdtlr.errors import StoreUnavailable
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.learn import learn
from gbdtlr.operate.rollback import rollback
from gbdtlr.samples import reading
from gbdtlr.store import Store
from gbdtlr.store.urls import open_backend

KINDS = pytest.mark.parametrize("answer", ["ignore", "501", "400"])
TOLD = "put-if-absent .* two jobs could both publish one release, so nothing was trained or published"


@pytest.fixture
def url():
    return f"s3://bucket/{uuid.uuid4().hex}"


@KINDS
def test_the_first_job_says_so_before_it_reads_anything(s3, stream, url, answer, monkeypatch):
    s3.absent(answer)
    monkeypatch.setattr(reading, "find_files", None)
    with pytest.raises(StoreUnavailable, match=TOLD):
        train_trees(config_of(stream, url), at(5))
    assert Store.open(url).is_empty()


@KINDS
def test_so_do_all_jobs_in_a_store_that_is_there(s3, stream, url, answer):
    config = config_of(stream, url, method="ftrl")
    assert train_trees(config, at(5)).status == "published"
    assert update_lr(config, at(5, 6)).status == "published"
    store = Store.open(url)
    before = {stat.key: stat.size for stat in store.backend.list("")}
    s3.absent(answer)
    events = []
    for job in (
        lambda: train_trees(config, at(6), on_event=lambda name, **_: events.append(name)),
        lambda: update_lr(config, at(6), on_event=lambda name, **_: events.append(name)),
        lambda: learn(config, [], lambda: at(6), publish_every=timedelta(minutes=1)),
        lambda: rollback(url, 1, at(6)),
    ):
        with pytest.raises(StoreUnavailable, match=TOLD):
            job()
    assert events == ["release.load"]
    assert {stat.key: stat.size for stat in store.backend.list("")} == before
    s3.absent()
    assert whole(store).number == 2
    assert update_lr(config, at(6)).status == "published"


def test_a_bucket_where_nothing_may_be_deleted_takes_releases(s3, stream, url):
    s3.absent("undeletable")
    config = config_of(stream, url)
    assert train_trees(config, at(5)).status == "published"
    assert update_lr(config, at(5, 6)).status == "published"
    assert whole(Store.open(url)).number == 2


def test_it_costs_an_update_two_requests(stream, tmp_path, monkeypatch):
    config = config_of(stream, str(tmp_path / "store"))
    assert train_trees(config, at(5)).status == "published"
    asked = []

    def watched(url):
        backend = open_backend(url)
        for name in ("get", "put_if_absent", "put", "delete"):
            method = getattr(backend, name)
            monkeypatch.setattr(
                backend, name, lambda key, *args, n=name, m=method: asked.append((n, key)) or m(key, *args)
            )
        return backend

    monkeypatch.setattr("gbdtlr.store.urls.open_backend", watched)
    assert update_lr(config, at(5, 6)).status == "published"
    first = "releases/00000001.json"
    offered = asked.index(("put_if_absent", first))
    assert asked[offered - 1] == ("get", first)
    assert [name for name, _ in asked].count("put_if_absent") == 2, "the first release's, and the new one's"
    assert not [key for _, key in asked if "probe" in key]
