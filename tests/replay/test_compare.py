"""Comparing strategies: intervals, reliability, choice among options."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from replay_kit import config, stream, write

from gbdtlr.metrics import Quality, sigmoid
from gbdtlr.replay.compare import Blocks, freshness, over_time, reliability
from gbdtlr.replay.result import costs_of, enough
from gbdtlr.replay.rivals import Choice
from gbdtlr.replay.rows import Rows, read_all
from gbdtlr.trees import train
from gbdtlr.trees.refitting import refit

HOUR_US = 3_600_000_000


def made(n: int = 4000, seed: int = 0) -> tuple[Rows, np.ndarray]:
    rng = np.random.default_rng(seed)
    margin = rng.normal(-1, 1.5, n)
    label = (rng.random(n) < sigmoid(margin)).astype(np.int8)
    return Rows(np.sort(rng.integers(0, 20 * 24 * HOUR_US, n)), label, rng.uniform(0.5, 2, n)), margin


def test_the_interval_holds_the_difference_and_tells_noise_from_worth() -> None:
    rows, margin = made()
    blocks = Blocks.of(rows)
    assert blocks.length == timedelta(days=1)
    worse = margin * 0.5
    ne = [Quality.of(each, rows.label, rows.weight).ne for each in (worse, margin)]
    low, high = blocks.difference(rows, worse, margin) or (0, 0)
    assert 0 < low < ne[0] - ne[1] < high
    jitter = margin + np.random.default_rng(1).normal(0, 0.01, len(margin))
    low, high = blocks.difference(rows, jitter, margin) or (0, 0)
    assert low < 0 < high
    assert blocks.difference(rows, margin, margin) == (0, 0)


def test_the_interval_matches_resampling_spelled_out() -> None:
    rows, margin = made(300)
    blocks = Blocks.of(rows)
    worse = margin * 0.5
    differences = []
    for picks in blocks.picks:
        taken = np.concatenate([np.flatnonzero(blocks.of_row == block) for block in picks])
        both = [Quality.of(each[taken], rows.label[taken], rows.weight[taken]).ne for each in (worse, margin)]
        differences.append(both[0] - both[1])
    np.testing.assert_allclose(blocks.difference(rows, worse, margin), np.percentile(differences, [2.5, 97.5]))


def test_a_short_period_has_shorter_blocks() -> None:
    rows, _ = made()
    short = Rows(rows.event_us // 100, rows.label, rows.weight)
    assert 12 <= Blocks.of(short).picks.shape[1] <= 13


def test_one_class_has_no_interval() -> None:
    rows, margin = made()
    none = Rows(rows.event_us, np.zeros_like(rows.label), rows.weight)
    assert Blocks.of(none).difference(none, margin, margin) is None


def test_a_few_rows_have_no_interval() -> None:
    rows, margin = made()
    label = np.arange(5) % 2
    few = Rows(rows.event_us[:5], label.astype(np.int8), rows.weight[:5])
    assert Blocks.of(few).difference(few, margin[:5], 2 * margin[:5]) is None


def test_reliability_of_true_probabilities_is_on_the_diagonal() -> None:
    rows, margin = made(20_000)
    bins = reliability(rows, margin)
    assert sum(each["rows"] for each in bins) == len(rows)
    for each in bins:
        assert each["observed"] == pytest.approx(each["predicted"], abs=5 * each["error"] + 0.01)


def test_over_time_adds_up() -> None:
    rows, margin = made()
    told = over_time(rows, {"a": margin}, 0, 20 * 24 * HOUR_US)
    assert sum(told["rows"]) == len(rows)
    assert told["length_s"] in (6 * 3600, 86_400)
    assert len(told["ne"]["a"]) == len(told["start_us"]) == len(told["rate"])


def test_freshness_counts_only_rows_that_every_age_could_score() -> None:
    rows, margin = made(100)
    delayed = np.stack([margin, margin * 0.3]).astype(np.float32)
    delayed[1, :40] = np.nan
    curve = freshness(rows, margin, np.full(100, 60.0), delayed, [timedelta(hours=1), timedelta(hours=2)])
    assert [point["rows"] for point in curve] == [60] * 3
    assert [point["age_s"] for point in curve] == [60, 3660, 7260]
    assert curve[0]["ne"] == pytest.approx(curve[1]["ne"], abs=1e-6)
    assert freshness(rows, margin, np.full(100, 60.0), np.full((1, 100), np.nan), [timedelta(hours=1)]) == []


def test_the_option_that_did_best_on_known_labels_is_live() -> None:
    path_rows = np.arange(2)

    class Two:
        label, weight = np.array([1, 1]), np.ones(2)
        known_us = np.array([10, 20])

    choice = Choice.of(2, None)
    choice.wait(Two, path_rows, np.array([[-1.0, 9.0], [1.0, -9.0]]))  # type: ignore[arg-type]
    assert choice.best == 0, "the default, nothing being known"
    choice.learn(9)
    assert choice.best == 0
    choice.learn(10)
    assert choice.best == 1
    later = Choice.of(2, choice.arrays())
    assert later.best == 1
    later.learn(20)
    assert later.best == 0


def test_enough_is_the_cheapest_of_those_that_are_as_good() -> None:
    costs = [100.0, 50.0, 10.0, 1.0]
    cadences = [{"ne": ne, "which": i} for i, ne in enumerate([0.9, 0.901, 0.92, None])]
    assert enough(cadences, costs) == cadences[1]
    assert enough(cadences[:1], costs[:1]) is None
    assert enough(cadences[:2], [2.0, 2.0]) == cadences[0], "of two that cost the same, the better"


def test_fewer_jobs_of_each_kind_cost_less_however_busy_the_machine_was() -> None:
    jobs = [[("train-trees", 9.0)] + [("update-lr", 0.1)] * 8, [("train-trees", 30.0)] + [("update-lr", 5.0)] * 4]
    costs = costs_of(jobs)
    assert sum(s for _, s in jobs[0]) < sum(s for _, s in jobs[1])
    assert costs == pytest.approx([19.5 + 0.8, 19.5 + 0.4])


def test_refitted_leaf_values_are_lightgbms(tmp_path: Path) -> None:
    import lightgbm as lgb

    cfg = config(write(tmp_path, stream()))
    samples = read_all(cfg.samples, *_all_time())
    assert samples is not None
    trees = train(samples.take(np.arange(900)), cfg.trees, cfg.samples)
    matrix = trees.schema.matrix(samples.table)[900:]
    label, weight = samples.label[900:], np.linspace(0.5, 2, len(samples) - 900)
    path = tmp_path / "booster.txt"
    path.write_bytes(trees.to_files()["booster.txt"])
    booster = lgb.Booster(model_file=path)
    booster.params.pop("categorical_feature", None)
    for decay, values in zip((0.9, 0.2), refit(trees, matrix, label, weight, (0.9, 0.2)), strict=True):
        expected = booster.refit(matrix, label, decay_rate=decay, weight=weight).predict(matrix, raw_score=True)
        np.testing.assert_allclose(trees.margin_matrix(matrix, values, 0.0), expected, atol=1e-9)


def _all_time() -> tuple:
    from replay_kit import DAY, START

    return START, START + 10 * DAY
