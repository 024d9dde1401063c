"""What the head believes before it has seen samples, on flights, on a click stream, and on labels that are noise.

Each case is a stream, trees trained every day on the days before, and a head fitted every few hours; each row is scored
by what was live when it happened. The systems share trees, codes and rows. *NE - first* is how far the normalised
entropy is from the first's, with a 95% interval over hours as blocks, *NE / first* their ratio; the seconds are CPU
seconds of one fit. *day 1* is the NE of the first day of the new store, *new* that of rows whose campaign is younger
than a day, *calibration* the sum of the probabilities over the positives, with what three standard errors of the number
of positives allow on noise.

- *head of 0.1.0*: sixteen settings with one ridge for all kinds of weight, and the blend of that version
- *one ridge, no record*: a ridge for all kinds of weight; the candidates are blended in their prior shares until the
  first labels have judged them
- *hindsight*: the same with a record made of the window's own past before the first release
- *ridges*: the same, but that wide columns and crosses have ridges of their own, which are found
- *levels*: the same, but that the bias moves by what the blend lacked lately in all rows alike
- *all*: the default
- *ftrl*: each sample once, in the order of maturity; anew with new trees
- *lightgbm refit*: ``Booster.refit`` of the day's trees, with its own default
- *wide & deep*: a network trained daily on the trees' window (``deep_peer``), stale, or stepped at every update
- *bare trees*: no head at all

The click stream is drawn again by more seeds for the heads alone; *over all seeds* tells the mean of their ratios to
the first, their range, and how many times as long as the first a fit takes. *New stores* are begun every week on the
flights, with hindsight and without, and scored beside a store that was begun a month before the first of them.

``--only flights``, ``new-stores``, ``clicks`` or ``noise`` is a part of it; ``held-out`` draws the click stream by
five more seeds, by which nothing of the product was chosen.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks import clickstream, deep_peer
from benchmarks.harness import Bench
from benchmarks.heads import Bare, Blend, Ftrl, LightGBM, Old, Renewed
from benchmarks.served import DAY, HOUR, Margins, Stream, System, apart, between, ne_of, play
from gbdtlr.config import Config
from gbdtlr.metrics import Quality
from gbdtlr.samples import Samples
from gbdtlr.times import parse_time, to_us

CLICK_ROWS, CLICK_DAYS, CLICK_FROM = 415_000, 7, 3
SEEDS, HELD_OUT = range(1, 6), range(6, 11)
"""Of the click stream; by the first all systems are tried, by the others the heads alone."""
FLIGHTS_START, FLIGHTS_DAYS = "2013-02-01", 28
WEEK, NEW_STORES = 7 * DAY, 4
"""How many are begun on the flights, one a week, from ``FLIGHTS_DAYS`` after the start on."""
NOISE_START, NOISE_DAYS, NOISE_FROM = datetime(2024, 3, 1, tzinfo=UTC), 5, 3
NOISE = {0.005: 100_000, 0.02: 100_000, 0.5: 100_000}
"""Rows by rate of positives."""


def run(bench: Bench) -> None:
    bench.measured = "CPU seconds of one fit; NE of what was served"
    parts = {"flights": flights, "new-stores": new_stores, "clicks": clicks, "noise": all_noise, "held-out": held_out}
    if bench.only is not None and bench.only not in parts:
        raise SystemExit(f"--only of this benchmark is one of {', '.join(parts)}")
    for name in [*parts][:-1] if bench.only is None else [bench.only]:
        parts[name](bench)


def flights(bench: Bench) -> None:
    """The flights, of which the ids say little."""
    config = Config.load("configs/flights.toml")
    start = parse_time(FLIGHTS_START, config.samples.timezone)
    end = start + max(1, round(bench.scale * FLIGHTS_DAYS)) * DAY
    samples = between(config, start - config.trees.window, end)
    compare(bench, "flights", Stream(config, samples), (start, end, 3 * HOUR), all_of(bench))


def new_stores(bench: Bench) -> None:
    """First weeks of stores on the flights beside those of one that was begun a month before."""
    config = Config.load("configs/flights.toml")
    start = parse_time(FLIGHTS_START, config.samples.timezone)
    scored = start + FLIGHTS_DAYS * DAY
    end = scored + max(1, round(bench.scale * NEW_STORES)) * WEEK
    systems = {
        "begun a month before": Blend(),
        "new": Renewed(WEEK),
        "new, without hindsight": Renewed(WEEK, with_hindsight=False),
    }
    samples = between(config, start - config.trees.window, end)
    span = start, end, 3 * HOUR
    compare(bench, "new stores, flights", Stream(config, samples), span, systems, scored=scored)


def clicks(bench: Bench) -> None:
    """The click stream, whose campaigns live for days; drawn again and again for the heads alone."""
    streams(bench, {seed: all_of(bench) if seed == SEEDS[0] else {**heads(), "bare trees": Bare()} for seed in SEEDS})


def held_out(bench: Bench) -> None:
    """The same by seeds that were kept back, for the default beside the head of 0.1.0."""
    streams(bench, {seed: {"head of 0.1.0": Old(), "all": Blend(), "bare trees": Bare()} for seed in HELD_OUT})


def streams(bench: Bench, of_seed: Mapping[int, Mapping[str, System | None]]) -> None:
    """The systems on the click stream of each seed, and over all seeds those that are tried by each."""
    ratios: dict[str, list[float]] = {}
    took: dict[str, list[float]] = {}
    for seed, systems in of_seed.items():
        with tempfile.TemporaryDirectory() as name:
            found = one_stream(bench, Path(name), seed, systems)
        for each, ne in found.items():
            system = systems[each]
            ratios.setdefault(each, []).append(ne / next(iter(found.values())))
            took.setdefault(each, []).extend([] if system is None else system.seconds[1:])
    base = float(np.median(next(iter(took.values()))))
    for each, some in ratios.items():
        if len(some) == len(of_seed):
            told = f"{np.mean(some):.4f} ({min(some):.4f} to {max(some):.4f})"
            bench.add("click stream, over all seeds", each, took[each], base, {"NE / first": told})


def one_stream(bench: Bench, folder: Path, seed: int, systems: Mapping[str, System | None]) -> dict[str, float]:
    """NE of each system on the click stream of a seed."""
    clickstream.write(folder, bench.size(CLICK_ROWS), CLICK_DAYS, seed)
    config = Config.load("configs/clickstream.toml")
    config = config.replace(samples=dataclasses.replace(config.samples, path=(str(folder),)))
    start, end = (clickstream.START + days * DAY for days in (CLICK_FROM, CLICK_DAYS))
    samples = between(config, clickstream.START, end)
    new = samples.table["campaign_age_h"].to_numpy() < 24
    return compare(bench, f"click stream {seed}", Stream(config, samples), (start, end, 6 * HOUR), systems, new=new)


def all_noise(bench: Bench) -> None:
    """Labels that nothing says anything about, rare ones and such as come every other time."""
    for rate, n in NOISE.items():
        noise(bench, rate, bench.size(n))


def noise(bench: Bench, rate: float, n: int) -> None:
    """Labels of which so many are positive, at random."""
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
    compare(bench, f"noise, {rate:.1%} positive", Stream(config, samples), (start, end, 6 * HOUR), all_of(bench))


def heads() -> dict[str, System | None]:
    """The product's head, without parts of it, and as it was."""
    return {
        "head of 0.1.0": Old(),
        "one ridge, no record": Blend(False, False, False),
        "hindsight": Blend(True, False, False),
        "ridges": Blend(False, True, False),
        "levels": Blend(False, False, True),
        "all": Blend(),
    }


def all_of(bench: Bench) -> dict[str, System | None]:
    """All systems; None where a peer is not installed."""
    peers = {"ftrl": Ftrl(), "lightgbm refit": LightGBM(), **deep_peer.systems(bench.n_threads)}
    return {**heads(), **peers, "bare trees": Bare()}


def compare(
    bench: Bench,
    case: str,
    stream: Stream,
    span: tuple[datetime, datetime, timedelta],
    systems: Mapping[str, System | None],
    *,
    scored: datetime | None = None,
    new: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """A line per system; NE of each that is there.

    Parameters
    ----------
    span : when the first head is fitted, the end, and the time between two fits
    scored : from when on rows count; from the first head on where it is None
    new : which rows of the stream are told apart
    """
    start, end, _ = span
    present = {name: system for name, system in systems.items() if system is not None}
    margins = play(stream, present, *span, bench.n_threads)
    rows = stream.happened(start if scored is None else scored, end)
    samples, case = stream.samples.take(rows), f"{case}, {len(rows):,} rows"
    margins = {name: margin[len(margin) - len(rows) :] for name, margin in margins.items()}
    first, found = next(iter(margins.values())), dict[str, float]()
    n_first = len(stream.happened(start, start + DAY)) if scored is None else 0
    for name, system in systems.items():
        if system is None:
            bench.add(case, name, None, None, {})
            continue
        found[name] = Quality.of(margins[name], samples.label, samples.weight).ne
        more = told(samples, margins[name], first, n_first, None if new is None else new[rows])
        bench.add(case, name, system.seconds[1:], None, more)
    return found


def told(
    rows: Samples, margin: Margins, first: Margins, n_first: int, new: NDArray[np.bool_] | None
) -> dict[str, object]:
    """NE, how far it is from the first's, that of the first day and of rows that are new, and the calibration."""
    quality, base = (Quality.of(each, rows.label, rows.weight) for each in (margin, first))
    found: dict[str, object] = {"NE": ne_of(rows, margin), "NE - first": apart(rows, margin, first)}
    found["NE / first"] = f"{quality.ne / base.ne:.4f}"
    if n_first:
        found["day 1"] = ne_of(rows, margin, slice(n_first))
    if new is not None:
        found["new"] = ne_of(rows, margin, new)
    return {**found, "calibration": f"{quality.calibration:.3f} (1 ±{3 / np.sqrt(quality.positives):.3f})"}
