"""The click stream with tastes: a world in which who took what tells what else they like, and each row its truth."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.clickstream import SCHEMA, SCHEMA_WITH_TASTES, generate, main, write
from benchmarks.clicktastes import N_ITEMS, Tastes
from gbdtlr.compute.parts import Parts
from gbdtlr.embeddings import Events, keys_of, train
from gbdtlr.errors import ConfigError

N_ROWS, DAYS = 150_000, 3


@pytest.fixture(scope="module")
def log():
    return generate(N_ROWS, DAYS, seed=1, tastes=True)


def test_rows_have_an_item_and_its_genre(log):
    assert log.schema.equals(SCHEMA_WITH_TASTES)
    assert SCHEMA_WITH_TASTES.names == [*SCHEMA.names, "item", "genre"]
    genres = log.select(["item", "genre"]).to_pandas().drop_duplicates()
    assert genres["item"].is_unique
    assert N_ITEMS / 2 < len(genres) <= N_ITEMS
    assert generate(2000, 1, seed=3, tastes=True).equals(generate(2000, 1, seed=3, tastes=True))


def test_clicks_follow_their_true_probabilities(log):
    label, p = log["label"].to_numpy(), log["true_probability"].to_numpy()
    assert 0.05 < label.mean() < 0.25
    assert abs(label.mean() - p.mean()) < 4 * np.sqrt((p * (1 - p)).mean() / N_ROWS)
    loss = -np.log(np.where(label == 1, p, 1 - p)).mean()
    entropy = -label.mean() * np.log(label.mean()) - (1 - label.mean()) * np.log(1 - label.mean())
    assert loss / entropy < 0.85
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 1.0)):
        rows = (p >= low) & (p < high)
        assert label[rows].mean() == pytest.approx(p[rows].mean(), rel=0.1)


def test_what_users_took_tells_the_items_apart(log):
    clicked = log.filter(log["label"].to_numpy() == 1)
    events = Events(
        keys_of(clicked["user"])[0], keys_of(clicked["item"])[0], clicked["ts"].cast("int64").to_numpy()
    )  # fmt: skip
    trained = train(Parts([events]), 8, 15)
    names = [f"i{i:04d}" for i in range(N_ITEMS)]
    factor = Tastes.draw(1, DAYS, 1).item_factor[np.argsort(keys_of(names)[0])]
    factor = factor[np.isin(np.sort(keys_of(names)[0]), trained.keys)]
    X = np.column_stack([trained.vectors, np.ones(len(factor))])
    explained = 1 - (factor - X @ np.linalg.lstsq(X, factor, rcond=None)[0]).var(axis=0) / factor.var(axis=0)
    by_chance = X.shape[1] / len(X)
    assert explained.mean() > 3 * by_chance + 0.1


def test_files_say_so_and_do_not_mix(tmp_path, capsys):
    assert main(["--rows", "500", "--days", "1", "--tastes", "--out", str(tmp_path)]) == 0
    assert "500 rows" in capsys.readouterr().out
    write(tmp_path, 500, 1, tastes=True)
    with pytest.raises(ConfigError, match=r"holds a click stream of .*, tastes, not of"):
        write(tmp_path, 500, 1)
