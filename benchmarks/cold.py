"""First runs of each command on a machine that has compiled nothing yet, and on one where ``gbdtlr compile`` was run.

Each run is a process from start to exit, on the bundled flights with the shipped config: a container that has just
started, or one from an image that was built with ``RUN gbdtlr compile``. *first row* opens the live release, scores
one row and stops there, where a service would go on. *again* is the same command once more where nothing was compiled
beforehand: by then it has compiled what it needs. The ratio is to the run after ``gbdtlr compile``; how long that
takes itself is a line of its own. *cpu s* is the time of all cores together, which a busy machine changes less.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.harness import OURS, Bench
from benchmarks.update import Run, process

ROOT = Path(__file__).parents[1]
CONFIG, DAY = "configs/flights.toml", "data/flights/2013-02-15.parquet"
MORNING, NOON = "2013-02-15", "2013-02-15T12:00"
CASES = ("train-trees", "update-lr", "score", "first row", "status")
COLD, AGAIN = "nothing compiled before", "again"
FIRST_ROW = "import gbdtlr, os; gbdtlr.Scorer.open({store!r}).score_row({row!r}); os._exit(0)"


def run(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compiled, empty, trained = folder / "compiled", folder / "empty", folder / "trained"
        took = _run(["-m", "gbdtlr", "compile", "-q"], compiled)
        bench.add("gbdtlr compile", OURS, [took.seconds], None, {"cpu s": took.cpu_s})
        empty.mkdir()
        _run(command("train-trees", trained), compiled)
        for case in CASES:
            compare(bench, case, empty if case == "train-trees" else trained, compiled)


def command(case: str, store: Path) -> list[str]:
    """Arguments of Python for one case; what is scored is written beside the store."""
    if case == "first row":
        row = pq.read_table(ROOT / DAY).drop_columns(["ts", "label_ts", "label"]).slice(0, 1).to_pylist()[0]
        return ["-c", FIRST_ROW.format(store=str(store), row=row)]
    more = {
        "train-trees": ["--as-of", MORNING],
        "update-lr": ["--as-of", NOON],
        "score": [DAY, "-o", str(store.parent / "scored.parquet")],
        "status": ["--as-of", NOON],
    }
    return ["-m", "gbdtlr", case, "-q", "-c", CONFIG, "--store", str(store), *more[case]]


def compare(bench: Bench, case: str, store: Path, compiled: Path) -> None:
    """One command on both machines, in turns, each time on the store as it was."""
    runs: dict[str, list[Run]] = {OURS: [], COLD: [], AGAIN: []}
    for _ in range(bench.repeats):
        with tempfile.TemporaryDirectory() as name:
            fresh = Path(name) / "fresh"
            for system, cache in ((OURS, compiled), (COLD, fresh), (AGAIN, fresh)):
                copy = Path(name) / system / "store"
                shutil.copytree(store, copy)
                runs[system].append(_run(command(case, copy), cache))
    base = statistics.median(each.seconds for each in runs[OURS])
    for system, each in runs.items():
        cpu_s = statistics.median(one.cpu_s for one in each)
        bench.add(case, system, [one.seconds for one in each], base, {"cpu s": cpu_s})


def _run(arguments: list[str], cache: Path) -> Run:
    """A Python process in the checkout whose kernels are kept in that folder."""
    return process([sys.executable, *arguments], ROOT, NUMBA_CACHE_DIR=str(cache))
