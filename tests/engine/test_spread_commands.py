"""Scoring and replays on an engine: their parts are done elsewhere, and what comes of them is the same."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path

import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from engine_kit import pretended

from gbdtlr.errors import ConfigError, SamplesError
from gbdtlr.replay import replay
from gbdtlr.replay.replay import part_of_replay
from gbdtlr.scoring import Scorer, score_file

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS / "replay"))
kit = importlib.import_module("replay_kit")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl.gz"])
def test_files_are_scored_by_workers_and_written_in_order(filled, tmp_path, suffix):
    scorer = Scorer.open(filled.store)
    pc.write_csv(pq.read_table(tmp_path / "samples" / "2024-03-02.parquet"), tmp_path / "samples" / "2024-03-02b.csv")
    if suffix != ".parquet":
        for path in (tmp_path / "samples").glob("*.parquet"):
            path.unlink()
        for day in range(3):
            table = pc.read_csv(tmp_path / "samples" / "2024-03-02b.csv").slice(day * 30)
            pc.write_csv(table, tmp_path / "samples" / f"{day}.csv")
    else:
        (tmp_path / "samples" / "2024-03-02b.csv").unlink()
    scorer.score_row({"x": 1.0, "y": 2.0, "colour": "red", "shop": 3})  # what that needs is no part of what travels
    written = []
    for engine in (None, pretended(1), pretended(3), pretended(3, {4: 1})):
        output = tmp_path / f"out{suffix}"
        n = score_file(scorer, str(tmp_path / "samples"), str(output), **({} if engine is None else {"engine": engine}))
        assert n > 1000
        written.append(output.read_bytes())
    assert len({*written}) == 1


def test_what_is_wrong_with_a_file_is_told_as_on_one_machine(filled, tmp_path):
    scorer = Scorer.open(filled.store)
    table = pq.read_table(tmp_path / "samples" / "2024-03-02.parquet")
    pq.write_table(table.drop_columns(["x"]), tmp_path / "samples" / "2024-03-03.parquet")
    messages = []
    for more in ({}, {"engine": pretended(2)}):
        with pytest.raises(SamplesError, match="no column x") as error:
            score_file(scorer, str(tmp_path / "samples"), str(tmp_path / "out.csv"), **more)
        messages.append(str(error.value))
        assert not (tmp_path / "out.csv").exists()
    assert messages[0] == messages[1]


def figures(result):
    """What is the same whoever did it, and however long it took."""
    told = [{key: value for key, value in row.items() if key != "seconds"} for row in result.as_dict()["strategies"]]
    return told, [margin.tobytes() for margin in result.margins.values()]


def test_a_replay_is_the_same_on_workers_and_goes_on_where_it_was(tmp_path):
    config = kit.config(kit.write(tmp_path, kit.stream()))
    start, end = kit.START + 2 * kit.DAY, kit.START + 3 * kit.DAY
    cadences = (kit.DAY, [12 * kit.HOUR, 6 * kit.HOUR])
    arguments = (config.replace(engine="ray"), start, end, *cadences)
    strategies = ["stale-trees", "lightgbm-refit"]
    runs = []
    for number, engine in enumerate((None, pretended(2), pretended(2))):
        told = []
        more = {} if engine is None else {"engine": engine}
        out = tmp_path / f"out{min(number, 1)}"
        result = replay(*arguments, strategies, out, lambda *step, told=told: told.append(step[0]), **more)
        runs.append((figures(result), told))
    assert runs[0][0] == runs[1][0] == runs[2][0]
    assert runs[0][1] == runs[1][1], "each step is told once"
    assert runs[2][1] == [runs[0][1][-1]], "all of it was kept"


def test_a_folder_that_a_worker_does_not_see_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="--out must be a folder that all machines"):
        next(part_of_replay(0, "systems", None, str(tmp_path / "none")))


def test_the_replays_jobs_are_done_where_their_part_is(tmp_path):
    config = dataclasses.replace(kit.config(kit.write(tmp_path, kit.stream())), engine="ray://nowhere:1", workers=3)
    start = kit.START + 2 * kit.DAY
    assert replay(config, start, start + kit.DAY, kit.DAY, 12 * kit.HOUR, ["stale-trees"]).rows
