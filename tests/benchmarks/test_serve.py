"""The benchmark of requests: what it serves is what it says, and it reads what wrk prints."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks import serve
from benchmarks.harness import OURS, Bench
from gbdtlr.scoring import Scorer

WRK = """
  Thread Stats   Avg      Stdev     Max   +/- Stdev
  Latency Distribution
     50%  379.00us
     99%   15.00ms
  7658 requests in 3.00s, 1.30MB read
Requests/sec:   2552.10
"""


def test_it_reads_what_wrk_prints():
    assert serve._latency("50%", WRK) == pytest.approx(379e-6)
    assert serve._latency("99%", WRK) == pytest.approx(0.015)
    assert serve._found(r"(\d+) requests in", WRK) == "7658"
    with pytest.raises(SystemExit, match="wrk says nothing"):
        serve._found("90%", WRK)


@pytest.mark.skipif(shutil.which("wrk") is None or shutil.which("taskset") is None, reason="needs wrk and taskset")
def test_each_system_answers_and_is_told(monkeypatch):
    monkeypatch.setattr(serve, "N_TRAINING", 2000)
    monkeypatch.setattr(serve, "SHAPES", ((5, 6),))
    monkeypatch.delenv("MLFLOW_PYTHON", raising=False)
    bench = Bench("serve", n_threads=1, repeats=1, scale=0.01)
    serve.run(bench)
    systems = [row["system"] for row in bench.rows]
    assert systems[:2] == [OURS, serve.CONSTANT]
    assert serve.MLFLOW in systems
    assert len(systems) == 8
    assert systems[-2:] == [f"{peer}, 500 rows as Arrow" for peer in (serve.ARROW_CONSTANT, serve.ARROW_LIGHTGBM)]
    assert all(row["seconds"] > 0 for row in bench.rows if not row["absent"])
    assert bench.text()
    assert json.dumps(bench.result())


@pytest.mark.skipif(shutil.which("wrk") is None or shutil.which("taskset") is None, reason="needs wrk and taskset")
def test_what_is_not_answered_is_not_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "N_TRAINING", 2000)
    store, named = serve.published(tmp_path, 5, 6)
    assert Scorer.open(store).score_row(named[0]) > 0
    with serve.gbdtlr_server(store) as server, pytest.raises(SystemExit, match="not answered as it should"):
        serve.turn(server, serve.Question("/score", [b"{}"]), 1, 1)
