"""The bundled flights are what data/README.md says, and the configs shipped fit their data."""

from __future__ import annotations

import re
import runpy
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from gbdtlr.config import Config
from gbdtlr.samples import Tally, read, require_both_classes
from gbdtlr.times import parse_time

ROOT = Path(__file__).parents[2]


@pytest.fixture
def flights(monkeypatch):
    monkeypatch.chdir(ROOT)
    return Config.load("configs/flights.toml").samples


def test_all_flights_are_there(flights):
    start, end = (parse_time(text, flights.timezone) for text in ("2013-01-01", "2013-04-01"))
    tally = Tally()
    samples = read(flights, start, end, end + timedelta(days=1), tally=tally)
    require_both_classes(samples)
    assert len(samples) == 80_554
    assert tally.n_files == len(tally.mature) == 90
    assert samples.label.mean() == pytest.approx(0.2537, abs=1e-4)
    assert (np.diff(samples.event_us) >= 0).all()
    assert not samples.table["wind_speed"].is_null().to_numpy().all()


def test_a_day_is_one_file_and_its_neighbours_stay_shut(flights):
    tally = Tally()
    start = parse_time("2013-03-10", flights.timezone)
    end = parse_time("2013-03-11", flights.timezone)
    assert end - start == timedelta(hours=23)
    samples = read(flights, start, end, end + timedelta(days=1), tally=tally)
    assert list(tally.mature) == ["data/flights/2013-03-10.parquet"]
    assert len(samples) == parquet.ParquetFile("data/flights/2013-03-10.parquet").metadata.num_rows


def test_the_readme_describes_every_column(flights):
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    described = re.findall(
        r"`(\w+)`", "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    )
    schema = parquet.read_schema(ROOT / "data" / "flights" / "2013-01-01.parquet")
    assert described == schema.names
    assert set(flights.features) < set(described)
    assert schema.names == runpy.run_path(str(ROOT / "data" / "rebuild_flights.py"))["SCHEMA"].names


def test_the_click_log_config_is_sound():
    cfg = Config.load(ROOT / "configs" / "clicks.toml")
    assert cfg.samples.label_delay == timedelta(minutes=30)
    assert pa.__version__
