from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from benchmarks import clickstream, methods, naive
from benchmarks.harness import Bench
from gbdtlr.config import Config
from gbdtlr.metrics import sigmoid
from gbdtlr.replay.rows import by_event, read_all

HOUR = timedelta(hours=1)
START = clickstream.START + 30 * HOUR
STEPS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Twelve hours of a small click stream, trees every six, heads every three."""
    folder = tmp_path_factory.mktemp("methods")
    clickstream.write(folder / "clicks", 6000, 2)
    c = Config.load("configs/clickstream.toml")
    params = {**c.trees.params, "num_iterations": 4, "num_leaves": 4, "min_data_in_leaf": 20}
    c = replace(
        c,
        threads=1,
        samples=replace(c.samples, path=(str(folder / "clicks"),)),
        trees=replace(c.trees, window=timedelta(days=1), validation=HOUR, params=params),
        head=replace(c.head, window=timedelta(days=1), half_lives=c.head.half_lives[1:3], l2=c.head.l2[1:3]),
        guard=replace(c.guard, min_samples=1, calibration=(0.01, 100.0), worse=10.0, auc=0.0, volume=(0.0, 1e9)),
    )
    return methods.replayed(c, START, START + STEPS * 3 * HOUR, 6 * HOUR, 3 * HOUR, folder / "replay")


@pytest.fixture
def rows(run):
    return by_event(read_all(run.config.samples, run.start, run.end), run.start, run.end)


def releases(run):
    return [(step.at, run.release(step.release, None)) for step in run.steps(methods.REFIT)]


def test_every_method_is_told_beside_the_refit(run):
    bench = Bench("methods", n_threads=1, repeats=1, scale=1.0)
    methods.compare(bench, "clicks", run)
    assert [row["system"] for row in bench.rows] == [methods.REFIT, *methods.METHODS]
    assert bench.rows[0]["ratio"] == 1.0
    assert all(row["seconds"] > 0 and 0 < row["NE"] < 3 for row in bench.rows)
    assert str(len(run.result.rows)) in bench.rows[0]["case"]
    assert bench.text()


def test_between_corrections_all_start_where_the_refit_is(run):
    bench = Bench("methods", n_threads=1, repeats=1, scale=1.0)
    methods.between_corrections(bench, "clicks", run, "incremental", [3 * HOUR, 6 * HOUR])
    assert [row["system"] for row in bench.rows] == ["incremental", *naive.NAIVE]
    assert {row["0s to 3h"] for row in bench.rows[1:]} == {"+0.00%"}
    later = [abs(float(row["3h to 6h"].rstrip("%"))) for row in bench.rows]
    assert min(later) > 0
    assert later[0] < max(later[1:])
    assert "not installed" not in bench.text()


@pytest.mark.parametrize("name", naive.NAIVE)
def test_corrected_at_every_moment_it_is_the_refit(run, rows, name):
    corrections = releases(run)
    moments = [at for at, _ in corrections]
    found = naive.margins(run.config, naive.NAIVE[name], moments, run.end, corrections)
    expected = run.margin(methods.REFIT)
    assert len(found) == len(rows)
    assert found == pytest.approx(expected, abs=1e-9)


def problem(n=60, seed=3):
    rng = np.random.default_rng(seed)
    columns = np.stack([rng.integers(0, 4, n), rng.integers(4, 9, n), np.full(n, 9)], axis=1)
    return rng.normal(size=10), columns, (rng.random(n) < 0.4).astype(float), rng.random(n) + 0.5


def test_sgd_steps_down_the_gradient_of_each_sample():
    w, columns, label, weight = problem(1)
    found = naive.SGD().learn(w, 0.1, columns, label, weight)
    g = weight[0] * (sigmoid(w[columns[0]].sum()) - label[0])
    expected = w.copy()
    expected[columns[0]] -= 0.1 * g
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("to_last", [False, True])
def test_lbfgs_ends_where_the_gradient_is_zero(to_last):
    w, columns, label, weight = problem()
    found = naive.LBFGS(to_last).learn(w, 1.0, columns, label, weight)
    design = np.zeros((len(label), 10))
    np.put_along_axis(design, columns, 1.0, axis=1)
    gradient = design.T @ (weight * (sigmoid(design @ found) - label)) + found - (w if to_last else 0)
    assert np.abs(gradient).max() < 1e-3
