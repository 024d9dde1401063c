"""The benchmark of ranks: each line is of trees grown where it says, and judged by the same rows."""

from __future__ import annotations

import pytest

from benchmarks import ranks
from benchmarks.harness import Bench


@pytest.mark.slow
def test_ranks_are_as_good_as_one_machine(monkeypatch):
    monkeypatch.setattr(ranks, "RANKS", (2,))
    monkeypatch.setattr(ranks, "SEEDS", [0])
    bench = Bench("ranks", n_threads=1, repeats=1, scale=0.05)
    ranks.run(bench)
    systems = [row["system"] for row in bench.rows]
    assert systems == ["gbdtlr, one machine", "2 ranks"] * 2
    here, there = bench.rows[:2]
    assert here["gap"] == 0
    assert 0 < there["gap"] < 0.5
    assert all(0.9 < row["NE"] < 1.1 for row in bench.rows)
