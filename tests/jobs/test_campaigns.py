"""Ids that appear on the click stream: a new campaign matters to every method within one update."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from benchmarks import clickstream
from gbdtlr.config import Config
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.release import Release
from gbdtlr.store import Store

ROOT = Path(__file__).parent.parent.parent
NOW = clickstream.START + timedelta(days=2)
HOURS = 6


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clicks")
    clickstream.write(folder / "clicks", n_rows=120_000, days=3, seed=1)
    return folder


@pytest.mark.parametrize("method", ["refit", "incremental", "ftrl", "rda", "fobos"])
def test_a_new_campaign_matters_within_one_update(stream: Path, method: str) -> None:
    c = Config.load(ROOT / "configs" / "clickstream.toml")
    params = {**c.trees.params, "num_iterations": 20}
    c = replace(
        c,
        store=str(stream / method),
        samples=replace(c.samples, path=(str(stream / "clicks"),), wide=("campaign",)),
        trees=replace(c.trees, window=timedelta(days=2), params=params),
        head=replace(c.head, method=method, window=timedelta(days=1), half_lives=c.head.half_lives[-1:]),
    )
    assert train_trees(c, NOW).status == "published"
    before = _live(c)
    result = update_lr(c, NOW + HOURS * timedelta(hours=1), force=True)
    assert result.status == "published"
    after = _live(c)

    table = clickstream.generate(120_000, 3, 1)
    known = pc.less(table["ts"], NOW - timedelta(hours=1))
    old = set(table.filter(known)["campaign"].to_pylist())
    learned = table.filter(pc.and_(pc.invert(known), pc.less(table["ts"], NOW + timedelta(hours=HOURS - 1))))
    counts = {each["values"]: each["counts"] for each in pc.value_counts(learned["campaign"]).to_pylist()}
    new = {campaign: n for campaign, n in counts.items() if campaign not in old}
    most = max(new, key=new.__getitem__)
    assert new[most] > 100
    assert _weight(before, most) == 0
    rows = learned.filter(pc.equal(learned["campaign"], most))
    others = after.model.margin(rows) - _weight(after, most)
    missed = rows["label"].to_numpy() - 1 / (1 + np.exp(-others))
    assert _weight(after, most) * missed.sum() > 0, "it moved to where its first clicks pull"


def _live(c: Config) -> Release:
    store = Store.open(c.store)
    entry = store.live()
    assert entry is not None
    return Release.load(store, entry)


def _weight(release: Release, campaign: str) -> float:
    return release.head.add_row_wide(release.head.wide.row_buckets({"campaign": campaign}), 0.0)
