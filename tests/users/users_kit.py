"""A log with users who have tastes, items with vectors, and the score that a user had when it was served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from gbdtlr.config import Config
from gbdtlr.scoring import Scorer
from gbdtlr.users import tag_of

START = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURS, ROWS, N_ITEMS, SIZE = 54, 60, 40, 4


class Vectors:
    """Vectors of items 0 to n - 1, as embeddings have them; others are known by their colour."""

    def __init__(self, n: int = N_ITEMS, size: int = SIZE, seed: int = 0) -> None:
        self.matrix = (np.random.default_rng(seed).normal(size=(n, size)) / size**0.5).astype(np.float32)
        self.dimensions, self.item, self.columns = size, "item", ("item", "colour")

    def vector_of(self, item: Any, content: Mapping[str, Any] | None = None) -> NDArray[np.float32] | None:
        if item is not None and 0 <= int(item) < len(self.matrix):
            return self.matrix[int(item)]
        colour = None if content is None else content.get("colour")
        return self.matrix[0] * 0.5 if colour == "red" else None

    def vectors_of_rows(self, rows: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        table = rows if isinstance(rows, pa.Table) else pa.table(dict(rows))
        pairs = zip(table.column("item").to_pylist(), table.column("colour").to_pylist(), strict=True)
        found = [self.vector_of(item, {"colour": colour}) for item, colour in pairs]
        known = np.array([each is not None for each in found])
        zero = np.zeros(self.dimensions, np.float32)
        return np.array([zero if each is None else each for each in found]), known


def with_vectors(scorer: Scorer, vectors: Any = None, turned: tuple[str, ...] = ()) -> Scorer:
    """The scorer, its release given embeddings ``now``, turned onto others."""
    serving = scorer._serving
    source = SimpleNamespace(vectors=vectors or Vectors())
    serving.users = replace(serving.users, source=source, tags=tuple(map(tag_of, ("now", *turned))))
    return scorer


def at(days: float) -> datetime:
    return START + timedelta(days=days)


def rows(start: datetime, seed: int, n: int = ROWS) -> pa.Table:
    """Rows of an hour, with the score of the user, which the label follows."""
    rng = np.random.default_rng([seed, 7])
    x, score, item = rng.normal(size=n), rng.normal(size=n), rng.integers(0, N_ITEMS, n)
    u = rng.integers(0, 12, n)
    margin = x + score - 2 + 2.5 * (u % 3 == item % 3)  # three kinds of users and of items
    label = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int8)
    ts = [start + HOUR * (i / n) for i in range(n)]
    about = {"u": u, "colour": rng.choice(["red", "blue"], n)}
    columns = {"x": x, "item": item, **about, "label": label, "user_score": score}
    return pa.table({**columns, "ts": pa.array(ts, pa.timestamp("us", "UTC"))})


def write(folder: Path) -> None:
    (folder / "log").mkdir(parents=True)
    for h in range(HOURS):
        parquet.write_table(rows(START + h * HOUR, h), folder / f"log/{h:03d}.parquet")


def config_of(folder: Path, method: str = "refit", samples: Any = None, **tables: Any) -> Config:
    head = {"window": "1d", "method": method, "half_lives": ["6h", "1d"], "l2": [3, 30], "wide_buckets": 64}
    return Config.from_dict(
        {
            "store": str(folder / f"store-{method}"),
            "threads": 1,
            "samples": {
                "path": str(folder / "log"),
                "event_time": "ts",
                "label_delay": "5m",
                "numeric": ["x"],
                "wide": ["item"],
                "user_score": "user_score",
                **(samples or {}),
            },
            "trees": {"window": "2d", "params": {"num_iterations": 5, "num_leaves": 4, "min_data_in_leaf": 20}},
            "head": {**head, **tables.pop("head", {})},
            "guard": {"min_samples": 20, "calibration": [0.1, 10.0], "volume": [0.0, 1000.0]},
            **tables,
        }
    )
