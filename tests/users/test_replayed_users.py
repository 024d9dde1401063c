"""A replay with users: vectors trained over the period, and states that knew all, or nothing of the last hours."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from likes_kit import HOUR, config_of, day, write
from test_clients import client

from gbdtlr.errors import ConfigError
from gbdtlr.jobs.margins_then import margins_then
from gbdtlr.jobs.user_scores import Shown, UserScores, without_users
from gbdtlr.jobs.vectors_then import VectorsThen
from gbdtlr.release import Release
from gbdtlr.replay import ReplayResult, replay
from gbdtlr.replay.rows import FOR_EVER
from gbdtlr.report import replay_page
from gbdtlr.samples import read
from gbdtlr.scoring.users import Users
from gbdtlr.store import Store
from gbdtlr.times import from_us, parse_time, to_us
from gbdtlr.users import Rule, State, pack, quantised

FROM, TO, DAY = day(2.0), day(3.75), timedelta(days=1)
NAMES = ["two-speed", "no-user-states", "user-states-live", "user-states-1h", "user-states-1d"]


def run(folder: Path, **more: object) -> ReplayResult:
    arguments = {"strategies": ["two-speed"], "embeddings_every": 12 * HOUR, "user_state_ages": [HOUR, DAY], **more}
    return replay(config_of(folder), FROM, TO, DAY, 6 * HOUR, out=folder / "out", **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReplayResult]:
    folder = tmp_path_factory.mktemp("replayed")
    write(folder)
    return folder, run(folder)


def test_states_of_each_age_are_told_beside_none(shop: tuple[Path, ReplayResult]) -> None:
    found = shop[1].as_dict()
    assert [each["name"] for each in found["strategies"]] == NAMES
    ne = {each["name"]: each["ne"] for each in found["strategies"]}
    assert ne["two-speed"] == ne["user-states-live"] < ne["user-states-1d"]
    assert ne["user-states-live"] < ne["no-user-states"] - 0.005
    assert found["embeddings_every"] == "12h"
    assert found["cost"]["train-embeddings"] > 0
    assert found["cadences"][0]["jobs"] == found["jobs"]["published"] == 2 + 5 + 4
    page = replay_page(found)
    assert "embeddings every 12h" in page
    assert "user-states-1h: states 1h old" in page


def test_each_score_is_the_client_s_by_what_served_it(shop: tuple[Path, ReplayResult]) -> None:
    folder, result = shop
    config, (part,) = config_of(folder), (folder / "out").glob("two-speed-*")
    store = Store.open(str(part / "store"))
    releases = [Release.load(store, entry) for entry in store.entries()]
    before = FROM - config.head.window
    vectors = VectorsThen.of(releases[-1].embeddings, before, 100)
    assert vectors is not None
    made = {release.embeddings.name: release.embeddings for release in releases if release.embeddings is not None}
    assert len(vectors.versions) == len(made) == 4
    scores = UserScores.blank(config, vectors)
    samples = read(scores.reading, before, TO, FOR_EVER)
    samples = samples.take(np.argsort(samples.event_us, kind="stable"))
    early = samples.event_us < to_us(FROM)
    margin, model = np.empty(len(samples)), without_users(config, releases[0].slow)
    salt = Shown.of(samples, scores).salt[early]
    margin[early] = margins_then([model.encode(samples.filter(early))], salt, model.head.layout, config.head)
    margin[~early] = result.margins["no-user-states"]
    module, users, items = client(), samples.table.column("u").to_pylist(), samples.table.column("item").to_pylist()

    def vector(i: int) -> list[float]:
        at = from_us(int(samples.event_us[i]))
        newest = max((each for each in made.values() if each.as_of <= at), key=lambda each: each.as_of, default=None)
        first = min(made.values(), key=lambda each: each.as_of)
        found = (newest or first).vectors.vector_of(items[i])
        if found is None:
            return [0.0] * 4
        numbers, scale = quantised(found[None])
        unpacked: list[float] = module.vector(base64.b64encode(pack(numbers[0], float(scale[0]))).decode())
        return unpacked

    own = [i for i in range(len(samples)) if users[i] == 7]
    judged = [i for i in own if not early[i]]
    assert len(judged) > 30
    for age, name in ((timedelta(), "user-states-live"), (HOUR, "user-states-1h"), (DAY, "user-states-1d")):
        for i in judged:
            user = module.User(State.new(Rule(), b"tag", 4).to_text())
            moment = samples.event_us[i] - age / timedelta(microseconds=1)
            for e in sorted((e for e in own if samples.known_us[e] < moment), key=lambda e: samples.known_us[e]):
                user.learn(vector(e), int(samples.label[e]), float(margin[e]))
            live = [release for release in releases if to_us(release.entry.as_of) <= samples.event_us[i]][-1]
            expected = margin[i] + Users.of(live).weight * user.score(vector(i))
            assert result.margins[name][i - early.sum()] == pytest.approx(expected, abs=1e-9)


def test_a_replay_that_is_run_again_trains_nothing_again(shop: tuple[Path, ReplayResult]) -> None:
    folder, result = shop
    steps = next((folder / "out").glob("two-speed-*")) / "steps.jsonl"
    told = steps.read_text()
    again = run(folder, user_state_ages=[DAY])
    assert steps.read_text() == told
    assert again.margins["user-states-1d"].tobytes() == result.margins["user-states-1d"].tobytes()
    assert '"job": "train-embeddings"' in told


def test_what_cannot_be_replayed_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    plain, moment = config_of(tmp_path, users={"replay": False}), parse_time("2024-03-02T00:00:00Z")

    def refused(match: str, **more: object) -> None:
        with pytest.raises(ConfigError, match=match):
            replay(plain, moment, moment + DAY, DAY, DAY, **more)  # type: ignore[arg-type]

    refused("--user-state-age needs vectors.*--embeddings-every", user_state_ages=[HOUR])
    with pytest.raises(ConfigError, match=r"\[users\] replay needs vectors.*--embeddings-every"):
        replay(config_of(tmp_path), moment, moment + DAY, DAY, DAY)
