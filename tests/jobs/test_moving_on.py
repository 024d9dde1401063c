"""Heads whose ids the first version hashed: they go on as they are, and the next full fit moves on under all guards."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs_kit import at, config_of, quality_then, with_guard, write_stream
from methods_kit import HOUR, NON_REFIT, START, config, rows, write_log

from gbdtlr.codec.npz import from_npz, to_npz
from gbdtlr.config import Config
from gbdtlr.errors import DamagedError
from gbdtlr.head import Candidates, WideColumns
from gbdtlr.inspect.diff import diff
from gbdtlr.inspect.rows import window_samples
from gbdtlr.jobs import JobResult, train_trees, update_lr
from gbdtlr.jobs.learn import learn
from gbdtlr.metrics import sigmoid
from gbdtlr.release import Release
from gbdtlr.samples import read
from gbdtlr.store import Store
from gbdtlr.values.hashing import BLAKE2B, CURRENT

NOW = START + 50 * HOUR


@contextlib.contextmanager
def first_version() -> Iterator[None]:
    """As long as this lasts, heads are made as the first version made them, so far as ids are concerned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WideColumns.__init__, "__defaults__", (BLAKE2B,))
        yield


def live(c: Config) -> Release:
    store = Store.open(c.store)
    entry = store.live()
    assert entry is not None
    return Release.load(store, entry)


def hash_of_live(c: Config) -> str:
    return live(c).head.wide.hash


def files_of(c: Config) -> dict[str, bytes]:
    store = Store.open(c.store)
    entry = store.live()
    assert entry is not None
    return dict(store.read_version("heads", entry.head, under=entry.trees).files)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clicks")
    write_log(folder / "log", 80, per_hour=120)
    return folder


def begun(log: Path, method: str, name: str, **head: Any) -> Config:
    """A store of the first version: trees, and an update on them."""
    c = config(log, method, store=f"{name}-{method}", **head)
    with first_version():
        assert train_trees(c, NOW).status == "published"
        assert update_lr(c, NOW + 6 * HOUR).status == "published"
    assert hash_of_live(c) == BLAKE2B
    return c


def published(result: JobResult) -> JobResult:
    assert (result.status, result.reason) == ("published", "")
    return result


def test_a_refit_moves_on_and_is_blended_and_judged_by_what_the_live_head_said(log: Path) -> None:
    c, twin = begun(log, "refit", "moves"), begun(log, "refit", "stays")
    base, moment = live(c), NOW + 12 * HOUR
    result = published(update_lr(c, moment))
    with first_version():
        published(update_lr(twin, moment))
    assert (hash_of_live(c), hash_of_live(twin)) == (CURRENT, BLAKE2B)
    fresh = read(c.samples, moment - c.head.window, moment, moment, known_after=base.head_as_of)
    expected = quality_then(c, base.head_as_of, moment)
    assert result.metrics["progressive"] == pytest.approx(expected.as_dict())
    assert files_of(c)["record.json"] == files_of(twin)["record.json"]
    moved, stayed = live(c), live(twin)
    assert moved.model.margin(fresh.table) == pytest.approx(stayed.model.margin(fresh.table), abs=0.05)
    published(update_lr(c, moment + 6 * HOUR))


@pytest.mark.parametrize("method", NON_REFIT)
def test_other_methods_go_on_with_their_own_hash_until_the_next_full_fit(log: Path, method: str) -> None:
    c, twin = begun(log, method, "moves", full_every="12h"), begun(log, method, "stays", full_every="12h")
    for hours in (8, 10):
        published(update_lr(c, NOW + hours * HOUR))
        with first_version():
            published(update_lr(twin, NOW + hours * HOUR))
        found, expected = files_of(c), files_of(twin)
        assert hash_of_live(c) == BLAKE2B
        assert {name: found[name] == data for name, data in expected.items()} == dict.fromkeys(expected, True)
    published(update_lr(c, NOW + 13 * HOUR))  # all of the window: full_every has passed
    assert hash_of_live(c) == CURRENT
    published(update_lr(c, NOW + 14 * HOUR))
    assert hash_of_live(c) == CURRENT


@pytest.mark.parametrize("method", ["refit", *NON_REFIT])
def test_new_trees_move_on(log: Path, method: str) -> None:
    c, moment = begun(log, method, "trees"), NOW + 12 * HOUR
    base = live(c)
    result = published(train_trees(c, moment))
    assert hash_of_live(c) == CURRENT
    expected = quality_then(c, base.head_as_of, moment)
    assert result.metrics["progressive"] == pytest.approx(expected.as_dict())
    published(update_lr(c, moment + HOUR))


def test_a_stream_goes_on_with_its_own_hash(log: Path) -> None:
    c, twin = begun(log, "ftrl", "stream"), begun(log, "ftrl", "stream-stays")
    now = NOW + 7 * HOUR
    table = rows(50, now, HOUR, 3)
    lines = [json.dumps(row, default=str) for row in table.drop(["at", "known_at"]).to_pylist()]
    learn(c, [lines], lambda: now, publish_every=timedelta(minutes=1))
    with first_version():
        learn(twin, [lines], lambda: now, publish_every=timedelta(minutes=1))
    assert hash_of_live(c) == BLAKE2B
    assert files_of(c) == files_of(twin)


@pytest.mark.parametrize("job", [update_lr, train_trees])
def test_a_head_worse_than_the_live_one_is_refused_though_it_is_no_worse_than_the_bare_trees(
    log: Path, monkeypatch: pytest.MonkeyPatch, job: Any
) -> None:
    c = begun(log, "refit", f"worse-{job.__name__}")
    c = with_guard(c, worse=0.01)
    if job is train_trees:  # that know next to nothing
        c = c.replace(trees=dataclasses.replace(c.trees, params={"num_iterations": 1, "learning_rate": 1e-6}))

    def unmoved(*arguments: Any) -> Candidates:
        return Candidates.bare(arguments[2], arguments[1])

    monkeypatch.setattr("gbdtlr.jobs.methods.refit.fit_candidates", unmoved)
    result = job(c, NOW + 20 * HOUR)
    assert result.status == "refused"
    assert "worse than the live" in result.reason
    assert hash_of_live(c) == BLAKE2B


class TestColumns:
    """What a wide column held is compared with what it held before, bucket by bucket, across the move."""

    @staticmethod
    def begun(folder: Path, fault: Any, since: Any) -> Config:
        write_stream(folder, fault, since)
        c = with_guard(config_of(folder), calibration=(0.01, 100.0))
        with first_version():
            published(train_trees(c, at(5)))
            published(update_lr(c, at(5, 6)))
        return c

    @staticmethod
    def constant(columns: dict[str, Any], _: np.random.Generator) -> dict[str, Any]:
        return {**columns, "id": np.full(len(columns["id"]), 7)}

    def test_one_that_was_always_the_same_is_no_reason_to_refuse(self, tmp_path: Path) -> None:
        c = self.begun(tmp_path, self.constant, at(0))
        for hours in (12, 18):
            published(update_lr(c, at(5, hours)))
        published(train_trees(c, at(6)))

    @pytest.mark.parametrize("job", [update_lr, train_trees])
    def test_one_that_becomes_the_same_is(self, tmp_path: Path, job: Any) -> None:
        c = self.begun(tmp_path, self.constant, at(5, 5))  # whose labels become known an hour later
        result = job(c, at(5, 14))
        assert result.status == "refused"
        assert "column wide id is one id in all of" in result.reason

    def test_one_that_becomes_the_same_after_the_move_is_too(self, tmp_path: Path) -> None:
        c = self.begun(tmp_path, self.constant, at(5, 11))
        published(update_lr(c, at(5, 12)))
        assert hash_of_live(c) == CURRENT
        result = update_lr(c, at(5, 20))
        assert result.status == "refused"
        assert "column wide id is one id in all of" in result.reason


def test_an_online_head_of_another_hash_than_its_weights_is_damaged(log: Path) -> None:
    c = begun(log, "ftrl", "mixed")
    release = live(c)
    arrays = from_npz(release.learned["online.npz"])
    other = {**arrays, **WideColumns(release.head.wide.names, release.head.wide.n_buckets).to_arrays()}
    mixed = dataclasses.replace(release, learned={"online.npz": to_npz(other)})
    with pytest.raises(DamagedError, match="other wide columns"):
        mixed.online()


def test_what_moved_is_told_across_the_move(log: Path) -> None:
    c = begun(log, "refit", "diff")
    old = live(c)
    published(update_lr(c, NOW + 12 * HOUR))
    new = live(c)
    found = diff(Store.open(c.store), top=100)
    samples = window_samples(new)
    assert samples is not None
    assert found["probability_a"] == pytest.approx(
        np.average(sigmoid(old.model.margin(samples.table)), weights=samples.weight)
    )
    moves = {move["what"]: move for move in found["moves"] if move["kind"] == "id"}
    assert len(moves) == 5
    for shop in range(5):
        before, after = (
            each.head.add_row_wide(each.head.wide.row_buckets({"shop": f"s{shop}"}), 0.0) for each in (old, new)
        )
        move = moves[f"shop is s{shop}"]
        assert (move["before"], move["after"]) == pytest.approx((before, after))
