"""Dense columns that knew the labels: refused by the first job that meets rows which are as they were served."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from scipy.optimize import minimize

from gbdtlr.config import Config
from gbdtlr.head import Codes, DenseColumn, DenseColumns, Head, Layout, pieces
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.guards.leaks import slope_of
from gbdtlr.times import parse_time

START, HOUR = parse_time("2024-03-01T00:00:00Z"), timedelta(hours=1)
LEAKED = 40
"""Hours of the log that were worked out anew once their labels were known."""


def rows(hour: int, knows: bool, says: float, n: int = 250) -> pa.Table:
    """An hour of a log with another model's log-odds, which say more or less; or which were made of the labels."""
    rng = np.random.default_rng([11, hour])
    x, taste = rng.normal(size=n), rng.normal(size=n)
    label = (rng.random(n) < 1 / (1 + np.exp(1 - x - 0.5 * taste))).astype(np.int8)
    score = says * taste + rng.normal(size=n) + (2.5 * (2 * label - 1) if knows else 0.0)
    ts = [START + HOUR * (hour + i / n) for i in range(n)]
    return pa.table({"x": x, "score": score, "label": label, "ts": pa.array(ts, pa.timestamp("us", "UTC"))})


def config_of(folder: Path, leaked: int, key: str = "dense", hours: int = 72) -> Config:
    (folder / "log").mkdir()
    tables = [rows(hour, hour < leaked, 0.0 if leaked else 0.4) for hour in range(hours)]
    for first in range(0, hours, 12):
        parquet.write_table(pa.concat_tables(tables[first : first + 12]), folder / f"log/{first:03d}.parquet")
    samples: dict[str, Any] = {"path": str(folder / "log"), "event_time": "ts", "label_delay": "10m", "numeric": ["x"]}
    return Config.from_dict(
        {
            "store": str(folder / "store"),
            "threads": 1,
            "samples": {**samples, key: "score"},
            "trees": {"window": "3d", "params": {"num_iterations": 4, "num_leaves": 4, "min_data_in_leaf": 20}},
            "head": {"window": "3d", "half_lives": ["1d"], "l2": [10], "dense_l2": 0.1, "hindsight": False},
        }
    )


@given(st.integers(0, 2**31), st.floats(0.2, 3.0), st.booleans())
@settings(max_examples=20, deadline=None)
def test_what_a_column_is_worth_is_the_best_slope(seed: int, slope: float, is_weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    n = 4000
    x, rest = rng.normal(size=n).astype(np.float32), rng.normal(size=n)
    label = (rng.random(n) < 1 / (1 + np.exp(1 - rest - slope * x))).astype(np.float32)
    weight = rng.uniform(0.2, 3.0, n) if is_weighted else np.ones(n)
    none = np.zeros(n, np.int64)
    dense = np.stack([x, rest.astype(np.float32)])
    codes = Codes(np.zeros((1, n), np.uint8), np.empty((0, n), np.uint32), label, weight, none, none, dense=dense)
    columns = DenseColumns(tuple(DenseColumn(name, (0.0,), (1.0,)) for name in ("x", "rest")))
    layout = Layout(np.array([0, 1]), np.zeros(1), dense=columns)
    head = Head(layout, np.array([0.0, 2.0, 1.0, -1.0]))
    found, error = slope_of("x", [(head, pieces([codes]))])
    added, others = 2.0 * x.astype(np.float64), head.margin(codes) - 2.0 * x.astype(np.float64)

    def loss(at: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        margin = others + at[0] + at[1] * added
        return float(weight @ np.logaddexp(0.0, np.where(label == 1, -margin, margin)))

    best = minimize(loss, [0.0, 0.0], tol=1e-10).x
    assert found == pytest.approx(best[1], abs=2e-3)
    assert abs(found - slope / 2) < 6 * error
    assert 0.005 < error < 0.1


def at(hour: int) -> datetime:
    return START + hour * HOUR


@pytest.mark.parametrize("key", ["dense", "user_score"])
def test_a_column_that_knew_the_labels_is_refused_by_the_next_update(tmp_path: Path, key: str) -> None:
    config = config_of(tmp_path, LEAKED, key)
    first = train_trees(config, at(LEAKED))
    assert first.status == "published", "all rows tell the same, and nobody can know"
    result = update_lr(config, at(LEAKED + 10))
    assert result.status == "refused"
    assert "column score is worth 0." in result.reason
    assert result.guards["leak"]["objects"]
    assert -0.1 < result.guards["leak"]["value"] < 0.25
    assert train_trees(config, at(LEAKED + 10)).status == "refused"
    samples = {name: value for name, value in config.as_dict()["samples"].items() if name != key}
    without = Config.from_dict({**config.as_dict(), "samples": samples})
    assert update_lr(without, at(LEAKED + 10)).status == "published", "as the message says"


def test_new_trees_are_refused_with_a_column_that_knew_all_labels_but_the_newest(tmp_path: Path) -> None:
    config = config_of(tmp_path, LEAKED)
    result = train_trees(config, at(LEAKED + 25))
    assert result.status == "refused"
    assert "leak" in result.reason
    samples = {name: value for name, value in config.as_dict()["samples"].items() if name != "dense"}
    plain = Config.from_dict({**config.as_dict(), "samples": samples})
    assert train_trees(plain, at(LEAKED)).status == "published"
    assert train_trees(config, at(LEAKED + 25)).status == "refused", "the live release has no such column"


def test_a_column_that_is_as_it_was_served_passes(tmp_path: Path) -> None:
    config = config_of(tmp_path, 0)
    assert train_trees(config, at(40)).status == "published"
    for hour in (44, 48, 60):
        result = update_lr(config, at(hour))
        assert result.status == "published"
        assert result.guards["leak"]["value"] > 0.3
    assert train_trees(config, at(70)).status in ("published", "superseded")
