"""Embeddings beside what people decide: candidates that carry others, holds, promotions, and who made them."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from jobs_kit import at, whole, with_guard
from shop_kit import shop_of, with_embeddings, write_shop
from test_train_embeddings import toml

from gbdtlr.cli.group import main
from gbdtlr.errors import NoReleaseError
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.by import By
from gbdtlr.jobs.carrying import try_publish_embeddings
from gbdtlr.jobs.drop_items import drop_items
from gbdtlr.jobs.train_embeddings import train_embeddings
from gbdtlr.operate.hold import hold, release_hold, withdraw
from gbdtlr.operate.releases import releases
from gbdtlr.operate.rollback import promote, rollback
from gbdtlr.operate.status import status
from gbdtlr.operate.store_metrics import store_metrics
from gbdtlr.operate.verify import verify
from gbdtlr.store import Store
from gbdtlr.store.entry import key_of

ANN = By("ann", "host-a", "a try")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Folder with the shop's samples and a store of trees and their embeddings."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    assert train_trees(shop_of(folder), at(5)).status == "published"
    assert train_embeddings(shop_of(folder), at(5, 1)).status == "published"
    return folder


@pytest.fixture
def config(shop, tmp_path):
    return shop_of(shop, str(shutil.copytree(shop / "store", tmp_path / "store")))


@pytest.fixture
def store(config):
    return Store.open(config.store)


@pytest.fixture
def meanwhile(monkeypatch):
    """Let something happen right before embeddings are published."""

    def let(act):
        waiting = [act]

        def publish(*args):
            if waiting:
                waiting.pop()()
            return try_publish_embeddings(*args)

        monkeypatch.setattr(import_module("gbdtlr.jobs.train_embeddings"), "try_publish_embeddings", publish)

    return let


def format_of(store, number):
    return json.loads(store.backend.get(key_of(number), 1 << 20))["format"]


def test_a_candidate_carries_embeddings_of_its_own(config, store):
    live = store.live()
    wider = with_embeddings(config, dimensions=6)
    result = train_embeddings(wider, at(5, 2), candidate=True, by=ANN)
    tried = store.candidate()
    assert (result.status, result.release, result.candidate, result.embeddings) == (
        "published",
        3,
        True,
        tried.embeddings,
    )
    assert (tried.trees, tried.base, tried.user, tried.reason) == (live.trees, 2, "ann", "a try")
    assert store.live() == live
    assert live.embeddings != tried.embeddings
    assert train_embeddings(wider, at(5, 2), candidate=True).release == 4, "of the same moment, as with other settings"
    assert update_lr(config, at(5, 12)).embeddings == live.embeddings
    shadow = update_lr(config, at(5, 12), candidate=True)
    assert (shadow.release, shadow.embeddings) == (6, tried.embeddings)
    assert store.entry(6).metrics["progressive"]["rows"] == store.entry(5).metrics["progressive"]["rows"]
    found = status(store, at(5, 13))
    assert (found["embeddings_age_s"], found["candidate"]["embeddings_age_s"]) == (12 * 3600, 11 * 3600)
    told = store_metrics(store, at(5, 13), "s")
    assert 'gbdtlr_store_embeddings_age_seconds{store="s",track="candidate"} 39600' in told
    store.prune(1, timedelta(), datetime(2099, 1, 1, tzinfo=UTC))
    assert [each["pruned"] for each in releases(store)] == [True, True, True, True, False, False]
    assert verify(store).ok
    back = promote(store, None, at(5, 14))
    assert (back.status, back.embeddings, whole(store).embeddings) == ("published", tried.embeddings, tried.embeddings)
    assert promote(store, 6, at(5, 14)).status == "unchanged"
    assert rollback(store, 5, at(5, 15)).embeddings == live.embeddings
    assert train_trees(config, at(6), candidate=True).embeddings == live.embeddings
    assert verify(store).ok


def test_other_embeddings_overtake_a_candidate_in_the_making(config, store, monkeypatch):
    """And not those that go live."""
    train_embeddings(with_embeddings(config, dimensions=6), at(5, 2), candidate=True)
    draft = import_module("gbdtlr.jobs.draft")
    real = draft.publish_head
    for candidate, overtaken in ((False, False), (True, True)):
        waiting = [None]

        def late(*args, waiting=waiting, candidate=candidate):
            if waiting:
                waiting.pop()
                train_embeddings(with_embeddings(config, dimensions=5), at(5, 11), candidate=candidate)
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(draft, "publish_head", late)
            result = update_lr(config, at(5, 12), candidate=True)
        if overtaken:
            assert result.status == "superseded"
            assert result.reason.endswith("brought other embeddings meanwhile")
        else:
            assert (result.status, result.release) == ("published", 5)
            withdraw(store, at(5, 12))
            assert train_embeddings(config, at(5, 10), candidate=True).release == 7


def test_a_first_release_is_no_candidate(shop, tmp_path):
    with pytest.raises(NoReleaseError, match="nothing to try a candidate beside"):
        train_embeddings(shop_of(shop, str(tmp_path / "new")), at(5), candidate=True)


@pytest.mark.parametrize("forced", [False, True])
def test_a_hold_stops_them_and_names_what_is_live(config, store, forced):
    live = store.live()
    assert hold(store, at(5, 7), ANN).embeddings == live.embeddings
    assert hold(store, at(5, 7)).embeddings == live.embeddings
    assert store.entry(3).embeddings == live.embeddings
    read = []
    result = train_embeddings(config, at(6), force=forced, on_event=lambda name, **_: read.append(name))
    assert (result.status, result.release, result.embeddings) == ("refused", 2, live.embeddings)
    assert result.reason.startswith("held since 2024-03-06T07:00:00Z by ann (entry 3): a try; lift it with")
    assert "samples.read" not in read
    assert [refusal.job for refusal in store.refusals()] == ["train-embeddings"]
    dropped = drop_items(store, ["0"], at(6))
    assert (dropped.status, dropped.release, dropped.reason[:10]) == ("refused", 2, "held since")
    assert train_embeddings(config, at(6), candidate=True).release == 4, "which is not held"
    release_hold(store, at(6))
    assert train_embeddings(config, at(6)).release == 6
    assert drop_items(store, ["0"], at(6), ANN).release == 7
    assert (store.live().user, store.live().reason) == ("ann", "a try; 1 items were to be deleted")
    assert verify(store).ok


def test_a_hold_or_a_promotion_made_while_vectors_are_trained_stands(config, store, meanwhile):
    meanwhile(lambda: hold(store, at(5, 8)))
    result = train_embeddings(config, at(6))
    assert (result.status, result.release, whole(store).number) == ("refused", 2, 2)
    assert "release-hold" in result.reason
    release_hold(store, at(5, 8))
    assert update_lr(config, at(5, 9), candidate=True).release == 5
    meanwhile(lambda: promote(store, None, at(5, 10)))
    result = train_embeddings(config, at(6))
    assert (result.status, result.reason) == ("superseded", "release 6 promoted a candidate meanwhile")


def test_what_old_readers_would_mistake_is_of_format_2(config, store):
    """Embeddings are one reason, what stands is another; a release without either is as it was."""
    hold(store, at(5, 2))
    release_hold(store, at(5, 2))
    rollback(store, 1, at(5, 3))
    hold(store, at(5, 4))
    release_hold(store, at(5, 5))
    rollback(store, 1, at(5, 5))
    assert update_lr(config, at(5, 9)).status == "published"
    assert [format_of(store, number) for number in range(1, 9)] == [1, 2, 2, 2, 1, 2, 2, 1]
    assert [entry.embeddings is None for entry in store.entries()] == [True, False, False, False, *[True] * 4]


def test_guards_measure_them_for_the_result_and_the_log(config, store):
    strict = with_guard(config, cosine=1.0)
    result = train_embeddings(strict, at(6), by=ANN)
    assert result.status == "refused"
    assert {*result.guards} == {"min_samples", "vectors", "cosine"}
    assert result.guards["cosine"] == {"value": result.metrics["cosine"], "low": 1.0, "objects": True}
    assert result.guards["vectors"] == {"value": result.metrics["known"], "low": 0.3, "objects": False}
    forced = train_embeddings(strict, at(6), by=ANN, force=True)
    entry = store.live()
    assert (forced.status, entry.forced, entry.metrics["guards"]) == ("published", True, forced.guards)
    assert entry.reason == f"a try; {result.reason}"
    tried = train_embeddings(strict, at(6, 1), candidate=True)
    assert (tried.status, tried.release) == ("refused", 3), "candidates are judged as any other"


def test_commands(config, store, tmp_path, capsys):
    path, told = tmp_path / "shop.toml", tmp_path / "job.prom"
    path.write_text(toml(config))
    argv = ["train-embeddings", "-c", str(path), "-q", "--reason", "anew", "--metrics", str(told)]
    assert main([*argv, "--as-of", "2024-03-06T02:00", "--candidate"]) == 0
    assert "published release 3 as the candidate" in capsys.readouterr().out
    assert 'command="train-embeddings",track="candidate",guard="vectors"' in told.read_text()
    assert (store.candidate().reason, bool(store.candidate().user)) == ("anew", True)
    assert main(["status", "-c", str(path), "--as-of", "2024-03-06T03:00"]) == 0
    assert capsys.readouterr().out.count("\nembeddings  2024") == 2
    assert main(["hold", "-c", str(path), "--reason", "storm", "-q"]) == 0
    assert main([*argv, "--as-of", "2024-03-07"]) == 4
    assert "gbdtlr_job_outcome{store" in told.read_text()
    assert ": storm; lift it with gbdtlr release-hold" in capsys.readouterr().err
    assert main(["releases", "-c", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "embeddings" in lines[0]
    assert len({store.live().embeddings[-8:], store.candidate().embeddings[-8:]}) == 2
    assert store.live().embeddings[-8:] not in lines[-1], "a hold brings none"
