"""What the head believes before it has seen samples, on flights, on a click stream, and on labels that are noise.

Each case is a stream, trees trained every day on the days before, and a head fitted every few hours; each row is scored
by what was live when it happened. The systems share trees, codes and rows. *NE - first* is how far the normalised
entropy is from the first's, with a 95% interval over hours as blocks; the seconds are CPU seconds of one fit. *day 1*
is the NE of the first day of the new store, *new* that of rows whose campaign is younger than a day, *calibration* the
sum of the probabilities over the positives, with what three standard errors of the number of positives allow on noise.

- *one ridge, no record*: a ridge for all kinds of weight; the candidates are blended in their prior shares until the
  first labels have judged them
- *hindsight*: a ridge for all kinds; a record made of the window's own past before the first release
- *ridges*: wide columns and crosses have ridges of their own, which are found; no record
- *both*: the default
- *ftrl*: each sample once, in the order of maturity; anew with new trees
- *lightgbm refit*: ``Booster.refit`` of the day's trees, with its own default
- *wide & deep*: a network trained daily on the trees' window (``deep_peer``), stale, or stepped at every update
- *bare trees*: no head at all
"""

from __future__ import annotations

import dataclasses
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks import clickstream, deep_peer
from benchmarks.harness import Bench
from benchmarks.heads import Bare, Blend, Ftrl, LightGBM
from benchmarks.served import DAY, HOUR, Margins, Stream, System, apart, between, ne_of, play
from gbdtlr.config import Config
from gbdtlr.metrics import Quality
from gbdtlr.samples import Samples
from gbdtlr.times import parse_time, to_us

CLICK_ROWS, CLICK_DAYS, CLICK_FROM = 415_000, 7, 3
FLIGHTS_START, FLIGHTS_DAYS = "2013-02-01", 28
NOISE_START, NOISE_DAYS, NOISE_FROM = datetime(2024, 3, 1, tzinfo=UTC), 5, 3
NOISE = {0.005: 100_000, 0.02: 100_000, 0.5: 100_000}
"""Rows by rate of positives."""


def run(bench: Bench) -> None:
    bench.measured = "CPU seconds of one fit; NE of what was served"
    flights(bench)
    with tempfile.TemporaryDirectory() as name:
        clicks(bench, Path(name))
    for rate, n in NOISE.items():
        noise(bench, rate, bench.size(n))


def flights(bench: Bench) -> None:
    """The flights, of which the ids say little."""
    config = Config.load("configs/flights.toml")
    start = parse_time(FLIGHTS_START, config.samples.timezone)
    end = start + max(1, round(bench.scale * FLIGHTS_DAYS)) * DAY
    samples = between(config, start - config.trees.window, end)
    compare(bench, "flights", Stream(config, samples), start, end, 3 * HOUR)


def clicks(bench: Bench, folder: Path) -> None:
    """The click stream, whose campaigns live for days."""
    clickstream.write(folder, bench.size(CLICK_ROWS), CLICK_DAYS, 1)
    config = Config.load("configs/clickstream.toml")
    config = config.replace(samples=dataclasses.replace(config.samples, path=(str(folder),)))
    start, end = (clickstream.START + days * DAY for days in (CLICK_FROM, CLICK_DAYS))
    samples = between(config, clickstream.START, end)
    new = samples.table["campaign_age_h"].to_numpy() < 24
    compare(bench, "click stream", Stream(config, samples), start, end, 6 * HOUR, new)


def noise(bench: Bench, rate: float, n: int) -> None:
    """Labels that nothing says anything about."""
    rng = np.random.default_rng(0)
    event_us = np.sort(rng.integers(0, NOISE_DAYS * DAY // timedelta(microseconds=1), n)) + to_us(NOISE_START)
    table: dict[str, Any] = {name: rng.normal(size=n) for name in "wxyz"}
    table["id"] = [f"i{i}" for i in rng.integers(0, 200, n)]
    label = (rng.random(n) < rate).astype(np.int8)
    samples = Samples(pa.table(table), label, np.ones(n), event_us, event_us + 3_600_000_000)
    config = Config.from_dict(
        {
            "samples": {"path": "-", "event_time": "-", "label_delay": "1h", "numeric": list("wxyz"), "wide": ["id"]},
            "trees": {"window": "3d"},
            "head": {"window": "2d"},
        }
    )
    start, end = (NOISE_START + days * DAY for days in (NOISE_FROM, NOISE_DAYS))
    compare(bench, f"noise, {rate:.1%} positive", Stream(config, samples), start, end, 6 * HOUR)


def compare(
    bench: Bench,
    case: str,
    stream: Stream,
    start: datetime,
    end: datetime,
    every: timedelta,
    new: NDArray[np.bool_] | None = None,
) -> None:
    """A line per system."""
    systems: dict[str, System | None] = {
        "one ridge, no record": Blend(False, False),
        "hindsight": Blend(True, False),
        "ridges": Blend(False, True),
        "both": Blend(True, True),
        "ftrl": Ftrl(),
        "lightgbm refit": LightGBM(),
        **deep_peer.systems(bench.n_threads),
        "bare trees": Bare(),
    }
    present = {name: system for name, system in systems.items() if system is not None}
    margins = play(stream, present, start, end, every, bench.n_threads)
    rows = stream.happened(start, end)
    samples, first = stream.samples.take(rows), next(iter(margins.values()))
    n_first = len(stream.happened(start, start + DAY))
    for name, system in systems.items():
        case_of = f"{case}, {len(rows):,} rows"
        if system is None:
            bench.add(case_of, name, None, None, {})
            continue
        more = told(samples, margins[name], first, n_first, None if new is None else new[rows])
        bench.add(case_of, name, system.seconds[1:], None, more)


def told(
    rows: Samples, margin: Margins, first: Margins, n_first: int, new: NDArray[np.bool_] | None
) -> dict[str, object]:
    """NE, how far it is from the first's, that of the first day and of rows that are new, and the calibration."""
    quality = Quality.of(margin, rows.label, rows.weight)
    found: dict[str, object] = {"NE": ne_of(rows, margin), "NE - first": apart(rows, margin, first)}
    found["day 1"] = ne_of(rows, margin, slice(n_first))
    if new is not None:
        found["new"] = ne_of(rows, margin, new)
    return {**found, "calibration": f"{quality.calibration:.3f} (1 ±{3 / np.sqrt(quality.positives):.3f})"}
