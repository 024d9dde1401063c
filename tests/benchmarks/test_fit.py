from __future__ import annotations

import numpy as np
import pytest

from benchmarks import fit_peers
from benchmarks.fit import (
    AS_OF,
    beside_peers,
    beside_refit,
    objective_of,
    problem,
    settings,
    with_dense,
    without_anchor,
)
from benchmarks.harness import OURS, Bench
from gbdtlr.head.fit.objective import Objective, Setting


@pytest.fixture(scope="module")
def today():
    return problem(1200, 6, 5, 2)


@pytest.fixture
def bench():
    return Bench("fit", n_threads=2, repeats=1, scale=0.01)


def test_the_objective_compared_is_the_one_we_minimise(today):
    from benchmarks.fit import ALIKE

    objective = Objective(today.window, without_anchor(today), [Setting(ALIKE, 10.0)], AS_OF)
    weights = np.random.default_rng(1).normal(size=(objective.layout.n, 1))
    value, _ = objective.value_and_gradient(weights, [0])
    assert objective_of(today, weights[:, 0], 10.0) == pytest.approx(value[0], rel=1e-5)


def test_the_objective_compared_is_that_of_scikit_learn(today):
    rows = _rows(today)
    design = rows.csr(np.float64)
    weights = np.random.default_rng(1).normal(size=design.shape[1])
    z = design @ weights
    expected = np.logaddexp(0, z) - rows.label * z
    assert objective_of(today, weights, 10.0) == pytest.approx(expected.sum() + 5.0 * weights @ weights)


def test_ours_and_every_fast_peer_end_at_one_optimum(today, bench, monkeypatch):
    names = ("scikit-learn newton-cholesky", "scikit-learn liblinear")
    monkeypatch.setattr(fit_peers, "PEERS", {name: fit_peers.PEERS[name] for name in names})
    beside_peers(bench, today, 10.0, 60.0)
    assert [row["system"] for row in bench.rows] == [OURS, *names]
    assert all(row["gap"] < 1e-5 for row in bench.rows)


def test_peers_that_are_absent_or_stopped_are_reported(today, bench, monkeypatch):
    peers = {
        "nowhere": fit_peers.Peer("a_library_nobody_wrote", _rows, lambda *_: None),
        "scikit-learn saga": fit_peers.PEERS["scikit-learn saga"],
    }
    monkeypatch.setattr(fit_peers, "PEERS", peers)
    beside_peers(bench, today, 10.0, 0.001)
    rows = {row["system"]: row for row in bench.rows}
    assert rows["nowhere"]["absent"]
    assert "stopped" in rows["scikit-learn saga"]["note"]
    assert "not installed" in bench.text()


def test_settings_and_refits_are_told_with_their_loss(today, bench):
    settings(bench, today)
    beside_refit(bench, today)
    rows = {row["system"]: row for row in bench.rows}
    assert rows["one setting"]["ratio"] == 1.0
    assert rows["blend of 8 settings"]["passes"] >= rows["one setting"]["passes"]
    assert all(row["log loss"] < 1 for row in bench.rows if "log loss" in row)
    assert sum("log loss" in row for row in bench.rows) == 4


def test_the_cost_of_dense_columns_is_beside_a_fit_without_any(today, bench):
    with_dense(bench, today)
    rows = {row["system"]: row for row in bench.rows}
    assert [*rows] == ["without dense columns", "1 dense", "8 dense", "32 dense"]
    assert rows["without dense columns"]["ratio"] == 1.0
    assert all(row["passes"] > 0 for row in bench.rows)


def _rows(today):
    leaves = np.concatenate([part.leaves for part in today.window], axis=1)
    return fit_peers.Rows(leaves, today.label, today.trees.offsets)
