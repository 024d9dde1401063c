"""What the tests of the jobs share: a small stream of clicks, a config for it, and faults to plant into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from gbdtlr.config import Config
from gbdtlr.metrics import Quality
from gbdtlr.release import Release
from gbdtlr.replay.rows import read_all
from gbdtlr.store import Entry, Store
from gbdtlr.times import to_us

DAY0 = datetime(2024, 3, 1, tzinfo=UTC)
DAYS = 9
PER_HOUR = 20
Columns = dict[str, Any]
Fault = Callable[[Columns, np.random.Generator], Columns]


def at(days: float = 0, hours: float = 0) -> datetime:
    """That long after the first sample."""
    return DAY0 + timedelta(days=days, hours=hours)


def write_stream(
    folder: Path, fault: Fault | None = None, since: datetime = DAY0, days: int = DAYS, per_hour: int = PER_HOUR
) -> None:
    """A file a day of clicks, a third of them positive; from ``since`` on, with a fault."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for day in range(days):
        rng = np.random.default_rng(day)
        n = 24 * per_hour
        columns: Columns = {
            "ts": np.array([DAY0 + timedelta(days=day, hours=(i + 0.5) / per_hour) for i in range(n)]),
            "x": rng.normal(size=n),
            "y": rng.exponential(size=n),
            "c": rng.choice(["red", "green", "blue", "grey"], n),
            "id": rng.integers(0, 50, n),
            "u": np.arange(n) + day * n,
        }
        margin = 1.5 * columns["x"] + (columns["c"] == "red") - 1.2
        columns["label"] = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int8)
        if fault is not None:
            bad = columns["ts"] >= since
            good = {name: values[~bad] for name, values in columns.items()}
            spoilt = fault({name: values[bad] for name, values in columns.items()}, rng) if bad.any() else {}
            columns = {name: np.concatenate([good[name], spoilt[name]]) if spoilt else good[name] for name in good}
        table = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
        table["ts"] = pa.array(columns["ts"].tolist(), pa.timestamp("us", "UTC"))
        parquet.write_table(pa.table(table), folder / f"data/{DAY0 + timedelta(days=day):%Y-%m-%d}.parquet")


def config_of(folder: Path, store: str | None = None, **head: Any) -> Config:
    """The config of that stream: trees and head so small that a job takes little time, and without hindsight."""
    table: dict[str, Any] = {
        "store": store or str(folder / "store"),
        "threads": 1,
        "samples": {
            "path": str(folder / "data"),
            "event_time": "ts",
            "label_delay": "1h",
            "numeric": ["x", "y"],
            "categorical": ["c"],
            "wide": ["id", "u"],
        },
        "trees": {"window": "4d", "params": {"num_iterations": 5, "num_leaves": 4, "min_data_in_leaf": 5}},
        "head": {"window": "5d", "half_lives": ["1d"], "l2": [10], "wide_buckets": 512, "hindsight": False, **head},
    }
    return Config.from_dict(table)


def with_guard(config: Config, **guard: Any) -> Config:
    """The config with other thresholds."""
    return config.replace(guard=dataclasses.replace(config.guard, **guard))


def whole(store: Store) -> Entry | None:
    """The live entry, after every byte of the store was checked, the log has no gap, and the release loads."""
    bad = [finding for finding in store.check() if not finding.ok]
    assert not bad, bad
    live = store.live()
    if live is not None:
        assert [entry.number for entry in store.entries()] == list(range(1, store.newest() + 1))
        release = Release.load(store, live)
        assert release.head_manifest["trees"]["name"] == live.trees
        release.check_learned()
    return live


def quality_then(config: Config, since: datetime, until: datetime) -> Quality:
    """Quality on labels known between, each row scored by the newest release that is not newer than it."""
    store, total = Store.open(config.store), Quality()
    entries = store.entries()
    samples = read_all(config.samples, since - timedelta(days=2), until)
    assert samples is not None
    known = (samples.known_us > to_us(since)) & (samples.known_us <= to_us(until))
    for i, entry in enumerate(entries):
        end = to_us(entries[i + 1].as_of) if i + 1 < len(entries) else to_us(until) + 1
        rows = known & (samples.event_us >= to_us(entry.as_of)) & (samples.event_us < end)
        if rows.any():
            own = samples.filter(rows)
            total += Quality.of(Release.load(store, entry).model.margin(own.table), own.label, own.weight)
    return total
