from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import score
from benchmarks.encode import N_FEATURES, rows
from benchmarks.harness import OURS, Bench


@pytest.fixture(
    scope="module",
    params=[pytest.param(0, id="numbers"), pytest.param(N_FEATURES // 2, id="categories", marks=pytest.mark.slow)],
)
def case(request):
    matrix, label = rows(1500, request.param)
    return score.Case("small", score.made(matrix, label, request.param, 5, 6, 2), matrix)


@pytest.fixture
def bench():
    return Bench("score", n_threads=2, repeats=1, scale=0.01)


def test_all_that_is_timed_agrees(case):
    score.check(case)


@pytest.mark.parametrize("kind", ["a matrix", "a DataFrame", "values", "names and values"])
def test_a_system_that_is_off_is_not_timed(case, monkeypatch, kind):
    listed = {
        "a matrix": "matrix_systems", "a DataFrame": "frame_systems", "values": "values_calls",
        "names and values": "named_calls",
    }[kind]  # fmt: skip
    systems = getattr(score, listed)

    def wrong(asked):
        work = systems(asked)[OURS]
        if isinstance(work, tuple):
            return {OURS: (lambda row: work[0](row) + 1e-6, work[1])}
        return {OURS: lambda: work() + 1e-6}

    monkeypatch.setattr(score, listed, wrong)
    with pytest.raises(SystemExit, match=f"gbdtlr of {kind} is off"):
        score.check(case)


def test_batches_are_told_in_rows_per_second(case, bench):
    score.batches(bench, case)
    ours = [row for row in bench.rows if row["system"] == OURS]
    assert len(ours) == 2
    assert all(row["rows/s"] == round(1500 / row["seconds"]) for row in bench.rows if not row["absent"])
    assert {row["system"] for row in bench.rows} >= {"lightgbm predict", "treelite gtil.predict"}


def test_rows_are_told_with_their_slowest_calls(case, bench, monkeypatch):
    monkeypatch.setattr(score, "TURN", 100)
    score.one_row(bench, case, 200)
    assert all(row["least"] <= row["seconds"] <= row["p99"] for row in bench.rows if not row["absent"])
    assert all(row["calls"] in (100, 200) for row in bench.rows if not row["absent"])
    assert all(row["cold"] > 0 for row in bench.rows if not row["absent"])
    assert f"{OURS}, 3 wide columns" in {row["system"] for row in bench.rows}


def test_absent_peers_are_reported(case, bench, monkeypatch):
    monkeypatch.setattr(score, "installed", lambda _: False)
    models = replace(case.models)  # those of the other tests are known already
    score.batches(bench, replace(case, models=models))
    score.one_row(bench, replace(case, models=models), 100)
    absent = {row["system"] for row in bench.rows if row["absent"]}
    assert absent == {"treelite gtil.predict", "xgboost inplace_predict"}
    assert all(row["seconds"] is None for row in bench.rows if row["absent"])


def test_calls_are_of_the_rows_in_turn(bench):
    asked = []
    score.call_by_call(bench, "case", {OURS: (asked.append, [1, 2, 3])}, score.TURN)
    assert asked == [1, 2, 3, 1, 2, 3, 1, 2, 3], "once unmeasured, a turn, and cold"
    assert np.isfinite(bench.rows[0]["p99"])
