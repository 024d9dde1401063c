"""What the tests of serving share: an application asked without a network, and servers that are real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import uvicorn

from gbdtlr.config import ServeConfig
from gbdtlr.scoring import Scorer
from gbdtlr.serving import Application
from gbdtlr.serving.metrics import Metrics

ROOT = Path(__file__).parents[2]
JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"
ROW = {"x": 0.5, "y": -1.25, "colour": "red", "shop": 3}
ROWS = [
    ROW,
    {"x": None, "y": 0.0, "colour": "blue", "shop": 4},
    {"x": 1e300, "y": -7, "colour": None, "shop": 10**12},
    {"x": True, "y": 3.5, "colour": "mauve", "shop": None},
    {"x": -0.0, "y": None, "colour": "", "shop": "17"},
]


@dataclass(frozen=True)
class Reply:
    """What an application or a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def release(self) -> int:
        """The release that the header names."""
        return int(self.headers["gbdtlr-release"])

    @property
    def table(self) -> pa.Table:
        return pa.ipc.open_stream(self.body).read_all()


def application(store: str, **settings: Any) -> Application:
    """Application of a store that follows it only when a test refreshes it."""
    settings = {"refresh": "1h", **settings}
    return Application(Scorer.open(store), ServeConfig.from_dict(settings), Metrics.alone(), None)


def ask(
    app: Any,
    path: str,
    body: Any = None,
    kind: str | None = JSON,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    root_path: str = "",
) -> Reply:
    """Answer of an ASGI application to one request; a body that is no bytes is sent as JSON."""
    path, _, query = path.partition("?")
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    all_headers = {"host": "test", **({"content-type": kind} if kind and body is not None else {}), **(headers or {})}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method or ("GET" if body is None else "POST"),
        "path": path,
        "root_path": root_path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in all_headers.items()],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    if scope["method"] != "HEAD":
        assert int(found["content-length"]) == len(sent[1]["body"])
    return Reply(sent[0]["status"], found, sent[1]["body"])


def stream_of(table: pa.Table, **options: Any) -> bytes:
    """The table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


class Server:
    """A ``gbdtlr serve`` that runs in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self.process = process
        self._errors = errors
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, self.log
        self.started = json.loads(line)
        self.address: str = self.started["address"]
        self.host, _, port = self.address.removeprefix("http://").rpartition(":")
        self.port = int(port) if port.isdigit() else 0

    @property
    def log(self) -> str:
        return self._errors.read_text()

    def connect(self) -> socket.socket:
        """A connection to it."""
        if self.address.startswith("unix:"):
            client = socket.socket(socket.AF_UNIX)
            client.connect(self.address.removeprefix("unix:"))
        else:
            client = socket.create_connection((self.host, self.port))
        client.settimeout(60)
        return client

    def ask(self, path: str, body: Any = None, **headers: str) -> Reply:
        """One request on a connection of its own."""
        with self.connect() as client:
            client.sendall(request(path, body, connection="close", **headers))
            return reply(client)

    def end(self, which: signal.Signals = signal.SIGTERM) -> int:
        """Exit code after a signal."""
        self.process.send_signal(which)
        return self.process.wait(timeout=60)


def request(path: str, body: Any = None, method: str | None = None, **headers: str) -> bytes:
    """The bytes of a request."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"host": "test", **({"content-type": JSON, "content-length": str(len(data))} if body is not None else {})}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in given.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


def reply(client: socket.socket, before: bytes = b"") -> Reply:
    """The next answer on a connection.

    Raises
    ------
    ConnectionError
        It was closed before one was whole.
    """
    data = before
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            raise ConnectionError(f"closed after {data!r:.200}")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers["content-length"]):
        piece = client.recv(65536)
        if not piece:
            raise ConnectionError("closed in the middle of a body")
        body += piece
    return Reply(int(first.split()[1]), headers, body)


@contextlib.contextmanager
def serving(
    folder: Path, store: str, *options: str, config: str | None = None, bind: str = "127.0.0.1:0"
) -> Iterator[Server]:
    """A real server of the store; it is killed at the end if it has not ended."""
    errors = folder / f"serve-{time.monotonic_ns()}.err"
    args = ["serve", "--store", store, "--bind", bind, "--json", *options]
    if config is not None:
        (folder / "serve.toml").write_text(config)
        args += ["-c", str(folder / "serve.toml")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "gbdtlr", *args], stdout=subprocess.PIPE, stderr=stderr, text=True, env=env
        )
    try:
        yield Server(process, errors)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        assert process.stdout is not None
        process.stdout.close()
        process.wait()


@contextlib.contextmanager
def in_a_thread(app: Any) -> Iterator[str]:
    """Address of plain uvicorn that runs an ASGI application in a thread."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="auto"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        server.should_exit = True
        thread.join()


def until(met: Callable[[], bool], at_most_s: float = 60) -> None:
    """Return when something has come to be."""
    end = time.monotonic() + at_most_s
    while not met():
        assert time.monotonic() < end, "it has not come to be"
        time.sleep(0.02)


def port_of() -> int:
    """A port that nobody listens at, for servers that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def values_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The rows as columns."""
    return {name: [row[name] for row in rows] for name in rows[0]}
