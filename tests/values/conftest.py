"""One small release, trained once, that knows categories and ids of every kind."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from values_kit import NOW, START, U1, U2, Doors

from gbdtlr.config import Config
from gbdtlr.jobs import train_trees
from gbdtlr.scoring import Scorer

CATEGORIES = ["a", "7", "0", "-3", "true", "false", "9007199254740991", "100000", "007", "é", str(U1), str(U2), None]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a release whose trees and ids tell the categories apart."""
    folder = tmp_path_factory.mktemp("values")
    rng = np.random.default_rng(0)
    n = 4000
    x, c, u, number = rng.normal(0, 3, n), *rng.integers(0, len(CATEGORIES), (2, n)), rng.integers(0, 9, n)
    p = 1 / (1 + np.exp(-(np.sin(x) + (c * 5) % 7 - 3 + (u * 3) % 5 - 2 + number % 3 - 1)))
    times = [START + timedelta(minutes=i) for i in range(n)]
    table = pa.table(
        {
            "x": pa.array(x, mask=rng.random(n) < 0.1),
            "n": number,
            "c": pa.array([CATEGORIES[i] for i in c]),
            "u": pa.array([CATEGORIES[i] for i in u]),
            "label": (rng.random(n) < p).astype(np.int8),
            "t": pa.array(times, pa.timestamp("us", "UTC")),
        }
    )
    parquet.write_table(table, folder / "samples.parquet")
    config = Config.from_dict(
        {
            "store": str(folder / "store"),
            "threads": 1,
            "samples": {
                "path": str(folder / "samples.parquet"),
                "event_time": "t",
                "label_delay": "1h",
                "numeric": ["x", "n"],
                "categorical": ["c"],
                "wide": ["u", "c:u", "n"],
            },
            "trees": {
                "min_category_count": 1,
                "params": {"num_iterations": 30, "num_leaves": 8, "max_cat_to_onehot": 64},
            },
            "head": {"half_lives": ["1d"], "l2": [3.0], "wide_buckets": 4096},
            "guard": {"min_samples": 20},
        }
    )
    assert train_trees(config, NOW).status == "published"
    return config.store


@pytest.fixture(scope="session")
def scorer(store: str) -> Scorer:
    return Scorer.open(store)


@pytest.fixture
def doors(scorer: Scorer, tmp_path: Path) -> Doors:
    return Doors(scorer, tmp_path)
