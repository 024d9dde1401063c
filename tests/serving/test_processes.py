"""``gbdtlr serve`` as a process: it listens, ends, replaces its workers, and bounds what a connection may do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_kit import JSON, ROOT, ROW, ROWS, Server, reply, request, serving, until

from gbdtlr.errors import ConfigError
from gbdtlr.scoring import Scorer
from gbdtlr.serving import listening

BOUNDS = """
[samples]
path = "none"
event_time = "ts"
label_delay = "1h"
numeric = ["x"]

[serve]
max_header_bytes = 2000
max_body_bytes = 1000000
header_timeout = "1s"
body_timeout = "1s"
idle_timeout = "2s"
grace = "1s"
"""


@pytest.fixture(scope="module")
def one(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one worker and narrow bounds."""
    with serving(tmp_path_factory.mktemp("one"), store, config=BOUNDS) as server:
        yield server


def metric(server: Server, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", server.ask("/metrics").body.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


# One process.


def test_it_says_where_it_serves_and_scores_there(one: Server, store: str) -> None:
    assert one.started.keys() == {"address", "release", "workers"}
    assert (one.started["release"], one.started["workers"]) == (5, 1)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", one.address)
    scorer = Scorer.open(store)
    with one.connect() as client:
        for row in ROWS * 2:
            client.sendall(request("/score", row))
            found = reply(client)
            assert (found.status, found.json) == (200, {"probability": scorer.score_row(row), "release": 5})
            assert (found.headers["content-type"], found.release) == (JSON, 5)
            assert found.headers["date"]
            assert "connection" not in found.headers
    many = [ROW] * 5000  # more than are scored in the loop
    assert one.ask("/score", {"rows": many}).json["probability"] == [scorer.score_row(ROW)] * 5000
    assert one.ask("/explain", ROW).json["probability"] == scorer.score_row(ROW)
    assert one.ask("/healthz").json["refreshing"] is True


def test_requests_in_any_pieces_are_answered_in_their_order(one: Server, store: str) -> None:
    scorer = Scorer.open(store)
    expected = [scorer.score_row(row) for row in ROWS]
    # The third goes to a thread, so that the others overtake it if they can.
    bodies = [ROWS[0], ROWS[1], {"rows": [ROWS[2]] * 3000}, ROWS[3], ROWS[4]]
    stream = b"".join(request("/score", body) for body in bodies)
    for size in (len(stream), 4096, 700, 97):
        with one.connect() as client:
            for start in range(0, len(stream), size):
                client.sendall(stream[start : start + size])
            rest = bytearray()
            while rest.count(b"HTTP/1.1 200") < 5 or not rest.endswith(b"}"):
                piece = client.recv(1 << 20)
                assert piece
                rest += piece
        found = [json.loads(each.partition(b"\r\n\r\n")[2])["probability"] for each in rest.split(b"HTTP/1.1 200")[1:]]
        assert [each[0] if isinstance(each, list) else each for each in found] == expected


def test_chunks_expectations_and_old_clients_are_understood(one: Server, store: str) -> None:
    expected = Scorer.open(store).score_row(ROW)
    body = json.dumps(ROW).encode()
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:10], body[10:])) + b"0\r\n\r\n"
    with one.connect() as client:
        head = request("/score", method="POST", content_type=JSON, transfer_encoding="chunked")
        client.sendall(head + chunked)
        assert reply(client).json["probability"] == expected
        client.sendall(request("/score", method="POST", content_length=str(len(body)), expect="100-continue"))
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        client.sendall(body)
        assert reply(client).json["probability"] == expected
        client.sendall(request("/livez", method="HEAD"))
        head_only = client.recv(1000)
        assert head_only.startswith(b"HTTP/1.1 200")
        assert head_only.endswith(b"\r\n\r\n")
    with one.connect() as client:
        client.sendall(b"POST /score HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        assert reply(client).json["probability"] == expected
        assert client.recv(10) == b""
    with one.connect() as client:
        client.sendall(request("/score", ROW, connection="close"))
        assert reply(client).headers["connection"] == "close"
        assert client.recv(10) == b""
    with one.connect() as client:
        client.sendall(request("/sc%6Fre?unknown=ignore", {**ROW, "more": 1}))
        assert reply(client).json["probability"] == expected


def test_a_client_that_has_closed_its_half_is_answered(one: Server) -> None:
    for path, body in (("/score", ROW), ("/score", {"rows": [ROW] * 3000}), ("/explain", ROW)):
        with one.connect() as client:
            client.sendall(request(path, body))
            client.shutdown(socket.SHUT_WR)
            assert reply(client).status == 200
            assert client.recv(10) == b""


def test_slow_and_endless_headers_and_bodies_are_cut_off(one: Server) -> None:
    with one.connect() as idle, one.connect() as slow, one.connect() as endless, one.connect() as bodiless:
        slow.sendall(b"POST /score HTTP/1.1\r\nx-a: ")
        bodiless.sendall(request("/score", method="POST", content_length="10", content_type=JSON))
        endless.sendall(b"GET /livez HTTP/1.1\r\nx-a: " + b"a" * 5000)
        assert reply(endless).status == 431
        assert reply(idle).status == 408
        assert reply(slow).status == 408
        late = reply(bodiless)
        assert (late.status, late.headers["connection"]) == (408, "close")
        assert "1 seconds" in late.json["detail"]
    with one.connect() as client:
        client.sendall(request("/livez", x_a="a" * 3000))
        assert reply(client).status == 431
    with one.connect() as client:
        client.sendall(request("/score", ROW))
        assert reply(client).status == 200
        assert client.recv(10) == b""  # closed when it has been idle for long


def test_a_body_beyond_the_limit_is_not_read(one: Server) -> None:
    with one.connect() as client:
        client.sendall(request("/score", method="POST", content_type=JSON, content_length=str(10**9)))
        found = reply(client)
        assert (found.status, found.headers["connection"]) == (413, "close")
    with one.connect() as client:
        client.sendall(request("/score", b" " * 2_000_000))
        assert reply(client).status == 413
    assert one.ask("/score", b" " * 990_000 + json.dumps(ROW).encode()).status == 200


def test_a_client_that_never_reads_is_let_go(one: Server) -> None:
    with one.connect() as client:
        client.settimeout(0.5)
        page = request("/openapi.json")
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(100_000):
                client.sendall(page * 50)
        until(lambda: is_reset(client))
    assert metric(one, "gbdtlr_requests_in_flight") <= 1


def is_reset(client: socket.socket) -> bool:
    """Whether the other side has given the connection up."""
    try:
        client.send(b"x")
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return False


def test_garbage_is_refused(one: Server) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 2000 + b"x"):
        with one.connect() as client:
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                assert b" 200 " not in client.recv(1000)
    upgrade = request("/livez", upgrade="websocket", connection="upgrade", sec_websocket_key="a" * 24)
    with one.connect() as client:
        client.sendall(upgrade)
        assert reply(client).status in (200, 400, 426)
    assert one.ask("/score", ROW).status == 200


def test_sigterm_drains_and_ends_with_0(store: str, tmp_path: Path) -> None:
    with serving(tmp_path, store, config=BOUNDS) as server, server.connect() as busy, server.connect() as waiting:
        body = json.dumps(ROW).encode()
        busy.sendall(request("/score", method="POST", content_type=JSON, content_length=str(len(body))))
        waiting.sendall(request("/livez"))
        assert reply(waiting).status == 200
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.ask("/readyz").status == 503)
        late = server.ask("/score", ROW)
        assert (late.status, late.headers["connection"]) == (200, "close")
        busy.sendall(body)
        assert reply(busy).status == 200
        assert server.process.wait(timeout=30) == 0
        assert "serve.ended" in server.log
        with pytest.raises(ConnectionError):
            server.connect()


def test_ctrl_c_ends_it_with_0_at_once(store: str, tmp_path: Path) -> None:
    with serving(tmp_path, store) as server:
        assert server.end(signal.SIGINT) == 0


def test_it_serves_at_a_unix_socket(store: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()  # its file stays, as after a kill
    with serving(tmp_path, store, bind=f"unix:{path}") as server:
        assert server.address == f"unix:{path}"
        assert stat.S_IMODE(os.stat(path).st_mode) == listening.SOCKET_MODE
        assert server.ask("/score", ROW).status == 200
        with pytest.raises(ConfigError, match="something listens there"):
            listening.bind(f"unix:{path}")
        assert server.end() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    "address", ["8000", "localhost", ":8000", "127.0.0.1:99999", "127.0.0.1:x", "nowhere.invalid:80"]
)
def test_an_address_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"address|cannot listen"):
        listening.bind(address)


def test_where_nothing_is_published_it_ends_with_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gbdtlr", "serve", "--store", str(tmp_path / "s"), "--bind", "127.0.0.1:0"]
    for workers in ("1", "2"):
        run = subprocess.run(
            [*command, "--workers", workers], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
        )
        assert run.returncode == 1
        assert "nothing is published" in run.stderr
        assert "Traceback" not in run.stderr
        assert run.stdout == ""


# Several.


def test_workers_share_their_metrics_and_a_dead_one_is_replaced(store: str, tmp_path: Path) -> None:
    with serving(tmp_path, store, "--workers", "2") as server:
        assert server.started["workers"] == 2
        for _ in range(20):
            assert server.ask("/score", ROW).status == 200
        count = 'gbdtlr_requests_total{route="/score",code="200"}'
        assert {metric(server, count) for _ in range(8)} == {20}
        assert metric(server, "gbdtlr_workers") == 2
        workers = children(server.process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: len({*children(server.process.pid)} - {*workers}) == 1)
        until(lambda: metric(server, "gbdtlr_workers") == 2)
        assert metric(server, count) == 20
        for _ in range(10):
            assert server.ask("/score", ROW).status == 200
        assert metric(server, count) == 30
        assert "serve.worker_ended" in server.log
        assert server.end() == 0
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_workers_end_with_their_parent(store: str, tmp_path: Path) -> None:
    with serving(tmp_path, store, "--workers", "2") as server:
        workers = children(server.process.pid)
        server.process.kill()
        until(lambda: not [pid for pid in workers if Path(f"/proc/{pid}/exe").exists() and not zombie(pid)])


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(path.parent.name))
    return sorted(found)


def zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
