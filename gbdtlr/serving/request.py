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
    kind : content type of the body, without parameters, in lower case; empty if none is given
    wants_arrow : whether the answer should be an Arrow stream: as the client accepts, else as it sent
    body : all of it
    """

    __slots__ = ("body", "headers", "kind", "method", "path", "query_string", "wants_arrow")

    def __init__(
        self, method: str, path: str, query_string: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        self.headers = named = dict(headers)
        kind = named.get(b"content-type", b"")
        self.kind = JSON if kind == JSON else kind.partition(b";")[0].strip().lower()
        accept = named.get(b"accept", b"*/*").lower()
        self.wants_arrow = ARROW in accept or (self.kind == ARROW and b"*/*" in accept)
        self.body = body

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
