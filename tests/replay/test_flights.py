"""The product's promise, on the bundled flights and with the shipped config alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gbdtlr.config import Config
from gbdtlr.replay import replay
from gbdtlr.times import parse_time

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_two_speeds_beat_trees_on_schedule_by_six_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = Config.load("configs/flights.toml")
    start, end = (parse_time(day, config.samples.timezone) for day in ("2013-02-01", "2013-03-15"))
    found = replay(
        config, start, end, timedelta(days=1), timedelta(hours=3), strategies=["two-speed", "trees-on-schedule"]
    ).as_dict()
    ours, bare = found["strategies"]
    assert found["rows"] == 37_928
    assert ours["ne"] <= 0.94 * bare["ne"]
    assert bare["low"] > 0
    assert 0.95 <= ours["calibration"] <= 1.05
