"""The request: its headers and its body, of which no more is taken than the limits allow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from gbdtlr.serving.answer import ARROW, Gone, Refusal

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
CLOSE = ((b"connection", b"close"),)


class Request:
    """One HTTP request.

    Attributes
    ----------
    method, path : as the client sent them, the path below where the application is mounted
    """

    __slots__ = ("_receive", "headers", "method", "path", "query_string")

    def __init__(self, scope: Scope, path: str, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path = path
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.query_string: bytes = scope["query_string"]
        self._receive = receive

    @property
    def kind(self) -> bytes:
        """Content type of the body, without parameters, in lower case; empty if none is given."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()

    def wants_arrow(self) -> bool:
        """Whether the answer should be an Arrow stream: as the client accepts, else as it sent."""
        accept = self.headers.get(b"accept", b"").lower()
        if ARROW in accept:
            return True
        return self.kind == ARROW and (not accept or b"*/*" in accept)

    def query(self) -> dict[str, str]:
        """Parameters behind the question mark; of one given twice, the last.

        Raises
        ------
        Refusal
            More than a few, or not UTF-8.
        """
        if not self.query_string:
            return {}
        try:
            found = parse_qs(self.query_string.decode(), keep_blank_values=True, errors="strict", max_num_fields=20)
        except ValueError:
            raise Refusal(400, "the query behind ? cannot be read") from None
        return {name: values[-1] for name, values in found.items()}

    async def body(self, max_bytes: int, timeout_s: float) -> bytes:
        """The whole body.

        Raises
        ------
        Refusal
            It is larger, compressed, or takes longer.
        Gone
            The client has left.
        """
        headers = self.headers
        if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
            raise Refusal(415, "compressed bodies are not taken; send it without content-encoding", headers=CLOSE)
        length = headers.get(b"content-length", b"0")
        if len(length) > 18 or (length.isdigit() and int(length) > max_bytes):
            raise _too_large(max_bytes)
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._receive()
                if not message.get("more_body") and message["type"] == "http.request":
                    whole: bytes = message.get("body", b"")
                    if len(whole) > max_bytes:
                        raise _too_large(max_bytes)
                    return whole
                return await self._rest(message, max_bytes)
        except TimeoutError:
            told = f"the body did not come within {timeout_s:g} seconds; send it at once, or less of it"
            raise Refusal(408, told, headers=CLOSE) from None

    async def _rest(self, message: Message, max_bytes: int) -> bytes:
        body = bytearray()
        while message["type"] == "http.request":
            body += message.get("body", b"")
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
            if not message.get("more_body"):
                return bytes(body)
            message = await self._receive()
        raise Gone


def _too_large(max_bytes: int) -> Refusal:
    told = f"the body is larger than {max_bytes} bytes; send fewer rows at a time"
    return Refusal(413, told, headers=CLOSE)  # what is still to come need not be read
