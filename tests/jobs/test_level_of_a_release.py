"""The level of a release: none before anything is judged, as far as it has been right after that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs_kit import at, config_of, whole, write_stream

from gbdtlr.config import Config
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.release import Release
from gbdtlr.store import Store

GRID: dict[str, Any] = {"half_lives": ["2h", "4d"], "l2": [10]}


def storm(columns: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Clicks of three times the odds."""
    margin = 1.5 * columns["x"] + (columns["c"] == "red") - 1.2 + np.log(3)
    return {**columns, "label": (rng.random(len(margin)) < 1 / (1 + np.exp(-margin))).astype(np.int8)}


def live(config: Config) -> Release:
    found = Release.live(Store.open(config.store))
    assert found is not None
    return found


def test_a_storm_is_followed_and_the_bias_moves_by_what_is_told(tmp_path: Path) -> None:
    write_stream(tmp_path, storm, since=at(6), days=8, per_hour=60)
    config = config_of(tmp_path, **GRID)
    train_trees(config, at(6))
    assert "level" not in live(config).head_manifest["metrics"], "nothing is judged yet"
    told = []
    for hours in (4, 8, 12, 16):
        update_lr(config, at(6, hours), force=True)
        release = live(config)
        metrics, fits = release.head_manifest["metrics"], release.fits
        assert fits is not None
        level = fits.candidates.level(fits.record.weights)
        told.append((level, metrics["levels"]["2h"]["share"]))
        assert metrics["level"] == pytest.approx(level, abs=1e-4)
        own = fits.record.weights.copy()
        own[-1] = 0.0
        assert release.head.bias - fits.candidates.blended(own).bias == pytest.approx(level, abs=1e-12)
        assert sum(metrics["blend"].values()) == pytest.approx(1, abs=1e-3)
    assert told[0][0] > 0.02
    assert told[-1][1] > told[0][1] + 0.1, "it was right, and is believed more"
    whole(Store.open(config.store))


@pytest.mark.parametrize("method", ["incremental", "ftrl"])
def test_other_methods_have_none(tmp_path: Path, method: str) -> None:
    write_stream(tmp_path, storm, since=at(3), days=5)
    config = config_of(tmp_path, method=method, **GRID)
    train_trees(config, at(3))
    update_lr(config, at(3, 6), force=True)
    assert "level" not in live(config).head_manifest["metrics"]
