"""Scores that nobody logged, worked out of the window: by the client, of vectors and margins that knew no more."""

from __future__ import annotations

import base64
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from likes_kit import HOUR, config_of, day, resplit, rows, write, write_all
from test_clients import client

from gbdtlr.cli.group import main
from gbdtlr.config import USER_SCORE, Config
from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.head import OnlineHead
from gbdtlr.inspect.diff import diff
from gbdtlr.inspect.rows import window_samples
from gbdtlr.jobs import train_embeddings, train_trees, update_lr
from gbdtlr.jobs.learn import learn
from gbdtlr.jobs.methods import rule_of
from gbdtlr.jobs.user_scores import UserScores, without_users
from gbdtlr.jobs.vectors_then import VectorsThen
from gbdtlr.metrics import log_loss_of
from gbdtlr.release import Release
from gbdtlr.samples import Samples, read, read_unfinal
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store
from gbdtlr.times import MOMENT, from_us
from gbdtlr.users import Rule, State, pack, quantised

FIRST, SECOND, NOW = day(2.0), day(2.5), day(3.0)


def live(config: Config) -> Release:
    release = Release.live(Store.open(config.store))
    assert release is not None
    return release


def begun(config: Config) -> Config:
    """A store with trees, and vectors made at two moments."""
    assert train_trees(config, FIRST).status == "published"
    for moment in (FIRST, SECOND):
        assert train_embeddings(config, moment, force=True).status == "published"
    return config


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write(folder)
    config = begun(config_of(folder))
    assert update_lr(config, NOW).status == "published"
    return folder


def scores_of(config: Config, start: Any = None, as_of: Any = NOW) -> UserScores:
    found = UserScores.of(config, live(config).slow, as_of, start or as_of - config.head.window)
    assert found is not None
    return found


def column(samples: Samples) -> np.ndarray[Any, np.dtype[np.float64]]:
    return samples.table.column(USER_SCORE).to_numpy()


def oracle(config: Config, start: Any) -> tuple[Samples, list[float | None]]:
    """The samples by time, and their scores: the client of each user, event by event, on margins of a head that has
    learned what was known then, and on the vectors that were made then."""
    release, client_ = live(config), client()
    samples = read(config.samples, start, NOW + MOMENT, NOW)
    wanted = UserScores.blank(config, VectorsThen.of(release.embeddings, start)).reading
    wide = read(wanted, start, NOW + MOMENT, NOW)
    model = without_users(config, release.slow)
    codes = model.encode(samples)
    margin = margins_one_by_one(config, model, codes)
    store = Store.open(config.store)
    newer, older = release.embeddings, Release.load(store, store.entry(2)).embeddings
    assert newer is not None
    assert older is not None
    assert older.as_of == FIRST
    out: list[float | None] = []
    table = wide.table
    users, items = table.column("u").to_pylist(), table.column("item").to_pylist()

    def vector(i: int) -> list[float] | None:
        made = newer if from_us(int(samples.event_us[i])) >= newer.as_of else older
        found = made.vectors.vector_of(items[i])
        if found is None:
            return None
        numbers, scale = quantised(found[None])
        return client_.vector(base64.b64encode(pack(numbers[0], float(scale[0]))).decode())

    for i in range(len(samples)):
        if from_us(int(samples.event_us[i])) < FIRST:
            out.append(None)
            continue
        user = client_.User(State.new(Rule(), b"tag", 4).to_text())
        known = [e for e in range(len(samples)) if users[e] == users[i] and samples.known_us[e] < samples.event_us[i]]
        for e in sorted(known, key=lambda e: samples.known_us[e]):
            if (shown := vector(e)) is not None:
                user.learn(shown, int(samples.label[e]), float(margin[e]))
        shown = vector(i)
        out.append(0.0 if shown is None else user.score(shown))
    return samples, out


def margins_one_by_one(config: Config, model: Any, codes: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What a head says of each row when it happens that has learned every label known before that moment."""
    online = OnlineHead(rule_of(config.head.__class__(method="ftrl")), model.head.layout)
    happened = [(int(us), 0, i) for i, us in enumerate(codes.event_us)]
    known = [(int(us), 1, i) for i, us in enumerate(codes.known_us)]
    margin, said = np.empty(len(codes)), online.head()
    for _, is_known, i in sorted(happened + known):
        one = codes.take(np.array([i]))
        if is_known:
            online.learn_many(one)
            said = online.head()
        else:
            margin[i] = said.margin(one)[0]
    return margin


def apart(table: pa.Table) -> pa.Table:
    """The rows with no two events at one moment, whose order nothing says."""
    us = np.arange(len(table)) * 1_000_003 % 3_600_000_000
    ts = table.column("ts").to_numpy().astype("datetime64[us]").astype(np.int64) // 3_600_000_000 * 3_600_000_000 + us
    return table.set_column(table.schema.get_field_index("ts"), "ts", pa.array(ts, pa.timestamp("us", "UTC")))


def test_they_are_what_the_client_gives_event_by_event(tmp_path: Path) -> None:
    write_all(tmp_path, [apart(rows(hour, 60 if hour < 46 else 9)) for hour in range(72)])
    config = begun(config_of(tmp_path))
    start = day(1.9)
    samples, expected = oracle(config, start)
    found = column(scores_of(config, start).on(read_again(config, start)))
    assert [None if np.isnan(each) else True for each in found] == [None if each is None else True for each in expected]
    there = ~np.isnan(found)
    assert found[there] == pytest.approx([each for each in expected if each is not None], abs=1e-9)
    assert 0 < np.count_nonzero(found[there]) > there.sum() / 2
    assert len(samples) > 200


def read_again(config: Config, start: Any) -> Samples:
    reading = scores_of(config, start).reading
    return read(reading, start, NOW + MOMENT, NOW)


def test_the_same_rows_give_the_same_scores_in_whichever_files_and_order(shop: Path, tmp_path: Path) -> None:
    config = config_of(shop)
    resplit(shop, tmp_path, [100, 5000])
    other = config.replace(samples=config_of(tmp_path).samples)
    for threads in (1, 2):
        found, expected = scores_of(other.replace(threads=threads)), scores_of(config)
        assert found.keys.tobytes() == expected.keys.tobytes()
        assert found.scores.tobytes() == expected.scores.tobytes()


def test_the_head_has_a_column_of_them_that_is_anchored_at_one(shop: Path) -> None:
    release = live(config_of(shop))
    (dense,) = release.head.dense.columns
    assert (dense.name, dense.centre, dense.scale, dense.anchor) == (USER_SCORE, (0.0,), (1.0,), (1.0,))
    assert 0.3 < release.head.dense_weights[0] < 3.0
    assert release.head.dense_weights[0] != 1.0
    assert any(row[USER_SCORE] for row in release.golden.rows)
    assert "u" not in release.golden.rows[0]  # who it was is nothing for a store
    scorer = Scorer.open(config_of(shop).store)
    assert scorer.user().rule["weight"] == pytest.approx(release.head.dense_weights[0])


def test_rows_after_an_update_are_told_better_with_the_states_than_without(shop: Path) -> None:
    config = config_of(shop)
    later = day(3.9)
    release, start = live(config), later - config.head.window
    scores = UserScores.of(config, release.slow, later, start)
    assert scores is not None
    fresh = scores.on(read(scores.reading, NOW, later, later))
    codes = release.model.encode(fresh)
    with_states = release.model.head.margin(codes)
    codes.dense[:] = 0
    without = release.head.margin(codes)
    assert log_loss_of(with_states, fresh.label).mean() < 0.98 * log_loss_of(without, fresh.label).mean()


def test_diff_and_explain_tell_of_the_column(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(shop)
    told = diff(Store.open(config.store))
    (move,) = [move for move in told["moves"] if move["kind"] == "dense"]
    assert USER_SCORE in move["what"]
    samples = window_samples(live(config))
    assert samples is not None
    assert np.nanstd(column(samples)) > 0.05
    args = ["explain", str(shop / "log/060.parquet"), "--store", config.store, "--json"]
    assert main(args) == 0  # rows of users who are new
    assert not [term for term in json.loads(capsys.readouterr().out)["terms"] if USER_SCORE in term["what"]]


@pytest.mark.parametrize("method", ["incremental", "ftrl"])
def test_methods_that_go_on_from_a_head_learn_them_too(shop: Path, method: str) -> None:
    config = begun(config_of(shop, f"store-{method}", method))
    for moment in (NOW, NOW + 3 * HOUR):
        result = update_lr(config, moment)
        assert result.status == "published"
    assert result.samples < 400, "only what is new was learned"
    release = live(config)
    assert release.head.dense_weights[0] not in (0.0, 1.0)
    scores = scores_of(config, NOW - config.head.window, NOW + 3 * HOUR)
    fresh = scores.on(read(scores.reading, NOW, NOW + 3 * HOUR, NOW + 3 * HOUR))
    golden = {row["x"]: row[USER_SCORE] for row in release.golden.rows}
    own = dict(zip(fresh.table.column("x").to_pylist(), column(fresh).tolist(), strict=True))
    assert all(own[x] == pytest.approx(score, abs=1e-12) for x, score in golden.items() if x in own)


def test_new_trees_carry_on(shop: Path) -> None:
    config = begun(config_of(shop, "store-trees"))
    assert train_trees(config, NOW).status == "published"
    release = live(config)
    assert release.head.dense.names == (USER_SCORE,)
    assert release.head.dense_weights[0] != 1.0
    assert release.entry.metrics["progressive"]["rows"] > 0


def test_without_vectors_there_is_a_column_of_nothing(shop: Path) -> None:
    config = config_of(shop, "store-none", head={"hindsight": True})
    assert train_trees(config, FIRST).status == "published"
    assert update_lr(config, SECOND).status == "published"
    assert 0.9 < live(config).head.dense_weights[0] <= 1.0  # the blend may mix in the background
    assert all(row[USER_SCORE] is None for row in live(config).golden.rows)


def test_the_log_says_from_when_on_rows_have_scores_and_why_no_earlier(shop: Path) -> None:
    def told(moment: Any) -> dict[str, Any]:
        events: dict[str, dict[str, Any]] = {}
        assert (
            update_lr(config, moment, on_event=lambda name, **said: events.update({name: said})).status == "published"
        )
        return events["users.replay"]

    config = begun(config_of(shop, "store-pruned"))
    whole = told(NOW)
    assert whole["since"] == FIRST
    assert "cut" not in whole
    older = next(each for each in Path(config.store, "embeddings").iterdir() if each.name.startswith("20240303T00"))
    shutil.rmtree(older)
    pruned = told(NOW + HOUR)
    assert pruned["since"] == SECOND
    assert pruned["cut"] == f"embeddings/{older.name} are pruned; prune keeps older ones with --keep or --keep-after"
    assert pruned["scores"] < whole["scores"]


def test_rows_that_are_not_final_are_given_theirs(tmp_path: Path) -> None:
    tables = []
    for hour in range(74):
        table = rows(hour)
        ts = table.column("ts").to_numpy()
        came = np.where(table["label"].to_numpy() == 1, ts + np.timedelta64(20, "m"), np.datetime64("NaT"))
        tables.append(table.append_column("came", pa.array(came, pa.timestamp("us", "UTC"))))
    write_all(tmp_path, tables)
    labels = {"label_delay": None, "label_time": "came", "label_window": "2h", "unfinal": "weigh"}
    config = config_of(tmp_path)
    samples = {**config.as_dict()["samples"], **labels}
    del samples["label_delay"]
    config = begun(Config.from_dict({**config.as_dict(), "samples": samples}))
    assert update_lr(config, NOW).status == "published"
    result = update_lr(config, NOW + HOUR)
    assert result.metrics["unfinal"]["rows"] > 0
    scores = scores_of(config)
    assert scores.vectors is not None
    batch = Samples.concat(list(read_unfinal(scores.reading, NOW - 2 * HOUR, NOW)))
    assert not np.isnan(column(scores.on(batch))).any()
    assert np.count_nonzero(column(scores.on(batch))) > len(batch) / 2


def test_more_events_than_may_be_held_are_refused_with_the_remedy(shop: Path) -> None:
    config = config_of(shop, users={"max_events": 100})
    told = r"more than the 100 that \[users\] max_events.*bytes.*\[head\] window.*user_score"
    with pytest.raises(ConfigError, match=told):
        update_lr(config, NOW + HOUR)


def test_what_cannot_be_is_refused_in_words(shop: Path) -> None:
    def refused(match: str, samples: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=match):
            config_of(shop, samples=samples)

    refused("remove replay", {"user_score": "s"})
    refused("negative_keep_rate", {"negative_keep_rate": 0.5})
    refused("rename it", {"dense": ["user_score"]})
    table = config_of(shop).as_dict()
    for key in ("user", "item"):
        without = {**table, "samples": {name: value for name, value in table["samples"].items() if name != key}}
        without.pop("embeddings")
        with pytest.raises(ConfigError, match=rf"needs \[samples\] {key}"):
            Config.from_dict(without)
    with pytest.raises(ConfigError, match="user_score"):
        learn(config_of(shop, method="ftrl"), [], lambda: NOW, publish_every=timedelta(minutes=1))
    with pytest.raises(ConfigError, match=r"\[users\] replay"):
        update_lr(config_of(shop, engine="ray"), NOW)
    odd = config_of(shop, samples={"user": "x"})
    with pytest.raises(SchemaError, match="column x"):
        update_lr(odd, NOW + HOUR)
