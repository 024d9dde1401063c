"""Small samples with a signal, and stores that the real jobs filled with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings
from pyarrow import parquet

from gbdtlr.config import Config
from gbdtlr.jobs import train_trees, update_lr

# A test's first example may compile a kernel, on a machine with much else to do.
settings.register_profile("gbdtlr", deadline=None)
settings.load_profile("gbdtlr")

START = datetime(2024, 3, 1, tzinfo=UTC)
DAYS = 5
LABEL_DELAY = timedelta(hours=1)
MakeSamples = Callable[..., pa.Table]


def _make_samples(start: datetime = START, hours: float = 24, n: int = 400, seed: int = 0) -> pa.Table:
    """Rows evenly spread over the hours, with gaps in every feature; labels known an hour after the event."""
    rng = np.random.default_rng([seed, int(start.timestamp())])
    x, y = rng.normal(size=(2, n))
    colour = rng.choice(["red", "green", "blue"], n)
    shop = rng.integers(0, 20, n)
    margin = x * 1.5 - y + (colour == "red") + (shop % 2) - 1
    ts = [start + timedelta(hours=hours) * (i / n) for i in range(n)]
    return pa.table(
        {
            "x": pa.array(x, mask=rng.random(n) < 0.1),
            "y": y.astype(np.float32),
            "colour": pa.array(colour, mask=rng.random(n) < 0.1),
            "shop": shop,
            "label": (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int8),
            "ts": pa.array(ts, pa.timestamp("us", "UTC")),
        }
    )


def _make_config(folder: Path, **changes: dict[str, Any]) -> Config:
    """A config with samples and store in the folder; ``changes`` go into the section of their name."""
    sections: dict[str, Any] = {
        "samples": {
            "path": str(folder / "samples"),
            "event_time": "ts",
            "label_delay": "1h",
            "numeric": ["x", "y"],
            "categorical": ["colour"],
            "wide": ["shop", "colour:shop"],
        },
        "trees": {
            "window": "3d",
            "params": {"num_iterations": 5, "num_leaves": 6, "min_data_in_leaf": 5, "verbose": -1},
        },
        "head": {"window": "2d", "half_lives": ["6h", "1d"], "l2": [10, 100], "wide_buckets": 64},
        "guard": {"min_samples": 20},
    }
    merged = {name: {**section, **changes.get(name, {})} for name, section in sections.items()}
    return Config.from_dict({"store": str(folder / "store"), "threads": 1, **merged})


@pytest.fixture(scope="session")
def make_samples() -> MakeSamples:
    """``make_samples(start, hours, n, seed)``: a table of samples."""
    return _make_samples


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """``make_config(folder, section={key: value})``: a config with samples and store in the folder."""
    return _make_config


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    (folder / "samples").mkdir()
    for day in range(DAYS):
        start = START + timedelta(days=day)
        parquet.write_table(_make_samples(start), folder / "samples" / f"{start:%Y-%m-%d}.parquet")
    config = _make_config(folder)
    for days, job in ((2, train_trees), (2.25, update_lr), (2.5, update_lr), (3, train_trees), (3.25, update_lr)):
        assert job(config, START + timedelta(days=days)).status == "published"
    return folder


@pytest.fixture
def config(tmp_path: Path, _filled: Path) -> Config:
    """A config whose samples are there and whose store is empty."""
    shutil.copytree(_filled / "samples", tmp_path / "samples")
    return _make_config(tmp_path)


@pytest.fixture
def filled(config: Config, _filled: Path) -> Config:
    """The same, with five releases published: trees, two updates on them, other trees, an update on these."""
    shutil.copytree(_filled / "store", config.store)
    return config
