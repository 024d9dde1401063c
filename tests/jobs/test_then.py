"""Then: heads are judged at the horizon they serve, so a daily cycle does not lead the blend astray."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import numpy as np
import pytest
from jobs_kit import at, config_of, quality_then, write_stream

from gbdtlr.jobs import then, train_trees, update_lr
from gbdtlr.metrics import Quality
from gbdtlr.operate.rollback import rollback
from gbdtlr.release import Release
from gbdtlr.replay.rows import read_all
from gbdtlr.store import Store

HOURS = timedelta(hours=1)
FIRST, LAST, EVERY = 72, 144, 6


def daily(columns, rng):
    """Labels that follow the hour of the day, which no column tells."""
    hour = np.array([(moment - at()) / HOURS for moment in columns["ts"]])
    margin = columns["x"] + 2.0 * np.sin(2 * np.pi * hour / 24)
    return {**columns, "label": (rng.random(len(hour)) < 1 / (1 + np.exp(-margin))).astype(np.int8)}


def delayed(folder, hours=6, **head):
    """Config of the stream whose labels become known so many hours later."""
    config = config_of(folder, **{"half_lives": ["2h", "4d"], "l2": [1], "wide_buckets": 16, **head})
    samples = dataclasses.replace(config.samples, label_delay=hours * HOURS, wide=())
    return config.replace(samples=samples)


def served(config, trees_at=()):
    """Quality of what was live on the rows of the next hours, beside that of its bare trees; and the results."""
    store, ours, bare, results = Store.open(config.store), Quality(), Quality(), []
    for hour in range(FIRST, LAST, EVERY):
        job = train_trees if hour == FIRST or hour in trees_at else update_lr
        results.append(job(config, at(hours=hour), force=True))
        release = Release.live(store)
        samples = read_all(config.samples, at(hours=hour), at(hours=hour + EVERY))
        codes = release.model.encode(samples)
        for head, n in ((release.head, 0), (release.model.bare().head, 1)):
            quality = Quality.of(head.margin(codes), codes.label, codes.weight)
            ours, bare = (ours + quality, bare) if n == 0 else (ours, bare + quality)
    return ours, bare, results


def of_live(self, known):
    """All rows as if the live release had served them."""
    base = self._base
    return [then.Served(base.entry.number, base.head, base.fits.candidates, known, base.entry.trees, 0, 2**62)]


@pytest.mark.parametrize("method", ["refit", "incremental"])
def test_a_daily_cycle_and_late_labels_do_not_lead_the_blend_astray(tmp_path, monkeypatch, method):
    write_stream(tmp_path, daily, days=7, per_hour=40)
    config = delayed(tmp_path, method=method)
    ours, bare, _ = served(config)
    monkeypatch.setattr(then.Then, "served", of_live)
    by_live, _, _ = served(config.replace(store=str(tmp_path / "by-live")))
    assert by_live.ne > 1.02 * bare.ne
    assert ours.ne < 1.01 * bare.ne


def test_progressive_is_what_was_served_across_new_trees_and_rollbacks(tmp_path):
    write_stream(tmp_path, days=6)
    config = delayed(tmp_path, hours=9)
    store, knows, numbers = Store.open(config.store), None, []
    for hour in range(72, 112, 4):
        result = (train_trees if hour in (72, 92) else update_lr)(config, at(hours=hour), force=True)
        assert result.status == "published"
        if hour == 84:
            rollback(store, result.release - 1, at(hours=85))
        told = result.metrics.get("progressive")
        quality = Quality() if knows is None else quality_then(config, knows, at(hours=hour))
        numbers.append(quality.rows)
        if told is None:
            assert quality.rows == 0
        else:
            assert told["rows"] == quality.rows
            assert told["log_loss"] == pytest.approx(quality.log_loss, rel=1e-6)
        knows = Release.live(store).head_as_of
    assert numbers[0] == 0
    assert sum(numbers) > 300


def test_rows_whose_release_is_gone_are_passed_over(tmp_path):
    write_stream(tmp_path, days=5)
    config = delayed(tmp_path)
    store = Store.open(config.store)
    train_trees(config, at(hours=72))
    update_lr(config, at(hours=76), force=True)
    first, *_ = store.entries()
    for path in (tmp_path / "store" / "heads" / first.trees / first.head).iterdir():
        path.unlink()
    result = update_lr(config, at(hours=84), force=True)
    assert result.status == "published"
    assert result.metrics["progressive"]["rows"] == 20 * 2
    assert result.metrics["fresh"] == 20 * 8
