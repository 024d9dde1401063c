"""Impressions and outcomes, as two logs, and what the samples of them are by an oracle that looks at every pair."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from gbdtlr.config import Config, SamplesConfig
from tests.samples.samples_kit import DAY

MINUTE = timedelta(minutes=1)
STAMP = pa.timestamp("us", "UTC")


def joined_config(folder: Path, samples: Any = None, outcomes: Any = None, **tables: Any) -> Config:
    """Config of the logs ``shown`` and ``clicks`` below a folder, with a window of an hour."""
    return Config.from_dict(
        {
            "store": str(folder / "store"),
            "threads": 1,
            "samples": {
                "path": str(folder / "shown"),
                "event_time": "at",
                "key": "request",
                "numeric": ["x"],
                "categorical": ["kind"],
                **(samples or {}),
            },
            "outcomes": {
                "path": str(folder / "clicks"),
                "key": "request_id",
                "time": "clicked_at",
                "window": "1h",
                **(outcomes or {}),
            },
            **tables,
        }
    )


def samples_config(folder: Path, samples: Any = None, outcomes: Any = None) -> SamplesConfig:
    """The part of :func:`joined_config` that readers want."""
    return joined_config(folder, samples, outcomes).samples


def shown(at: list[datetime], key: list[Any], x: list[float] | None = None) -> pa.Table:
    """Impressions."""
    x = [float(i) for i in range(len(at))] if x is None else x
    kinds = [["a", "b"][int(value) % 2] for value in x]
    return pa.table({"at": pa.array(at, STAMP), "request": key, "x": pa.array(x, pa.float64()), "kind": kinds})


def clicks(at: list[datetime], key: list[Any], **more: Any) -> pa.Table:
    """Outcomes."""
    return pa.table({"request_id": key, "clicked_at": pa.array(at, STAMP), **more})


def minutes(*numbers: float) -> list[datetime]:
    """Moments so many minutes after the start of the day."""
    return [DAY + n * MINUTE for n in numbers]


def by_hand(
    impressions: pd.DataFrame,
    outcomes: pd.DataFrame,
    start: datetime,
    end: datetime,
    as_of: datetime,
    window: timedelta,
    known_after: datetime | None = None,
) -> pd.DataFrame:
    """The samples, sorted by event time and key: columns at, key, label."""
    found = []
    for row in impressions.itertuples():
        if pd.isna(row.key) or not start <= row.at < end or row.at + window > as_of:
            continue
        if known_after is not None and row.at + window <= known_after:
            continue
        same = impressions[(impressions.key == row.key) & (impressions.index != row.Index)]
        before = same[(same["at"] < row.at) | ((same["at"] == row.at) & (same.index < row.Index))]
        if ((row.at - before["at"]) <= window).any():
            continue
        own = outcomes[
            (outcomes.key == row.key)
            & (outcomes["at"] >= row.at)
            & (outcomes["at"] <= min(row.at + window, as_of))
            & (outcomes.landed <= as_of)
        ]
        label = 0 if own.empty else int(own[own["at"] == own["at"].min()].value.max())
        found.append((row.at, row.key, label))
    return pd.DataFrame(found, columns=["at", "key", "label"]).sort_values(["at", "key"]).reset_index(drop=True)
