"""Lines of a stream: a second's worth of ``gbdtlr learn``, by blocks as they come and line by line, and as a process.

The lines are the bundled flights of the first half of February 2013, again and again, as JSON. *to codes* parses and
codes them in this process, in blocks of 64 KiB as a pipe brings them; *one by one* does so with the functions for one
line. *the pipe* is ``gbdtlr learn`` from start to exit on that many lines, told beside the same on a tenth of them: the
difference is what lines cost, start-up and the release at the end aside.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import gbdtlr
from benchmarks.harness import OURS, Bench
from gbdtlr.config import Config
from gbdtlr.jobs.blocks import Block
from gbdtlr.jobs.lines import sample_of
from gbdtlr.release import Release
from gbdtlr.samples import read
from gbdtlr.store import Store
from gbdtlr.streams import Piece
from gbdtlr.times import parse_time

ROOT = Path(__file__).parents[1]
CONFIG, AS_OF = "configs/flights.toml", parse_time("2013-02-01")
N, PIPE = 40_000, 1 << 16


def run(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as name:
        config, path = prepared(Path(name))
        gbdtlr.train_trees(config, AS_OF)
        live = Release.live(Store.open(config.store))
        assert live is not None
        lines = lines_of(config, bench.size(N))
        blocks = list(blocks_of(lines))

        def one_by_one() -> None:
            for line in lines:
                live.model.encode_row(sample_of(line, config.samples)[0])

        work = {
            OURS: lambda: [Block.of(Piece(block), config.samples, live.model) for block in blocks],
            "one by one": one_by_one,
        }
        begin = len(bench.rows)
        bench.compare(f"{len(lines)} lines to codes", work)
        for row in bench.rows[begin:]:
            row["lines_per_s"] = len(lines) / row["seconds"]
        few, many = (pipe(path, lines * times) for times in (1, 10))
        rate = 9 * len(lines) / (many - few)
        bench.add(f"{10 * len(lines)} lines, the pipe", OURS, [many], None, {"lines_per_s": rate})


def prepared(folder: Path) -> tuple[Config, Path]:
    """The flights' config with a head that learns line by line, and the file it is in."""
    text = (ROOT / CONFIG).read_text().replace('path = "data', f'path = "{ROOT}/data')
    path = folder / "stream.toml"
    head = '[head]\nmethod = "ftrl"' if "[head]" not in text else ""
    text = text.replace("[head]", '[head]\nmethod = "ftrl"', 1) if not head else f"{text}\n{head}\n"
    path.write_text(f'store = "{folder}/store"\n' + "".join(_without_store(text)))
    return Config.load(path), path


def _without_store(text: str) -> Iterator[str]:
    for line in text.splitlines(keepends=True):
        if not line.startswith("store ="):
            yield line


def lines_of(config: Config, n: int) -> list[bytes]:
    """That many samples as lines."""
    end = AS_OF + timedelta(days=14)
    samples = read(config.samples, AS_OF, end, end)
    rows: list[dict[str, Any]] = samples.table.to_pylist()
    lines = [
        json.dumps({config.samples.label: int(label), **row}).encode()
        for row, label in zip(rows, samples.label, strict=True)
    ]
    return (lines * (n // len(lines) + 1))[:n]


def blocks_of(lines: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The lines as a pipe brings them."""
    block: list[bytes] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line) + 1
        if size >= PIPE:
            yield block
            block, size = [], 0
    if block:
        yield block


def pipe(path: Path, lines: Sequence[bytes]) -> float:
    """Seconds of ``gbdtlr learn`` on the lines, from start to exit."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "gbdtlr", "learn", "-q", "-c", str(path), "--publish-every", "1h"]
    subprocess.run(command, cwd=ROOT, input=b"\n".join(lines) + b"\n", capture_output=True, check=False)
    return time.perf_counter() - begin
