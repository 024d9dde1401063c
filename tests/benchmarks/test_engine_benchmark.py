"""The benchmark of engines: what is added up for clusters that are not here, and what processes used."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from benchmarks import clusters, engine, update, watched
from benchmarks.harness import Bench

MEASURED = clusters.Measured(
    read_s=4e-6, pass_s=2e-7, own_s=8.0, passes=20, sent=4e5, received=8e5, trip_s=0.002, row_bytes=248
)


def simulated(measured):
    bench = Bench("engine", n_threads=1, repeats=1, scale=1.0)
    clusters.simulate(bench, "", measured)
    return bench.rows


def test_more_machines_take_less_time_until_they_wait_for_each_other():
    one, some, many = simulated(MEASURED)
    assert one["read s"] == pytest.approx(500)
    assert one["read s"] > some["read s"] > many["read s"]
    assert one["fit s"] == pytest.approx(20 * 1e9 * 2e-7 / 8 + 1 + 20 * 0.002, rel=0.01)
    assert one["fit s"] > some["fit s"] > many["fit s"]
    assert one["moving s"] < some["moving s"] < many["moving s"]
    assert one["GB a machine"] == pytest.approx(248)
    slow = dataclasses.replace(MEASURED, sent=4e9)
    assert simulated(slow)[2]["fit s"] > simulated(slow)[1]["fit s"]


def test_an_unknown_part_is_refused():
    with pytest.raises(SystemExit, match="jobs, ids, passes, clusters, long"):
        engine.run(Bench("engine", n_threads=1, repeats=1, scale=0.001, only="nonsense"))


def test_files_are_there_as_often_as_they_are_taken(tmp_path):
    (tmp_path / "samples").mkdir()
    update.pq.write_table(update.pa.table({"x": range(40)}), tmp_path / "samples" / "fresh.parquet")
    files = engine.Files(tmp_path / "samples")
    for times in (1, 4, 16, 1):
        files.taken(times)
        assert update.pq.read_table(tmp_path / "samples").num_rows == 40 * times
        assert len([*(tmp_path / "samples").iterdir()]) == engine.N_FILES * times


SPINNING = "import time\nblock = bytearray(%d)\nwhile time.process_time() < 0.3: pass\nprint(flush=True)"
BESIDE = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE).stdout.readline()
print("said")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked up where Linux has them")
def test_what_a_process_leaves_behind_is_counted_by_its_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(watched, "EVERY_S", 0.001)
    command = [sys.executable, "-W", "ignore", "-c", BESIDE, SPINNING % 10**7]
    used = watched.watched(command, tmp_path, lambda line: "spinner" if "process_time" in line else "other", tmp_path)
    assert used.stdout == "said\n"
    assert 0.2 < used.cpu_s["spinner"] < 5
    assert used.peak["spinner"] > 10**7
    with pytest.raises(SystemExit, match="ended with 3"):
        watched.watched([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, str, tmp_path)
