"""Users on the embeddings of a real release: from the log to the state, over versions, and deleted items."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_clients import client
from users_kit import START, at, config_of, rows, write

from gbdtlr.config import Config
from gbdtlr.jobs import train_embeddings, train_trees, update_lr
from gbdtlr.scoring import Scorer

EMBEDDINGS = {"window": "4d", "dimensions": 4, "min_item_count": 2, "content": ["colour"]}


def made(folder: Path) -> Config:
    write(folder)
    config = config_of(folder, samples={"user": "u", "item": "item"}, embeddings=EMBEDDINGS)
    assert train_trees(config, at(1.5)).status == "published"
    assert train_embeddings(config, at(1.6), force=True).status == "published"
    return config


def test_a_state_outlives_embeddings_that_are_turned_onto_its_own(tmp_path: Path) -> None:
    config = made(tmp_path)
    table = rows(START, 3).drop_columns(["ts", "label", "user_score", "u"])
    scorer = Scorer.open(config.store)
    user = scorer.user()
    margins = user.margins(table)
    assert np.array_equal(margins.margin, margins.without)  # a new user's score is zero
    for item in range(6):
        user.learn(item, item % 2, -1.0)
    state = user.to_bytes()
    expected = user.margins(table).score
    assert np.abs(expected).max() > 0.01
    assert scorer.score_row(table.to_pylist()[0], user=user) == scorer.score(table, user=user)[0]
    for days in (1.9, 2.1):  # the last of them two versions on
        assert train_embeddings(config, at(days), force=True).status == "published"
        assert update_lr(config, at(days)).status == "published"
    assert scorer.refresh()
    later = scorer.user(state)
    assert later.began == "known"
    assert later.to_bytes() != state
    assert later.to_bytes()[4:] == state[4:]
    found = later.margins(table).score
    assert float(np.corrcoef(found, expected)[0, 1]) > 0.5
    own = client().User(later.to_text(), **later.rule)
    for numbers, scale, score in zip(*later.margins(table).packed, found, strict=True):
        packed = base64.b64encode(numbers.tobytes() + np.float32(scale).tobytes()).decode()
        assert own.score(client().vector(packed)) == pytest.approx(score, abs=1e-12)
    assert Scorer.open(config.store, 1).loaded.embeddings is None


def test_other_dimensions_begin_everybody_anew(tmp_path: Path) -> None:
    config = made(tmp_path)
    state = Scorer.open(config.store).user().to_bytes()
    other: dict[str, Any] = {**config.as_dict(), "embeddings": {**EMBEDDINGS, "dimensions": 3}}
    assert train_embeddings(Config.from_dict(other), at(2.0), force=True).status == "published"
    user = Scorer.open(config.store).user(state)
    assert user.began == "foreign"
    assert len(user.weights) == 3
    assert json.dumps(user.rule)
