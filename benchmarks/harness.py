"""Timing several systems on one case, fairly: same data, same threads, turns taken, medians and ratios told.

A benchmark is a module of this package with ``run(bench)``, where it calls :meth:`Bench.compare` for each case.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gbdtlr.compute import threads
from gbdtlr.tables import table

OURS = "gbdtlr"
LIBRARIES = (
    "gbdtlr", "numba", "numpy", "lightgbm", "scikit-learn", "treelite", "xgboost", "snapml", "glum", "skglm", "pandas",
    "pyarrow", "vowpalwabbit", "river", "xxhash", "uvicorn", "duckdb", "polars", "torch",
)  # fmt: skip

Work = Callable[[], Any]


class Bench:
    """Results of one benchmark; lines go to stderr as they come, so that stdout is the result."""

    def __init__(self, name: str, *, n_threads: int, repeats: int, scale: float, only: str | None = None) -> None:
        self.name = name
        self.only = only
        self.n_threads = n_threads
        self.repeats = repeats
        self.scale = scale
        self.machine = machine(n_threads)
        self.rows: list[dict[str, Any]] = []
        self.measured = f"median of {repeats}; ratio: times as long as {OURS}"
        threads.set_threads(n_threads)

    def size(self, n: int) -> int:
        """``n`` scaled by ``--scale``, for quick runs."""
        return max(1000, int(n * self.scale))

    def compare(
        self,
        case: str,
        systems: Mapping[str, Work | None],
        *,
        tell: Callable[[str, Any], dict[str, Any]] | None = None,
        ours: str = OURS,
        repeats: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Median seconds of each system on the case, and their ratio to ours.

        Each runs once unmeasured, to compile and to fill caches, then all take turns, so that a busy moment of the
        machine falls on all alike.

        Parameters
        ----------
        systems : what to time, by name; None where a peer is not installed
        tell : further columns of a system, from its name and what its last run returned
        clock : what seconds are of; ``time.process_time`` where others use the machine and nothing waits
        """
        present = {name: work for name, work in systems.items() if work is not None}
        returned = {name: work() for name, work in present.items()}
        seconds: dict[str, list[float]] = {name: [] for name in present}
        for _ in range(repeats or self.repeats):
            for name, work in present.items():
                begin = clock()
                returned[name] = work()
                seconds[name].append(clock() - begin)
        base = statistics.median(seconds[ours]) if ours in seconds else None
        for name in systems:
            more = tell(name, returned[name]) if tell is not None and name in present else {}
            self.add(case, name, seconds.get(name), base, more)

    def add(
        self, case: str, system: str, seconds: list[float] | None, base: float | None, more: Mapping[str, Any]
    ) -> None:
        """One measured line; None for seconds is an absent peer, an empty list a line that is not timed."""
        row: dict[str, Any] = {
            "case": case,
            "system": system,
            "seconds": None,
            "ratio": None,
            "absent": seconds is None,
        }
        if seconds:
            row["seconds"] = statistics.median(seconds)
            row["least"] = min(seconds)
            row["ratio"] = row["seconds"] / base if base else None
        row.update(more)
        self.rows.append(row)
        took = _seconds(row, "seconds") + (" s" if seconds else "")
        columns = [took, *(f"{key} {_cell(value)}" for key, value in more.items() if value is not None)]
        print(f"{self.name}: {case}: {system}: {', '.join(filter(None, columns))}", file=sys.stderr, flush=True)

    def result(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {"name": self.name, "machine": self.machine, "rows": self.rows}

    def text(self) -> str:
        """Machine, versions and a line per case and system."""
        versions = ", ".join(f"{name} {version}" for name, version in self.machine["versions"].items())
        more = dict.fromkeys(
            key
            for row in self.rows
            for key in row
            if key not in ("case", "system", "seconds", "least", "ratio", "absent")
        )
        header = ["case", "system", "median s", "least s", "ratio", *more]
        lines = [
            [
                row["case"],
                row["system"],
                _seconds(row, "seconds"),
                "" if row["absent"] else _seconds(row, "least"),
                "" if row["ratio"] is None else f"{row['ratio']:.2f}",
                *(_cell(row.get(key)) for key in more),
            ]
            for row in self.rows
        ]
        head = (
            f"{self.name} on {self.machine['cpu']}, {self.machine['cpus']} CPUs, {self.n_threads} threads, "
            f"{self.machine['system']}, Python {self.machine['python']}\n{versions}\n"
            f"{self.measured}"
        )
        return f"{head}\n\n{table(header, lines)}"


def installed(module: str) -> bool:
    """Whether a peer can be imported."""
    return importlib.util.find_spec(module) is not None


def machine(n_threads: int) -> dict[str, Any]:
    """Where the numbers come from."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": n_threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown CPU"


def _seconds(row: Mapping[str, Any], which: str) -> str:
    if row["absent"]:
        return "not installed"
    return "" if row.get(which) is None else f"{row[which]:.4g}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
