"""The body of a request as ASGI hands it over: no more of it than the limits allow, and no longer."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any

from gbdtlr.serving.answer import CLOSE, Gone, Refusal

READ_ON = 2
"""Up to so many times the limit a body is read and dropped: a client that still sends would miss the refusal."""

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def read_body(receive: Receive, length: bytes, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body.

    Parameters
    ----------
    length : the header content-length

    Raises
    ------
    Refusal
        It is larger, or takes longer.
    Gone
        The client has left.
    """
    if len(length) > 18 or (length.isdigit() and int(length) > READ_ON * max_bytes):
        raise too_large(max_bytes)
    # Mostly the body is there already. A timer for what does not wait would cost more than all else here.
    coming: Any = receive()
    waiting = None
    if hasattr(coming, "send"):
        try:
            waiting = coming.send(None)
        except StopIteration as end:
            message = end.value
            if message["type"] == "http.request" and not message.get("more_body"):
                body: bytes = message.get("body", b"")
                if len(body) > max_bytes:
                    raise too_large(max_bytes) from None
                return body
            coming = None
    try:
        async with asyncio.timeout(timeout_s):
            if waiting is not None:
                message = await _resumed(coming, waiting)
            elif coming is not None:
                message = await coming
            return await _rest(message, receive, max_bytes)
    except TimeoutError:
        told = f"the body did not come within {timeout_s:g} seconds; send it at once, or less of it"
        raise Refusal(408, told, headers=CLOSE) from None


async def _rest(message: Message, receive: Receive, max_bytes: int) -> bytes:
    body = bytearray()
    n_bytes = 0
    while message["type"] == "http.request":
        piece = message.get("body", b"")
        n_bytes += len(piece)
        if n_bytes <= max_bytes:
            body += piece
        elif n_bytes > READ_ON * max_bytes:
            raise too_large(max_bytes)
        if not message.get("more_body"):
            if n_bytes > max_bytes:
                raise too_large(max_bytes)
            return bytes(body)
        message = await receive()
    raise Gone


@types.coroutine
def _resumed(begun: Any, waiting: Any) -> Generator[Any, Any, Message]:
    """The result of a coroutine that has been started by hand and waits for something."""
    while True:
        try:
            try:
                sent = yield waiting
            except BaseException as error:  # such as its cancellation: it is the coroutine's to end on
                waiting = begun.throw(error)
            else:
                waiting = begun.send(sent)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what receive gives


def too_large(max_bytes: int) -> Refusal:
    """The refusal of a body beyond the limit; what is still to come need not be read."""
    return Refusal(413, f"the body is larger than {max_bytes} bytes; send fewer rows at a time", headers=CLOSE)
