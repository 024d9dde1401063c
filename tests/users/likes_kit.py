"""A log whose users like some items and not others, of which nothing but the clicks tells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from users_kit import HOUR, START

from gbdtlr.config import Config

HOURS, ROWS, N_ITEMS, N_USERS = 96, 60, 24, 30
TABLES: dict[str, Any] = {"embeddings": {"window": "4d", "dimensions": 4, "min_item_count": 2}}


def rows(hour: int, n: int = ROWS, seed: int = 5) -> pa.Table:
    """Rows of an hour; a third of the items is to the taste of each user, and some rows happen at one instant."""
    rng = np.random.default_rng([seed, hour])
    x, item, u = rng.normal(size=n), rng.integers(0, N_ITEMS, n), rng.integers(0, N_USERS, n)
    margin = 0.7 * x - 2 + 2.5 * (u % 3 == item % 3)
    label = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int8)
    minute = np.sort(rng.integers(0, 60, n))
    ts = [START + HOUR * hour + timedelta(minutes=int(each)) for each in minute]
    columns = {"x": x, "item": item, "u": u, "label": label}
    return pa.table({**columns, "ts": pa.array(ts, pa.timestamp("us", "UTC"))})


def write(folder: Path, hours: int = HOURS) -> None:
    write_all(folder, [rows(hour) for hour in range(hours)])


def write_all(folder: Path, tables: Sequence[pa.Table]) -> None:
    """Tables of an hour each, as a log of few files."""
    (folder / "log").mkdir(parents=True)
    for first in range(0, len(tables), 12):
        parquet.write_table(pa.concat_tables(tables[first : first + 12]), folder / f"log/{first:03d}.parquet")


def config_of(folder: Path, store: str = "store", method: str = "refit", **tables: Any) -> Config:
    head = {"window": "3d", "method": method, "half_lives": ["1d"], "l2": [10], "wide_buckets": 64, "hindsight": False}
    return Config.from_dict(
        {
            "store": str(folder / store),
            "threads": 1,
            "samples": {
                "path": str(folder / "log"),
                "event_time": "ts",
                "label_delay": "10m",
                "numeric": ["x"],
                "wide": ["item"],
                "user": "u",
                "item": "item",
                **tables.pop("samples", {}),
            },
            "trees": {"window": "2d", "params": {"num_iterations": 4, "num_leaves": 4, "min_data_in_leaf": 20}},
            "head": {**head, **tables.pop("head", {})},
            "users": {"replay": True, **tables.pop("users", {})},
            "guard": {"min_samples": 20, "calibration": [0.1, 10.0], "volume": [0.0, 1000.0], "vectors": 0.0},
            **TABLES,
            **tables,
        }
    )


def resplit(folder: Path, to: Path, cuts: Sequence[int], seed: int = 0) -> None:
    """The same rows in other files, in another order."""
    whole = pa.concat_tables([parquet.read_table(path) for path in sorted((folder / "log").iterdir())])
    whole = whole.take(np.random.default_rng(seed).permutation(len(whole)))
    (to / "log").mkdir(parents=True)
    bounds = [0, *cuts, len(whole)]
    for i, (start, stop) in enumerate(pairwise(bounds)):
        parquet.write_table(whole.slice(start, stop - start), to / f"log/{i}.parquet")


def day(n: float) -> datetime:
    return START + timedelta(days=n)
