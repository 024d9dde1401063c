"""HTTP on one connection: uvicorn's protocol, with bounds on what it leaves unbounded.

A client may be slow with its headers, send headers without end, never read its answer, or close its half of the
connection before it has the answer. None of these may hold memory, a place among the requests, or the loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gbdtlr.config import ServeConfig


class BoundedProtocol(HttpToolsProtocol):
    """A connection that is closed when a bound is passed; ``sweep`` is called for each every second or so."""

    settings = ServeConfig()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_since: float | None = None
        """When the headers now awaited began to be; None while none are."""
        self._head_bytes = 0
        self._piece_bytes = 0
        self._stuck_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._head_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        self._piece_bytes = len(data)
        super().data_received(data)
        if self._head_since is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self.settings.max_header_bytes:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_since = self.loop.time()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._head_since = None
        most = self.settings.max_header_bytes
        if self._piece_bytes + self._head_bytes > most and self._header_length() > most:
            self._refuse(b"431 Request Header Fields Too Large")
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.cycle is not None:  # None if the headers before it were refused
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.cycle is not None:
            super().on_message_complete()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn never keeps it open
        """Answer what was asked in full before the client closed its half; there will be nothing more."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body:
            return None
        cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck_since = None

    def sweep(self, now: float) -> None:
        """Close the connection if its client has been too slow."""
        if self._head_since is not None and now - self._head_since > self.settings.header_timeout.total_seconds():
            self._refuse(b"408 Request Timeout")
        elif self._stuck_since is not None and now - self._stuck_since > self.settings.body_timeout.total_seconds():
            self.transport.abort()

    def _header_length(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, status: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
