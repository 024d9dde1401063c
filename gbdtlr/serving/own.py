"""Our own protocol: ``/score`` and ``/explain``; errors are the problem documents of RFC 9457."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from gbdtlr.errors import SchemaError
from gbdtlr.serving.answer import ARROW, JSON, Answer, Refusal, problem_document
from gbdtlr.serving.arrow import read_stream, write_scores
from gbdtlr.serving.handlers import Handlers, Route, unsupported
from gbdtlr.serving.request import Request


@dataclass(frozen=True)
class Own(Handlers):
    """Rows as JSON or Arrow, and what makes the margin of one."""

    def routes(self) -> dict[str, Route]:
        """By path."""
        return {
            "/score": Route("/score", {"POST": self.score}, problem_document),
            "/explain": Route("/explain", {"POST": self.explain}, problem_document),
        }

    async def score(self, request: Request) -> Answer:
        """One row, ``{"rows": [...]}``, ``{"columns": {...}}``, or an Arrow stream."""
        kind = request.kind
        if kind == ARROW:
            return await self._score_arrow(request)
        if kind not in (JSON, b""):
            raise unsupported(request, JSON.decode(), ARROW.decode())
        value = self.decoded(await self.body(request))
        refuse = self.refuses_unknown(request)
        if type(value) is dict and len(value) == 1:
            if type(rows := value.get("rows")) is list:
                return await self._score_rows(request, rows, refuse)
            if type(columns := value.get("columns")) is dict:
                return await self._score_columns(request, columns, refuse)
        scored = self.service.row(value, refuse)
        self.metrics.own.predicted(scored.probability)
        if request.wants_arrow():
            return _arrow([scored.probability], scored.release)
        return Answer(
            self.encoder.encode({"probability": scored.probability, "release": scored.release}),
            release=scored.release,
        )

    async def _score_rows(self, request: Request, rows: list[Any], refuse: bool) -> Answer:
        self.limit_rows(len(rows))
        scored = await self.scored(len(rows), partial(self.service.rows, rows, refuse))
        return self._many(request, scored.probability, scored.release)

    async def _score_columns(self, request: Request, columns: dict[str, Any], refuse: bool) -> Answer:
        n_rows = max((len(values) for values in columns.values() if type(values) is list), default=0)
        self.limit_rows(n_rows)
        scored = await self.scored(n_rows, partial(self.service.lists, columns, refuse))
        return self._many(request, scored.probability, scored.release)

    async def _score_arrow(self, request: Request) -> Answer:
        body = await self.body(request)
        rows, names = read_stream(body, self.service.columns.names, self.settings.max_rows)
        refuse = self.refuses_unknown(request)
        scored = await self.scored(len(rows), partial(self.service.table, rows, names, refuse))
        return self._many(request, scored.probability, scored.release)

    def _many(self, request: Request, probability: Any, release: int) -> Answer:
        if request.wants_arrow():
            return _arrow(probability, release)
        return self.json({"probability": probability.tolist(), "release": release}, release)

    async def explain(self, request: Request) -> Answer:
        """The terms that make the margin of one row."""
        self.json_only(request)
        row = self.decoded(await self.body(request))
        refuse = self.refuses_unknown(request)
        self.service.row(row, refuse)  # what is wrong with it is told as for /score
        explained = await self.aside(partial(_explained, self.service, row))
        return self.json(explained, explained["release"])


def _explained(service: Any, row: dict[str, Any]) -> dict[str, Any]:
    from gbdtlr.inspect.explain import explain

    release = service.scorer.loaded
    try:
        return explain(release, row)
    except SchemaError as error:  # of another release than has just read it
        raise Refusal(422, str(error), release=release.entry.number) from None


def _arrow(probability: Any, release: int) -> Answer:
    import numpy as np

    return Answer(write_scores(np.asarray(probability, np.float64), release), kind=ARROW, release=release)
