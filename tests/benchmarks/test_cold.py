from __future__ import annotations

import pytest

from benchmarks import cold
from benchmarks.harness import OURS, Bench
from gbdtlr.cli.group import group


@pytest.mark.slow
def test_a_command_on_both_machines(tmp_path):
    bench = Bench("cold", n_threads=2, repeats=1, scale=1)
    compiled, store = tmp_path / "compiled", tmp_path / "store"
    cold._run(cold.command("train-trees", store), compiled)
    cold._run(cold.command("first row", store), compiled)
    cold.compare(bench, "first row", store, compiled)
    assert [row["system"] for row in bench.rows] == [OURS, cold.COLD, cold.AGAIN]
    assert all(row["ratio"] and row["cpu s"] > 0 for row in bench.rows)


def test_commands_are_those_of_the_command_line(tmp_path):
    for case in cold.CASES:
        arguments = cold.command(case, tmp_path)
        if case != "first row":
            assert arguments[:3] == ["-m", "gbdtlr", case]
            group.commands[case].make_context(case, arguments[3:])
