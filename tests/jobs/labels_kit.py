"""A log whose outcomes come late: hourly files of views, each with the moment of its click, if one came in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from gbdtlr.config import Config
from gbdtlr.metrics import sigmoid
from gbdtlr.times import to_us

START = datetime(2024, 3, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WINDOW = timedelta(hours=6)
US = timedelta(microseconds=1)
STAMP = pa.timestamp("us", "UTC")


def views(n: int, start: datetime, length: timedelta, seed: int = 0, rate: float = -0.5) -> dict[str, np.ndarray]:
    """Columns of ``n`` views; clicks come by an exponential delay of a third of the window, cut off at its end."""
    rng = np.random.default_rng([seed, to_us(start) // 10**6])
    at = np.sort(rng.integers(0, length // US, n)) + to_us(start)
    x, shop = rng.normal(size=n), rng.integers(0, 5, n)
    p = sigmoid(x - 0.5 * (shop == 2) + 1.5 * (shop == 4) + rate)
    clicked = rng.random(n) < p
    window = WINDOW // US
    u = rng.random(n)
    delay = -np.log1p(-u * (1 - np.exp(-3.0))) * window / 3
    return {
        "at": at,
        "click": np.where(clicked, at + delay.astype(np.int64), -1),
        "until": at + window,
        "label": clicked.astype(np.int8),
        "x": x,
        "shop": np.array([f"s{i}" for i in shop]),
        "p": p,
    }


def table_of(columns: dict[str, np.ndarray]) -> pa.Table:
    """As it stands in a file."""
    click = columns["click"]
    return pa.table(
        {
            "at": pa.array(columns["at"], STAMP),
            "clicked_at": pa.array(click, STAMP, mask=click < 0),
            "until": pa.array(columns["until"], STAMP),
            **{name: columns[name] for name in ("label", "x", "shop")},
        }
    )


def write_views(folder: Path, hours: int, per_hour: int = 60, **options: Any) -> None:
    """Hourly files from ``START`` on."""
    folder.mkdir(parents=True, exist_ok=True)
    for h in range(hours):
        table = table_of(views(per_hour, START + h * HOUR, HOUR, **options))
        parquet.write_table(table, folder / f"{START + h * HOUR:%Y-%m-%dT%H}.parquet")


def config(
    folder: Path, method: str = "refit", *, store: str = "store", unfinal: str = "weigh", **tables: Any
) -> Config:
    """Config of the log in ``folder/log``, whose rows are final six hours after the view."""
    head = {"window": "1d", "half_lives": ["6h", "1d"], "l2": [3, 30], "wide_buckets": 64, "method": method}
    return Config.from_dict(
        {
            "store": str(folder / store),
            "threads": 1,
            "samples": {
                "path": str(folder / "log"),
                "partition": "%Y-%m-%dT%H",
                "event_time": "at",
                "label_time": "clicked_at",
                "label_window": "6h",
                "unfinal": unfinal,
                "numeric": ["x"],
                "wide": ["shop"],
                **tables.get("samples", {}),
            },
            "trees": {"window": "2d", "params": {"num_iterations": 5, "num_leaves": 4, "min_data_in_leaf": 20}},
            "head": {**head, **tables.get("head", {})},
            "guard": {
                "min_samples": 20,
                "calibration": [0.1, 10.0],
                "volume": [0.0, 1000.0],
                **tables.get("guard", {}),
            },
        }
    )
