"""Requests: ``gbdtlr serve`` beside a uvicorn callable that answers a constant, and MLflow's scoring server.

One server core: each server has one worker, is bound to the first CPU, and is asked by ``wrk`` from another, over
loopback. Systems take turns of a few seconds, and the median turn counts. *seconds* is the time per request at full
load, so that 1 over it are the requests a second; *cpu* is what the server's processes used for each, which other work
on the machine disturbs less. *p99* is the latency that one request in a hundred exceeds under that load.

The constant decodes the same JSON with msgspec and answers the same bytes each time: what HTTP itself costs. MLflow
serves the release's own LightGBM trees, with its ``mlflow models serve``, and is asked in its own protocol, as ours
then is too. It is absent unless ``MLFLOW_PYTHON`` names a Python that has mlflow and lightgbm, or this one has.

A request of ``N_CANDIDATES`` rows as Arrow stands beside a row as JSON on one connection, where latency is all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from benchmarks.encode import N_FEATURES, rows
from benchmarks.harness import OURS, Bench, installed
from benchmarks.score import NAMES
from gbdtlr.config import Config
from gbdtlr.jobs import train_trees
from gbdtlr.store import Store

N_TRAINING = 20_000
SHAPES = ((200, 31), (80, 16))
"""Trees and leaves: those of the other benchmarks, and of the flights."""
N_CANDIDATES = 500
CONNECTIONS = 16
TURN_S = 3
START = datetime(2024, 5, 1, tzinfo=UTC)
CONSTANT, MLFLOW = "uvicorn, a constant", "mlflow models serve"
JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"

Row = dict[str, Any]

CONSTANT_APP = """
import msgspec

decode = msgspec.json.Decoder().decode
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"46")]


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    message = await receive()
    decode(message["body"])
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b'{"probability":0.1677991298184946,"release":1}'})
"""
MLFLOW_MODEL = """
import sys
import lightgbm, mlflow.lightgbm

mlflow.lightgbm.save_model(lightgbm.Booster(model_file=sys.argv[1]), sys.argv[2])
"""


@dataclass
class Server:
    """A server that runs: its address, its process, and one request it answers in full."""

    address: str
    process: subprocess.Popen[bytes]
    turns: list[Turn] = field(default_factory=list)

    def cpu_s(self) -> float:
        """Seconds of CPU its processes have used."""
        tick = os.sysconf("SC_CLK_TCK")
        return sum(_cpu_ticks(pid) for pid in _family(self.process.pid)) / tick


@dataclass(frozen=True)
class Turn:
    """What wrk measured in one turn; seconds."""

    per_request: float
    cpu: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Question:
    """What wrk sends."""

    path: str
    body: bytes
    kind: str = JSON


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
                one_row(bench, shape, {OURS: ours, CONSTANT: constant}, named[0], turn_s)
                python = mlflow_python()
                theirs = None if python is None else stack.enter_context(mlflow_server(folder, store, python))
                in_mlflows_words(bench, shape, {OURS: ours, MLFLOW: theirs}, named[0], turn_s)
            candidates(bench, shape, ours, named, turn_s)


def one_row(bench: Bench, shape: str, servers: Mapping[str, Server | None], row: Row, turn_s: int) -> None:
    """A row as JSON, from many connections."""
    body = json.dumps(row).encode()
    questions = {OURS: Question("/score", body), CONSTANT: Question("/", body)}
    load(bench, f"1 row as JSON, {shape}, {CONNECTIONS} connections", servers, questions, turn_s)


def in_mlflows_words(bench: Bench, shape: str, servers: Mapping[str, Server | None], row: Row, turn_s: int) -> None:
    """The same row in MLflow's protocol."""
    body = json.dumps({"dataframe_split": {"columns": [*row], "data": [[*row.values()]]}}).encode()
    question = Question("/invocations", body)
    case = f"1 row to /invocations, {shape}, {CONNECTIONS} connections"
    load(bench, case, servers, {OURS: question, MLFLOW: question}, turn_s)


def candidates(bench: Bench, shape: str, server: Server, named: Sequence[Row], turn_s: int) -> None:
    """Many rows as Arrow beside one as JSON, on one connection."""
    table = pa.table({name: [row[name] for row in named[:N_CANDIDATES]] for name in NAMES})
    one, many = "1 row as JSON", f"{N_CANDIDATES} rows as Arrow"
    questions = {one: Question("/score", json.dumps(named[0]).encode()), many: Question("/score", stream(table), ARROW)}
    turns: dict[str, list[Turn]] = {name: [] for name in questions}
    for _ in range(bench.repeats):
        for name, question in questions.items():
            turns[name].append(turn(server, question, 1, turn_s))
    base = statistics.median(each.p50 for each in turns[one])
    for name, found in turns.items():
        latency = [each.p50 for each in found]
        bench.add(
            f"latency on one connection, {shape}", f"{OURS}, {name}", latency, base, {"cpu": _median(found, "cpu")}
        )


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


def turn(server: Server, question: Question, connections: int, turn_s: int) -> Turn:
    """Ask for so long, and say what it took.

    Raises
    ------
    SystemExit
        An answer that is none: its speed is of no interest.
    """
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "post.lua"
        body.write_bytes(question.body)
        script.write_text(
            f'local file = io.open("{body}", "rb")\nwrk.method = "POST"\nwrk.body = file:read("*a")\nfile:close()\n'
            f'wrk.headers["content-type"] = "{question.kind}"\n'
        )
        before = server.cpu_s()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{turn_s}s", "--latency", "-s", str(script)]
        asked = [*_on(-1), *command, server.address + question.path]
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


@contextlib.contextmanager
def gbdtlr_server(store: str) -> Iterator[Server]:
    """``gbdtlr serve`` with one worker."""
    port = _port()
    args = ["-m", "gbdtlr", "serve", "--store", store, "--bind", f"127.0.0.1:{port}", "-q"]
    with _running([sys.executable, *args], port, "/readyz") as server:
        yield server


@contextlib.contextmanager
def constant_server(folder: Path) -> Iterator[Server]:
    """uvicorn with the callable that answers a constant, set as fast as it goes."""
    port = _port()
    (folder / "constant.py").write_text(CONSTANT_APP)
    args = ["-m", "uvicorn", "--app-dir", str(folder), "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    args += ["--no-access-log", "--no-server-header", "--no-proxy-headers", "--lifespan", "off", "constant:app"]
    with _running([sys.executable, *args], port, None) as server:
        yield server


def mlflow_python() -> str | None:
    """A Python that has mlflow."""
    return os.environ.get("MLFLOW_PYTHON") or (sys.executable if installed("mlflow") else None)


@contextlib.contextmanager
def mlflow_server(folder: Path, store: str, python: str) -> Iterator[Server]:
    """MLflow's scoring server with the booster of the live release."""
    live = Store.open(store).live()
    assert live is not None
    (folder / "booster.txt").write_bytes(Store.open(store).read_version("trees", live.trees).files["booster.txt"])
    (folder / "save.py").write_text(MLFLOW_MODEL)
    quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([python, "save.py", "booster.txt", "model"], **quiet)  # type: ignore[call-overload]  # of a dict
    port = _port()
    args = ["-m", "mlflow", "models", "serve", "-m", str(folder / "model"), "-p", str(port), "--env-manager", "local"]
    environment = {"PATH": f"{Path(python).parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
    with _running([python, *args, "--workers", "1"], port, "/ping", environment) as server:
        yield server


@contextlib.contextmanager
def _running(
    command: Sequence[str], port: int, probe: str | None, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server on the first CPU, once it answers; ended with all it has started."""
    process = subprocess.Popen(
        [*_on(0), *command],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _answers(port, address, probe), process)
        yield Server(address, process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def _wait(met: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not met():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{process.args!r:.300} does not serve")
        time.sleep(0.1)


def _answers(port: int, address: str, probe: str | None) -> bool:
    try:
        if probe is None:
            socket.create_connection(("127.0.0.1", port), 5).close()
        else:
            urllib.request.urlopen(address + probe, timeout=5).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


def _on(cpu: int) -> list[str]:
    """What binds a command to a CPU, the first or the last; nothing where there is but one."""
    cpus = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cpus[cpu])] if len(cpus) > 1 else []


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _family(pid: int) -> list[int]:
    """A process and all it has started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    family = [pid]
    for each in family:
        family += [child for child, parent in parents.items() if parent == each]
    return family


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


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
