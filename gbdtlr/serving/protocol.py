"""HTTP on one connection: uvicorn's protocol, with a short way for small requests, and bounds where it has none.

The short way: a request whose body is small is answered where it was parsed, once it is whole. ASGI's scope, task and
events take longer than scoring a row; they are for all other requests, and for other servers. Shorter still is that of
a request that comes in one piece and begins with a head that has come before: it is not parsed.

The bounds: a client may be slow with its headers, send headers without end, never read its answer, or close its half
of the connection before it has the answer. None of these may hold memory, a place among the requests, or the loop.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gbdtlr.config import ServeConfig
from gbdtlr.serving.answer import Answer
from gbdtlr.serving.application import Application
from gbdtlr.serving.handlers import Route
from gbdtlr.serving.known import Heads, Known, head_of
from gbdtlr.serving.request import Request

SHORT_BYTES = 256 * 1024
"""Of a body that is kept here until it is whole."""
PATIENCE_S = 0.5
"""How long it is; what takes longer goes the long way, which bounds it."""
_STATUS = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}


class BoundedProtocol(HttpToolsProtocol):
    """A connection. ``sweep`` is called for each every second or so.

    Attributes
    ----------
    application, settings : set by a subclass for each server, as uvicorn makes the connections
    heads : those that any of its connections has parsed
    """

    application: Application
    settings: ServeConfig
    heads: Heads

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.heads = Heads()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_since: float | None = None
        """When the headers now awaited began to be; None while none are."""
        self._idle_since: float | None = None
        """When the last answer went the short way; uvicorn has a timer for those that did not."""
        self._stuck_since: float | None = None
        self._head_bytes = 0
        self._piece_bytes = 0
        self._is_between = True
        """Whether what was parsed ended with a request, and nothing of the next one has come."""
        self._head = b""
        """What the last piece began with, if that was the beginning of a request."""
        self._held: tuple[str, bool] | None = None
        """Version and keep-alive of a request whose headers are there, and which may yet go the short way."""
        self._pieces: list[bytes] = []
        self._n_bytes = 0
        self._awaited_since: float | None = None
        """Since when the rest of its body is awaited, and it is counted as in flight."""
        self._begin_s = 0.0
        self._every: list[tuple[bytes, bytes]] = []
        self._heads: dict[tuple[int, bytes, int], bytes] = {}
        """Beginnings of answers, up to their length; mostly they are the same."""

    # What comes from the client.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._head_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        self._piece_bytes = len(data)
        self._head = head_of(data) if self._is_between else b""
        if self._head and (known := self.heads.of.get(self._head)) is not None and self._answer_known(known, data):
            return
        super().data_received(data)
        if self._held is not None and self.parser is not None:
            self._await_the_rest()
        if self._head_since is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self.settings.max_header_bytes:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """As uvicorn's, but for the scope, which only the long way needs."""
        self.url = b""
        self.headers = []
        self._is_between = False
        self._head_since = self.loop.time()
        self._idle_since = None
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._head_since = None
        most = self.settings.max_header_bytes
        if self._piece_bytes + self._head_bytes > most and self._header_length() > most:
            self._refuse(431)
        elif self._is_free() and not self.parser.should_upgrade():
            version = self.parser.get_http_version()
            self._begin_s = time.perf_counter()
            self._held = version, version != "1.0" and self.parser.should_keep_alive()
        elif not self.transport.is_closing():
            self._begin_the_long_way()

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            if self.cycle is not None:
                super().on_body(body)
            return
        self._pieces.append(body)
        self._n_bytes += len(body)
        if self._n_bytes > SHORT_BYTES:
            self._take_the_long_way()

    def on_message_complete(self) -> None:
        self._is_between = True
        if self._held is not None:
            self._answer_here()
        elif self.cycle is not None:
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._let_go()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn never keeps it open
        """Answer what was asked in full before the client closed its half; there will be nothing more."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body:
            return None
        cycle.keep_alive = False
        return True

    # The short way.

    def _is_free(self) -> bool:
        """Whether nothing that came before is still to be answered, or to be read by the client."""
        cycle: RequestResponseCycle | None = self.cycle
        busy = cycle is not None and not cycle.response_complete
        return not (busy or self.pipeline or self.transport.is_closing() or self._stuck_since is not None)

    def _await_the_rest(self) -> None:
        """Wait for the rest of a small body, or hand the request over at once."""
        if self._awaited_since is not None:
            return
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        is_small = length.isdigit() and len(length) < 9 and int(length) <= SHORT_BYTES
        has_room = self.application.in_flight < self.settings.max_requests
        if is_small and has_room and b"expect" not in headers:
            self._awaited_since = self.loop.time()
            self.application.began()
        else:
            self._take_the_long_way()

    def _let_go(self) -> bytes:
        """The body until now, which is held no more."""
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._held, self._pieces, self._n_bytes = None, [], 0
        if self._awaited_since is not None:
            self._awaited_since = None
            self.application.ended()
        return body

    def _take_the_long_way(self) -> None:
        """Hand the request over to uvicorn, as if it came now."""
        body = self._let_go()
        self._begin_the_long_way()
        if body:
            super().on_body(body)

    def _begin_the_long_way(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _answer_known(self, known: Known, data: bytes) -> bool:
        """Answer a request whose head has come before; False where the parser is to see it."""
        n_head = len(self._head)
        if len(data) != n_head + known.n_bytes or not self._is_free():
            return False
        self._unset_keepalive_if_required()
        self._head_since = None
        known.request.body = data[n_head:]
        answered = self._answer(known.request, known.route, True, time.perf_counter())
        known.request.body = b""
        return answered

    def _answer_here(self) -> None:
        """Answer the request, which is whole; or, where that takes long or cannot be, hand it over."""
        assert self._held is not None
        _, keep_alive = self._held
        method = self.parser.get_method().decode("latin-1")
        path, query, route = self.application.plain_urls.get(self.url) or self._parsed_url()
        body = self._let_go()
        request = Request(method, path, query, self.headers, body)
        if not self._answer(request, route, keep_alive, self._begin_s):
            self._begin_the_long_way()
            super().on_body(body)
            super().on_message_complete()
        elif keep_alive and self._head and len(self._head) + len(body) == self._piece_bytes:  # all there was in it
            self.heads.add(self._head, Known(request, route, len(body)))

    def _answer(self, request: Request, route: Route, keep_alive: bool, begin_s: float) -> bool:
        """Answer a request that is whole; False where that takes long, and nothing has been done."""
        application = self.application
        refused = application.refused_at_once(request, route, application.in_flight + 1)
        answer = refused or application.answer(request, route)
        if not isinstance(answer, Answer):
            return False
        keep_alive = keep_alive and not answer.closes and not application.state.draining
        application.count(route, answer.status, time.perf_counter() - begin_s)
        self.transport.write(self._message(answer, keep_alive, with_body=request.method != "HEAD"))
        if keep_alive:
            self._idle_since = self.loop.time()
        else:
            self.transport.close()
        return True

    def _parsed_url(self) -> tuple[str, bytes, Route]:
        url = httptools.parse_url(self.url)
        asked = (url.path or b"/").decode("latin-1")
        path, route = self.application.route_of(unquote(asked) if "%" in asked else asked)
        return path, url.query or b"", route

    def _message(self, answer: Answer, keep_alive: bool, with_body: bool) -> bytes:
        """Status line, headers and body."""
        release = answer.release or self.application.release
        every = self.server_state.default_headers
        if every is not self._every:  # the date is another, once a second
            self._every, self._heads = every, {}
        begin = self._heads.get((answer.status, answer.kind, release))
        if begin is None:
            headers = (*every, (b"content-type", answer.kind), (b"gbdtlr-release", b"%d" % release))
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            begin = _STATUS[answer.status] + lines + b"content-length: "
            self._heads[answer.status, answer.kind, release] = begin
        more = b"".join(b"%b: %b\r\n" % header for header in answer.headers) if answer.headers else b""
        if not (keep_alive or answer.closes):
            more += b"connection: close\r\n"
        return b"%b%d\r\n%b\r\n%b" % (begin, len(answer.body), more, answer.body if with_body else b"")

    # What the client does not do.

    def pause_writing(self) -> None:
        """The client does not read its answers: no more of its requests are read either."""
        super().pause_writing()
        self._stuck_since = self.loop.time()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck_since = None
        self.flow.resume_reading()

    def sweep(self, now: float) -> None:
        """Close the connection if its client has been too slow."""
        settings = self.settings
        if self._awaited_since is not None and now - self._awaited_since > PATIENCE_S:
            self._take_the_long_way()
        if self._stuck_since is None and self.transport.is_closing():  # what is left must be read by the client
            self._stuck_since = now
        if self._stuck_since is not None:  # nothing is read meanwhile, so nothing else of it can be late
            if now - self._stuck_since > settings.body_timeout.total_seconds():
                self.transport.abort()
        elif self._head_since is not None and now - self._head_since > settings.header_timeout.total_seconds():
            self._refuse(408)
        elif self._idle_since is not None and now - self._idle_since > settings.idle_timeout.total_seconds():
            self.transport.close()

    def _header_length(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            self.transport.write(_STATUS[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
