"""What operators ask: whether it lives, is ready and is well, its metrics, its description, and the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from importlib import resources
from typing import Any

from gbdtlr.serving.answer import Answer, problem_document
from gbdtlr.serving.handlers import Aside, Handler, Handlers, Route
from gbdtlr.serving.metrics import TEXT, prometheus
from gbdtlr.serving.openapi import description
from gbdtlr.serving.request import Request
from gbdtlr.serving.status import History, status

PAGE_POLICY = (
    b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Operations(Handlers):
    """Routes for people, probes and Prometheus."""

    def routes(self) -> dict[str, Route]:
        """By path."""

        def get(path: str, handler: Handler, is_open: bool = False) -> tuple[str, Route]:
            return path, Route(path, {"GET": handler}, problem_document, is_open)

        return dict(
            (
                get("/", self.page, is_open=True),
                get("/livez", self.live, is_open=True),
                get("/readyz", self.ready, is_open=True),
                get("/healthz", self.health),
                get("/metrics", self.prometheus),
                get("/status.json", self.status),
                get("/openapi.json", self.openapi),
            )
        )

    def live(self, _: Request) -> Answer:
        """The process runs."""
        return self.json({"status": "live", "release": self.service.scorer.release})

    def ready(self, _: Request) -> Answer:
        """It can score, and is not about to end."""
        self.state.pass_if_ready()
        return self.json({"status": "ready", "release": self.service.scorer.release})

    def health(self, _: Request) -> Answer:
        """How it is: ``degraded`` while the store fails, and the release it had goes on serving."""
        health = self.service.scorer.health()
        living = self.metrics.sums().living
        releases = sorted({worker["release"] for worker in living if worker["release"]})
        state = "draining" if self.state.draining else "degraded" if health["error"] else "ok"
        document = {"status": state, "ready": not self.state.draining, **health, "workers": len(living)}
        return self.json({**document, "releases": releases}, health["release"])

    def prometheus(self, _: Request) -> Answer:
        """The metrics of all workers."""
        return Answer(prometheus(self.metrics.sums(), self._now_s()), kind=TEXT)

    def status(self, _: Request) -> Aside:
        """What the page shows."""
        service = self.service
        counted = self.metrics.sums().as_dict()
        work = partial(status, service.columns, self._history, service.scorer.health(), counted)
        return Aside(work, lambda found: self.json(found, found["release"]))

    def openapi(self, request: Request) -> Answer:
        """What may be asked, in OpenAPI's words."""
        columns = self.service.columns
        document = description(columns, self.settings, request.headers.get(b"host", b"").decode("latin-1"))
        return self.json(document, columns.number)

    def page(self, _: Request) -> Answer:
        """The page for people; it holds no figures, its script asks for them, with the token where one is set."""
        headers = ((b"content-security-policy", PAGE_POLICY), (b"cache-control", b"no-cache"))
        return Answer(self._page, kind=b"text/html; charset=utf-8", headers=headers)

    @cached_property
    def _page(self) -> bytes:
        return resources.files("gbdtlr.serving").joinpath("page.html").read_bytes()

    @cached_property
    def _history(self) -> History:
        return History(self.service.scorer.store)

    def _now_s(self) -> float:
        """The moment by the clock of the Scorer's health, which alone asks for it here."""
        health: dict[str, Any] = self.service.scorer.health()
        return datetime.fromisoformat(health["head_as_of"]).timestamp() + float(health["head_age_s"])
