"""Our own protocol: ``/score`` and ``/explain``; errors are the problem documents of RFC 9457."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.scoring import Scored
from gbdtlr.scoring.users import Users
from gbdtlr.serving.answer import ARROW, JSON, Answer, Refusal, problem_document
from gbdtlr.serving.arrow import ScoreStreams, Streams
from gbdtlr.serving.columns import UNREADABLE
from gbdtlr.serving.forms import check_form, form_of
from gbdtlr.serving.handlers import Aside, Handlers, Route, most_values, unsupported
from gbdtlr.serving.request import Request
from gbdtlr.serving.users import Answered, ForUser, answered
from gbdtlr.values.categories import texts_of


@dataclass(frozen=True)
class Own(Handlers):
    """Rows as JSON or Arrow, and what makes the margin of one."""

    streams: Streams = field(default_factory=Streams)
    scores: ScoreStreams = field(default_factory=ScoreStreams)

    def routes(self) -> dict[str, Route]:
        """By path."""
        return {
            "/score": Route("/score", {"POST": self.score}, problem_document),
            "/explain": Route("/explain", {"POST": self.explain}, problem_document),
        }

    def warm(self) -> None:
        """Load and compile now what a row alone does not need: the first request that does would wait for seconds."""
        import gbdtlr.inspect.explain  # noqa: F401 - of use when it is imported again

        trees = self.service.scorer.loaded.trees
        trees.encode_row(dict.fromkeys(trees.schema.names))
        texts_of(pa.array(["a"]))

    def score(self, request: Request) -> Answer | Aside:
        """One row, ``{"rows": [...]}``, ``{"columns": {...}}``, or an Arrow stream."""
        kind = request.kind
        if kind == ARROW:
            return self._score_arrow(request)
        if kind not in (JSON, b""):
            raise unsupported(request, JSON.decode(), ARROW.decode())
        if not (request.query_string or request.wants_arrow):
            plain = self.service.plain_row(request.body)
            if plain is not None:
                return self._one(*plain)
        value = self.decoded(request.body)
        refuse = self.refuses_unknown(request)
        if type(value) is dict and len(value) == 1:
            if type(rows := value.get("rows")) is list:
                self.limit_rows(len(rows))
                work = partial(self.service.rows, rows, refuse)
                return self.scored(len(rows), work, partial(self._many, request))
            if type(columns := value.get("columns")) is dict:
                n_rows = most_values(columns)
                self.limit_rows(n_rows)
                work = partial(self.service.lists, columns, refuse)
                return self.scored(n_rows, work, partial(self._many, request))
        check_form(value, self.service.columns)
        if asked := ForUser.of(value):
            self.limit_rows(max(len(asked.rows), len(asked.events)))
            return self.scored(len(asked.rows), partial(answered, self.service, asked, refuse), self._for_user)
        probability, release = self.service.row(value, refuse)
        if request.wants_arrow:
            self.metrics.own.predicted(probability)
            return self._arrow(np.array([probability]), release)
        return self._one(probability, release)

    def _one(self, probability: float, release: int) -> Answer:
        self.metrics.own.predicted(probability)
        return Answer(self.encoder.encode({"probability": probability, "release": release}), 200, JSON, release)

    def _for_user(self, found: Answered) -> Answer:
        self.metrics.own.user(found.began)
        return self.json(found.document, found.release)

    def _score_arrow(self, request: Request) -> Answer | Aside:
        rows = self.streams.read(request.body, self.settings.max_rows)
        work = partial(self.service.table, rows, self.refuses_unknown(request))
        return self.scored(rows.n_rows, work, partial(self._many, request))

    def _many(self, request: Request, scored: Scored) -> Answer:
        probability, release = scored
        if request.wants_arrow:
            return self._arrow(probability, release)
        return self.json({"probability": probability.tolist(), "release": release}, release)

    def _arrow(self, probability: NDArray[np.float64], release: int) -> Answer:
        return Answer(self.scores.write(probability, release), kind=ARROW, release=release)

    def explain(self, request: Request) -> Answer | Aside:
        """The terms that make the margin of one row."""
        self.json_only(request)
        row = self.decoded(request.body)
        if form := form_of(row, self.service.columns):
            raise Refusal(422, f"{form} are not explained; send one row, an object of names and values")
        self.service.row(row, self.refuses_unknown(request))  # what is wrong with it is told as for /score
        return Aside(
            partial(_explained, self.service, row), lambda explained: self.json(explained, explained["release"])
        )


def _explained(service: Any, row: dict[str, Any]) -> dict[str, Any]:
    from gbdtlr.inspect.explain import explain

    release = service.scorer.loaded
    try:
        return {"release": release.entry.number, **explain(Users.of(release).model_for(row), row)}
    except UNREADABLE as error:  # of another release than has just read it
        raise Refusal(422, str(error), release=release.entry.number) from None
