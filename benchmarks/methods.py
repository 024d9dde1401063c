"""Every method of the head, replayed with the real jobs: on the flights, and on a click stream with ids.

The *replay* cases are one line per method: its progressive NE on identical rows, and the seconds of one ``update-lr``
between full fits. Trees are trained seldom on purpose, so that the methods have time to come apart; ``full 1d`` is
``full_every = "1d"``.

The *between corrections* cases follow the methods that learn new samples only, from one full fit to the next: how far
their NE is from that of a refit at every update, by the time since they were last corrected. Beside ``incremental``
stand two that remember nothing but the weights (``benchmarks/naive.py``), on the same codes and rows.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import clickstream, naive
from benchmarks.harness import Bench
from gbdtlr.config import Config
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.metrics import Quality
from gbdtlr.release import Release
from gbdtlr.replay import ReplayResult, replay
from gbdtlr.replay.journal import Journal
from gbdtlr.replay.timeline import Cadence
from gbdtlr.store import Store
from gbdtlr.times import format_duration, parse_time, to_us

REFIT = "refit"
METHODS: dict[str, dict[str, Any]] = {
    "incremental": {"method": "incremental"},
    "incremental, full 1d": {"method": "incremental", "full_every": timedelta(days=1)},
    "ftrl": {"method": "ftrl"},
    "rda": {"method": "rda"},
    "fobos": {"method": "fobos"},
}
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
FLIGHTS_START, FLIGHTS_DAYS = "2013-02-01", 14
CLICK_ROWS, CLICK_DAYS, CLICK_FROM = 400_000, 7, 3


@dataclass(frozen=True)
class Run:
    """A replay of all methods, and the folder it was made in."""

    config: Config
    start: datetime
    end: datetime
    cadence: Cadence
    result: ReplayResult
    folder: Path

    def margin(self, name: str) -> NDArray[np.float64]:
        """Margins of a method, by event time."""
        return self.result.margins["two-speed" if name == REFIT else name]

    def steps(self, name: str) -> list[Step]:
        """What each job of a method did."""
        system = "two-speed" if name == REFIT else name
        journal = Journal(self.folder / f"{system}-{self.cadence.name}")
        store = Store.open(str(journal.folder / "store"))
        return [Step.of(store, done) for done in journal.lines()]

    def release(self, number: int, known: Release | None) -> Release:
        """A release of the refits."""
        store = Store.open(str(self.folder / f"two-speed-{self.cadence.name}" / "store"))
        return Release.load(store, store.entry(number), known)


@dataclass(frozen=True)
class Step:
    """One job of a replay, and the head that was live after it."""

    at: datetime
    seconds: float
    status: str
    release: int
    full_as_of: datetime

    @classmethod
    def of(cls, store: Store, done: Mapping[str, Any]) -> Step:
        """The step of a journal's record."""
        entry = store.entry(done["release"])
        manifest = store.read_manifest("heads", entry.head, under=entry.trees)
        ledger = Ledger.from_dict(manifest["ledger"])
        return cls(parse_time(done["at"]), done["seconds"], done["status"], done["release"], ledger.full_as_of)


def replayed(
    config: Config, start: datetime, end: datetime, trees_every: timedelta, lr_every: timedelta, folder: Path
) -> Run:
    """All methods over a period."""
    others = {
        name: config.replace(head=dataclasses.replace(config.head, **changes)) for name, changes in METHODS.items()
    }

    def told(done: int, total: int, text: str) -> None:
        if done % 50 == 0 or done == total:
            print(f"methods: {done}/{total} {text}", file=sys.stderr, flush=True)

    result = replay(
        config, start, end, trees_every, lr_every, strategies=["two-speed"], out=folder, progress=told, others=others
    )
    return Run(config, start, end, Cadence(trees_every, lr_every), result, folder)


def compare(bench: Bench, data: str, run: Run) -> None:
    """A line per method."""
    rows = run.result.rows
    case = (
        f"replay of {len(rows)} {data}, trees every {format_duration(run.cadence.trees_every)}, "
        f"head every {format_duration(run.cadence.lr_every)}"
    )
    figures = {each["name"]: each for each in run.result.as_dict()["strategies"]}
    refit = figures["two-speed"]
    base = None
    for name in (REFIT, *METHODS):
        found = figures["two-speed" if name == REFIT else name]
        steps = run.steps(name)
        # A full fit is what `refit` does at every update; of the others, the updates in between are what counts.
        updates = [s for s in steps if s.status == "published" and (name == REFIT or s.full_as_of < s.at)]
        seconds = [step.seconds for step in updates] or [step.seconds for step in steps]
        base = base or float(np.median(seconds))
        more = {
            "NE": found["ne"],
            "NE vs refit": "" if name == REFIT else _share(found["ne"], refit["ne"]),
            "95% of difference": "" if name == REFIT else f"{found['low']:+.4f} to {found['high']:+.4f}",
            "calibration": found["calibration"],
            "AUC": found["auc"],
            "kept": sum(step.status in ("refused", "failed") for step in steps),
        }
        bench.add(case, name, seconds, base, more)


def between_corrections(bench: Bench, data: str, run: Run, name: str, bins: Sequence[timedelta]) -> None:
    """NE over that of the refits by time since the last correction, of ``name`` and of the naive ways."""
    steps, refits = run.steps(name), run.steps(REFIT)
    moments = [step.at for step in steps]
    corrected = sorted({step.full_as_of for step in steps})
    numbers = {step.at: step.release for step in refits}
    corrections: list[tuple[datetime, Release]] = []
    for at in corrected:
        corrections.append((at, run.release(numbers[at], corrections[-1][1] if corrections else None)))
    margins = {name: run.margin(name)}
    for each, method in naive.NAIVE.items():
        margins[each] = naive.margins(run.config, method, moments, run.end, corrections)
    rows = run.result.rows
    starts = np.array([to_us(at) for at in corrected])
    age = rows.event_us - starts[starts.searchsorted(rows.event_us, side="right") - 1]
    edges = [0, *(to_us(run.start + each) - to_us(run.start) for each in bins)]
    every = format_duration(bins[-1])
    case = f"{data}, corrected every {every}: NE against a refit at every update"
    for system, margin in margins.items():
        more: dict[str, Any] = {
            "NE": _ne(rows, margin),
            "NE vs refit": _share(_ne(rows, margin), _ne(rows, run.margin(REFIT))),
        }
        for low, high in pairwise(edges):
            inside = (age >= low) & (age < high)
            label = f"{format_duration(timedelta(microseconds=low))} to {format_duration(timedelta(microseconds=high))}"
            more[label] = _share(_ne(rows, margin, inside), _ne(rows, run.margin(REFIT), inside))
        bench.add(case, system, [], None, more)


def _ne(rows: Any, margin: NDArray[np.float64], inside: NDArray[np.bool_] | slice = slice(None)) -> float | None:
    return Quality.of(margin[inside], rows.label[inside], rows.weight[inside]).ne


def _share(value: float | None, base: float | None) -> str:
    return "" if value is None or base is None else f"{value / base - 1:+.2%}"


def flights(bench: Bench, folder: Path) -> None:
    """The flights of two weeks: heads every 3 hours, trees every week."""
    config = Config.load("configs/flights.toml")
    start = parse_time(FLIGHTS_START, config.samples.timezone)
    days = max(1, round(FLIGHTS_DAYS * min(bench.scale, 1.0)))
    run = replayed(config, start, start + days * DAY, 7 * DAY, 3 * HOUR, folder)
    compare(bench, "flights", run)
    between_corrections(bench, "flights", run, "incremental, full 1d", [h * HOUR for h in (6, 12, 18, 24)])
    between_corrections(bench, "flights", run, "incremental", [d * DAY for d in range(1, min(7, days) + 1)])


def clicks(bench: Bench, folder: Path) -> None:
    """The click stream: heads every 2 hours, trees every second day, the sale among the days."""
    n_rows = bench.size(CLICK_ROWS)
    clickstream.write(folder / "clicks", n_rows, CLICK_DAYS)
    config = Config.load("configs/clickstream.toml")
    config = config.replace(samples=dataclasses.replace(config.samples, path=(str(folder / "clicks"),)))
    start, end = (clickstream.START + days * DAY for days in (CLICK_FROM, CLICK_DAYS))
    compare(bench, "clicks", replayed(config, start, end, 2 * DAY, 2 * HOUR, folder / "replay"))


def run(bench: Bench) -> None:
    bench.measured = "median of all updates between full fits; ratio: times as long as refit"
    with tempfile.TemporaryDirectory("-methods") as folder:
        flights(bench, Path(folder) / "flights")
        clicks(bench, Path(folder) / "clicks")
