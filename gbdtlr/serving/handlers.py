"""What the handlers of every protocol share: limits, JSON, where work is done, and how routes are written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gbdtlr.config import ServeConfig
from gbdtlr.serving.answer import JSON, Answer, Refusal
from gbdtlr.serving.metrics import Metrics
from gbdtlr.serving.request import Request
from gbdtlr.serving.service import Service

INLINE_ROWS = 2000
"""Rows up to which a request is scored in the event loop itself: handing it to a thread takes longer."""

ErrorForm = Callable[[Refusal, int], dict[str, Any]]


@dataclass(frozen=True)
class Aside:
    """An answer that takes long: ``work`` is for another thread, ``finish`` for the event loop again."""

    work: Callable[[], Any]
    finish: Callable[[Any], Answer]


Handler = Callable[[Request], "Answer | Aside"]


class State:
    """What changes over the life of a service: ``draining`` once it has been told to end."""

    draining = False

    def pass_if_ready(self) -> None:
        """Pass unless the service is about to end.

        Raises
        ------
        Refusal
        """
        if self.draining:
            raise Refusal(503, "about to end; ask another")


@dataclass(frozen=True)
class Route:
    """Where a path leads.

    Attributes
    ----------
    label : its name among the metrics
    handlers : what answers, by method
    error_form : a refusal as the protocol's JSON document
    is_open : whether it is answered without a token
    """

    label: str
    handlers: Mapping[str, Handler]
    error_form: ErrorForm
    is_open: bool = False


@dataclass(frozen=True)
class Handlers:
    """Base of the handlers of a protocol."""

    service: Service
    settings: ServeConfig
    metrics: Metrics
    state: State
    encoder: msgspec.json.Encoder = field(default_factory=msgspec.json.Encoder)
    decoder: msgspec.json.Decoder[Any] = field(default_factory=msgspec.json.Decoder)

    def decoded(self, body: bytes) -> Any:
        """The value that JSON text stands for.

        Raises
        ------
        Refusal
        """
        try:
            return self.decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, f"the body is no JSON: {error}" if body else "a body of JSON is expected") from None

    def json_only(self, request: Request) -> None:
        """Pass a request whose body is JSON, or says nothing of it.

        Raises
        ------
        Refusal
        """
        if request.kind not in (JSON, b""):
            raise unsupported(request, "application/json")

    def limit_rows(self, n_rows: int) -> None:
        """Pass no more rows than a request may have.

        Raises
        ------
        Refusal
        """
        if n_rows > self.settings.max_rows:
            raise Refusal(413, f"{n_rows} rows, at most {self.settings.max_rows} are taken; send fewer at a time")

    def refuses_unknown(self, request: Request) -> bool:
        """Whether columns that the release does not read are an error, by the query or else by the config."""
        if not request.query_string:
            return self.settings.unknown_columns == "refuse"
        asked = request.query().get("unknown", self.settings.unknown_columns)
        if asked not in ("refuse", "ignore"):
            raise Refusal(400, f"unknown={asked[:20]} is neither refuse nor ignore")
        return asked == "refuse"

    def scored(self, n_rows: int, work: Callable[[], Any], finish: Callable[[Any], Answer]) -> Answer | Aside:
        """What ``finish`` makes of the probabilities that ``work`` gives for many rows, all counted.

        Much work is done beside the event loop.
        """

        def counted(scored: Any) -> Answer:
            self.metrics.own.predicted_all(scored.probability)
            return finish(scored)

        return counted(work()) if n_rows <= INLINE_ROWS else Aside(work, counted)

    def json(self, value: Any, release: int | None = None, status: int = 200) -> Answer:
        """An answer in JSON."""
        return Answer(self.encoder.encode(value), status, release=release)


def most_values(columns: Mapping[str, Any]) -> int:
    """Values of the longest of some lists by name; what is no list counts nothing."""
    return max((len(values) for values in columns.values() if type(values) is list), default=0)


def unsupported(request: Request, *kinds: str) -> Refusal:
    """The refusal of a body of another content type than these."""
    sent = request.kind.decode("latin-1")[:80]
    return Refusal(415, f"{sent} is not understood here; send {' or '.join(kinds)} and say so in content-type")
