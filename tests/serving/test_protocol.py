"""The protocol on connections without a network: what a request is answered depends on its bytes alone.

Not on the pieces they come in, nor on what has come before, which heads are known from.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_kit import ROW, ROWS, application, request
from uvicorn.server import ServerState

from gbdtlr.serving import Application
from gbdtlr.serving.known import MAX_BYTES, MAX_KNOWN
from gbdtlr.serving.protocol import BoundedProtocol

HTTP = b"HTTP/1.1 "


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.closed = False

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_extra_info(self, _: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def server(app: Application) -> type[BoundedProtocol]:
    """Protocol of a server that has met no request yet."""
    return type("Protocol", (BoundedProtocol,), {"application": app, "settings": app._settings})


def connect(protocol: type[BoundedProtocol]) -> tuple[BoundedProtocol, Wire]:
    """A connection, in a loop that runs."""
    app = protocol.application
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, server_header=False, access_log=False)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")]
    wire = Wire()
    connection = protocol(config, state, {})
    connection.connection_made(wire)  # type: ignore[arg-type]  # as much of a transport as it uses
    return connection, wire


async def told(protocol: type[BoundedProtocol], pieces: Sequence[bytes]) -> bytes:
    """All that is answered to a stream of requests in these pieces."""
    connection, wire = connect(protocol)
    for piece in pieces:
        if wire.closed:
            break
        connection.data_received(piece)
    while connection.tasks:
        await asyncio.sleep(0)
    return bytes(wire.sent)


class Counting:
    """A parser, and the lengths of what it is given."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self.fed: list[int] = []

    def feed_data(self, data: bytes) -> None:
        self.fed.append(len(data))
        self._parser.feed_data(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def answers_in(data: bytes) -> list[tuple[bytes, list[bytes], bytes]]:
    """First line, headers in any order, and body of each answer."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *headers = head.split(b"\r\n")
        (length,) = (int(each.split()[1]) for each in headers if each.startswith(b"content-length"))
        length = 0 if rest.startswith(HTTP) else length  # of HEAD
        found.append((first, sorted(headers), rest[:length]))
        data = rest[length:]
    return found


def chunked(body: bytes) -> bytes:
    head = request("/score", method="POST", content_type="application/json", transfer_encoding="chunked")
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


REQUESTS = (
    *(request("/score", row) for row in ROWS),
    request("/score", {**ROW, "x": "high"}),
    request("/score", {**ROW, "more": 1}),
    request("/score?unknown=ignore", {**ROW, "more": 1}),
    request("/score", {"rows": ROWS}),
    request("/score", {"rows": [ROW] * 2001}),
    request("/score", ROW, accept="application/json"),
    request("/score", b"no json"),
    request("/score", b"\r\n\r\n"),
    request("/score", b""),
    request("/explain", ROW),
    chunked(json.dumps(ROW).encode()),
    request("/livez"),
    request("/livez", method="HEAD"),
    request("/nowhere"),
    request("/score"),
    b"\r\n" + request("/livez"),
)
ENDING = (
    request("/score", ROW, connection="close"),
    b"POST /score HTTP/1.0\r\n\r\n",
    b"no request\r\n\r\n",
)


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8),
    st.sampled_from([b"", *ENDING]),
    st.lists(st.integers(0, 6000), max_size=6),
    st.booleans(),
)
def test_the_same_bytes_have_the_same_answers(
    app: Application, requests: list[bytes], end: bytes, cuts: list[int], apart: bool
) -> None:
    """Parsed, each in two pieces, by a server that knows no head; and in any pieces by one that knows them all."""
    app._refreshing_in = 1  # nothing is to be followed
    stream = b"".join(requests) + end
    whole = [*requests, *([end] if end else [])]
    ends = [0, *sorted({min(cut, len(stream)) for cut in cuts}), len(stream)]
    pieces = whole if apart else [stream[a:b] for a, b in pairwise(ends) if a < b]

    async def both() -> tuple[bytes, bytes]:
        halves = [half for each in whole for half in (each[:7], each[7:])]
        parsed = await told(server(app), halves)
        knowing = server(app)
        for each in REQUESTS:
            await told(knowing, [each])
        assert len(knowing.heads.of) > 10
        return parsed, await told(knowing, pieces)

    parsed, found = asyncio.run(both())
    assert answers_in(found) == answers_in(parsed)
    assert app.in_flight == 0


def test_a_body_that_looks_like_a_request_is_none(app: Application) -> None:
    async def talk() -> bytes:
        protocol = server(app)
        connection, wire = connect(protocol)
        connection.data_received(request("/livez"))
        wire.sent.clear()
        body = request("/livez")
        whole = request("/score", body)
        connection.data_received(whole[: -len(body)])
        connection.data_received(body)
        return bytes(wire.sent)

    assert asyncio.run(talk()).startswith(HTTP + b"400")


def test_a_head_that_has_come_before_is_not_parsed(app: Application) -> None:
    async def talk() -> tuple[list[int], list[bytes]]:
        protocol, answers, n_fed = server(app), [], []
        for _ in range(2):
            connection, wire = connect(protocol)
            connection.parser = counting = Counting(connection.parser)
            for row in (ROW, {**ROW, "shop": 4}):
                wire.sent.clear()
                connection.data_received(request("/score", row))
                answers.append(bytes(wire.sent))
            n_fed.append(len(counting.fed))
        return n_fed, answers

    n_fed, answers = asyncio.run(talk())
    assert n_fed == [1, 0]
    assert answers[:2] == answers[2:]
    assert answers[0] != answers[1]


def test_only_heads_of_whole_requests_on_connections_that_stay_are_known(app: Application) -> None:
    body = json.dumps(ROW).encode()
    one = request("/score", ROW)
    conversations = {
        "two pieces": [one[:-10], one[-10:]],
        "head, then body": [one[: -len(body)], body],
        "two requests": [one + one],
        "chunks": [chunked(body)],
        "to be closed": [request("/score", ROW, connection="close")],
        "old": [b"POST /score HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)],
        "long": [request("/explain", ROW)],
        "whole": [one],
    }

    async def talk() -> dict[str, list[bytes]]:
        known = {}
        for name, pieces in conversations.items():
            protocol = server(app)
            assert HTTP in await told(protocol, pieces)
            known[name] = [*protocol.heads.of]
        return known

    app._refreshing_in = 1
    known = asyncio.run(talk())
    assert known.pop("whole") == [one[: -len(body)]]
    assert not any(known.values())


def test_known_heads_are_bounded(app: Application) -> None:
    async def talk() -> tuple[int, int]:
        protocol = server(app)
        connection, _ = connect(protocol)
        connection.data_received(request("/livez", x_long="a" * MAX_BYTES))
        before = len(protocol.heads.of)
        for i in range(MAX_KNOWN + 10):
            connection.data_received(request("/livez", x_trace=str(i)))
        return before, len(protocol.heads.of)

    assert asyncio.run(talk()) == (0, 10)


def test_known_heads_are_asked_for_their_token_each_time(store: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("first\n")
    app = application(store, token_file=str(tokens))

    async def talk() -> list[bytes]:
        connection, wire = connect(server(app))
        statuses = []
        for i in range(4):
            if i == 2:
                tokens.write_text("second\n")
                app._refreshed(False)
            wire.sent.clear()
            connection.data_received(request("/score", ROW, authorization="Bearer first"))
            statuses.append(bytes(wire.sent[9:12]))
        return statuses

    assert asyncio.run(talk()) == [b"200", b"200", b"401", b"401"]


@pytest.fixture
def narrow(store: str) -> Application:
    app = application(store, header_timeout="5s", idle_timeout="20s", max_requests=1)
    app._refreshing_in = 1
    return app


def test_connections_that_use_known_heads_have_the_same_limits(narrow: Application) -> None:
    """Their clients are neither slow with a head, nor idle before their time; and places are counted."""

    async def talk() -> None:
        protocol = server(narrow)
        connection, wire = connect(protocol)
        connection.data_received(request("/score", ROW))
        now = connection.loop.time()
        connection, wire = connect(protocol)
        connection.data_received(request("/score", ROW))
        connection.sweep(now + 6)
        assert not wire.closed
        narrow.began()
        wire.sent.clear()
        connection.data_received(request("/score", ROW))
        assert wire.sent.startswith(HTTP + b"503")
        narrow.ended()
        connection.sweep(now + 21)
        assert wire.closed

    asyncio.run(talk())


def test_an_answer_the_long_way_does_not_close_what_goes_on_by_known_heads(narrow: Application) -> None:
    """uvicorn closes a connection some time after the last answer that it has given itself."""

    async def talk() -> None:
        protocol = server(narrow)
        connection, wire = connect(protocol)
        connection.data_received(request("/score", ROW))
        connection.data_received(request("/explain", ROW))
        while wire.sent.count(HTTP) < 2 or connection.tasks:
            await asyncio.sleep(0)
        assert connection.timeout_keep_alive_task is not None
        connection.data_received(request("/score", ROW))
        assert wire.sent.count(HTTP) == 3
        assert connection.timeout_keep_alive_task is None

    asyncio.run(talk())


def test_a_service_that_drains_closes_connections_of_known_heads(store: str) -> None:
    app = application(store)

    async def talk() -> None:
        connection, wire = connect(server(app))
        connection.data_received(request("/score", ROW))
        assert not wire.closed
        app.state.draining = True
        wire.sent.clear()
        connection.data_received(request("/score", ROW))
        assert b"connection: close\r\n" in wire.sent
        assert wire.closed

    asyncio.run(talk())
