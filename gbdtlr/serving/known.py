"""Heads of requests that have come before: a client mostly sends the same ones, and each is parsed but once.

A head is all that stands before the body. Two requests that begin with the same bytes mean the same but for their
bodies, and a head that says how long its body is says where the request ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gbdtlr.serving.handlers import Route
from gbdtlr.serving.request import Request

END = b"\r\n\r\n"
MAX_KNOWN, MAX_BYTES = 1024, 2048


@dataclass(slots=True)
class Known:
    """What a head says.

    Attributes
    ----------
    request : the request; its body is that of the one that is answered now
    route : where it leads
    n_bytes : of the body
    """

    request: Request
    route: Route
    n_bytes: int


@dataclass(frozen=True)
class Heads:
    """The heads that were parsed, of requests that came in one piece, and after which the connection stays."""

    of: dict[bytes, Known] = field(default_factory=dict)

    def add(self, head: bytes, known: Known) -> None:
        """Know a head, if it is short; forget all when there are many."""
        if len(head) <= MAX_BYTES:
            if len(self.of) >= MAX_KNOWN:
                self.of.clear()
            known.request.body = b""
            self.of[head] = known


def head_of(data: bytes) -> bytes:
    """Up to where the first head ends; nothing if it does not."""
    end = data.find(END)
    return data[: end + len(END)] if end >= 0 else b""
