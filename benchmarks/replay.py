"""The evidence: every strategy over six weeks of the bundled flights, and the README's picture of it.

    python -m benchmarks.replay --out replayed --picture benchmarks/flights_replay.svg

Progressive: each row is scored by what was live when it happened. Only the shipped config, nothing tuned on the period.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import timedelta
from pathlib import Path

from gbdtlr.config import Config
from gbdtlr.replay import replay
from gbdtlr.report import headline, replay_page, replay_picture
from gbdtlr.times import parse_time

CONFIG = "configs/flights.toml"
START, END = "2013-02-01", "2013-03-15"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", help="folder to keep finished steps in, and to go on from")
    parser.add_argument("--report", help="HTML page to write")
    parser.add_argument("--picture", help="SVG to write")
    parser.add_argument("--json", help="file to write everything found to")
    parser.add_argument("--workers", type=int, default=1, help="parts that run side by side")
    return parser


def main() -> None:
    options = parser().parse_args()
    config = Config.load(CONFIG)
    start, end = (parse_time(day, config.samples.timezone) for day in (START, END))

    def told(done: int, total: int, text: str) -> None:
        if done % 20 == 0 or done == total:
            print(f"{done}/{total} {text}", file=sys.stderr, flush=True)

    result = replay(
        config,
        start,
        end,
        timedelta(days=1),
        timedelta(hours=3),
        out=options.out,
        progress=told,
        workers=options.workers,
    )
    found = result.as_dict()
    command = f"python -m benchmarks.replay, as gbdtlr replay -c {CONFIG} --start {START} --end {END}"
    pages = {
        options.report: lambda: replay_page(found, command),
        options.picture: lambda: replay_picture(found),
        options.json: lambda: json.dumps(found),
    }
    for file, text in pages.items():
        if file:
            Path(file).write_text(text(), "utf-8")
    print(headline(found))
    print(f"\n{found['rows']:,} flights, {START} to {END}, trees every {found['trees_every']} over")
    print(f"{found['config']['trees']['window']}, head every {found['lr_every']}\n")
    print("| strategy | NE | log loss | calibration | AUC | NE - two-speed (95%) | training, s |")
    print("|---|---|---|---|---|---|---|")
    for each in found["strategies"]:
        low = each.get("low")
        interval = "" if low is None else f"{each['difference']:+.4f} ({low:+.4f} to {each['high']:+.4f})"
        figures = f"{each['ne']:.4f} | {each['log_loss']:.4f} | {each['calibration']:.3f} | {each['auc']:.4f}"
        print(f"| {each['name']} | {figures} | {interval} | {each['seconds']:.1f} |")
    cost, jobs = found["cost"], found["jobs"]
    print(f"\nupdate-lr takes {cost['update-lr']:.3f} s, and the replay {cost['replay']:.3f} s more; ", end="")
    print(", ".join(f"{jobs[end]} {end}" for end in ("published", "unchanged", "refused", "failed")))
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    print(f"{os.cpu_count()} CPUs, {platform.machine()}; {versions}")


if __name__ == "__main__":
    main()
