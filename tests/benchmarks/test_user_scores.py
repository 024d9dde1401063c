"""Users' scores in the benchmark of vectors: none knows its own label, and states are as old as they are to be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.served import Stream, play
from benchmarks.user_scores import NO_TAG, ItemVectors, UserScores
from gbdtlr.config import Config
from gbdtlr.samples import Samples
from gbdtlr.times import to_us
from gbdtlr.users import Rule, State

START, HOUR, DAY = datetime(2024, 3, 1, tzinfo=UTC), timedelta(hours=1), timedelta(days=1)
N, SECOND_US = 1500, 1_000_000
CONFIG = Config.from_dict(
    {
        "samples": {
            "path": "-",
            "event_time": "-",
            "label_delay": "10m",
            "numeric": ["x"],
            "wide": ["item"],
            "user": "user",
            "item": "item",
        },
        "trees": {"window": "2d", "params": {"num_iterations": 3, "num_leaves": 4}},
        "embeddings": {"dimensions": 2, "min_item_count": 2},
        "head": {"window": "2d", "half_lives": ["1d"], "l2": [30]},
    }
)


@pytest.fixture(scope="module")
def stream():
    """Two days of users who like items of their own kind; rows of one instant, and labels known out of order."""
    rng = np.random.default_rng(3)
    event_us = to_us(START) + np.sort(rng.integers(0, 2 * 86_400 // 60, N)) * 60 * SECOND_US
    known_us = event_us + rng.integers(0, 20 * 60, N) * SECOND_US
    user, item = rng.integers(0, 25, N), rng.integers(0, 20, N)
    label = (rng.random(N) < np.where(user % 2 == item % 2, 0.8, 0.2)).astype(np.int8)
    table = pa.table({"x": rng.normal(size=N), "user": [f"u{u}" for u in user], "item": [f"i{i}" for i in item]})
    return Stream(CONFIG, Samples(table, label, np.ones(N), event_us, known_us))


def served(stream, **options):
    system = UserScores(with_hindsight=False, **options)
    margins = play(stream, {"": system}, START + DAY, START + 2 * DAY, 6 * HOUR, 1)[""]
    return system, margins


def test_no_score_knows_its_own_label_or_a_later_one(stream):
    system, margins = served(stream)
    samples = stream.samples
    at_us = to_us(START + DAY + 9 * HOUR)
    flipped = np.where(samples.known_us >= at_us, 1 - samples.label, samples.label).astype(np.int8)
    other, margins_then = served(Stream(CONFIG, replace(samples, label=flipped)))
    before, rows = samples.event_us <= at_us, stream.happened(START + DAY, START + 2 * DAY)
    assert np.array_equal(system.scores[before], other.scores[before])
    assert np.array_equal(margins[before[rows]], margins_then[before[rows]])
    assert not np.allclose(system.scores[~before], other.scores[~before])
    assert not system.scores[samples.event_us < to_us(START + DAY)].any()


@pytest.mark.parametrize("lag", [timedelta(0), HOUR])
@pytest.mark.parametrize("rule", [Rule(), Rule("mean", 0.1)])
def test_scores_are_of_what_was_known_so_long_before(stream, lag, rule, monkeypatch):
    """The same as states that are learned anew for every row; the head is held still, so that margins are known."""
    monkeypatch.setattr(UserScores, "_without", lambda _self, _stream, _model, _head, rows: np.sin(rows))
    vectors = ItemVectors()
    system, _ = served(stream, lag=lag, rule=rule, vectors=vectors)
    samples, live = stream.samples, vectors.live
    packed, _ = live.vectors_of_rows(samples.table)
    known_us = samples.known_us + lag // timedelta(microseconds=1)
    order, users = np.lexsort((np.arange(N), known_us)), np.array(samples.table["user"].to_pylist())
    for row in stream.happened(START + DAY, START + 2 * DAY)[::7]:
        state = State.new(rule, NO_TAG, live.dimensions)
        for i in order:
            if users[i] == users[row] and known_us[i] < samples.event_us[row]:
                state.learn(packed[i].tolist(), int(samples.label[i]), float(np.sin(i)))
        assert system.scores[row] == pytest.approx(state.score(packed[row].tolist()), abs=0.02)  # vectors of 8 bits


def test_what_users_like_is_found(stream):
    system, margins = served(stream)
    rows = stream.happened(START + DAY, START + 2 * DAY)
    table = stream.samples.table.take(rows)
    alike = np.array(
        [
            int(u[1:]) % 2 == int(i[1:]) % 2
            for u, i in zip(*map(pa.ChunkedArray.to_pylist, (table["user"], table["item"])), strict=True)
        ]
    )
    assert system.scores[rows][alike].mean() > 0.3 + system.scores[rows][~alike].mean()
    assert margins[alike].mean() > 0.5 + margins[~alike].mean()
    assert system.weights[-1] > 0.5
