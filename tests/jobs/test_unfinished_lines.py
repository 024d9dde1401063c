"""A CSV that somebody is still writing to: its last line is learned when it has an end; until then the log says so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pyarrow import csv

from gbdtlr.jobs import train_trees, update_lr


def test_jobs_say_where_a_last_line_was_left_alone(make_config, make_samples, tmp_path: Path) -> None:
    config, events = make_config(tmp_path), []
    (tmp_path / "samples").mkdir()
    path = tmp_path / "samples" / "x.csv"
    table = make_samples(hours=48, n=400)
    csv.write_csv(table.slice(0, 200), path)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    start = table["ts"][0].as_py()

    def run(job, hours):
        events.clear()
        result = job(
            config, start + timedelta(hours=hours), on_event=lambda name, **fields: events.append((name, fields))
        )
        assert result.status == "published", result.reason
        return result.samples, next(fields for name, fields in events if name in ("samples.read", "samples.code"))

    samples, said = run(train_trees, 26)
    assert (samples, said["unfinished"]) == (199, 1)
    csv.write_csv(table, path)
    samples, said = run(update_lr, 60)
    assert samples == 300  # of the last two days
    assert "unfinished" not in said
    path.write_bytes(path.read_bytes()[:-1])
    _, said = run(train_trees, 72)
    assert said["unfinished"] == 1
