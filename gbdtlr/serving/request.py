"""The request, whole: method, path, headers, body."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qs

from gbdtlr.serving.answer import ARROW, JSON, Refusal


class Request:
    """One HTTP request.

    Attributes
    ----------
    method, path : as the client sent them, the path below where the application is mounted
    headers : values by name in lower case
    body : all of it
    """

    __slots__ = ("body", "headers", "method", "path", "query_string")

    def __init__(
        self, method: str, path: str, query_string: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        self.headers = dict(headers)
        self.body = body

    @property
    def kind(self) -> bytes:
        """Content type of the body, without parameters, in lower case; empty if none is given."""
        named = self.headers.get(b"content-type", b"")
        return JSON if named == JSON else named.partition(b";")[0].strip().lower()

    def wants_arrow(self) -> bool:
        """Whether the answer should be an Arrow stream: as the client accepts, else as it sent."""
        accept = self.headers.get(b"accept", b"*/*")
        if accept == b"*/*":
            return self.kind == ARROW
        accept = accept.lower()
        return ARROW in accept or (self.kind == ARROW and b"*/*" in accept)

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


def check_encoding(request: Request) -> None:
    """Pass a body that is as it is: a few bytes of a compressed one may stand for all the memory there is.

    Raises
    ------
    Refusal
    """
    if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal(415, "compressed bodies are not taken; send it without content-encoding")
