"""Requests: ``gbdtlr serve`` beside a uvicorn callable that answers a constant, and MLflow's scoring server.

One server core: each server has one worker, is bound to the first CPU, and is asked by ``wrk`` from another, over
loopback. Systems take turns of a few seconds, and the median turn counts. *seconds* is the time per request at full
load, so that 1 over it are the requests a second; *cpu* is what the server's processes used for each, which other work
on the machine disturbs less. *p99* is the latency that one request in a hundred exceeds under that load.

The constant decodes the same JSON with msgspec and answers the same bytes each time: what HTTP itself costs. MLflow
serves the release's own LightGBM trees, with its ``mlflow models serve``, and is asked in its own protocol, as ours
then is too. It is absent unless ``MLFLOW_PYTHON`` names a Python that has mlflow and lightgbm, or this one has.

A request of ``N_CANDIDATES`` rows as Arrow stands beside a row as JSON on one connection, where latency is all; and
beside the same request to uvicorn callables that decode it with pyarrow and answer as many constants, or what LightGBM
predicts: what a stream of such rows costs without us. There the ratios are to our row as JSON.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from benchmarks.encode import N_FEATURES, rows
from benchmarks.harness import OURS, Bench
from benchmarks.score import NAMES
from benchmarks.servers import (
    Server,
    arrow_server,
    constant_server,
    gbdtlr_server,
    mlflow_python,
    mlflow_server,
    on_cpu,
)
from gbdtlr.config import Config
from gbdtlr.jobs import train_trees

N_TRAINING = 20_000
SHAPES = ((200, 31), (80, 16))
"""Trees and leaves: those of the other benchmarks, and of the flights."""
N_CANDIDATES = 500
CONNECTIONS = 16
TURN_S = 3
START = datetime(2024, 5, 1, tzinfo=UTC)
CONSTANT, MLFLOW = "uvicorn, a constant", "mlflow models serve"
ARROW_CONSTANT, ARROW_LIGHTGBM = "uvicorn, pyarrow, a constant", "uvicorn, pyarrow, LightGBM"
JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"

Row = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """What wrk measured in one turn; seconds."""

    per_request: float
    cpu: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Question:
    """What wrk sends: these bodies in turns."""

    path: str
    bodies: Sequence[bytes]
    kind: str = JSON


SCRIPT = """
wrk.method, wrk.headers["content-type"] = "POST", "{kind}"
local requests, n = {{}}, 0
function init(args)
  for i = 1, {n} do
    local file = io.open("{folder}/" .. i, "rb")
    requests[i] = wrk.format(nil, nil, nil, file:read("*a"))
    file:close()
  end
end
function request()
  n = n % #requests + 1
  return requests[n]
end
"""


def run(bench: Bench) -> None:
    for program in ("wrk", "taskset"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is needed to ask the servers: apt-get install wrk util-linux")
    bench.measured = f"median of {bench.repeats} turns; ratio: times as long as {OURS}"
    turn_s = max(1, round(TURN_S * bench.scale))
    for n_trees, n_leaves in SHAPES:
        with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            folder, shape = Path(name), f"{n_trees} x {n_leaves}"
            store, named = published(folder, n_trees, n_leaves)
            ours = stack.enter_context(gbdtlr_server(store))
            if (n_trees, n_leaves) == SHAPES[0]:
                constant = stack.enter_context(constant_server(folder))
                one_row(bench, shape, {OURS: ours, CONSTANT: constant}, named, turn_s)
                python = mlflow_python()
                theirs = None if python is None else stack.enter_context(mlflow_server(folder, store, python))
                in_mlflows_words(bench, shape, {OURS: ours, MLFLOW: theirs}, named, turn_s)
            peers = {
                ARROW_CONSTANT: stack.enter_context(arrow_server(folder, None)),
                ARROW_LIGHTGBM: stack.enter_context(arrow_server(folder, store)),
            }
            candidates(bench, shape, ours, peers, named, turn_s)


def one_row(bench: Bench, shape: str, servers: Mapping[str, Server | None], named: Sequence[Row], turn_s: int) -> None:
    """A row as JSON, another each time, from many connections."""
    bodies = [json.dumps(row).encode() for row in named]
    questions = {OURS: Question("/score", bodies), CONSTANT: Question("/", bodies)}
    load(bench, f"1 row as JSON, {shape}, {CONNECTIONS} connections", servers, questions, turn_s)


def in_mlflows_words(
    bench: Bench, shape: str, servers: Mapping[str, Server | None], named: Sequence[Row], turn_s: int
) -> None:
    """The same rows in MLflow's protocol."""
    frames = ({"columns": [*row], "data": [[*row.values()]]} for row in named)
    question = Question("/invocations", [json.dumps({"dataframe_split": frame}).encode() for frame in frames])
    case = f"1 row to /invocations, {shape}, {CONNECTIONS} connections"
    load(bench, case, servers, {OURS: question, MLFLOW: question}, turn_s)


def candidates(
    bench: Bench, shape: str, ours: Server, peers: Mapping[str, Server], named: Sequence[Row], turn_s: int
) -> None:
    """Many rows as Arrow beside one as JSON, on one connection."""
    table = pa.table({name: [row[name] for row in named[:N_CANDIDATES]] for name in NAMES})
    one = Question("/score", [json.dumps(row).encode() for row in named])
    many = Question("/score", [stream(table)], ARROW)
    asked = {f"{OURS}, 1 row as JSON": (ours, one)}
    asked |= {f"{name}, {N_CANDIDATES} rows as Arrow": (server, many) for name, server in {OURS: ours, **peers}.items()}
    turns: dict[str, list[Turn]] = {name: [] for name in asked}
    for server, question in asked.values():
        warm(server, question)
    for _ in range(bench.repeats):
        for name, (server, question) in asked.items():
            turns[name].append(turn(server, question, 1, turn_s))
    base = next(iter(turns.values()))
    for name, found in turns.items():
        cpu = _median(found, "cpu")
        more = {"cpu": cpu, "cpu ratio": round(cpu / _median(base, "cpu"), 2)}
        case = f"latency on one connection, {shape}"
        bench.add(case, name, [each.p50 for each in found], _median(base, "p50"), more)


def load(
    bench: Bench,
    case: str,
    servers: Mapping[str, Server | None],
    questions: Mapping[str, Question],
    turn_s: int,
) -> None:
    """A line for each system that is asked, of turns taken one after the other."""
    turns: dict[str, list[Turn]] = {name: [] for name in questions if servers[name] is not None}
    for name in turns:
        turn(servers[name], questions[name], CONNECTIONS, turn_s)  # type: ignore[arg-type]  # those that are there
    for _ in range(bench.repeats):
        for name, found in turns.items():
            found.append(turn(servers[name], questions[name], CONNECTIONS, turn_s))  # type: ignore[arg-type]  # as above
    base = _median(turns[OURS], "per_request")
    ours = {key: _median(turns[OURS], key) for key in ("cpu", "p99")}
    for name in questions:
        if name not in turns:
            bench.add(case, name, None, None, {})
            continue
        found = turns[name]
        more = {
            "requests/s": round(1 / _median(found, "per_request")),
            "cpu": _median(found, "cpu"),
            "cpu ratio": round(_median(found, "cpu") / ours["cpu"], 2),
            "p99": _median(found, "p99"),
            "p99 ratio": round(_median(found, "p99") / ours["p99"], 2),
        }
        bench.add(case, name, [each.per_request for each in found], base, more)


def warm(server: Server, question: Question) -> None:
    """Ask once: a peer loads what it needs at its first request, for longer than a short turn."""
    asked = urllib.request.Request(server.address + question.path, question.bodies[0], {"content-type": question.kind})
    urllib.request.urlopen(asked, timeout=60).close()


def turn(server: Server, question: Question, connections: int, turn_s: int) -> Turn:
    """Ask for so long, and say what it took.

    Raises
    ------
    SystemExit
        An answer that is none: its speed is of no interest.
    """
    with tempfile.TemporaryDirectory() as folder:
        for i, body in enumerate(question.bodies, 1):
            (Path(folder) / str(i)).write_bytes(body)
        script = Path(folder) / "post.lua"
        script.write_text(SCRIPT.format(folder=folder, n=len(question.bodies), kind=question.kind))
        before = server.cpu_s()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{turn_s}s", "--latency", "-s", str(script)]
        asked = [*on_cpu(-1), *command, server.address + question.path]
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        used = server.cpu_s() - before
    if "Non-2xx" in told or "Socket errors" in told:
        raise SystemExit(f"{question.path} was not answered as it should:\n{told}")
    n = int(_found(r"(\d+) requests in", told))
    rate = float(_found(r"Requests/sec:\s+([\d.]+)", told))
    return Turn(1 / rate, used / n, _latency("50%", told), _latency("99%", told))


def published(folder: Path, n_trees: int, n_leaves: int) -> tuple[str, list[Row]]:
    """A store with one release of trees over numbers, and rows to score."""
    matrix, label = rows(N_TRAINING, 0)
    times = [START + timedelta(hours=24 * i / N_TRAINING) for i in range(N_TRAINING)]
    columns: dict[str, Any] = {name: matrix[:, j] for j, name in enumerate(NAMES)}
    table = pa.table({**columns, "label": label, "ts": pa.array(times, pa.timestamp("us", "UTC"))})
    parquet.write_table(table, folder / "rows.parquet")
    params = {"num_iterations": n_trees, "num_leaves": n_leaves, "seed": 1, "verbose": -1}
    config = Config.from_dict(
        {
            "store": str(folder / "store"),
            "samples": {
                "path": str(folder / "rows.parquet"), "event_time": "ts", "label_delay": "1h", "numeric": [*NAMES],
            },
            "trees": {"window": "2d", "params": params},
            "head": {"window": "2d", "half_lives": ["1d"], "l2": [100]},
        }
    )  # fmt: skip
    result = train_trees(config, START + timedelta(days=1, hours=2), force=True)  # its quality is of no interest
    assert result.status == "published", result.reason
    assert matrix.shape[1] == N_FEATURES
    return config.store, [dict(zip(NAMES, row, strict=True)) for row in matrix[:N_CANDIDATES].tolist()]


def stream(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk says nothing of {pattern}:\n{text}")
    return match[1]


def _latency(share: str, text: str) -> float:
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
    value = _found(rf"{share}\s+([\d.]+[a-z]+)", text)
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", value).groups()  # type: ignore[union-attr]  # as just found
    return float(number) * units[unit]


def _median(turns: Sequence[Turn], key: str) -> float:
    return statistics.median(getattr(each, key) for each in turns)
