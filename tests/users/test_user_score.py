"""The user's score in the samples: a column that enters the head as it is, pulled towards a weight of 1."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from users_kit import HOUR, START, at, config_of, rows

from gbdtlr.config import Config, SamplesConfig, UsersConfig
from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.learn import learn
from gbdtlr.release import Release
from gbdtlr.store import Store
from gbdtlr.users import Rule


def live(config: Config) -> Release:
    release = Release.live(Store.open(config.store))
    assert release is not None
    return release


def test_it_enters_as_it_is_and_is_anchored_at_one(tastes: Path) -> None:
    head = live(config_of(tastes)).head
    (column,) = head.dense.columns
    assert (column.name, column.centre, column.scale, column.anchor) == ("user_score", (0.0,), (1.0,), (1.0,))
    assert 0.5 < head.dense_weights[0] < 1.3  # the blend may mix in the background
    pulled = config_of(tastes, head={"dense_l2": 1e9, "dense_anchor": {"user_score": 0.25}}).replace(
        store=str(tastes / "pulled")
    )
    assert train_trees(pulled, at(2.0)).status == "published"
    assert 0.1 < live(pulled).head.dense_weights[0] < 0.251  # the blend may mix in the background


@pytest.mark.parametrize("method", ["incremental", "ftrl", "rda", "fobos"])
def test_every_method_learns_it(tastes: Path, method: str) -> None:
    config = config_of(tastes, method)
    assert train_trees(config, at(2.0)).status == "published"
    assert update_lr(config, at(2.2)).status == "published"
    assert live(config).head.dense_weights[0] > 0.4


def test_a_stream_learns_it(tastes: Path) -> None:
    config = config_of(tastes, "ftrl").replace(store=str(tastes / "stream"))
    assert train_trees(config, at(2.0)).status == "published"
    table = rows(START + 50 * HOUR, 5).drop_columns(["ts"])
    lines = [json.dumps(row) for row in table.to_pylist()]
    result = learn(config, [lines], lambda: at(2.1), publish_every=timedelta(minutes=1))
    assert result.status == "published"
    assert live(config).head.dense.names == ("user_score",)


def test_where_it_was_not_logged_the_samples_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    parquet.write_table(rows(START, 0).drop_columns(["user_score"]), tmp_path / "log/a.parquet")
    with pytest.raises(SchemaError, match=r"user_score is missing.*logged as it was served"):
        train_trees(config_of(tmp_path), at(1.0))


def test_trees_that_know_nothing_of_it_ask_for_others_once(tastes: Path) -> None:
    before = config_of(tastes).as_dict()
    del before["samples"]["user_score"]
    config = Config.from_dict(before).replace(store=str(tastes / "before"))
    assert train_trees(config, at(1.9)).status == "published"
    assert not live(config).head.dense.n
    now = config_of(tastes).replace(store=config.store)
    with pytest.raises(ConfigError, match=r"user_score.*train-trees"):
        update_lr(now, at(2.1))
    assert train_trees(now, at(2.1)).status == "published"
    assert live(now).head.dense.names == ("user_score",)


def test_config_of_users_is_checked_and_left_out_where_it_says_nothing() -> None:
    needed = {"path": ("a",), "event_time": "t", "label_delay": timedelta(hours=1), "numeric": ("n",)}
    for name in ("n", "t", "label"):
        with pytest.raises(ConfigError, match=r"user_score = .* is (a feature|label|event_time) too"):
            SamplesConfig(**needed, user_score=name)  # type: ignore[arg-type]
    for wrong, told in (
        ({"method": "sum"}, "regression, mean"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": np.inf}, "alpha"),
        ({"l2": -1.0}, "l2"),
        ({"method": "mean", "alpha": 1.5}, "at most 1"),
        ({"method": "mean", "l2": 1.0}, "no l2"),
    ):
        with pytest.raises(ConfigError, match=told):
            UsersConfig(**wrong)
    plain = Config(SamplesConfig(**needed))  # type: ignore[arg-type]
    assert "users" not in plain.as_dict()
    assert "user_score" not in plain.as_dict()["samples"]
    told = plain.replace(users=UsersConfig("mean", 0.3))
    assert Config.from_dict(told.as_dict()) == told
    assert Rule.of(told.users) == Rule("mean", 0.3, 0.0)
    assert [Rule.of(UsersConfig(method)).alpha for method in ("regression", "mean")] == [0.5, 0.1]
