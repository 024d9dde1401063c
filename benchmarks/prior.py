"""What the head believes before it has seen samples, on flights, on a click stream, and on labels that are noise.

Each case is a stream, trees trained every day on the days before, and a head fitted every few hours; each row is scored
by what was live when it happened. The systems share trees, codes and rows. *NE - first* is how far the normalised
entropy is from the first's, with a 95% interval over hours as blocks; the seconds are those of one fit. *day 1* is the
NE of the first day of the new store, *new* that of rows whose campaign is younger than a day, *calibration* the sum of
the probabilities over the positives, with what three standard errors of the number of positives allow on noise.

- *one ridge, no record*: a ridge for all kinds of weight; the candidates are blended in their prior shares until the
  first labels have judged them
- *hindsight*: a ridge for all kinds; a record made of the window's own past before the first release
- *ridges*: wide columns and crosses have ridges of their own, which are found; no record
- *both*: the default
- *ftrl*: each sample once, in the order of maturity; anew with new trees
- *lightgbm refit*: ``Booster.refit`` of the day's trees, with its own default
- *bare trees*: no head at all
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks import clickstream
from benchmarks.harness import Bench
from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.head import Candidates, Codes, Head, Layout, OnlineHead, Record, fit_candidates, pieces
from gbdtlr.jobs import hindsight
from gbdtlr.jobs.grid import prior_of, ridges_for, settings_of
from gbdtlr.jobs.methods import FIRST_STEPS, rule_of, wide_of
from gbdtlr.metrics import Quality, log_loss_of
from gbdtlr.model import Model
from gbdtlr.release import Fits
from gbdtlr.replay.rows import by_event, read_all
from gbdtlr.samples import Samples
from gbdtlr.times import parse_time, to_us
from gbdtlr.trees import train
from gbdtlr.trees.refitting import refit

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
CLICK_ROWS, CLICK_DAYS, CLICK_FROM = 415_000, 7, 3
FLIGHTS_START, FLIGHTS_DAYS = "2013-02-01", 28
NOISE_START, NOISE_DAYS, NOISE_FROM = datetime(2024, 3, 1, tzinfo=UTC), 5, 3
NOISE = {0.005: 100_000, 0.02: 100_000, 0.5: 100_000}
"""Rows by rate of positives."""
REFIT_DECAY = 0.9


@dataclass
class Stream:
    """Rows by event time, coded on every trees once."""

    config: Config
    samples: Samples
    _codes: tuple[Model, Codes] | None = None

    def coded(self, model: Model) -> Codes:
        """All rows as the model reads them."""
        if self._codes is None or self._codes[0] is not model:
            self._codes = model, model.encode(self.samples)
        return self._codes[1]

    def happened(self, start: datetime, end: datetime) -> NDArray[np.intp]:
        """Rows that happened between."""
        low, high = self.samples.event_us.searchsorted([to_us(start), to_us(end)])
        return np.arange(low, high)

    def known(self, start: datetime, as_of: datetime) -> NDArray[np.intp]:
        """Rows from ``start`` on whose label is known."""
        rows = self.happened(start, as_of)
        return rows[self.samples.known_us[rows] <= to_us(as_of)]

    def newly_known(self, since: datetime, as_of: datetime, start: datetime, end: datetime) -> NDArray[np.intp]:
        """Rows that happened in ``[start, end)``, whose label became known after ``since``."""
        rows = self.happened(start, end)
        known = self.samples.known_us[rows]
        return rows[(known > to_us(since)) & (known <= to_us(as_of))]


class System(Protocol):
    """What has a head at every moment."""

    seconds: list[float]

    def fit(self, stream: Stream, model: Model, as_of: datetime) -> Head: ...


@dataclass
class Blend:
    """Candidates fitted again and again, blended by what they said of the rows they served."""

    with_hindsight: bool
    with_ridges: bool
    seconds: list[float] = field(default_factory=list)
    live: list[tuple[datetime, Model, Candidates]] = field(default_factory=list)
    record: Record | None = None
    past: Fits | None = None

    def fit(self, stream: Stream, model: Model, as_of: datetime) -> Head:
        config, head = stream.config, stream.config.head
        if not self.live and self.with_hindsight:
            window = stream.samples.take(stream.known(as_of - config.trees.window, as_of))
            self.past = self._hindsight(config, window, as_of)
        begin = time.perf_counter()
        coded = stream.coded(model)
        window_codes = pieces([coded.take(stream.known(as_of - head.window, as_of))])
        candidates = self._fitted(stream, model, as_of, window_codes)
        if self.record is None:
            self.record = self.past.record if self.past is not None else Record.blank(candidates.names, as_of)
        self.record = self.record.learn(self._served(stream, as_of), as_of, head.blend_half_life)
        blended = candidates.blended(self.record.weights)
        self.seconds.append(time.perf_counter() - begin)
        self.live = [*self.live[-8:], (as_of, model, candidates)]
        return blended

    def _hindsight(self, config: Config, window: Samples, as_of: datetime) -> Fits | None:
        with nullcontext() if self.with_ridges else patch.object(hindsight, "ridges_for", lambda *_: None):
            past = hindsight.of_samples(config, window, as_of, {})
        return None if past is None else past.fits

    def _fitted(self, stream: Stream, model: Model, as_of: datetime, window: Parts[Codes]) -> Candidates:
        head, base = stream.config.head, self.live[-1] if self.live else None
        start = base[2] if base is not None and base[1] is model else None
        layout, settings, prior = Layout.of(model.trees, model.head.wide), settings_of(head), prior_of(head)
        known = base[2] if base is not None else None if self.past is None else self.past.candidates
        ridges = ridges_for(layout, settings, prior, known) if self.with_ridges else None
        fitted = fit_candidates(window, layout, settings, as_of, start, ridges, prior)
        for _ in range(FIRST_STEPS if self.with_ridges and known is None else 0):
            fitted = fit_candidates(window, layout, settings, as_of, fitted, fitted.found, prior)
        return fitted

    def _served(self, stream: Stream, as_of: datetime) -> list[tuple[Parts[Codes], Candidates]]:
        """Rows whose label has become known since the last fit, with what was live when they happened."""
        if not self.live:
            return []
        told, ends = [], [*(each[0] for each in self.live[1:]), as_of]
        for (start, model, candidates), end in zip(self.live, ends, strict=True):
            rows = stream.newly_known(self.live[-1][0], as_of, start, end)
            if len(rows):
                told.append((pieces([model.encode(stream.samples.take(rows))]), candidates))
        return told


@dataclass
class Ftrl:
    """Each sample once."""

    seconds: list[float] = field(default_factory=list)
    head: OnlineHead | None = None
    model: Model | None = None
    known: datetime | None = None

    def fit(self, stream: Stream, model: Model, as_of: datetime) -> Head:
        begin, head, since = time.perf_counter(), stream.config.head, as_of - stream.config.head.window
        rows = stream.known(since, as_of)
        if self.head is None or self.model is not model or self.known is None:
            rule = rule_of(dataclasses.replace(head, method="ftrl"))
            self.head, self.model = OnlineHead(rule, Layout.of(model.trees, model.head.wide)), model
        else:
            rows = rows[stream.samples.known_us[rows] > to_us(self.known)]
        codes = stream.coded(model).take(rows)
        self.head.learn_many(codes.take(np.argsort(codes.known_us, kind="stable")))
        self.known = as_of
        self.seconds.append(time.perf_counter() - begin)
        return self.head.head()


@dataclass
class LightGBM:
    """``Booster.refit`` of the trees."""

    seconds: list[float] = field(default_factory=list)

    def fit(self, stream: Stream, model: Model, as_of: datetime) -> Head:
        begin = time.perf_counter()
        rows = stream.samples.take(stream.known(as_of - stream.config.head.window, as_of))
        matrix = model.trees.schema.matrix(rows.table)
        (values,) = refit(model.trees, matrix, rows.label, rows.weight, [REFIT_DECAY])
        layout = Layout.of(model.trees, model.head.wide)
        self.seconds.append(time.perf_counter() - begin)
        return Head(layout, layout.join(values, [np.empty(0) for _ in layout.buckets], 0.0))


@dataclass
class Bare:
    """The trees themselves."""

    seconds: list[float] = field(default_factory=list)

    def fit(self, stream: Stream, model: Model, as_of: datetime) -> Head:  # noqa: ARG002 - as all systems
        return model.head


def run(bench: Bench) -> None:
    bench.measured = "seconds of one fit; NE of what was served"
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


def between(config: Config, start: datetime, end: datetime) -> Samples:
    """All rows of a period, by event time."""
    samples = read_all(config.samples, start, end)
    assert samples is not None, f"no rows from {start} to {end}"
    return by_event(samples, start, end)


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
    systems: dict[str, System] = {
        "one ridge, no record": Blend(False, False),
        "hindsight": Blend(True, False),
        "ridges": Blend(False, True),
        "both": Blend(True, True),
        "ftrl": Ftrl(),
        "lightgbm refit": LightGBM(),
        "bare trees": Bare(),
    }
    margins: dict[str, list[NDArray[np.float64]]] = {name: [] for name in systems}
    config, samples, model = stream.config, stream.samples, None
    for moment in moments(start, end, every):
        if model is None or (moment - start) % DAY == timedelta(0):
            window = samples.take(stream.known(moment - config.trees.window, moment))
            trees = train(window, config.trees, config.samples, threads=bench.n_threads)
            model = Model.of(trees, wide_of(config))
        served = stream.coded(model).take(stream.happened(moment, min(end, moment + every)))
        for name, system in systems.items():
            margins[name].append(system.fit(stream, model, moment).margin(served))
    rows = stream.happened(start, end)
    first = np.concatenate(next(iter(margins.values())))
    n_first = len(stream.happened(start, start + DAY))
    for name, system in systems.items():
        more = told(
            samples.take(rows), np.concatenate(margins[name]), first, n_first, None if new is None else new[rows]
        )
        bench.add(f"{case}, {len(rows):,} rows", name, system.seconds[1:], None, more)


def moments(start: datetime, end: datetime, every: timedelta) -> Sequence[datetime]:
    """When heads are fitted."""
    return [start + k * every for k in range(-(-(end - start) // every))]


def told(
    rows: Samples,
    margin: NDArray[np.float64],
    first: NDArray[np.float64],
    n_first: int,
    new: NDArray[np.bool_] | None,
) -> dict[str, object]:
    """NE, how far it is from the first's, that of the first day and of rows that are new, and the calibration."""

    def ne(chosen: Any) -> str:
        return f"{Quality.of(margin[chosen], rows.label[chosen], rows.weight[chosen]).ne:.4f}"

    quality = Quality.of(margin, rows.label, rows.weight)
    apart, error = difference(rows, margin, first)
    allowed = 3 / np.sqrt(quality.positives)
    found: dict[str, object] = {"NE": ne(slice(None)), "NE - first": f"{apart:+.4f} ±{1.96 * error:.4f}"}
    found["day 1"] = ne(slice(n_first))
    if new is not None:
        found["new"] = ne(new)
    return {**found, "calibration": f"{quality.calibration:.3f} (1 ±{allowed:.3f})"}


def difference(rows: Samples, margin: NDArray[np.float64], first: NDArray[np.float64]) -> tuple[float, float]:
    """Difference of two NE and its standard error, over hours as blocks."""
    rate = float(rows.label.mean())
    entropy = -rate * np.log(rate) - (1 - rate) * np.log1p(-rate)
    excess = (log_loss_of(margin, rows.label) - log_loss_of(first, rows.label)) / entropy
    hour = (rows.event_us - rows.event_us[0]) // 3_600_000_000
    sums = np.bincount(hour, excess)
    return float(excess.mean()), float(np.sqrt(np.square(sums - sums.mean()).sum()) / len(excess))
