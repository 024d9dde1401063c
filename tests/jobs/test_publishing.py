"""Who wins when jobs overlap: each is made to run in the middle of another, between its fit and its publication."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import timedelta

import pytest
from jobs_kit import at, config_of, whole

from gbdtlr.errors import ConfigError, DamagedError, MismatchError, NoReleaseError, StoreUnavailable
from gbdtlr.head import Head
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.operate.releases import releases
from gbdtlr.operate.rollback import rollback
from gbdtlr.operate.status import status
from gbdtlr.operate.verify import verify
from gbdtlr.release import Release
from gbdtlr.store import Store


@pytest.fixture(scope="module")
def before(stream, tmp_path_factory):
    """A store with trees of day 5 and two updates on them."""
    folder = tmp_path_factory.mktemp("before") / "store"
    config = config_of(stream, str(folder))
    for job, hours in ((train_trees, 0), (update_lr, 3), (update_lr, 6)):
        assert job(config, at(5, hours)).status == "published"
    return folder


@pytest.fixture
def config(before, stream, tmp_path):
    return config_of(stream, str(shutil.copytree(before, tmp_path / "store")))


@pytest.fixture
def store(config):
    return Store.open(config.store)


def test_an_update_is_superseded_by_newer_trees(config, store, meanwhile):
    meanwhile(update_lr, lambda: train_trees(config, at(5, 7)))
    result = update_lr(config, at(5, 9))
    assert (result.status, result.release) == ("superseded", 4)
    assert result.reason == "release 4 brought newer trees meanwhile"
    live = whole(store)
    assert (live.number, live.why) == (4, "train-trees")
    assert update_lr(config, at(5, 9)).status == "published"
    assert whole(store).trees == live.trees


def test_a_rollback_during_an_update_is_not_undone(config, store, meanwhile):
    meanwhile(update_lr, lambda: rollback(store, 1, at(5, 8)))
    result = update_lr(config, at(5, 9))
    assert (result.status, result.reason) == ("superseded", "release 4 rolled back meanwhile")
    live = whole(store)
    assert (live.number, live.rolled_back_to, live.head) == (4, 1, store.entry(1).head)


def test_a_rollback_during_a_training_is_not_undone(config, store, meanwhile):
    meanwhile(train_trees, lambda: rollback(store, 1, at(5, 8)))
    result = train_trees(config, at(5, 9))
    assert (result.status, result.reason) == ("superseded", "release 4 rolled back meanwhile")
    live = whole(store)
    assert (live.number, live.trees, live.head) == (4, store.entry(1).trees, store.entry(1).head)
    assert train_trees(config, at(5, 9)).status == "published", "one that begins after it may"


def test_a_rollback_and_an_update_during_a_training(config, store, meanwhile):
    def others():
        assert rollback(store, 2, at(5, 8)).status == "published"
        assert update_lr(config, at(5, 8)).status == "published"

    meanwhile(train_trees, others)
    assert train_trees(config, at(5, 9)).status == "superseded"
    assert (whole(store).why, whole(store).number) == ("update-lr", 5)


def test_each_rollback_goes_one_step_further_back(config, store):
    """Past what was rolled back before, and not to it."""
    assert [rollback(store, None, at(5, hours)).status for hours in (7, 8)] == ["published"] * 2
    assert [(entry.rolled_back_to, entry.head) for entry in store.entries(2)] == [
        (2, store.entry(2).head),
        (1, store.entry(1).head),
    ]
    with pytest.raises(NoReleaseError, match="nothing to go back to"):
        rollback(store, None, at(5, 9))
    assert update_lr(config, at(5, 9)).status == "published"
    assert rollback(store, None, at(5, 10)).release == 7
    assert store.entry(7).rolled_back_to == 5, "what the update was built on"
    assert whole(store).head == store.entry(1).head


def test_of_two_rollbacks_at_once_one_is_made(config, store, monkeypatch):
    """Two operators mean the same release, and do not go back two."""
    append = Store.append

    def second(self, entry, number):
        monkeypatch.setattr(Store, "append", append)
        assert rollback(config.store, None, at(5, 7)).release == 4
        return append(self, entry, number)

    monkeypatch.setattr(Store, "append", second)
    result = rollback(store, None, at(5, 7))
    assert (result.status, result.release) == ("unchanged", 4)
    assert whole(store).rolled_back_to == 2


def test_a_rollback_is_the_cure_for_a_damaged_newest_entry(config, store):
    (store.backend.root / "releases/00000003.json").write_bytes(b"rot")
    for job in (update_lr, train_trees):
        with pytest.raises(DamagedError, match=r"00000003.json is damaged.*: gbdtlr rollback N"):
            job(config, at(5, 9))
    with pytest.raises(DamagedError, match=r"00000003\.json is damaged"):
        rollback(store, None, at(5, 9))
    assert [(entry["release"], entry["why"]) for entry in releases(store)][2] == (3, "damaged")
    with pytest.raises(DamagedError, match=r"00000003\.json is damaged"):
        rollback(store, 3, at(5, 9))
    assert rollback(store, 2, at(5, 9)).release == 4
    assert store.live().base == 3
    assert status(store, at(5, 9))["progressive"]["release"] == 2
    assert update_lr(config, at(5, 9)).release == 5
    assert train_trees(config, at(5, 10)).release == 6
    assert rollback(store, None, at(5, 11)).release == 7
    bad = [finding for finding in verify(store).findings if not finding.ok]
    assert [finding.what for finding in bad] == ["releases/00000003.json"]


def test_an_update_after_a_rollback_builds_on_what_was_brought_back(config, store):
    assert train_trees(config, at(5, 7)).status == "published"
    assert rollback(store, 2, at(5, 8)).status == "published"
    result = update_lr(config, at(5, 9))
    assert (result.status, result.trees) == ("published", store.entry(2).trees)
    assert whole(store).base == 5


@pytest.mark.parametrize("later", [timedelta(hours=3), timedelta(microseconds=1), timedelta()])
def test_of_two_updates_the_one_that_knows_more_wins(config, store, meanwhile, later):
    meanwhile(update_lr, lambda: update_lr(config, at(5, 9) + later))
    result = update_lr(config, at(5, 9))
    assert (result.status, result.reason) == ("superseded", "release 4 knows as much meanwhile")
    assert whole(store).as_of == at(5, 9) + later


@pytest.mark.parametrize("earlier", [timedelta(hours=1), timedelta(microseconds=1)])
def test_an_update_that_knows_less_was_only_quicker(config, store, meanwhile, earlier):
    meanwhile(update_lr, lambda: update_lr(config, at(5, 9) - earlier))
    result = update_lr(config, at(5, 9))
    assert (result.status, result.release) == ("published", 5)
    live = whole(store)
    assert [entry.as_of for entry in store.entries(2)] == [at(5, 9) - earlier, at(5, 9)]
    assert (live.base, store.entry(4).base) == (3, 3)


@pytest.mark.parametrize("job", [update_lr, train_trees])
def test_what_no_reader_would_take_is_not_published(config, store, monkeypatch, job):
    """Whatever goes wrong between the head in memory and its bytes."""
    to_bytes = Head.to_bytes
    monkeypatch.setattr(Head, "to_bytes", lambda self: to_bytes(Head(self.layout, self.weights + 1e-6)))
    with pytest.raises(MismatchError, match=r"golden row \d has margin"):
        job(config, at(5, 9))
    assert whole(store).number == 3


def test_nothing_new_is_no_release(config, store):
    result = update_lr(config, at(5, 6))
    assert result.status == "unchanged"
    assert update_lr(config, at(5, 6) + timedelta(minutes=1)).status == "unchanged"
    assert whole(store).number == 3


def test_new_trees_know_what_updates_learned_meanwhile(config, store, meanwhile):
    meanwhile(train_trees, lambda: update_lr(config, at(5, 12)))
    result = train_trees(config, at(5, 9))
    assert (result.status, result.release) == ("published", 5)
    live = whole(store)
    release = Release.load(store, live)
    assert (release.trees_as_of, release.head_as_of, live.as_of) == (at(5, 9), at(5, 12), at(5, 12))
    assert live.base == 4
    assert update_lr(config, at(5, 12)).status == "unchanged"


def test_of_two_trainings_the_newer_stays(config, store, meanwhile):
    meanwhile(train_trees, lambda: train_trees(config, at(5, 10)))
    result = train_trees(config, at(5, 9))
    assert (result.status, result.reason) == ("superseded", "release 4 has trees as new as these")
    assert Release.load(store, whole(store)).trees_as_of == at(5, 10)
    assert train_trees(config, at(5, 9)).status == "superseded"
    assert train_trees(config, at(5, 10)).status == "superseded"


def test_trees_of_one_second_are_told_apart(config, store):
    moment = at(5, 9)
    assert train_trees(config, moment).status == "published"
    assert train_trees(config, moment + timedelta(microseconds=1)).status == "published"
    assert whole(store).number == 5


def test_new_trees_are_the_cure_for_a_damaged_release(config, store):
    live = store.live()
    (head,) = store.backend.root.glob(f"heads/*/{live.head}/head.npz")
    head.write_bytes(b"rot")
    with pytest.raises(Exception, match=r"release 3 cannot be used: .*head.npz is damaged"):
        update_lr(config, at(5, 9))
    told = []
    assert train_trees(config, at(5, 9), on_event=lambda name, **_: told.append(name)).status == "published"
    assert "release.unusable" in told
    assert Release.load(store, store.live()).trees_as_of == at(5, 9)
    assert update_lr(config, at(5, 12)).status == "published"


def test_a_store_that_does_not_answer_is_not_taken_for_a_damaged_one(config, store, monkeypatch):
    def down(*_):
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(Store, "read_version", down)
    for job in (train_trees, update_lr):
        with pytest.raises(StoreUnavailable, match="no answer"):
            job(config, at(5, 9))
    monkeypatch.undo()
    assert whole(store).number == 3


def test_every_release_says_what_it_was_built_on(config, store):
    assert train_trees(config, at(5, 9)).status == "published"
    assert [(entry.why, entry.base) for entry in store.entries()] == [
        ("train-trees", None),
        ("update-lr", 1),
        ("update-lr", 2),
        ("train-trees", 3),
    ]


def test_a_config_without_a_column_of_the_live_trees_is_told_so(config, store):
    samples = dataclasses.replace(config.samples, numeric=("y",))
    with pytest.raises(ConfigError, match=r"release 3\) read x, which \[samples\] no longer lists.*train-trees"):
        update_lr(config.replace(samples=samples), at(5, 9))
    assert store.newest() == 3


def test_an_empty_store_is_not_called_whole(tmp_path):
    with pytest.raises(NoReleaseError, match="mistyped is empty; check its name"):
        verify(str(tmp_path / "mistyped"))
