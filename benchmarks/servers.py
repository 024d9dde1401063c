"""Servers that ``benchmarks.serve`` asks: ``gbdtlr serve``, uvicorn callables written for speed alone, and MLflow's.

Each has one worker, is bound to the first CPU, and ends with the block that runs it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import installed
from gbdtlr.store import Store

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
ARROW_APP = """
import os
import numpy as np
import pyarrow as pa

path = os.environ.get("BOOSTER")
if path:
    import lightgbm

    booster = lightgbm.Booster(model_file=path)
SCHEMA = pa.schema([("probability", pa.float64())])


def scores(body):
    with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
        matrix = reader.read_next_batch().to_tensor(null_to_nan=True).to_numpy()
    found = booster.predict(matrix, num_threads=1) if path else np.full(len(matrix), 0.1677991298184946)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch([pa.array(found)], schema=SCHEMA))
    return sink.getvalue().to_pybytes()


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    answer = scores(body)
    headers = [
        (b"content-type", b"application/vnd.apache.arrow.stream"), (b"content-length", b"%d" % len(answer)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
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

    def cpu_s(self) -> float:
        """Seconds of CPU its processes have used."""
        tick = os.sysconf("SC_CLK_TCK")
        return sum(_cpu_ticks(pid) for pid in _family(self.process.pid)) / tick


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
    with _uvicorn(folder, "constant", CONSTANT_APP) as server:
        yield server


@contextlib.contextmanager
def arrow_server(folder: Path, store: str | None) -> Iterator[Server]:
    """uvicorn with a callable that decodes Arrow and answers constants, or what a store's booster predicts."""
    booster = {} if store is None else {"BOOSTER": str(_live_booster(folder, store))}
    with _uvicorn(folder, "arrow", ARROW_APP, booster) as server:
        yield server


@contextlib.contextmanager
def _uvicorn(folder: Path, name: str, app: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    port = _port()
    module = f"{name}_app"
    (folder / f"{module}.py").write_text(app)
    args = ["-m", "uvicorn", "--app-dir", str(folder), "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    args += ["--no-access-log", "--no-server-header", "--no-proxy-headers", "--lifespan", "off", f"{module}:app"]
    with _running([sys.executable, *args], port, None, environment) as server:
        yield server


def mlflow_python() -> str | None:
    """A Python that has mlflow."""
    return os.environ.get("MLFLOW_PYTHON") or (sys.executable if installed("mlflow") else None)


@contextlib.contextmanager
def mlflow_server(folder: Path, store: str, python: str) -> Iterator[Server]:
    """MLflow's scoring server with the booster of the live release."""
    _live_booster(folder, store)
    (folder / "save.py").write_text(MLFLOW_MODEL)
    quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([python, "save.py", "booster.txt", "model"], **quiet)  # type: ignore[call-overload]  # of a dict
    port = _port()
    args = ["-m", "mlflow", "models", "serve", "-m", str(folder / "model"), "-p", str(port), "--env-manager", "local"]
    environment = {"PATH": f"{Path(python).parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
    with _running([python, *args, "--workers", "1"], port, "/ping", environment) as server:
        yield server


def _live_booster(folder: Path, store: str) -> Path:
    """The model file of the live release's trees."""
    live = Store.open(store).live()
    assert live is not None
    path = folder / "booster.txt"
    path.write_bytes(Store.open(store).read_version("trees", live.trees).files["booster.txt"])
    return path


@contextlib.contextmanager
def _running(
    command: Sequence[str], port: int, probe: str | None, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server on the first CPU, once it answers; ended with all it has started."""
    process = subprocess.Popen(
        [*on_cpu(0), *command],
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


def on_cpu(cpu: int) -> list[str]:
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
