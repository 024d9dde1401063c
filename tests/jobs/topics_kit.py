"""Impressions and clicks of a shop as two logs and two topics, and a config that joins them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from methods_kit import DAY, HOUR, START, config, rows
from pyarrow import parquet

from gbdtlr.config import Config
from gbdtlr.release import Release
from gbdtlr.store import Store
from gbdtlr.times import from_us, to_us
from tests.streams.kafka_kit import MockCluster, lines_of

NOW = START + 2 * DAY


@dataclass
class Clock:
    """Goes on by a second whenever it is asked."""

    now: datetime

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def two_logs(n: int, start: datetime, length: timedelta, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """``n`` impressions over a time, and the clicks of some, up to half an hour later."""
    table = rows(n, start, length, seed)
    clicked = np.flatnonzero(table["label"].to_numpy())
    at = table["at"].cast(pa.int64()).to_numpy()
    delay = np.random.default_rng([seed, 1]).integers(1, 30 * 60, len(clicked)) * 1_000_000
    key = [f"{start:%d%H}-{seed}-{i}" for i in range(n)]
    clicks = pa.table(
        {
            "request": [key[i] for i in clicked],
            "clicked_at": pa.array(at[clicked] + delay, pa.timestamp("us", "UTC")),
        }
    )
    return table.drop_columns(["label", "known_at"]).append_column("request", pa.array(key)), clicks


def raw_config(folder: Path, store: str) -> Config:
    """Config of the logs below a folder, which are written if they are not there."""
    if not (folder / "shown").exists():
        for name in ("shown", "clicks"):
            (folder / name).mkdir(parents=True)
        for h in range(0, 54, 6):
            shown, clicks = two_logs(360, START + h * HOUR, 6 * HOUR)
            parquet.write_table(shown, folder / "shown" / f"{h:03d}.parquet")
            parquet.write_table(clicks, folder / "clicks" / f"{h:03d}.parquet")
    plain = config(folder, "ftrl", store=store)
    table: dict[str, Any] = plain.as_dict()
    del table["samples"]["label"], table["samples"]["label_time"]
    table["samples"] |= {"path": str(folder / "shown"), "key": "request"}
    outcomes = {"path": str(folder / "clicks"), "key": "request", "time": "clicked_at", "window": "1h"}
    return Config.from_dict({**table, "outcomes": outcomes})


def send(cluster: MockCluster, topics: tuple[str, str], logs: tuple[pa.Table, pa.Table], partitions: int = 2) -> int:
    """Send two logs, each row to one of the partitions when it happened; how many messages these are."""
    n = 0
    for topic, table, column in zip(topics, logs, ("at", "clicked_at"), strict=True):
        table = table.sort_by(column)
        us = table[column].cast(pa.int64()).to_pylist()
        found = [
            {**row, column: int(each)} for row, each in zip(table.drop_columns([column]).to_pylist(), us, strict=True)
        ]
        for partition in range(partitions):
            chosen = slice(partition, None, partitions)
            cluster.send(topic, lines_of(found[chosen]), partition, [from_us(each) for each in us[chosen]])
        n += len(us)
    return n


def as_rows(logs: tuple[pa.Table, pa.Table]) -> list[dict[str, Any]]:
    """The samples that become of them, in the order they happened."""
    shown, clicks = logs
    clicked = set(clicks["request"].to_pylist())
    table = shown.sort_by("at")
    return [{**row, "label": int(row["request"] in clicked), "at": to_us(row["at"])} for row in table.to_pylist()]


def live(c: Config) -> Release:
    """What is live in the config's store."""
    release = Release.live(Store.open(c.store))
    assert release is not None
    return release
