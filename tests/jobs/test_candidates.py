"""Candidates and holds: what is tried beside the live release, what a person decides, and what jobs may not undo."""

from __future__ import annotations

import dataclasses
import json
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from jobs_kit import at, config_of, quality_then, whole

from gbdtlr.errors import ConfigError, NoReleaseError
from gbdtlr.inspect.diff import diff
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.by import By
from gbdtlr.jobs.learn import learn
from gbdtlr.operate.hold import hold, release_hold, withdraw
from gbdtlr.operate.releases import releases
from gbdtlr.operate.rollback import promote, rollback
from gbdtlr.operate.status import status
from gbdtlr.operate.verify import verify
from gbdtlr.release import Release
from gbdtlr.release.timeline import Timeline
from gbdtlr.report import store_page
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store
from gbdtlr.times import to_us

ANN = By("ann", "host-a", "a try")


@pytest.fixture(scope="module")
def before(stream, tmp_path_factory):
    """A store with trees of day 5, a candidate of other trees, and an update of each."""
    folder = tmp_path_factory.mktemp("tried") / "store"
    config = config_of(stream, str(folder))
    assert train_trees(config, at(5)).status == "published"
    assert train_trees(config, at(5, 1), candidate=True, by=ANN).status == "published"
    assert update_lr(config, at(5, 3)).status == "published"
    assert update_lr(config, at(5, 6), candidate=True).status == "published"
    return folder


@pytest.fixture
def config(before, stream, tmp_path):
    return config_of(stream, str(shutil.copytree(before, tmp_path / "store")))


@pytest.fixture
def store(config):
    return Store.open(config.store)


def kinds(store):
    return [(entry.number, entry.kind, entry.why) for entry in store.entries()]


def test_what_is_tried_leaves_what_is_live(store):
    assert kinds(store) == [
        (1, "release", "train-trees"),
        (2, "candidate", "train-trees"),
        (3, "release", "update-lr"),
        (4, "candidate", "update-lr"),
    ]
    live, tried = store.live(), store.candidate()
    assert (live.number, live.trees, live.base) == (3, store.entry(1).trees, 1)
    assert (tried.number, tried.trees, tried.base) == (4, store.entry(2).trees, 2)
    assert live.trees != tried.trees
    found = status(store, at(5, 9))
    assert (found["release"], found["head_age_s"], found["held"]) == (3, 6 * 3600, None)
    assert (found["candidate"]["release"], found["candidate"]["head_age_s"]) == (4, 3 * 3600)
    assert (found["candidate"]["trees_age_s"], found["trees_age_s"]) == (8 * 3600, 9 * 3600)
    assert found["candidate"]["progressive"] == {**tried.metrics["progressive"], "release": 4}
    assert verify(store).ok
    assert "release 3" in store_page(store)
    assert (diff(store)["a"], diff(store)["b"], diff(store, None, 4)["a"]) == (1, 3, 3)


def test_a_candidate_is_judged_by_what_it_gave_in_the_shadow(config, store):
    """Its progressive quality is that of the candidate of then, on rows that the live release served."""
    since, until = at(5, 1), at(5, 6)
    rows = [entry.metrics["progressive"]["rows"] for entry in (store.entry(3), store.entry(4))]
    assert all(rows)
    shadow, served = (Timeline(store, entry) for entry in (store.candidate(), store.live()))
    for hours, tried, live in ((0.5, 1, 1), (1, 2, 1), (3.5, 2, 3), (7, 4, 3)):
        moment = to_us(at(5, hours))
        assert (shadow.at(moment).number, served.at(moment).number) == (tried, live)
    assert [entry.number for entry in shadow.between(to_us(since), to_us(until), 8)] == [2, 4]
    assert [entry.number for entry in served.between(to_us(since), to_us(until), 8)] == [1, 3]
    measured = store.entry(3).metrics["progressive"]
    alone = config.replace(store=str(shutil.copytree(config.store, config.store + "-live")))
    root = Store.open(alone.store).backend.root
    for number in (4, 3, 2):
        (root / f"releases/{number:08d}.json").unlink()
    assert quality_then(alone, at(5), at(5, 3)).as_dict()["log_loss"] == pytest.approx(measured["log_loss"], rel=1e-12)


def test_a_scorer_in_the_shadow(config, store):
    live, shadow = Scorer.open(store), Scorer.open(store, "candidate")
    assert (live.release, shadow.release) == (3, 4)
    assert (live.health()["candidate"], live.health()["held"], live.health()["pinned"]) == (4, None, False)
    rows = pa.table({"x": [0.5, -2.0], "y": [1.0, 0.1], "c": ["red", "blue"], "id": [1, 2], "u": [3, 4]})
    expected = Release.load(store, store.entry(4)).model.margin(rows)
    np.testing.assert_array_equal(shadow.margin(rows), expected)
    assert shadow.score_row_with_release(rows.to_pylist()[0]).release == 4
    assert not shadow.refresh()
    assert update_lr(config, at(5, 9), candidate=True).release == 5
    assert (live.refresh(), live.release, live.health()["candidate"]) == (False, 3, 5)
    assert (shadow.refresh(), shadow.release) == (True, 5)
    assert promote(store, None, at(5, 10)).release == 6
    assert (live.refresh(), live.release, live.health()["candidate"]) == (True, 6, None)
    assert (shadow.refresh(), shadow.release, shadow.health()["failures"]) == (False, 5, 1)
    assert "no candidate stands" in shadow.health()["error"]
    with pytest.raises(NoReleaseError, match=r"no candidate stands in .*--candidate"):
        Scorer.open(store, "candidate")
    with pytest.raises(ConfigError, match="number or 'candidate', not 'newest'"):
        Scorer.open(store, "newest")


def test_a_promotion_makes_the_candidate_live_and_can_be_undone(config, store):
    tried = store.candidate()
    result = promote(store, None, at(5, 7), By("ben", "host-b", "better"))
    assert (result.status, result.release, result.trees, result.head) == ("published", 5, tried.trees, tried.head)
    live = whole(store)
    assert (live.promoted, live.base, live.why, live.reason) == (4, 3, "promote", "better")
    assert (live.user, live.host) == ("ben", "host-b")
    assert store.candidate() is None
    assert update_lr(config, at(5, 9)).trees == tried.trees
    assert promote(store, 4, at(5, 10)).status == "published", "an earlier one, by its number"
    assert promote(store, 4, at(5, 10)).status == "unchanged"
    with pytest.raises(NoReleaseError, match="no candidate stands"):
        promote(store, None, at(5, 10))
    assert rollback(store, 3, at(5, 11)).trees == store.entry(1).trees
    assert whole(store).number == 8


def test_what_is_no_release_is_not_gone_back_to(store):
    hold(store, at(5, 7))
    with pytest.raises(NoReleaseError, match="release 2 was never live; gbdtlr promote 2 makes it live"):
        rollback(store, 2, at(5, 8))
    with pytest.raises(NoReleaseError, match="entry 5 is a hold, no release"):
        rollback(store, 5, at(5, 8))
    for number in (3, 5):
        with pytest.raises(NoReleaseError, match=f"release {number} is no candidate"):
            promote(store, number, at(5, 8))
    assert store.newest() == 5
    assert rollback(store, None, at(5, 8)).release == 6
    assert store.live().rolled_back_to == 1, "past the candidates"


@pytest.mark.parametrize("forced", [False, True])
def test_while_a_hold_stands_no_job_goes_live(config, store, forced):
    assert hold(store, at(5, 7), By("ann", "host-a", "clicks are missing")).status == "held"
    assert hold(store, at(5, 7)).status == "unchanged"
    told = "held since 2024-03-06T07:00:00Z by ann (entry 5): clicks are missing; lift it with gbdtlr release-hold"
    read = []
    for job in (update_lr, train_trees):
        result = job(config, at(5, 9), force=forced, on_event=lambda name, **_: read.append(name))
        assert (result.status, result.release) == ("refused", 3)
        assert result.reason.startswith(told)
    assert "samples.read" not in read, "nothing is trained that may not go live"
    assert [refusal.job for refusal in store.refusals()] == ["train-trees", "update-lr"]
    assert store.live().number == 3
    assert status(store, at(5, 9))["held"]["user"] == "ann"
    assert update_lr(config, at(5, 9), candidate=True).release == 6
    assert promote(store, None, at(5, 9)).release == 7, "a person may"
    assert update_lr(config, at(5, 12)).status == "refused", "and the hold still stands"
    assert rollback(store, 3, at(5, 12)).release == 8
    assert update_lr(config, at(5, 12)).status == "refused"
    assert release_hold(store, at(5, 13), ANN).status == "lifted"
    assert release_hold(store, at(5, 13)).status == "unchanged"
    assert update_lr(config, at(5, 13)).release == 10
    assert kinds(store)[4:] == [
        (5, "hold", "hold"),
        (6, "candidate", "update-lr"),
        (7, "release", "promote"),
        (8, "release", "rollback"),
        (9, "lift", "release-hold"),
        (10, "release", "update-lr"),
    ]
    assert verify(store).ok


@pytest.mark.parametrize("job", [update_lr, train_trees])
def test_a_hold_made_while_a_job_runs_keeps_what_it_made_from_going_live(config, store, meanwhile, job):
    meanwhile(job, lambda: hold(store, at(5, 8)))
    result = job(config, at(5, 9))
    assert (result.status, result.release) == ("refused", 3)
    assert "release-hold" in result.reason
    assert whole(store).number == 3
    assert store.newest() == 5


@pytest.mark.parametrize("job", [update_lr, train_trees])
def test_a_promotion_made_while_a_job_runs_is_not_undone(config, store, meanwhile, job):
    meanwhile(job, lambda: promote(store, None, at(5, 8)))
    result = job(config, at(5, 9))
    assert (result.status, result.reason) == ("superseded", "release 5 promoted a candidate meanwhile")
    assert whole(store).promoted == 4


@pytest.mark.parametrize("job", [update_lr, train_trees])
def test_candidates_that_come_while_a_job_runs_do_not_keep_it(config, store, meanwhile, job):
    meanwhile(job, lambda: update_lr(config, at(5, 12), candidate=True))
    result = job(config, at(5, 9))
    assert (result.status, result.release, result.candidate) == ("published", 6, False)
    assert (whole(store).candidate, store.candidate().number) == (5, 5)


def test_what_overtakes_a_candidate_in_the_making(config, store, meanwhile):
    meanwhile(update_lr, lambda: update_lr(config, at(5, 9)))
    assert update_lr(config, at(5, 8), candidate=True).release == 6, "what goes live does not"
    meanwhile(update_lr, lambda: update_lr(config, at(5, 12), candidate=True))
    result = update_lr(config, at(5, 10), candidate=True)
    assert (result.status, result.release, result.reason) == ("superseded", 7, "release 7 knows as much meanwhile")
    meanwhile(update_lr, lambda: withdraw(store, at(5, 13)))
    result = update_lr(config, at(5, 13), candidate=True)
    assert (result.status, result.reason) == ("superseded", "entry 8 withdrew the candidate meanwhile")
    assert (store.candidate(), result.release, result.candidate) == (None, 5, False)


def test_without_a_candidate_the_next_is_built_on_what_is_live(config, store):
    assert withdraw(store, at(5, 7)).status == "withdrawn"
    with pytest.raises(NoReleaseError, match="no candidate stands"):
        withdraw(store, at(5, 7))
    result = update_lr(config, at(5, 9), candidate=True)
    assert (result.trees, result.candidate, store.entry(6).base) == (store.live().trees, True, 3)
    assert store.entry(6).metrics["progressive"]["rows"]
    assert status(store, at(5, 9))["candidate"]["progressive"] is None, "that was what is live"
    assert update_lr(config, at(5, 9), candidate=True).status == "unchanged"
    assert rollback(store, 1, at(5, 10)).release == 7
    assert update_lr(config, at(5, 12), candidate=True).release == 8, "what was decided before it began is no hindrance"
    again = train_trees(config, at(5, 9), candidate=True)
    assert (again.status, again.release) == ("published", 9)
    assert train_trees(config, at(5, 9), candidate=True).release == 10, "of the same moment, as with other settings"


def test_a_first_release_is_no_candidate(stream, tmp_path):
    config = config_of(stream, str(tmp_path / "new"))
    for job in (train_trees, update_lr):
        with pytest.raises(NoReleaseError, match="run first"):
            job(config, at(5), candidate=True)
    for decide in (hold, release_hold, withdraw):
        with pytest.raises(NoReleaseError, match="nothing is published"):
            decide(config.store, at(5))
    assert Store.open(config.store).newest() == 0


def test_who_ran_a_job_and_why_stands_in_its_entry_and_nowhere_else(stream, tmp_path):
    """Trees and heads are the same bytes under the same names, whoever made them."""
    made = []
    for by in (By(), By("ann", "host-a", "first"), By("ben", "host-b", "second")):
        config = config_of(stream, str(tmp_path / "store"))  # which manifests say
        for job, hours in ((train_trees, 0), (update_lr, 3)):
            assert job(config, at(5, hours), by=by).status == "published"
        store = Store.open(config.store)
        for entry in store.entries():
            assert (entry.user, entry.host, entry.reason, entry.forced) == (by.user, by.host, by.reason, False)
        versions = store.list_versions()
        made.append((versions, [store.read_version(v.kind, v.name, v.under).files for v in versions]))
        shutil.move(config.store, tmp_path / f"by-{by.user}")
    assert made[0] == made[1] == made[2]


def test_the_words_of_who_ran_it_come_before_what_was_overruled(config, store):
    strict = config.replace(guard=dataclasses.replace(config.guard, min_samples=10**6))
    assert update_lr(strict, at(5, 9), force=True, by=By("ann", "h", "we know")).status == "published"
    entry = store.live()
    assert entry.forced
    assert entry.reason.startswith("we know; only ")


def test_a_stream_goes_on_learning_while_a_hold_stands(stream, tmp_path):
    config = config_of(stream, str(tmp_path / "store"), method="ftrl")
    assert train_trees(config, at(5)).status == "published"
    hold(config.store, at(5))
    now = [at(5, 1)]
    rng = np.random.default_rng(7)
    rows = [
        {"x": x, "y": rng.exponential(), "c": str(rng.choice(["red", "green"])), "id": i % 50, "u": 9000 + i,
         "label": int(rng.random() < 1 / (1 + np.exp(1.0 - 1.5 * x)))}
        for i, x in enumerate(rng.normal(size=120).tolist())
    ]  # fmt: skip
    loose = config.replace(guard=dataclasses.replace(config.guard, min_samples=1, worse=100.0, calibration=(0, 1e9)))

    def pieces():
        yield [json.dumps(row) for row in rows]
        now[0] = at(5, 2)
        yield []  # due, and held
        release_hold(config.store, at(5, 2))
        now[0] = at(5, 3)
        yield []

    told = []
    result = learn(
        loose, pieces(), lambda: now[0], publish_every=timedelta(minutes=30), by=ANN,
        on_event=lambda name, **fields: told.append((name, fields.get("reason", ""))),
    )  # fmt: skip
    assert [reason[:10] for name, reason in told if name == "release.refused"] == ["held since"]
    assert (result.status, result.samples, result.metrics["unpublished"]) == ("published", 120, 0)
    live = Store.open(config.store).live()
    assert (live.why, live.reason, live.user) == ("learn", "a try", "ann")


def test_the_log_tells_all_of_it_and_prune_keeps_what_is_tried(store):
    hold(store, at(5, 7))
    found = releases(store)
    assert [(each["release"], each["kind"], each["pruned"]) for each in found] == [
        (1, "release", False), (2, "candidate", False), (3, "release", False), (4, "candidate", False),
        (5, "hold", False),
    ]  # fmt: skip
    assert releases(store, 2) == found[-2:]
    assert (found[1]["user"], found[1]["host"], found[1]["reason"]) == ("ann", "host-a", "a try")
    store.prune(1, timedelta(), datetime(2099, 1, 1, tzinfo=UTC))
    assert [each["pruned"] for each in releases(store)] == [True, True, False, False, False]
    assert whole_pair(store, 3)
    assert whole_pair(store, 4)
    assert verify(store).ok


def whole_pair(store, number):
    return Release.load(store, store.entry(number)).trees.n_trees == 5
