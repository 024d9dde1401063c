"""What the head believes before it has seen samples: one ridge for all kinds of weight, or one for each, found by it.

Each case is a stream, trees trained every day on the days before, and a head fitted every few hours on the newest two
days; each row is scored by what was live when it happened. The systems share trees, codes and rows. *NE - first* is how
far the normalised entropy is from the first's, with a 95% interval over hours as blocks; the seconds are those of one
fit. *new* is the NE of rows whose campaign is younger than a day.

- *one ridge*: the grid of half-lives and ridges, each for leaves, ids and crosses alike
- *a ridge a kind, same grid*: the grid's ridges hold for the leaves, those of ids, crosses and the bias are found
- *a ridge a kind*: the default grid
- *bare trees*: no head at all
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import clickstream
from benchmarks.harness import Bench
from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config, HeadConfig
from gbdtlr.head import Candidates, Codes, Layout, Record, Ridges, Setting, fit_candidates, pieces
from gbdtlr.jobs.methods import FIRST_STEPS, prior_of, wide_of
from gbdtlr.metrics import Quality, log_loss_of
from gbdtlr.model import Model
from gbdtlr.replay.rows import by_event, read_all
from gbdtlr.samples import Samples
from gbdtlr.times import parse_time, to_us
from gbdtlr.trees import train

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
CLICK_ROWS, CLICK_DAYS, CLICK_FROM = 415_000, 7, 3
FLIGHTS_START, FLIGHTS_DAYS = "2013-02-01", 7
OLD_GRID = (3.0, 30.0, 300.0, 3000.0)


@dataclass
class Ours:
    """A head that is fitted again and again, and what it said of the rows it served."""

    config: HeadConfig
    tied: bool
    seconds: list[float] = field(default_factory=list)
    margins: list[NDArray[np.float64]] = field(default_factory=list)
    live: list[tuple[datetime, Model, Candidates]] = field(default_factory=list)
    record: Record | None = None

    def fit(self, stream: Stream, model: Model, as_of: datetime) -> None:
        """Fit on what is known by ``as_of``, and go live."""
        settings = [Setting(half_life, l2) for half_life in self.config.half_lives for l2 in self.config.l2]
        begin = time.perf_counter()
        window = pieces([stream.known(model, as_of - self.config.window, as_of)])
        candidates = self._fitted(window, model, settings, as_of)
        if self.record is None:
            self.record = Record.blank(candidates.names, as_of)
        else:
            self.record = self.record.learn(self._served(stream, as_of), as_of, self.config.blend_half_life)
        head = candidates.blended(self.record.weights)
        self.seconds.append(time.perf_counter() - begin)
        self.live.append((as_of, model.with_head(head), candidates))

    def _fitted(self, window: Parts[Codes], model: Model, settings: list[Setting], as_of: datetime) -> Candidates:
        """The candidates, with one ridge for all kinds of weight or with those found so far."""
        layout = Layout.of(model.trees, model.head.wide)
        base = self.live[-1] if self.live else None
        start = base[2] if base is not None and base[1].trees is model.trees else None
        if self.tied:
            return fit_candidates(window, layout, settings, as_of, start)
        prior = prior_of(self.config)
        ridges = Ridges.begun(layout, [setting.l2 for setting in settings], prior)
        if base is not None and base[2].found is not None:
            groups = [setting.half_life for setting in settings]
            ridges = ridges.carried(groups, base[2].found, groups, prior)
        candidates = fit_candidates(window, layout, settings, as_of, start, ridges, prior)
        for _ in range(0 if base is not None else FIRST_STEPS):
            candidates = fit_candidates(window, layout, settings, as_of, candidates, candidates.found, prior)
        return candidates

    def _served(self, stream: Stream, as_of: datetime) -> list[tuple[Parts[Codes], Candidates]]:
        """Rows whose label has become known since the last fit, with what was live when they happened."""
        since = self.live[-1][0]
        told = []
        ends = [*(each[0] for each in self.live[1:]), as_of]
        for (start, model, candidates), end in zip(self.live, ends, strict=True):
            rows = stream.newly_known(since, as_of, start, end)
            if len(rows):
                told.append((pieces([stream.coded(model).take(rows)]), candidates))
        return told

    def score(self, stream: Stream, start: datetime, end: datetime) -> None:
        """Say what is live of the rows between."""
        model = self.live[-1][1]
        self.margins.append(model.head.margin(stream.coded(model).take(stream.happened(start, end))))


@dataclass
class Stream:
    """Rows by event time, coded on every trees once."""

    samples: Samples
    _codes: dict[int, Codes] = field(default_factory=dict)

    def coded(self, model: Model) -> Codes:
        """All rows as the model reads them."""
        key = id(model.trees)
        if key not in self._codes:
            self._codes[key] = model.encode(self.samples)
        return self._codes[key]

    def happened(self, start: datetime, end: datetime) -> NDArray[np.intp]:
        """Rows that happened between."""
        low, high = self.samples.event_us.searchsorted([to_us(start), to_us(end)])
        return np.arange(low, high)

    def known(self, model: Model, start: datetime, as_of: datetime) -> Codes:
        """Rows from ``start`` on whose label is known."""
        rows = self.happened(start, as_of)
        return self.coded(model).take(rows[self.samples.known_us[rows] <= to_us(as_of)])

    def newly_known(self, since: datetime, as_of: datetime, start: datetime, end: datetime) -> NDArray[np.intp]:
        """Rows that happened in ``[start, end)``, whose label became known after ``since``."""
        rows = self.happened(start, end)
        known = self.samples.known_us[rows]
        return rows[(known > to_us(since)) & (known <= to_us(as_of))]


def run(bench: Bench) -> None:
    bench.measured = "seconds of one fit; NE of what was served"
    with tempfile.TemporaryDirectory() as name:
        clicks(bench, Path(name))
    flights(bench)


def clicks(bench: Bench, folder: Path) -> None:
    """The click stream, whose campaigns live for days."""
    clickstream.write(folder, bench.size(CLICK_ROWS), CLICK_DAYS, 1)
    config = Config.load("configs/clickstream.toml")
    config = config.replace(samples=dataclasses.replace(config.samples, path=(str(folder),)))
    start = clickstream.START + CLICK_FROM * DAY
    end = clickstream.START + CLICK_DAYS * DAY
    samples = between(config, clickstream.START, end)
    age_h = samples.table["campaign_age_h"].to_numpy()
    compare(bench, "click stream", config, samples, start, end, 6 * HOUR, age_h < 24)


def flights(bench: Bench) -> None:
    """The flights, of which the ids say little."""
    config = Config.load("configs/flights.toml")
    start = parse_time(FLIGHTS_START, config.samples.timezone)
    end = start + max(1, round(bench.scale * FLIGHTS_DAYS)) * DAY
    samples = between(config, start - config.trees.window, end)
    compare(bench, "flights", config, samples, start, end, 6 * HOUR, None)


def between(config: Config, start: datetime, end: datetime) -> Samples:
    """All rows of a period, by event time."""
    samples = read_all(config.samples, start, end)
    assert samples is not None, f"no rows from {start} to {end}"
    return by_event(samples, start, end)


def compare(
    bench: Bench,
    case: str,
    config: Config,
    samples: Samples,
    start: datetime,
    end: datetime,
    every: timedelta,
    new: NDArray[np.bool_] | None,
) -> None:
    """A line per system."""
    stream, head = Stream(samples), config.head
    systems = {
        "one ridge": Ours(dataclasses.replace(head, l2=OLD_GRID), tied=True),
        "a ridge a kind, same grid": Ours(dataclasses.replace(head, l2=OLD_GRID), tied=False),
        "a ridge a kind": Ours(head, tied=False),
    }
    bare: list[NDArray[np.float64]] = []
    moment, model = start, None
    while moment < end:
        if model is None or (moment - start) % DAY == timedelta(0):
            known = samples.event_us >= to_us(moment - config.trees.window)
            known &= samples.known_us <= to_us(moment)
            trees = train(samples.filter(known), config.trees, config.samples, threads=bench.n_threads)
            model = Model.of(trees, wide_of(config))
        for system in systems.values():
            system.fit(stream, model, moment)
            system.score(stream, moment, min(end, moment + every))
        rows = stream.happened(moment, min(end, moment + every))
        bare.append(model.head.margin(stream.coded(model).take(rows)))
        moment += every
    rows = stream.happened(start, end)
    margins = {name: np.concatenate(system.margins) for name, system in systems.items()}
    margins["bare trees"] = np.concatenate(bare)
    first = next(iter(margins.values()))
    for name, margin in margins.items():
        seconds = systems[name].seconds[1:] if name in systems else []
        more = told(samples.take(rows), margin, first, None if new is None else new[rows])
        bench.add(f"{case}, {len(rows):,} rows", name, seconds, None, more)


def told(
    rows: Samples, margin: NDArray[np.float64], first: NDArray[np.float64], new: NDArray[np.bool_] | None
) -> dict[str, object]:
    """NE, how far it is from the first's, and NE of the rows that are new."""
    quality = Quality.of(margin, rows.label, rows.weight)
    apart, error = difference(rows, margin, first)
    found: dict[str, object] = {"NE": f"{quality.ne:.4f}", "NE - first": f"{apart:+.4f} ±{1.96 * error:.4f}"}
    if new is not None:
        found["new"] = f"{Quality.of(margin[new], rows.label[new], rows.weight[new]).ne:.4f}"
    return found


def difference(rows: Samples, margin: NDArray[np.float64], first: NDArray[np.float64]) -> tuple[float, float]:
    """Difference of two NE and its standard error, over hours as blocks."""
    rate = float(rows.label.mean())
    entropy = -rate * np.log(rate) - (1 - rate) * np.log1p(-rate)
    excess = (log_loss_of(margin, rows.label) - log_loss_of(first, rows.label)) / entropy
    hour = (rows.event_us - rows.event_us[0]) // 3_600_000_000
    sums = np.bincount(hour, excess)
    return float(excess.mean()), float(np.sqrt(np.square(sums - sums.mean()).sum()) / len(excess))
