"""Vectors that were made of the very labels they are to tell: no row is given a score by them that they have seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from likes_kit import HOUR, config_of, day, write_all
from pyarrow import parquet
from users_kit import START

from gbdtlr.config import Config
from gbdtlr.head import Codes
from gbdtlr.jobs import train_embeddings, train_trees, update_lr, vectors_then
from gbdtlr.jobs.user_scores import UserScores
from gbdtlr.jobs.vectors_then import VectorsThen
from gbdtlr.metrics import log_loss_of
from gbdtlr.release import Release
from gbdtlr.samples import read
from gbdtlr.store import Store

N_USERS, N_ITEMS, HOURS, ROWS = 40, 400, 96, 70
MADE = day(3.0)


def noise(hour: int) -> pa.Table:
    """An hour of clicks that no user's taste has any part in."""
    rng = np.random.default_rng([3, hour])
    x = rng.normal(size=ROWS)
    label = (rng.random(ROWS) < 1 / (1 + np.exp(1 - x))).astype(np.int8)
    ts = [START + HOUR * (hour + i / ROWS) for i in range(ROWS)]
    about = {"u": rng.integers(0, N_USERS, ROWS), "item": rng.integers(0, N_ITEMS, ROWS)}
    return pa.table({"x": x, **about, "label": label, "ts": pa.array(ts, pa.timestamp("us", "UTC"))})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log, and vectors with a number for each user: the mean of what the user's labels of the item were."""
    folder = tmp_path_factory.mktemp("planted")
    tables = [noise(hour) for hour in range(HOURS)]
    write_all(folder, tables)
    known = pa.concat_tables(tables[: int((MADE - START) / HOUR)])
    u, item, label = (known.column(name).to_numpy() for name in ("u", "item", "label"))
    vectors = np.zeros((N_ITEMS, N_USERS))
    np.add.at(vectors, (item, u), 2.0 * label - 1.0)
    table = pa.table({"id": [str(i) for i in range(N_ITEMS)], "vector": (0.3 * np.sign(vectors)).tolist()})
    parquet.write_table(table, folder / "vectors.parquet")
    return folder


def with_users(folder: Path, store: str) -> Config:
    tables = {"embeddings": {"method": "file", "path": str(folder / "vectors.parquet")}}
    return config_of(folder, store, **tables)


def updated(config: Config) -> Release:
    """The live release a while after the vectors were made."""
    assert train_trees(config, day(2.0)).status == "published"
    assert train_embeddings(config, MADE, force=True).status == "published"
    assert update_lr(config, MADE).status == "published"
    release = Release.live(Store.open(config.store))
    assert release is not None
    return release


def later(config: Config, release: Release) -> Codes:
    """Rows after it, with the scores that users have then."""
    end = START + HOURS * HOUR
    users = UserScores.of(config, release.slow, end, MADE - config.head.window)
    assert users is not None
    return release.model.encode(users.on(read(users.reading, MADE, end, end)))


def told(codes: Codes, release: Release) -> tuple[float, float]:
    """Log loss with the scores, and without."""
    with_ = float(log_loss_of(release.head.margin(codes), codes.label).mean())
    codes.dense[:] = 0.0
    return with_, float(log_loss_of(release.head.margin(codes), codes.label).mean())


def test_what_they_have_seen_is_not_what_the_head_learns_from(shop: Path) -> None:
    config = with_users(shop, "honest")
    release = updated(config)
    assert release.head.dense_weights[0] > 0.9, "no row has happened since they were made"
    scores = UserScores.of(config, release.slow, MADE, MADE - config.head.window)
    assert scores is not None
    assert not len(scores.keys)
    assert update_lr(config, MADE + 3 * HOUR).status == "published"


def test_did_they_score_what_they_have_seen_live_figures_would_be_worse_than_none_and_the_next_update_refuses(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = told(*both(with_users(shop, "honest-later")))
    as_made: Callable[..., VectorsThen] = VectorsThen.of

    def careless(*args: object) -> VectorsThen | None:
        found = as_made(*args)
        return None if found is None else VectorsThen(found.versions, found.starts_us - 10**15)

    config = with_users(shop, "careless")
    with monkeypatch.context() as patched:
        patched.setattr(vectors_then.VectorsThen, "of", careless)
        release = updated(config)
        assert release.head.dense_weights[0] > 2.0, "it trusts what told it the labels"
        careless_ones = told(later(config, release), release)
        assert careless_ones[0] > 1.2 * careless_ones[1], "worse than none"
        assert careless_ones[0] > 1.2 * honest[0]
        assert release.entry.metrics["fit"]["ne"] < 0.6, "and no figure of the fit shows it"
        result = update_lr(config, MADE + 12 * HOUR)
        assert result.status == "refused"
        assert "column user_score is worth 0." in result.reason
    assert honest[0] < 1.06 * honest[1]  # of a weight of 1 for what tells nothing


def both(config: Config) -> tuple[Codes, Release]:
    release = updated(config)
    return later(config, release), release
