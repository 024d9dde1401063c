"""A small log of clicks whose ids matter, written as hourly files, and a config that learns from it by any method."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from gbdtlr.config import Config
from gbdtlr.times import to_us

START = datetime(2024, 3, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NON_REFIT = ("incremental", "ftrl", "rda", "fobos")
ONLINE = ("ftrl", "rda", "fobos")


def rows(n: int, start: datetime, length: timedelta, seed: int = 0, positive: float = 0.0) -> pa.Table:
    """``n`` rows spread over the time; labels come up to two hours after the event, many at the same moment."""
    rng = np.random.default_rng([seed, to_us(start) // 10**6])
    at = np.sort(rng.integers(0, length // timedelta(microseconds=1), n)) + to_us(start)
    x = rng.normal(size=n)
    shop = rng.integers(0, 5, n)
    margin = x - 0.5 * (shop == 2) + 1.5 * (shop == 4) - 1 + positive
    minute = 60_000_000
    known = (at + rng.integers(0, 120 * minute, n)) // minute * minute + minute
    return pa.table(
        {
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "known_at": pa.array(known, pa.timestamp("us", "UTC")),
            "label": (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int8),
            "x": x,
            "kind": np.array(["a", "b", "c"])[rng.integers(0, 3, n)],
            "shop": [f"s{i}" for i in shop],
        }
    )


def write_log(folder: Path, hours: int, per_hour: int = 60, seed: int = 0) -> None:
    """Hourly files from ``START`` on."""
    for h in range(hours):
        write_hour(folder, h, per_hour, seed)


def write_hour(folder: Path, h: int, n: int, seed: int = 0, name: str = "") -> None:
    """The file of one hour."""
    folder.mkdir(parents=True, exist_ok=True)
    table = rows(n, START + h * HOUR, HOUR, seed)
    parquet.write_table(table, folder / f"{h:03d}{name}.parquet")


def config(folder: Path, method: str, *, store: str = "store", samples: Any = None, **head: Any) -> Config:
    """Config of the log in ``folder/log``."""
    return Config.from_dict(
        {
            "store": str(folder / store),
            "threads": 1,
            "samples": {
                "path": str(folder / "log"),
                "event_time": "at",
                "label_time": "known_at",
                "numeric": ["x"],
                "categorical": ["kind"],
                "wide": ["shop"],
                **(samples or {}),
            },
            "trees": {
                "window": "2d",
                "params": {"num_iterations": 5, "num_leaves": 4, "min_data_in_leaf": 20},
            },
            "head": {
                "window": "1d",
                "method": method,
                "half_lives": ["6h", "1d"],
                "l2": [3, 30],
                "wide_buckets": 64,
                "hindsight": False,
                **head,
            },
            "guard": {"min_samples": 20, "calibration": [0.1, 10.0], "volume": [0.0, 1000.0]},
        }
    )


def toml(log: Path, c: Config, name: str) -> Path:
    """The same config as a file, for the commands."""
    file = log / f"{name}.toml"
    file.write_text(
        f"""
        store = "{c.store}"
        threads = 1
        [samples]
        path = "{c.samples.path[0]}"
        event_time = "at"
        label_time = "known_at"
        numeric = ["x"]
        categorical = ["kind"]
        wide = ["shop"]
        [head]
        window = "1d"
        method = "ftrl"
        half_lives = ["6h", "1d"]
        l2 = [3, 30]
        wide_buckets = 64
        [guard]
        min_samples = 20
        calibration = [0.1, 10.0]
        """
    )
    return file
