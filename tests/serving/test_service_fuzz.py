"""Nothing a client sends ends a worker, is answered by a fault, or keeps the next request from its answer."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from serving_kit import ARROW, JSON, ROW, Server, application, ask, request, serving, stream_of, values_of
from test_processes import BOUNDS

from gbdtlr.serving import Application

Random = random.Random
PATHS = (
    *("/score", "/score?unknown=ignore", "/explain", "/invocations", "/v2/models/gbdtlr/infer"),
    *("/v2/models/gbdtlr/versions/5/infer", "/v2/models/x/infer", "/", "/status.json", "/nowhere", "/v2/%00"),
)
KINDS = (JSON, JSON, JSON, ARROW, "text/csv", "text/plain", "", "application/json;", "\t", "multipart/form-data")
ANSWERS = {200, 307, 400, 404, 405, 408, 413, 415, 422, 431, 501, 503}
TENSORS = {
    "inputs": [
        {"name": name, "datatype": kind, "shape": [1], "data": [value]}
        for (name, value), kind in zip(ROW.items(), ("FP64", "FP64", "BYTES", "INT64"), strict=True)
    ]
}
BODIES: tuple[Any, ...] = (
    ROW,
    {"rows": [ROW] * 3},
    {"rows": [ROW] * 20},
    {"columns": values_of([ROW] * 12)},
    TENSORS,
    {"dataframe_split": {"columns": [*ROW], "data": [[*ROW.values()]] * 2}},
    {"dataframe_records": [ROW]},
    {"instances": [ROW]},
    {"inputs": values_of([ROW])},
)
TABLE = pa.table({**values_of([ROW] * 5), "colour": pa.array(["red", "blue"] * 2 + [None]).dictionary_encode()})
STREAMS = (stream_of(TABLE), stream_of(TABLE.slice(0, 1)), stream_of(pa.table(values_of([ROW] * 3))))
CSVS = (b"x,y,colour,shop\n1,2,red,3\n", b'x,y,colour,shop\n1,2,"a\nb",\n,,,\n')


def odd_value(rng: Random, depth: int = 0) -> Any:
    """Anything JSON can say, and some things it cannot."""
    if depth < 4 and rng.random() < 0.2:
        if rng.random() < 0.5:
            return [odd_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        return {rng.choice(["x", "rows", "columns", "", "\u0000", "shop"]): odd_value(rng, depth + 1) for _ in range(2)}
    return rng.choice(
        [
            *(None, True, False, 0, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, 5e-324, -0.0),
            *(float("nan"), float("inf"), "", "NaN", "\u0000", "\ud800", "é" * 300, "1e5", "red", rng.random()),
        ]
    )


def mutate(rng: Random, value: Any) -> Any:
    """The document with one of its parts replaced, removed or doubled."""
    if isinstance(value, dict) and value:
        key = rng.choice([*value])
        kind = rng.randrange(4)
        if kind == 0:
            return {name: each for name, each in value.items() if name != key}
        if kind == 1:
            return {**value, rng.choice(["more", "rows", "x", key + "x"]): odd_value(rng)}
        return {**value, key: mutate(rng, value[key]) if kind == 2 else odd_value(rng)}
    if isinstance(value, list) and value:
        place = rng.randrange(len(value))
        changed = mutate(rng, value[place]) if rng.random() < 0.6 else odd_value(rng)
        return rng.choice([value[:place], value * 2, [*value[:place], changed, *value[place + 1 :]]])
    return odd_value(rng)


def spoil(rng: Random, data: bytes) -> bytes:
    """The bytes cut off, or with some of them changed, removed or repeated."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        place, length = rng.randrange(len(data) + 1), rng.randrange(1, 9)
        kind = rng.randrange(5)
        if kind == 0:
            del data[place:]
        elif kind == 1:
            data[place : place + length] = rng.randbytes(length)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + length] * rng.choice([1, 2, 100])
        else:
            data[place : place + 4] = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**30]).to_bytes(4, "little")
    return bytes(data)


def odd_body(rng: Random) -> bytes:
    """A body near to one that is right, or far from any."""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.randbytes(rng.randrange(40))
    if kind == 1:
        opening = rng.choice([b"[", b'{"a":', b'{"rows":[', b'{"columns":{"x":'])
        return opening * rng.choice([10, 1000, 20_000])
    if kind == 2:
        return spoil(rng, rng.choice(STREAMS))
    if kind == 3:
        return spoil(rng, rng.choice(CSVS))
    document = rng.choice(BODIES)
    for _ in range(rng.randrange(1, 4)):
        document = mutate(rng, document)
    text = json.dumps(document).encode("utf-8", "surrogatepass")
    return spoil(rng, text) if kind == 4 else text


def kind_for(rng: Random, body: bytes) -> str:
    if body[:4] == b"\xff\xff\xff\xff" and rng.random() < 0.9:
        return ARROW
    return "text/csv" if body[:2] == b"x," and rng.random() < 0.8 else rng.choice(KINDS)


def check_application(app: Application, n: int, seed: int) -> None:
    """Ask an application ``n`` odd things; each must be answered as such."""
    rng = Random(seed)
    right = ask(app, "/score", ROW).body
    for i in range(n):
        body = odd_body(rng)
        path, kind = rng.choice(PATHS), kind_for(rng, body)
        found = ask(app, path, body, kind or None)
        assert found.status in ANSWERS, (i, path, kind, body[:300], found.body)
        assert found.release == 5
        if found.headers["content-type"].startswith("application/") and "arrow" not in found.headers["content-type"]:
            json.loads(found.body, parse_constant=pytest.fail)
        if i % 50 == 0:
            assert ask(app, "/score", ROW).body == right


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_sent_is_answered(store: str, seed: int) -> None:
    check_application(application(store), 1500, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 104))
def test_whatever_is_sent_at_length_is_answered(store: str, seed: int) -> None:
    check_application(application(store), 20_000, seed)


# Over the wire: what no ASGI application ever sees.


def garbage(rng: Random, client: socket.socket) -> None:
    client.sendall(rng.randbytes(rng.randrange(1, 300)))


def spoilt_request(rng: Random, client: socket.socket) -> None:
    client.sendall(spoil(rng, request(rng.choice(PATHS), odd_body(rng))))


def odd_request(rng: Random, client: socket.socket) -> None:
    body = odd_body(rng)
    client.sendall(request(rng.choice(PATHS), body, content_type=kind_for(rng, body).strip() or JSON))


def half_closed(rng: Random, client: socket.socket) -> None:
    data = request("/score", ROW)
    client.sendall(data[: rng.randrange(len(data))])
    client.shutdown(socket.SHUT_WR)


def cut_off(rng: Random, client: socket.socket) -> None:
    data = request(rng.choice(PATHS), {"rows": [ROW] * rng.choice([1, 100, 3000])})
    client.sendall(data[: rng.randrange(1, len(data) + 1)])
    client.close()


def wrong_lengths(rng: Random, client: socket.socket) -> None:
    length = rng.choice(["-1", "0", "1", "999999999999", "1" * 40, "x", "5, 5", "+5", "0x10"])
    client.sendall(
        request("/score", method="POST", content_type=JSON, content_length=length) + json.dumps(ROW).encode()
    )
    client.shutdown(socket.SHUT_WR)


def odd_chunks(rng: Random, client: socket.socket) -> None:
    sizes = [rng.choice([b"5", b"0", b"ffffffffffffffff", b"-1", b"zz", b"5;a=b"]) for _ in range(4)]
    body = b"".join(size + b"\r\n" + rng.randbytes(5) + b"\r\n" for size in sizes)
    client.sendall(request("/score", method="POST", transfer_encoding="chunked") + body)
    client.shutdown(socket.SHUT_WR)


def piped(rng: Random, client: socket.socket) -> None:
    for _ in range(rng.randrange(2, 30)):
        client.sendall(request(rng.choice(PATHS), rng.choice(BODIES)))
    client.shutdown(socket.SHUT_WR)


def odd_methods(rng: Random, client: socket.socket) -> None:
    method = rng.choice(["PRI", "CONNECT", "TRACE", "OPTIONS", "DELETE", "HEAD", "PUT", "PURGE"])
    path = rng.choice(["*", "/score", "http://x/score", "//", "/?" + "a=b&" * 50, "/%", "/%ff%fe", "/" + "a" * 3000])
    client.sendall(request(path, ROW if rng.random() < 0.5 else None, method=method))
    client.shutdown(socket.SHUT_WR)


DEEDS: tuple[Callable[[Random, socket.socket], None], ...] = (
    *(garbage, spoilt_request, odd_request, odd_request, half_closed, cut_off),
    *(wrong_lengths, odd_chunks, piped, odd_methods),
)


def check_server(server: Server, n: int, seed: int) -> None:
    """Do ``n`` odd things to a server, some connections left hanging; it must go on, in the same process."""
    rng = Random(seed)
    right = server.ask("/score", ROW).body
    hanging: list[socket.socket] = []
    for i in range(n):
        client = server.connect()
        with contextlib.suppress(ConnectionError):
            rng.choice(DEEDS)(rng, client)
        hanging.append(client)
        if len(hanging) > 40:  # the oldest may have answers that nobody reads
            hanging.pop(rng.randrange(40)).close()
        if i % 25 == 0:
            assert server.ask("/score", ROW).body == right
            assert server.process.poll() is None
    for client in hanging:
        client.close()
    assert server.ask("/score", ROW).body == right
    assert "serve.fault" not in server.log, server.log
    assert "Traceback" not in server.log, server.log


def test_whatever_is_done_to_a_connection_the_server_goes_on(store: str, tmp_path: Path) -> None:
    with serving(tmp_path, store, config=BOUNDS) as server:
        check_server(server, 600, 1)
        assert server.end() == 0


@pytest.mark.slow
def test_whatever_is_done_at_length_the_server_goes_on(store: str, tmp_path: Path) -> None:
    with serving(tmp_path, store, config=BOUNDS) as server:
        for seed in range(2, 6):
            check_server(server, 5_000, seed)
        assert server.end() == 0
