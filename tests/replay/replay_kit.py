"""A stream of a few days, small enough to replay in seconds: its label drifts, and becomes known within the hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gbdtlr.config import Config

START = datetime(2020, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
N_DAYS = 4
PER_DAY = 500


def stream(seed: int = 0, delay: timedelta = HOUR, days_of_drift: int = 1) -> dict[str, Any]:
    """Columns of the whole stream, in order of event time; the label drifts to and fro within so many days."""
    rng = np.random.default_rng(seed)
    n = N_DAYS * PER_DAY
    us = np.sort(rng.integers(0, N_DAYS * 86_400_000_000, n))
    x, z = rng.normal(size=n), rng.normal(size=n)
    site = rng.integers(0, 5, n)
    drift = np.sin(us / (86_400_000_000 * days_of_drift) * 2 * np.pi) * (site - 2)
    p = 1 / (1 + np.exp(-(-0.5 + x * (z > 0) + 1.5 * drift)))
    known = us + rng.integers(1, int(delay / timedelta(microseconds=1)), n)
    return {
        "ts": us,
        "label_ts": known,
        "label": (rng.random(n) < p).astype(np.int8),
        "x": x,
        "z": z,
        "site": np.array([f"s{each}" for each in site]),
        "user": rng.integers(0, 40, n),
    }


def write(folder: Path, columns: dict[str, Any], name: str = "stream") -> Path:
    """The columns as one parquet file."""
    base = int(START.timestamp()) * 1_000_000
    table = {
        key: pa.array(base + value, pa.timestamp("us", "UTC")) if key.endswith("ts") else pa.array(value)
        for key, value in columns.items()
    }
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table(table), path)
    return path


def config(path: Path, **sections: Any) -> Config:
    """Config of small, fast trees and heads on the stream."""
    table: dict[str, Any] = {
        "store": "never-used",
        "threads": 1,
        "samples": {
            "path": str(path),
            "event_time": "ts",
            "label_time": "label_ts",
            "numeric": ["x", "z"],
            "categorical": ["site"],
            "wide": ["user"],
        },
        "trees": {
            "window": "1d",
            "validation": "1h",
            "params": {"num_leaves": 4, "num_iterations": 6, "min_data_in_leaf": 10},
        },
        "head": {"window": "1d", "half_lives": ["3h", "1d"], "l2": [10.0]},
        "guard": {"min_samples": 20},
    }
    for name, values in sections.items():
        table[name] = {**table[name], **values}
    return Config.from_dict(table)
