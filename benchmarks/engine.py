"""One job on two engines: this process with all threads, and workers of Ray with one each; then what that adds up to.

All seconds are those of all processors, of the job and of each process that Ray begins for it (``--only`` runs a part):

- *jobs*, *ids*, *long*: whole ``update-lr`` processes, from start to exit, on the same files, which are there once and
  four times, and in *long* sixteen times; *ids* has three id columns. *wall s* is what a clock says, *Ray s* what Ray
  itself took of the processors, *begin s* how long its cluster took to begin, which one that is there already saves;
  *MiB* are of the largest process, the job's and a worker's.
- *passes*: value and gradient of eight settings over the rows in memory. *sent* and *received* are the bytes that
  went to the workers and came back for it.
- *clusters*: a fit on the workers, and what jobs of a thousand million rows would take on machines that are not here.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.clusters import ASSUMED, MANY, Measured, simulate
from benchmarks.fit import N_LEAVES, N_TREES
from benchmarks.harness import OURS, Bench, installed
from benchmarks.update import NOON, TRAINING, Site, made
from benchmarks.watched import Used, watched
from gbdtlr.config import Config
from gbdtlr.engine import LOCAL, Engine, open_engine
from gbdtlr.head import Setting
from gbdtlr.head.fit.candidates import fit_candidates
from gbdtlr.head.fit.objective import Objective
from gbdtlr.head.fit.sampling import subsample_size
from gbdtlr.jobs.coding import CodedWindow, code_window
from gbdtlr.release import Release
from gbdtlr.store import Store
from gbdtlr.times import format_time

ROWS = 1_000_000
"""Of the files as they are made."""
N_FILES = 8
WORKERS = 2
TIMES, LONG = (1, 4), 16
"""How often the files are taken"""
ON_RAY = f"{OURS}, Ray"
SETTINGS = [Setting(timedelta(hours=h), l2) for h in (1.5, 6, 24, 96) for l2 in (30.0, 1000.0)]
CONFIGS = {"": ("config.toml", "store"), ", three id columns": ("ids.toml", "store-ids")}
PARTS = ("jobs", "ids", "passes", "clusters", "long")


def run(bench: Bench) -> None:
    if not installed("ray"):
        raise SystemExit('this needs Ray: pip install "gbdtlr[ray]"')
    asked = PARTS if bench.only is None else (bench.only,)
    if not {*asked} <= {*PARTS}:
        raise SystemExit(f"--only of this benchmark is one of {', '.join(PARTS)}")
    bench.measured = "seconds of all processors, of all processes together; median and least of several"
    n = bench.size(ROWS)
    with tempfile.TemporaryDirectory() as name:
        site = made(Path(name), n, min(n, TRAINING), N_TREES, N_LEAVES, WORKERS)
        files = Files(site.folder / "samples")
        plain, with_ids = CONFIGS
        for part, what in (("jobs", plain), ("ids", with_ids)):
            for times in TIMES if part in asked else ():
                jobs(bench, site, files.taken(times), n * times, what)
        if {"passes", "clusters"} & {*asked}:
            opened = open_engine("ray", threads=1, workers=WORKERS)
            # Workers begin with their first task, and in the folder that the process is in then.
            with contextlib.chdir(site.folder), contextlib.closing(opened) as engine:
                files.taken(1)
                for what in CONFIGS:
                    if "passes" in asked:
                        passes(bench, engine, site, what)
                    if "clusters" in asked:
                        clusters(bench, engine, site, what)
        if "long" in asked:
            jobs(bench, site, files.taken(LONG), n * LONG, plain)


class Files:
    """The fresh rows in several files, as logs are, and copies of these."""

    def __init__(self, folder: Path) -> None:
        table = pq.read_table(folder / "fresh.parquet")
        (folder / "fresh.parquet").unlink()
        bounds = np.linspace(0, len(table), N_FILES + 1).astype(int)
        self._folder = folder
        for i, (start, stop) in enumerate(pairwise(bounds)):
            pq.write_table(table.slice(start, stop - start), folder / f"part-0-{i}.parquet")

    def taken(self, times: int) -> int:
        """Have each of them there so often; how often."""
        for path in self._folder.glob("part-[!0]*"):
            path.unlink()
        for again in range(1, times):
            for i in range(N_FILES):
                shutil.copyfile(self._folder / f"part-0-{i}.parquet", self._folder / f"part-{again}-{i}.parquet")
        return times


def jobs(bench: Bench, site: Site, times: int, n: int, what: str) -> None:
    """Whole jobs on both engines, in turns."""
    config, store = CONFIGS[what]
    text = (site.folder / config).read_text()
    on_ray = text.replace(f"threads = {WORKERS}\n", f'threads = 1\nworkers = {WORKERS}\nengine = "ray"\n')
    (site.folder / f"ray-{config}").write_text(on_ray)
    releases = site.folder / store / "releases"
    known = {*releases.iterdir()}
    runs: dict[str, list[Used]] = {OURS: [], ON_RAY: []}
    for again in range(1 if times == LONG else min(3, bench.repeats)):
        for system, file in ((OURS, config), (ON_RAY, f"ray-{config}")):
            command = [sys.executable, "-m", "gbdtlr", "update-lr", "-c", file, "--as-of", format_time(NOON)]
            done = watched([*command, "--json", "--log-format", "json"], site.folder, kind_of, site.folder)
            if (
                times == 1 and not again
            ):  # the first reads files that are not in the system's cache yet, and may compile
                _take_back(releases, known)
                done = watched([*command, "--json", "--log-format", "json"], site.folder, kind_of, site.folder)
            runs[system].append(done)
            _take_back(releases, known)
    base = statistics.median(sum(each.cpu_s.values()) for each in runs[OURS])
    for system, each in runs.items():
        told = _told(each[-1]) | {"wall s": round(statistics.median(one.seconds for one in each), 2)}
        bench.add(f"update of {n} rows{what}", system, [sum(one.cpu_s.values()) for one in each], base, told)


def _take_back(releases: Path, known: set[Path]) -> None:
    for path in {*releases.iterdir()} - known:
        path.unlink()


def kind_of(line: str) -> str:
    """Whose process it is, by its command line: a worker's or Ray's own."""
    return "worker" if line.startswith("ray::Actor") else "Ray"


def _told(done: Used) -> dict[str, Any]:
    """What a job and its events say of a run."""
    events = {each["event"]: each for each in map(json.loads, done.stderr.splitlines())}
    end = events.get("engine.end", {})
    return {
        "passes": json.loads(done.stdout)["metrics"]["passes"],
        "job s": round(done.cpu_s["job"], 2),
        "workers s": round(done.cpu_s.get("worker", 0.0), 2),
        "Ray s": round(done.cpu_s.get("Ray", 0.0), 2),
        "begin s": events.get("engine.begin", {}).get("seconds"),
        "job MiB": round(done.peak["job"] / 2**20),
        "worker MiB": round(done.peak.get("worker", 0) / 2**20),
        "sent MB": _mega(end.get("sent")),
        "received MB": _mega(end.get("received")),
    }


@dataclass
class Place:
    """Rows that an engine holds, ready for passes."""

    engine: Engine
    window: CodedWindow
    objective: Objective

    @classmethod
    def of(cls, engine: Engine, site: Site, what: str) -> Place:
        """The fresh rows, read and coded there."""
        with contextlib.chdir(site.folder):
            name, _ = CONFIGS[what]
            config = Config.load(name)
            base = Release.live(Store.open(config.store))
            assert base is not None
            window = code_window(config, base.model, NOON, engine=engine)
        return cls(engine, window, Objective(window.parts, base.head.layout, SETTINGS, NOON))

    def step(self) -> None:
        """One pass."""
        lanes = range(len(SETTINGS))
        self.objective.value_and_gradient(np.full((self.objective.layout.n, len(lanes)), 1e-3), lanes)


def passes(bench: Bench, engine: Engine, site: Site, what: str) -> None:
    """A pass over rows in memory, here and on the workers, in turns."""
    places = {OURS: Place.of(LOCAL, site, what), ON_RAY: Place.of(engine, site, what)}
    crew: Any = engine.crew  # type: ignore[attr-defined]  # it is none but Ray's
    seconds: dict[str, list[float]] = {system: [] for system in places}
    for again in range(1 + min(3, bench.repeats)):
        for system, place in places.items():
            sent, received = crew.sent, crew.received
            took, _ = _cpu_of(place.step, place.engine)
            traffic = {"sent MB": _mega(crew.sent - sent), "received MB": _mega(crew.received - received)}
            if again:
                seconds[system].append(took)
    n = len(places[OURS].window)
    for system in places:
        more = {"parameters": places[system].objective.layout.n} | (traffic if system == ON_RAY else {})
        bench.add(f"a pass over {n} rows{what}", system, seconds[system], statistics.median(seconds[OURS]), more)


def clusters(bench: Bench, engine: Engine, site: Site, what: str) -> None:
    """A fit on the workers, and what that makes of more rows on more machines."""
    Place.of(engine, site, what)  # what workers import and compile is not of the rows
    read_s, place = _cpu_of(lambda: Place.of(engine, site, what), engine)
    n, layout, crew = len(place.window), place.objective.layout, engine.crew  # type: ignore[attr-defined]  # as above
    sent, received = crew.sent, crew.received
    pass_s = min(_cpu_of(place.step, engine)[0] for _ in range(3))
    sent, received = (crew.sent - sent) / 3 / WORKERS, (crew.received - received) / 3 / WORKERS
    own_s, candidates = _cpu_of(lambda: fit_candidates(place.window.parts, layout, SETTINGS, NOON), None)
    trips = []
    for _ in range(50):
        begin = time.perf_counter()
        place.window.parts.map(len)
        trips.append(time.perf_counter() - begin)
    own_s *= subsample_size(MANY) / subsample_size(n)
    row_bytes = layout.n_trees + 4 * len(layout.wide.names) * 3 + 4 * 4 + 4 + 28
    bench.measured = f"{bench.measured.removesuffix(ASSUMED).strip()}\n\n{ASSUMED}"
    simulate(
        bench,
        what,
        Measured(read_s / n, pass_s / n, own_s, candidates.passes, sent, received, min(trips), row_bytes),
    )


def _cpu_of(work: Callable[[], Any], engine: Engine | None) -> tuple[float, Any]:
    """Seconds of all processors that work took, here and on the workers of an engine, and what it returned."""
    before = _spent(engine)
    result = work()
    return _spent(engine) - before, result


def _spent(engine: Engine | None) -> float:
    on_workers = [] if engine in (None, LOCAL) else [[*items] for items in engine.stream(range(WORKERS), spent)]
    return time.process_time() + sum(seconds for (seconds,) in on_workers)


def spent(worker: int) -> Iterator[float]:  # noqa: ARG001 - there is one stream for each
    """Seconds of all processors that this process took so far."""
    yield time.process_time()


def _mega(n_bytes: float | None) -> float | None:
    return None if n_bytes is None else round(n_bytes / 1e6, 2)
