"""What waiting for labels costs, and how much of that weighing rows before they are final wins back.

The click stream, its clicks 1, 6 and 24 times as late, each with a window as long: rows, features and labels are the
same every time. Four ways to deal with a row whose window is not over are replayed on identical rows: ``wait`` for it,
take it for a negative (``naive``), ``weigh`` it, and know its label at once, which nobody can. *Gap closed* is how much
of the way from waiting to knowing at once; of few rows, chance may leave none.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import clickstream
from benchmarks.harness import Bench
from gbdtlr.config import AT_ONCE, Config
from gbdtlr.jobs.unfinal import Aged
from gbdtlr.metrics import Quality
from gbdtlr.replay import ReplayResult, replay
from gbdtlr.times import format_duration

ROWS, DAYS, FROM = 240_000, 7, 3
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WINDOWS = (1, 6, 24)
HEAD_EVERY = {1: HOUR, 6: 2 * HOUR, 24: 3 * HOUR}
STRATEGIES = ("wait", "weigh", AT_ONCE)


def write_late(source: Path, target: Path, times: int) -> None:
    """The hourly files of a click stream, their clicks so many times as late; without a click there is no such time."""
    for path in sorted(source.glob("dt=*/hour=*.parquet")):
        table = pq.read_table(path)
        clicked = table["label"].to_numpy() == 1
        at, came = (table[name].to_numpy().astype("datetime64[us]").astype(np.int64) for name in ("ts", "label_ts"))
        late = pa.array(at + times * (came - at), pa.timestamp("us", "UTC"), mask=~clicked)
        out = target / path.relative_to(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.set_column(table.schema.get_field_index("label_ts"), "label_ts", late), out)


def config_of(folder: Path, window: timedelta) -> Config:
    """``configs/clickstream.toml`` with the moment of each click, and rows weighed until their window is over."""
    config = Config.load("configs/clickstream.toml")
    samples = dataclasses.replace(
        config.samples,
        path=(str(folder),),
        label_delay=None,
        label_time="label_ts",
        label_window=window,
        unfinal="weigh",
    )
    return config.replace(samples=samples)


def replayed(config: Config, days: tuple[int, int], every: timedelta) -> tuple[ReplayResult, ReplayResult]:
    """The replay of all ways but the naive one, and that."""
    start, end = (clickstream.START + day * DAY for day in days)

    def told(done: int, total: int, text: str) -> None:
        if done % 25 == 0 or done == total:
            print(f"labels: {done}/{total} {text}", file=sys.stderr, flush=True)

    result = replay(config, start, end, DAY, every, strategies=STRATEGIES, progress=told)
    with mock.patch.object(Aged, "weighed", lambda rows: rows.codes):
        trusting = config.replace(guard=dataclasses.replace(config.guard, early=(0.0, 1e9)))
        return result, replay(trusting, start, end, DAY, every, strategies=["two-speed"], progress=told)


def figures(result: ReplayResult, naive: ReplayResult) -> dict[str, dict[str, Any]]:
    """NE, calibration and share of the gap closed of each way."""
    rows = result.rows
    margins = {name: result.margins[name] for name in STRATEGIES}
    margins = {"wait": margins["wait"], "naive": naive.margins["two-speed"], **margins}
    found = {name: Quality.of(margin, rows.label, rows.weight) for name, margin in margins.items()}
    wait, at_once = (found[name].ne or 0.0 for name in ("wait", AT_ONCE))
    shares = {each["name"]: each["unfinal"] for each in result.as_dict()["labels"]}
    return {
        name: {
            "NE": each.ne,
            "calibration": each.calibration,
            "gap closed": f"{(wait - (each.ne or 0.0)) / (wait - at_once):.0%}" if wait > at_once else "no gap",
            "weight not final": f"{shares[name]:.1%}" if name in shares else "",
            "rows": each.rows,
        }
        for name, each in found.items()
    }


def run(bench: Bench) -> None:
    bench.measured = "progressive, on the same rows for all"
    days = FROM, min(DAYS, FROM + max(1, round(4 * bench.scale)))
    with tempfile.TemporaryDirectory("-labels") as name:
        folder = Path(name)
        clickstream.write(folder / "clicks", bench.size(ROWS), DAYS)
        for hours in WINDOWS:
            write_late(folder / "clicks", folder / f"late-{hours}", hours)
            window = hours * HOUR
            config = config_of(folder / f"late-{hours}", window)
            every = HEAD_EVERY[hours]
            case = f"clicks, window {format_duration(window)}, head every {format_duration(every)}"
            for system, more in figures(*replayed(config, days, every)).items():
                bench.add(case, system, [], None, more)
