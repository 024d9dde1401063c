"""The answer to a request, and the refusals that become one, each in the form of its protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

JSON = b"application/json"
ARROW = b"application/vnd.apache.arrow.stream"
Headers = tuple[tuple[bytes, bytes], ...]
CLOSE: Headers = ((b"connection", b"close"),)


@dataclass(slots=True)
class Answer:
    """What goes back to the client.

    Attributes
    ----------
    body : bytes
    status : HTTP's
    kind : the content type
    release : number of the release it came from; None leaves it to the one that scores now
    headers : further ones
    """

    body: bytes
    status: int = 200
    kind: bytes = JSON
    release: int | None = None
    headers: Headers = ()

    @property
    def closes(self) -> bool:
        """Whether the connection ends with it."""
        return bool(self.headers) and CLOSE[0] in self.headers


@dataclass
class Refusal(Exception):
    """A request that is not answered as asked; the client is told why, in the form of the protocol it speaks.

    Attributes
    ----------
    status : HTTP's
    detail : what is wrong, and what to do
    problems : by column, where columns are wrong
    release : number of the release that refused, where it was one
    """

    status: int
    detail: str
    problems: Mapping[str, str] = field(default_factory=dict)
    release: int | None = None
    headers: Headers = ()

    def __post_init__(self) -> None:
        super().__init__(self.detail)

    @property
    def title(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase

    def in_a_line(self) -> str:
        """The whole of it in one text, for protocols whose errors are one."""
        if not self.problems:
            return self.detail
        return f"{self.detail}: " + "; ".join(f"{name} {problem}" for name, problem in self.problems.items())


class Gone(Exception):
    """The client has left before its request was whole; nobody is there to be answered."""


def problem_document(refusal: Refusal, release: int) -> dict[str, Any]:
    """The refusal as RFC 9457 has it, with ``problems`` by column."""
    return {
        "type": "about:blank",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "problems": dict(refusal.problems),
        "release": release,
    }
