from __future__ import annotations

import pytest

from benchmarks import logs
from benchmarks.harness import OURS, Bench


def test_all_systems_find_the_same_labels():
    bench = Bench("logs", n_threads=1, repeats=1, scale=0.001)
    logs.run(bench)
    assert [row["system"] for row in bench.rows] == [OURS, *logs.PEERS]
    there = [row for row in bench.rows if not row["absent"]]
    assert all(row["seconds"] > 0 and row["peak MB"] > row["join MB"] for row in there)


def test_a_system_that_finds_others_is_not_told(monkeypatch):
    wrong = {"seconds": 1.0, "cpu_s": 1.0, "peak_mb": 1.0, "join_mb": 1.0, "rows": 10_000, "positives": -1}
    monkeypatch.setattr(logs, "child", lambda *_: wrong)
    with pytest.raises(SystemExit, match=r"gbdtlr finds .* where 10000 rows have \d+ positives"):
        logs.run(Bench("logs", n_threads=1, repeats=1, scale=0.001))
