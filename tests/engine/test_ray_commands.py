"""Commands on a real cluster: what they write and say is what they do on one machine, from all workers and in order."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from ray_kit import taken_back, toml_of

from gbdtlr.cli.group import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # Ray's own
]


@pytest.fixture
def run(ray_cluster, filled, tmp_path, capsys):
    """``run(engine, *arguments)``: what a command wrote to stdout, and the lines it logged."""
    assert ray_cluster.is_dir()
    file = tmp_path / "config.toml"

    def run(engine, *arguments):
        file.write_text(toml_of(filled.replace(engine=engine, workers=None if engine == "local" else 3)))
        name, *others = arguments
        code = main([name, *others, "-c", str(file), "--log-format", "json", "--json"])
        told = capsys.readouterr()
        assert code == 0, told.err
        return json.loads(told.out), [json.loads(line) for line in told.err.splitlines()]

    return run


def untimed(lines):
    """What is the same however long it took, and whoever did it."""
    kept = [{key: value for key, value in line.items() if key not in ("time", "seconds")} for line in lines]
    return [line for line in kept if not line["event"].startswith("engine.")]


def test_a_job_says_on_workers_what_it_says_on_one_machine(run, filled):
    told = {}
    for engine in ("local", "ray"):
        with taken_back(filled):
            told[engine] = run(engine, "update-lr", "--as-of", "2024-03-04T12:00Z")
    assert told["ray"][0] == told["local"][0]
    assert untimed(told["ray"][1]) == untimed(told["local"][1])
    events = [line["event"] for line in told["ray"][1]]
    assert [event for event in events if event.startswith("engine.")] == ["engine.begin", "engine.end"]


def test_scores_are_the_same_from_workers(run, filled, tmp_path):
    folder = Path(filled.samples.path[0])
    for day in range(1, 6):
        shutil.copy(folder / f"2024-03-0{day}.parquet", folder / f"2024-03-0{day}-again.parquet")
    written, told = [], {}
    for engine in ("local", "ray"):
        out = tmp_path / f"{engine}.parquet"
        told[engine] = run(engine, "score", str(folder), "-o", str(out))
        written.append(out.read_bytes())
    assert written[0] == written[1]
    rows = {engine: result["rows"] for engine, (result, _) in told.items()}
    assert rows["local"] == rows["ray"] == 2 * 5 * 400
    assert untimed(told["ray"][1]) == untimed(told["local"][1])


def test_a_replay_on_workers_tells_each_step_in_order(run, tmp_path):
    told = {}
    for engine in ("local", "ray"):
        period = ("--start", "2024-03-03T00:00Z", "--end", "2024-03-04T00:00Z")
        cadence = ("--trees-every", "1d", "--lr-every", "12h,6h", "--strategy", "stale-trees")
        out = tmp_path / f"out-{engine}"
        told[engine] = run(engine, "replay", *period, *cadence, "--strategy", "lightgbm-refit", "--out", str(out))
    figures = {}
    for engine, (result, _) in told.items():
        text = re.sub(r'"(\w*seconds\w*)": [\d.e+-]+', r'"\1": 0', json.dumps(result))
        figures[engine] = {**json.loads(text), "cost": None}
    assert figures["ray"] == figures["local"]
    assert untimed(told["ray"][1]) == untimed(told["local"][1])
    done = [line["done"] for line in told["ray"][1] if line["event"] == "replay.progress"]
    assert len(done) > 5
    assert done == sorted(done)
