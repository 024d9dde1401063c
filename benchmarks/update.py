"""Whole ``update-lr`` processes, beside scripts that read the same file, refit in their way and write a model.

Each is a process of its own, from start to exit: imports, reading 30 columns of parquet, fitting, writing. *peak* is
its largest resident memory. ``update-lr`` does more than the scripts: it judges the live head on the fresh rows, fits
and blends eight settings, checks, and publishes with golden rows and hashes. Where its time goes is told by its own
events, in the columns that end in ``s``. *one setting* is the same job with a grid of one, as the scripts have, and
*three id columns* the job of the same rows with a user, a page and a campaign as wide columns beside their numbers.

``--scale 0.1`` and ``--scale 4`` show how time and memory grow with the rows.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.fit import N_FEATURES, N_LEAVES, N_TREES, rows
from benchmarks.harness import OURS, Bench, installed
from gbdtlr.times import format_time, to_us

FRESH, TRAINING = 1_000_000, 200_000
ONE_SETTING = f"{OURS}, one setting"
WITH_IDS = f"{OURS}, three id columns"
N_USERS, N_PAGES, N_CAMPAIGNS = 1_800_000, 400_000, 5_000
"""Of which a million rows meet about a million."""
ONE_HOT_ROWS = 1_000_000
"""At most, for the script that makes one-hot rows, which take eight bytes for each row and tree, twice over."""

# A process counts the memory of the one it was forked from as its own peak, so a small one in between does the forking.
WATCH = """
import json, os, subprocess, sys, time
begin = time.perf_counter()
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
with open(sys.argv[1], "w") as told:
    json.dump([time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss], told)
sys.exit(os.waitstatus_to_exitcode(status))
"""

NOON = datetime(2024, 5, 2, 12, tzinfo=UTC)
FEATURES = [f"x{j:02d}" for j in range(N_FEATURES)]

CONFIGS = {OURS: "config.toml", ONE_SETTING: "one.toml", WITH_IDS: "ids.toml"}
STORES = ("store", "store-ids")


@dataclass(frozen=True)
class Run:
    """What a process took, and what it said."""

    seconds: float
    cpu_s: float
    peak: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Site:
    """A folder with samples of two half days, a store with trees of the first, and a config."""

    folder: Path
    threads: int

    @property
    def booster(self) -> Path:
        """The live trees as LightGBM writes them."""
        return next((self.folder / "store" / "trees").glob("*/booster.txt"))

    def fresh(self, n: int) -> Path:
        """The file of the second half day, cut to its first ``n`` rows."""
        whole, cut = self.folder / "samples" / "fresh.parquet", self.folder / f"{n}.parquet"
        if pq.read_metadata(whole).num_rows <= n:
            return whole
        if not cut.exists():
            pq.write_table(pq.read_table(whole).slice(0, n), cut)
        return cut


def run(bench: Bench) -> None:
    n_fresh = bench.size(FRESH)
    with tempfile.TemporaryDirectory() as name:
        site = made(Path(name), n_fresh, min(n_fresh, TRAINING), N_TREES, N_LEAVES, bench.n_threads)
        compare(bench, site, n_fresh)


def made(folder: Path, n_fresh: int, n_training: int, n_trees: int, n_leaves: int, n_threads: int) -> Site:
    """Samples drawn, trees trained and released, everything compiled."""
    (folder / "samples").mkdir()
    for name, n, drift, until in (
        ("old", n_training, 0.0, NOON - timedelta(hours=12)),
        ("fresh", n_fresh, 1.0, NOON),
    ):
        matrix, label = rows(n, drift)
        event_us = to_us(until) - np.linspace(12 * 3_600_000_000, 2_000_000, n).astype(np.int64)
        columns = {feature: matrix[:, j].astype(np.float32) for j, feature in enumerate(FEATURES)}
        times = pa.array(event_us, pa.timestamp("us", "UTC"))
        table = pa.table({**columns, **ids(n), "label": label.astype(np.int8), "ts": times})
        pq.write_table(table, folder / "samples" / f"{name}.parquet")
    text = f"""threads = {n_threads}
store = "store"
[samples]
path = "samples"
event_time = "ts"
label_delay = "1s"
numeric = {json.dumps(FEATURES)}
[trees]
window = "12h"
validation = "1h"
[trees.params]
num_iterations = {n_trees}
num_leaves = {n_leaves}
[head]
window = "12h"
"""
    (folder / "config.toml").write_text(text)
    (folder / "one.toml").write_text(text + 'half_lives = ["1d"]\nl2 = [100.0]\n')
    wide = 'event_time = "ts"\nwide = ["user", "page", "campaign"]'
    (folder / "ids.toml").write_text(text.replace('"store"', '"store-ids"').replace('event_time = "ts"', wide))
    site = Site(folder, n_threads)
    for config in CONFIGS[OURS], CONFIGS[WITH_IDS]:
        _gbdtlr(site, "train-trees", NOON - timedelta(hours=12), config)
    return site


def ids(n: int) -> dict[str, pa.Array]:
    """Users as texts, hardly two rows of one; pages by their addresses, some visited most; campaigns by number."""
    rng = np.random.default_rng(5)
    user = pa.array(rng.integers(0, N_USERS, n) * 7919 + 10**9)
    page = pa.array((rng.random(n) ** 3 * N_PAGES).astype(np.int64))
    address = pc.binary_join_element_wise("https://shop.example/item/", pc.cast(page, pa.string()), "")
    return {
        "user": pc.cast(user, pa.string()),
        "page": address,
        "campaign": pa.array((rng.random(n) ** 2 * N_CAMPAIGNS).astype(np.int32)),
    }


def compare(bench: Bench, site: Site, n_fresh: int) -> None:
    """Our job and both scripts, in turns."""
    n_one_hot = min(n_fresh, ONE_HOT_ROWS)
    case = f"{n_fresh} fresh rows, {N_FEATURES + 2} columns"
    runs: dict[str, list[Run]] = {**{system: [] for system in CONFIGS}, "script with Booster.refit": []}
    one_hot = f"script with one-hot and LogisticRegression, {n_one_hot} rows"
    events: dict[str, list[dict[str, float]]] = {system: [] for system in CONFIGS}
    for store in STORES:
        shutil.copytree(site.folder / store, site.folder / f"{store}-before")
    for _ in range(1 + min(3, bench.repeats)):
        for system, config in CONFIGS.items():
            for store in STORES:
                shutil.rmtree(site.folder / store)
                shutil.copytree(site.folder / f"{store}-before", site.folder / store)
            runs[system].append(_gbdtlr(site, "update-lr", NOON, config))
            events[system].append(_seconds_of_events(runs[system][-1].stderr))
        runs["script with Booster.refit"].append(_script(site, "refit", n_fresh))
    if installed("sklearn"):
        runs[one_hot] = [_script(site, "lr", n_one_hot)] * 2
    base = statistics.median(each.seconds for each in runs[OURS][1:])
    for system, each in runs.items():
        measured = each[1:]  # the first reads files that are not in the system's cache yet, and may compile
        more: dict[str, Any] = {"peak MiB": round(statistics.median(one.peak for one in measured) / 2**20)}
        if system in CONFIGS:
            result = json.loads(each[-1].stdout)
            if result["status"] != "published":
                raise SystemExit(f"update-lr ended as {result['status']}: {result['reason']}")
            middle = sorted(range(1, len(each)), key=lambda i: each[i].seconds)[(len(each) - 1) // 2]
            more["passes"] = result["metrics"]["passes"]
            more.update({f"{name} s": seconds for name, seconds in events[system][middle].items()})
        bench.add(case, system, [one.seconds for one in measured], base, more)


def _gbdtlr(site: Site, job: str, as_of: datetime, config: str = "config.toml") -> Run:
    command = [sys.executable, "-m", "gbdtlr", job, "-c", config, "--as-of", format_time(as_of)]
    return process([*command, "--json", "--log-format", "json"], site.folder)


def _script(site: Site, what: str, n: int) -> Run:
    out = site.folder / f"{what}.out"
    arguments = [what, str(site.booster), str(site.fresh(n)), str(out), str(site.threads)]
    return process([sys.executable, "-m", "benchmarks.update_peers", *arguments], site.folder)


def process(command: Sequence[str], folder: Path, **environ: str) -> Run:
    """Run a command in a folder to its end; this checkout's packages can be imported there.

    Parameters
    ----------
    environ : more of its environment

    Raises
    ------
    SystemExit
        It failed; what it wrote to stderr is the message.
    """
    root = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environ = {**os.environ, **environ, "PYTHONPATH": paths}
    with tempfile.TemporaryDirectory() as name:
        told = Path(name) / "told.json"
        watched = [sys.executable, "-c", WATCH, str(told), *command]
        done = subprocess.run(watched, cwd=folder, env=environ, capture_output=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr.decode()}")
        seconds, cpu_s, peak = json.loads(told.read_text())
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, cpu_s, peak * unit, done.stdout.decode(), done.stderr.decode())


def _seconds_of_events(stderr: str) -> dict[str, float]:
    lines = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    return {line["event"]: line["seconds"] for line in lines if "seconds" in line}
