from __future__ import annotations

import pyarrow.compute as pc
import pytest

from benchmarks import hash as benchmark
from benchmarks.harness import OURS, Bench


def test_ids_are_all_different():
    assert all(pc.count_distinct(column).as_py() == 3000 for column in benchmark.columns(3000).values())


def test_nanoseconds_of_every_kind_of_id_and_way():
    bench = Bench("hash", n_threads=1, repeats=1, scale=0.001)
    benchmark.run(bench)
    assert {row["case"].split(", ")[1] for row in bench.rows} == {"many", "one", "to buckets"}
    assert all(row["ns"] > 0 for row in bench.rows if not row["absent"])
    assert sum(row["system"] == OURS for row in bench.rows) == 10


def test_a_hash_that_is_off_is_not_timed(monkeypatch):
    monkeypatch.setattr(benchmark, "hash_of", lambda _: lambda text: len(text))
    with pytest.raises(SystemExit, match="different"):
        benchmark.check(["7", "8"])
