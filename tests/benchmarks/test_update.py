from __future__ import annotations

import sys

import pytest

from benchmarks import update
from benchmarks.harness import OURS, Bench


@pytest.mark.slow
def test_a_whole_update_beside_both_scripts(tmp_path):
    bench = Bench("update", n_threads=2, repeats=1, scale=0.01)
    site = update.made(tmp_path, 1200, 1200, 5, 5, 2)
    update.compare(bench, site, 1200)
    ours, *others = bench.rows
    assert ours["system"] == OURS
    assert others[0]["system"] == update.ONE_SETTING
    assert len(others) == 4  # one setting, ids, and two scripts
    assert all(row["peak MiB"] > 50 for row in bench.rows)
    assert 0 < ours["head.fit s"] < ours["seconds"]


def test_peak_memory_is_that_of_the_process(tmp_path):
    small = update.process([sys.executable, "-c", "print('done')"], tmp_path)
    large = update.process([sys.executable, "-c", "x = b'1' * 200_000_000"], tmp_path)
    assert small.stdout == "done\n"
    assert large.peak - small.peak > 150_000_000


def test_a_process_that_fails_tells_why(tmp_path):
    with pytest.raises(SystemExit, match="no such thing"):
        update.process([sys.executable, "-c", "raise RuntimeError('no such thing')"], tmp_path)
