"""One job on two engines: this process with all threads, and workers of Ray with one each; then what that adds up to.

*update* is the whole ``update-lr`` process, from start to exit, on the same files; *begin s* is how long Ray's cluster
took to begin, which one that is there already saves. *a pass* is one value and gradient of all eight settings over
rows in memory, here and on the workers: *sent* and *received* are all bytes that went to the workers and came back for
it, *worker MiB* the largest resident memory of one. Rows are also taken a quarter and four times as often.

The *simulation* adds up what was measured into what a job of a thousand million rows would take on clusters. It assumes
that every processor of every machine is as fast as one here, and reads and codes as fast beside others as alone; that
work is dealt out evenly; that a round trip takes what a call that does nothing takes here on all workers, and as much
again for each doubling of the machines; that the job's machine sends and receives 1.25 GB a second, and what it sends
to each machine, or has from it, passes there one after the other; and that a fit takes as many passes as here.
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.fit import AS_OF, N_LEAVES, N_TREES
from benchmarks.harness import OURS, Bench, installed
from benchmarks.update import NOON, TRAINING, Site, made, process
from gbdtlr.compute.parts import Parts
from gbdtlr.engine import LOCAL, Engine, open_engine
from gbdtlr.head import Codes, Layout, Setting, WideColumns
from gbdtlr.head.codes import Batches, cut
from gbdtlr.head.fit.objective import Objective
from gbdtlr.times import format_time, to_us

ROWS, BATCH = 4_000_000, 50_000
IDS = 1_000_000
WORKERS = 2
N_FILES = 32
SETTINGS = [Setting(timedelta(hours=h), l2) for h in (1.5, 6, 24, 96) for l2 in (3.0, 30.0, 300.0, 3000.0)]
MACHINES, PROCESSORS, BYTES_A_SECOND = (1, 16, 64), 8, 1.25e9
MANY = 1_000_000_000


@dataclass(frozen=True)
class Measured:
    """What the simulation starts from.

    Attributes
    ----------
    read_s, pass_s : seconds of one processor for a row, to read and code it, and to pass over it
    passes : of a fit
    sent, received : bytes of a pass, to one worker and from it
    trip_s : round trip of nothing to all workers
    """

    read_s: float
    pass_s: float
    passes: int
    sent: float
    received: float
    trip_s: float


def run(bench: Bench) -> None:
    if not installed("ray"):
        raise SystemExit('this needs Ray: pip install "gbdtlr[ray]"')
    n = bench.size(ROWS)
    with tempfile.TemporaryDirectory() as name:
        site = made(Path(name), n, min(n, TRAINING), N_TREES, N_LEAVES, WORKERS)
        in_files(site.folder / "samples")
        read_s, passes = updates(bench, site, n, "config.toml", "store", "")
        updates(bench, site, n, "ids.toml", "store-ids", ", three id columns")
    engine = open_engine("ray", threads=1, workers=WORKERS)
    try:
        for rows in (n // 4, n, 4 * n):
            measured = passes_over(bench, engine, rows, 0)
            if rows == n:
                fixed = measured
        passes_over(bench, engine, n, 3)
        sent, received, pass_s, trip_s = fixed
    finally:
        engine.close()
    simulation(bench, Measured(read_s, pass_s, passes, sent, received, trip_s))


def in_files(folder: Path) -> None:
    """The fresh rows in several files, as logs are: workers read files."""
    table = pq.read_table(folder / "fresh.parquet")
    (folder / "fresh.parquet").unlink()
    bounds = np.linspace(0, len(table), N_FILES + 1).astype(int)
    for i, (start, stop) in enumerate(pairwise(bounds)):
        pq.write_table(table.slice(start, stop - start), folder / f"part-{i:03d}.parquet")


def updates(bench: Bench, site: Site, n: int, config: str, store: str, what: str) -> tuple[float, int]:
    """Whole jobs on both engines; returns processor seconds of reading a row, and passes of the fit."""
    text = (site.folder / config).read_text()
    on_ray = text.replace(f"threads = {WORKERS}\n", f'threads = 1\nworkers = {WORKERS}\nengine = "ray"\n')
    (site.folder / f"ray-{config}").write_text(on_ray)
    releases = site.folder / store / "releases"
    known = {*releases.iterdir()}
    seconds: dict[str, list[float]] = {OURS: [], f"{OURS}, Ray": []}
    more: dict[str, dict[str, Any]] = {}
    read_s, passes = 0.0, 0
    for _ in range(1 + min(3, bench.repeats)):
        for system, file in ((OURS, config), (f"{OURS}, Ray", f"ray-{config}")):
            command = [sys.executable, "-m", "gbdtlr", "update-lr", "-c", file, "--as-of", format_time(NOON)]
            done = process([*command, "--json", "--log-format", "json"], site.folder)
            for path in {*releases.iterdir()} - known:
                path.unlink()
            events = {each["event"]: each for each in map(json.loads, done.stderr.splitlines())}
            seconds[system].append(done.seconds)
            begun = events.get("engine.begin", {}).get("seconds")
            read = events["samples.code"]["seconds"] - (begun or 0.0)
            more[system] = {
                "begin s": begun,
                "read s": round(read, 2),
                "fit s": round(events["head.fit"]["seconds"], 2),
                "job MiB": round(done.peak / 2**20),
                "sent MB": _mega(events.get("engine.end", {}).get("sent")),
                "received MB": _mega(events.get("engine.end", {}).get("received")),
            }
            if system == OURS:
                read_s, passes = read * WORKERS / n, json.loads(done.stdout)["metrics"]["passes"]
    base = statistics.median(seconds[OURS][1:])
    for system, each in seconds.items():
        bench.add(f"update of {n} rows{what}", system, each[1:], base, more[system])
    return read_s, passes


def passes_over(bench: Bench, engine: Engine, n: int, n_wide: int) -> tuple[float, float, float, float]:
    """A pass over rows here and on the workers: bytes to a worker and from it, seconds of a row, a round trip."""
    sizes = np.random.default_rng(0).integers(N_LEAVES - 4, N_LEAVES + 1, N_TREES)
    wide = WideColumns(tuple(f"id{j}" for j in range(n_wide)), 2**20)
    layout = Layout(np.concatenate([[0], np.cumsum(sizes)]), np.zeros(int(sizes.sum())), wide)
    seeds = range(max(1, n // BATCH))
    systems: dict[str, tuple[Engine, Parts[Codes]]] = {}
    objectives = {}
    for system, where in ((OURS, LOCAL), (f"{OURS}, Ray", engine)):
        window = cut(where.parts(seeds, drawn, n // len(seeds), sizes, n_wide))
        systems[system] = where, window
        objectives[system] = Objective(window, layout, SETTINGS, AS_OF)
    lanes = range(len(SETTINGS))
    delta = np.zeros((objectives[OURS].layout.n, len(SETTINGS)))
    crew: Any = engine.crew  # type: ignore[attr-defined]  # it is none but Ray's
    sent, received = crew.sent, crew.received
    objectives[f"{OURS}, Ray"].value_and_gradient(delta, lanes)
    sent, received = crew.sent - sent, crew.received - received
    window = systems[f"{OURS}, Ray"][1]
    peak = max(peak for (peak,) in engine.stream(range(WORKERS), peak_of))

    def tell(system: str, _: Any) -> dict[str, Any]:
        if system == OURS:
            return {"parameters": len(delta)}
        return {"sent MB": _mega(sent), "received MB": _mega(received), "worker MiB": round(peak / 2**20)}

    work = {system: _pass(each, delta, lanes) for system, each in objectives.items()}
    what = f", {n_wide} id columns" if n_wide else ""
    first = len(bench.rows)
    bench.compare(f"a pass over {n} rows{what}", work, tell=tell, repeats=min(3, bench.repeats))
    trips = []
    for _ in range(20):
        begin = time.perf_counter()
        window.map(len)
        trips.append(time.perf_counter() - begin)
    seconds = bench.rows[first]["seconds"]
    return sent / WORKERS, received / WORKERS, seconds * bench.n_threads / n, statistics.median(trips)


def _pass(objective: Objective, delta: Any, lanes: Sequence[int]) -> Any:
    return lambda: objective.value_and_gradient(delta, lanes)[0]


def drawn(seeds: Sequence[int], n: int, sizes: Any, n_wide: int) -> Iterator[Batches]:
    """Rows whose codes are drawn at random, a batch for each seed."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        leaves = (rng.random((len(sizes), n)) * sizes[:, None]).astype(np.uint8)
        buckets = rng.integers(0, IDS, (n_wide, n)).astype(np.uint32)
        label = (rng.random(n) < 0.2).astype(np.float32)
        event_us = np.full(n, to_us(AS_OF) - 3_600_000_000 * (seed % 100))
        yield Batches.of(Codes(leaves, buckets, label, np.ones(n), event_us, event_us))


def peak_of(worker: int) -> Iterator[int]:  # noqa: ARG001 - there is one stream for each
    """The largest resident memory of this process so far, in bytes."""
    yield resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def simulation(bench: Bench, each: Measured) -> None:
    """What a job of so many rows would take, by what was measured."""
    for machines in MACHINES:
        processors = machines * PROCESSORS
        reading = MANY * each.read_s / processors
        working = each.passes * MANY * each.pass_s / processors
        trips = each.passes * each.trip_s * (1 + math.log2(machines))
        moving = each.passes * machines * (each.sent + each.received) / BYTES_A_SECOND
        bench.add(
            f"simulated: {MANY} rows, {N_TREES} trees",
            f"{machines} machines of {PROCESSORS}",
            [],
            None,
            {
                "read s": round(reading, 1),
                "fit s": round(working + trips + moving, 1),
                "of it waiting s": round(trips + moving, 2),
                "GB a machine": round(MANY * (N_TREES + 48) / machines / 1e9, 1),
            },
        )


def _mega(n_bytes: float | None) -> float | None:
    return None if n_bytes is None else round(n_bytes / 1e6, 2)
