"""``python -m benchmarks NAME [--json]``: one benchmark, or all of them."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from benchmarks.harness import Bench
from gbdtlr.compute import threads

NAMES = (
    "encode",
    "hash",
    "fit",
    "score",
    "update",
    "online",
    "methods",
    "labels",
    "learn",
    "cold",
    "serve",
    "logs",
    "export",
    "estimator",
    "prior",
    "vectors",
    "engine",
    "ranks",
)


HERE = [name for name in NAMES if (Path(__file__).parent / f"{name}.py").exists()]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure gbdtlr beside its peers.")
    parser.add_argument("name", choices=[*HERE, "all"], help="what to measure")
    parser.add_argument("--json", action="store_true", help="print one JSON object per benchmark")
    parser.add_argument("--threads", type=int, default=threads.n_threads(), help="threads every system may use")
    parser.add_argument("--repeats", type=int, default=5, help="measured runs of each system")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows, for a quick look")
    parser.add_argument("--only", metavar="PART", help="a part of a benchmark that has parts (engine, labels, prior)")
    return parser


def main() -> None:
    options = parser().parse_args()
    for name in HERE if options.name == "all" else [options.name]:
        bench = Bench(name, n_threads=options.threads, repeats=options.repeats, scale=options.scale, only=options.only)
        importlib.import_module(f"benchmarks.{name}").run(bench)
        print(json.dumps(bench.result()) if options.json else bench.text(), flush=True)


if __name__ == "__main__":
    main()
