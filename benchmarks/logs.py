"""Two logs joined: 10 million impressions with 500,000 outcomes, beside DuckDB's and polars' as-of joins.

All read the same hourly Parquet files and give a feature, the time and the label of every impression: whether an
outcome of its key, a text of 16 characters, came within an hour. Ours are the samples that a job reads, which besides
are sorted by time and key, and of which repeats are left out; what is late, of no impression or there twice is counted.
More is not asked of the others, though *DuckDB, without repeats* says what leaving them out costs there.

Each runs in a process of its own that has as many CPUs as there are threads, and has joined two small logs before, so
that all is loaded. *peak MB* is the most memory the process has, *join MB* how much more that is than when it began.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import OURS, Bench, installed
from benchmarks.rawclicks import requests
from gbdtlr.config import Config
from gbdtlr.samples import Tally, read_batches
from gbdtlr.times import to_us

N_SHOWN, N_CLICKS = 10_000_000, 500_000
START, HOURS = datetime(2024, 6, 3, tzinfo=UTC), 168
HOUR_US = 3_600_000_000
STAMP = pa.timestamp("us", "UTC")
SMALL = "small"
PEERS = {"DuckDB": "duckdb", "DuckDB, without repeats": "duckdb", "polars": "polars"}

_DUCKDB = """
    SELECT s."at", s.x, coalesce(c."at" <= s."at" + INTERVAL 1 HOUR, false)::TINYINT AS label
    FROM {shown} AS s ASOF LEFT JOIN read_parquet('{folder}/clicks/*/*.parquet', hive_partitioning = false) AS c
    ON s.request = c.request AND c."at" >= s."at"
"""
_SHOWN = "read_parquet('{folder}/shown/*/*.parquet', hive_partitioning = false)"
_ONCE = f'(SELECT request, min("at") AS "at", arg_min(x, "at") AS x FROM {_SHOWN} GROUP BY request)'


def run(bench: Bench) -> None:
    n_shown, n_clicks = bench.size(N_SHOWN), bench.size(N_CLICKS)
    case = f"{n_shown} impressions, {n_clicks} outcomes"
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / SMALL, 10_000, 500, hours=2)
        positives = write(Path(folder), n_shown, n_clicks)
        base = None
        for system in (OURS, *PEERS):
            if system in PEERS and not installed(PEERS[system]):
                bench.add(case, system, None, None, {})
                continue
            runs = [child(system, Path(folder), bench.n_threads) for _ in range(bench.repeats)]
            if any(each["positives"] != positives or each["rows"] != n_shown for each in runs):
                raise SystemExit(f"{system} finds {runs[0]}, where {n_shown} rows have {positives} positives")
            seconds = [each["seconds"] for each in runs]
            median = float(np.median(seconds))
            base = median if base is None else base
            more = {
                "million rows/s": round(n_shown / median / 1e6, 2),
                "CPU s": round(float(np.median([each["cpu_s"] for each in runs])), 2),
                "peak MB": round(float(np.median([each["peak_mb"] for each in runs]))),
                "join MB": round(float(np.median([each["join_mb"] for each in runs]))),
            }
            bench.add(case, system, seconds, base, more)


def write(folder: Path, n_shown: int, n_clicks: int, hours: int = HOURS) -> int:
    """Both logs in hourly files; returns how many impressions have an outcome within the hour.

    Of the outcomes nine in ten come within it, by an exponential delay of five minutes, and the others later, or of no
    impression that is there.
    """
    rng = np.random.default_rng(7)
    at = np.sort(rng.integers(0, hours * HOUR_US, n_shown))
    write_hourly(folder / "shown", at, np.arange(n_shown), {"x": rng.normal(size=n_shown)})
    clicked = np.sort(rng.permutation(n_shown)[:n_clicks])
    kind = rng.random(n_clicks)
    delay = np.minimum(rng.exponential(300e6, n_clicks).astype(np.int64), HOUR_US)
    delay[kind < 0.05] += HOUR_US + 1
    key = np.where(kind >= 0.95, clicked + n_shown, clicked)
    came = at[clicked] + delay
    order = np.argsort(came, kind="stable")
    write_hourly(folder / "clicks", came[order], key[order], {})
    return int(np.count_nonzero((kind >= 0.05) & (kind < 0.95)))


def write_hourly(folder: Path, at: np.ndarray, key: np.ndarray, more: dict[str, np.ndarray]) -> None:
    """Rows in order of time as ``dt=YYYY-MM-DD/hour=HH.parquet``."""
    last = int(at[-1] // HOUR_US)
    bounds = np.searchsorted(at, np.arange(last + 2) * HOUR_US)
    for hour in range(last + 1):
        rows = slice(int(bounds[hour]), int(bounds[hour + 1]))
        begin = START + timedelta(hours=hour)
        path = folder / f"dt={begin:%Y-%m-%d}" / f"hour={begin:%H}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {"request": requests(key[rows]), "at": pa.array(at[rows] + to_us(START), STAMP)}
        pq.write_table(pa.table({**columns, **{name: values[rows] for name, values in more.items()}}), path)


def child(system: str, folder: Path, n_threads: int) -> dict[str, Any]:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.logs", system, str(folder), str(n_threads)]
    environ = {**os.environ, "POLARS_MAX_THREADS": str(n_threads)}
    result = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{system}: {result.stderr}")
    done: dict[str, Any] = json.loads(result.stdout)
    return done


def ours(folder: Path) -> Callable[[], tuple[int, int]]:
    """Samples of the whole week, batch by batch."""
    parts = {"partition": "dt=%Y-%m-%d/hour=%H"}
    config = Config.from_dict(
        {
            "samples": {"path": str(folder / "shown"), "event_time": "at", "key": "request", "numeric": ["x"], **parts},
            "outcomes": {"path": str(folder / "clicks"), "key": "request", "time": "at", "window": "1h", **parts},
        }
    )
    end = START + timedelta(hours=HOURS)

    def join() -> tuple[int, int]:
        rows = positives = 0
        for samples in read_batches(config.samples, START, end, end + timedelta(days=1), tally=Tally()):
            rows, positives = rows + len(samples), positives + int(samples.label.sum())
        return rows, positives

    return join


def by_duckdb(folder: Path, n_threads: int, shown: str = _SHOWN) -> Callable[[], tuple[int, int]]:
    """The same by an as-of join, in batches as well."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET threads = {n_threads}; SET preserve_insertion_order = false")
    query = _DUCKDB.format(shown=shown.format(folder=folder), folder=folder)

    def join() -> tuple[int, int]:
        rows = positives = 0
        for batch in connection.sql(query).to_arrow_reader(65536):
            rows, positives = rows + len(batch), positives + (pa.compute.sum(batch["label"]).as_py() or 0)
        return rows, positives

    return join


def by_polars(folder: Path) -> Callable[[], tuple[int, int]]:
    """The same by an as-of join; polars sorts both sides by time."""
    import polars as pl

    def join() -> tuple[int, int]:
        shown = pl.scan_parquet(folder / "shown/*/*.parquet", hive_partitioning=False).sort("at")
        clicks = pl.scan_parquet(folder / "clicks/*/*.parquet", hive_partitioning=False).sort("at")
        clicks = clicks.with_columns(pl.col("at").alias("came"))
        joined = shown.join_asof(
            clicks, on="at", by="request", strategy="forward", tolerance="1h", check_sortedness=False
        ).select("at", "x", pl.col("came").is_not_null().cast(pl.Int8).alias("label"))
        frame = joined.collect()
        return len(frame), int(frame["label"].cast(pl.Int64).sum())

    return join


def resident_kb(which: str) -> int:
    """Memory of this process as Linux tells it: now (``VmRSS``) or at its peak (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:"))


def join_of(system: str, folder: Path, n_threads: int) -> Callable[[], tuple[int, int]]:
    """What a system does with the logs in a folder; it gives the numbers of rows and of positives."""
    if system == OURS:
        return ours(folder)
    if system == "polars":
        return by_polars(folder)
    return by_duckdb(folder, n_threads, _SHOWN if system == "DuckDB" else _ONCE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.logs", description="One run of one system.")
    parser.add_argument("system", choices=[OURS, *PEERS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("threads", type=int)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    join_of(options.system, options.folder / SMALL, options.threads)()
    join = join_of(options.system, options.folder, options.threads)
    before, before_kb = resource.getrusage(resource.RUSAGE_SELF), resident_kb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # a process begins with its parent's peak
    begin = time.perf_counter()
    rows, positives = join()
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak_kb = resident_kb("VmHWM")
    memory = {"peak_mb": peak_kb / 1024, "join_mb": (peak_kb - before_kb) / 1024}
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, **memory, "rows": rows, "positives": positives}))


if __name__ == "__main__":
    main()
