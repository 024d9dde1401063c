"""The click stream as the servers write it: impressions in one log, clicks in another, neither of them clean.

``python -m benchmarks.rawclicks --out data/rawclicks`` writes ``shown/dt=YYYY-MM-DD/hour=HH.parquet``, the rows
of the click stream without their labels but with a ``request``, and ``clicks/dt=.../hour=HH.parquet``, the request and
time of every click, by the hour of the click. What real logs do to whoever joins them is in both:

- one impression in 100 is delivered twice, and one click in 50; one visitor in 100 clicks again some seconds later
- clicks that come after the hour of the click stream's wait are there as well, up to a day late
- one click in 50 is of a request that no impression has, and one row in 1,000 of either log has no request
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.clickstream import DELAY_MEDIAN_S, DELAY_SIGMA, START, VERSION, WAIT, hours, lost_share, options
from benchmarks.clickworld import HOUR_US
from gbdtlr.errors import ConfigError, GbdtlrError
from gbdtlr.times import from_us, parse_time, to_us
from gbdtlr.values.hashing import mix

TWICE_SHOWN, TWICE_CLICKED, AGAIN, UNMATCHED, KEYLESS = 0.01, 0.02, 0.01, 0.02, 0.001
LATEST_US = 24 * HOUR_US
CLICKS = pa.schema([("request", pa.string()), ("ts", pa.timestamp("us", "UTC"))])


def raw_hours(
    n_rows: int, days: int, seed: int, start: datetime = START
) -> Iterator[tuple[datetime, pa.Table, pa.Table]]:
    """Impressions and clicks of each hour, clicks of hours after the last of the impressions too.

    Parameters
    ----------
    n_rows, days, seed, start : of the click stream, as :func:`benchmarks.clickstream.hours` takes them
    """
    rng = np.random.default_rng([seed, VERSION, 1])
    n_before = 0
    waiting = CLICKS.empty_table()
    for hour, table in hours(n_rows, days, seed, start):
        request = requests(np.arange(n_before, n_before + len(table)))
        n_before += len(table)
        clicks = _clicks(table, request, rng)
        waiting = pa.concat_tables([waiting, clicks])
        own = pc.less(waiting["ts"], pa.scalar(hour + timedelta(hours=1), CLICKS.field("ts").type))
        shown = table.drop_columns(["label", "label_ts"]).add_column(0, "request", _some_without(request, rng))
        twice = shown.take(np.flatnonzero(rng.random(len(shown)) < TWICE_SHOWN))
        yield hour, pa.concat_tables([shown, twice]), waiting.filter(own).sort_by("ts")
        waiting = waiting.filter(pc.invert(own))
    nothing = shown.slice(0, 0)
    while len(waiting):
        hour += timedelta(hours=1)
        own = pc.less(waiting["ts"], pa.scalar(hour + timedelta(hours=1), CLICKS.field("ts").type))
        yield hour, nothing, waiting.filter(own).sort_by("ts")
        waiting = waiting.filter(pc.invert(own))


def _clicks(table: pa.Table, request: pa.Array, rng: np.random.Generator) -> pa.Table:
    """Clicks on one hour's impressions, whenever they come."""
    label = table["label"].to_numpy().astype(bool)
    shown_us, known_us = (table[name].cast(pa.int64()).to_numpy() for name in ("ts", "label_ts"))
    # Of those who would click, this part comes late; the label of these rows is 0.
    lost = lost_share()
    late = ~label & (rng.random(len(label)) < table["true_probability"].to_numpy() * lost / (1 - lost))
    came = np.where(label, known_us, shown_us + _late_us(len(label), rng))
    rows = np.flatnonzero(label | late)
    key, at = request.take(pa.array(rows)), came[rows]
    again = np.flatnonzero(rng.random(len(rows)) < AGAIN)
    twice = np.flatnonzero(rng.random(len(rows)) < TWICE_CLICKED)
    others = rng.random(len(rows)) < UNMATCHED
    foreign = requests(2**40 + shown_us[rows][others])
    key = pa.concat_arrays([key, key.take(pa.array(again)), key.take(pa.array(twice)), foreign])
    at = np.concatenate([at, at[again] + rng.integers(10**6, 10**7, len(again)), at[twice], at[others]])
    return pa.Table.from_arrays([_some_without(key, rng), pa.array(at, CLICKS.field("ts").type)], schema=CLICKS)


def _late_us(n: int, rng: np.random.Generator) -> np.ndarray:
    """Log-normal delays from view to click, given that they are longer than the wait, and no longer than a day."""
    wait = WAIT / timedelta(microseconds=1)
    delay = np.exp(rng.normal(math.log(DELAY_MEDIAN_S * 1e6), DELAY_SIGMA, n))
    while (over := delay <= wait).any():
        delay[over] = np.exp(rng.normal(math.log(DELAY_MEDIAN_S * 1e6), DELAY_SIGMA, int(over.sum())))
    return np.minimum(delay, LATEST_US).astype(np.int64) + 1


def requests(number: np.ndarray) -> pa.Array:
    """16 hexadecimal digits of each number, (n,), no two alike."""
    raw = mix(number.astype(np.uint64)).view(np.uint8).reshape(-1, 8)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    both = np.stack([digits[raw >> 4], digits[raw & 15]], axis=-1)
    offsets = np.arange(len(number) + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(len(number), pa.py_buffer(offsets), pa.py_buffer(both.tobytes()))


def _some_without(key: pa.Array, rng: np.random.Generator) -> pa.Array:
    without = rng.random(len(key)) < KEYLESS
    return pc.if_else(pa.array(without), pa.scalar(None, pa.string()), key)


def write(out: str | Path, n_rows: int, days: int, seed: int, start: datetime = START) -> dict[str, Any]:
    """Write both logs below ``out``; nobody sees half a file. Returns a summary.

    Raises
    ------
    ConfigError
        An argument that cannot be right, or ``out`` holds files of another run.
    """
    out = Path(out)
    stream = raw_hours(n_rows, days, seed, start)
    run = {"clickstream": f"raw, version {VERSION}, rows {n_rows}, days {days}, seed {seed}, start {start.isoformat()}"}
    for path in sorted(out.glob("*/dt=*/hour=*.parquet")):
        found = (pq.read_schema(path).metadata or {}).get(b"clickstream", b"unknown").decode()
        if found != run["clickstream"]:
            raise ConfigError(
                f"{out} holds logs of {found}, not of {run['clickstream']}; delete that folder or choose another --out"
            )
    begin = time.perf_counter()
    n_shown = n_clicks = 0
    newest = to_us(start)
    for hour, shown, clicks in stream:
        n_shown, n_clicks = n_shown + len(shown), n_clicks + len(clicks)
        for name, table in (("shown", shown), ("clicks", clicks)):
            if not len(table):
                continue
            path = out / name / f"dt={hour:%Y-%m-%d}" / f"hour={hour:%H}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.tmp")
            pq.write_table(table.replace_schema_metadata(run), part, compression="zstd")
            os.replace(part, path)
        newest = to_us(hour)
    return {
        "rows": n_shown,
        "clicks": n_clicks,
        "last_hour": f"{from_us(newest):%Y-%m-%dT%H}",
        "seconds": time.perf_counter() - begin,
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return options("benchmarks.rawclicks", __doc__, "data/rawclicks")


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        done = write(args.out, args.rows, args.days, args.seed, parse_time(args.start))
    except GbdtlrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{done['rows']:,} impressions, {done['clicks']:,} clicks in {args.out} ({done['seconds']:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
