"""The application: one plain ASGI callable that answers HTTP with the live release of a store."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gbdtlr.config import ServeConfig
from gbdtlr.scoring import Scorer
from gbdtlr.serving.answer import JSON, Answer, Gone, Refusal, problem_document
from gbdtlr.serving.handlers import Route, State
from gbdtlr.serving.inference import Inference
from gbdtlr.serving.invocations import Mlflow
from gbdtlr.serving.metrics import Metrics
from gbdtlr.serving.operations import Operations
from gbdtlr.serving.own import Own
from gbdtlr.serving.request import CLOSE, Receive, Request, Scope, Send
from gbdtlr.serving.service import Service
from gbdtlr.serving.token import Tokens
from gbdtlr.store import Store
from gbdtlr.times import parse_time, to_us

PROBLEM = b"application/problem+json"
N_THREADS = 2
"""Requests of many rows that are worked on at a time, beside the event loop."""
JITTER = 0.2
RETRY = ((b"retry-after", b"1"),)
CLIENT_GONE = 499
OnEvent = Callable[..., object]


def app(
    store: str | os.PathLike[str] | Store,
    settings: ServeConfig | None = None,
    *,
    metrics: Metrics | None = None,
    on_event: OnEvent | None = None,
) -> Application:
    """ASGI application that serves the live release of a store, to run alone or to mount below another.

    Parameters
    ----------
    store : path or URL, or a store that is open
    settings : the limits, as ``[serve]`` of a config has them
    metrics : where to count, if several processes count together
    on_event : ``on_event(name, **fields)``, told of releases, failures and faults, in any thread

    Raises
    ------
    NoReleaseError, DamagedError, FormatError, MismatchError, StoreUnavailable
        There is no release to serve, or it cannot be trusted here.
    ConfigError
        The token file cannot be read.
    """
    return Application(Scorer.open(store), settings or ServeConfig(), metrics or Metrics.alone(), on_event)


class Application:
    """Answers HTTP requests; whatever a client sends, it is answered or refused, and the next one is served.

    Attributes
    ----------
    state : set ``state.draining`` before the end, and probes are told so
    """

    def __init__(self, scorer: Scorer, settings: ServeConfig, metrics: Metrics, on_event: OnEvent | None) -> None:
        self.state = State()
        self._scorer, self._settings, self._metrics = scorer, settings, metrics
        self._on_event = on_event or _log
        self._tokens = Tokens(settings.token_file) if settings.token_file else None
        self._executor = ThreadPoolExecutor(N_THREADS, thread_name_prefix="gbdtlr-serve")
        shared = Service(scorer), settings, metrics, self._executor, self.state
        self._inference = Inference(*shared)
        self._routes: dict[str, Route] = {
            **Own(*shared).routes(),
            **Operations(*shared).routes(),
            **Mlflow(*shared).routes(),
            **self._inference.routes(),
        }
        self._failing = False
        self._refreshing_in = 0
        self._release_header = (0, (b"gbdtlr-release", b""))
        self._tell_gauges()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it; HTTP and the server's own start and end."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    @property
    def release(self) -> int:
        """Number of the release that answers now."""
        return self._scorer.release

    def start(self) -> None:
        """Begin to follow the store, in this process; nothing if it has begun. Threads do not survive a fork."""
        if self._refreshing_in != os.getpid():
            self._refreshing_in = os.getpid()
            self._scorer.start_refreshing(self._settings.refresh, JITTER, on_refresh=self._refreshed)

    def close(self) -> None:
        """Stop following the store."""
        self._scorer.close()
        self._executor.shutdown(wait=False)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                self.state.draining = True
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = time.perf_counter()
        if not self._refreshing_in:  # mounted below another application, which is told of the start in its stead
            self.start()
        counted = self._metrics.own
        in_flight = counted.began()
        path, route = self._route_of(scope)
        status = CLIENT_GONE
        try:
            answer = await self._answer(scope, path, route, receive, in_flight)
            status = answer.status
            await self._send(answer, send, scope["method"] == "HEAD")
        except Gone:
            pass
        finally:
            counted.ended()
            counted.request(route.label, status, time.perf_counter() - begin)

    def _route_of(self, scope: Scope) -> tuple[str, Route]:
        path: str = scope["path"]
        mounted: str = scope.get("root_path", "")
        if mounted and path.startswith(mounted):
            path = path[len(mounted) :]
        route = self._routes.get(path) or self._inference.route_of(path)
        if route is None:
            route = _TO_THE_PAGE if not path else _NOWHERE
        return path, route

    async def _answer(self, scope: Scope, path: str, route: Route, receive: Receive, in_flight: int) -> Answer:
        try:
            request = Request(scope, path, receive)
            if self._tokens is not None and not route.is_open:
                self._check_token(request)
            handler = route.handlers.get("GET" if request.method == "HEAD" else request.method)
            if handler is None:
                raise _no_handler(request, route)
            if in_flight > self._settings.max_requests and not route.is_open:
                raise Refusal(503, f"{in_flight - 1} requests are in flight; come again", headers=(*RETRY, *CLOSE))
            return await handler(request)
        except Refusal as refusal:
            return self._refused(refusal, route)
        except Gone:
            raise
        except Exception as error:  # whatever was sent, a fault in reading it is no reason to stop serving
            self._on_event("serve.fault", path=path[:200], error=f"{type(error).__name__}: {error}"[:500])
            logging.getLogger("gbdtlr").debug("a request could not be answered", exc_info=True)
            return self._refused(Refusal(500, "a fault in gbdtlr; its log says more"), route)

    def _check_token(self, request: Request) -> None:
        assert self._tokens is not None
        if not self._tokens.allow(request.headers.get(b"authorization", b"")):
            headers = ((b"www-authenticate", b'Bearer realm="gbdtlr"'),)
            raise Refusal(401, "a bearer token is needed: authorization: Bearer ...", headers=headers)

    def _refused(self, refusal: Refusal, route: Route) -> Answer:
        release = refusal.release or self._scorer.release
        document = route.error_form(refusal, release)
        kind = PROBLEM if route.error_form is problem_document else JSON
        headers = refusal.headers
        if refusal.status == 503 and b"retry-after" not in dict(headers):
            headers = (*headers, *RETRY)
        return Answer(self._inference.encoder.encode(document), refusal.status, kind, release, headers)

    async def _send(self, answer: Answer, send: Send, head_only: bool) -> None:
        headers = [
            (b"content-type", answer.kind),
            (b"content-length", b"%d" % len(answer.body)),
            self._named(answer.release or self._scorer.release),
            *answer.headers,
        ]
        if self.state.draining:
            headers.append(CLOSE[0])
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head_only else answer.body})

    def _named(self, release: int) -> tuple[bytes, bytes]:
        """The header that names the release."""
        known, header = self._release_header
        if known != release:
            header = (b"gbdtlr-release", b"%d" % release)
            self._release_header = release, header
        return header

    def _refreshed(self, changed: bool) -> None:
        """Called after each refresh, in the thread that does it."""
        health = self._scorer.health()
        failed = health["error"] is not None
        self._metrics.own.refreshed(failed)
        self._tell_gauges(health)
        if self._tokens is not None:
            self._tokens.reload()
        if changed:
            self._on_event("serve.release", release=health["release"])
        if failed and not self._failing:
            self._on_event("serve.refresh_failed", release=health["release"], error=health["error"])
        if self._failing and not failed:
            self._on_event("serve.refreshed_again", release=health["release"])
        self._failing = failed

    def _tell_gauges(self, health: dict[str, Any] | None = None) -> None:
        health = health or self._scorer.health()
        moments = {
            f"{part}_as_of_s": to_us(parse_time(health[f"{part}_as_of"])) // 1_000_000 for part in ("head", "trees")
        }
        self._metrics.own.set(release=health["release"], **moments)


def _no_handler(request: Request, route: Route) -> Refusal:
    if not route.handlers:
        return Refusal(404, f"there is nothing at {request.path[:200]}; GET /openapi.json tells what is")
    allowed = sorted({*route.handlers, *(["HEAD"] if "GET" in route.handlers else [])})
    headers = ((b"allow", ", ".join(allowed).encode()),)
    return Refusal(
        405, f"{request.method} is not for {request.path[:200]}; use {' or '.join(allowed)}", headers=headers
    )


async def _to_the_page(_: Request) -> Answer:
    """The page's own links need the slash behind where the application is mounted."""
    return Answer(b"", 307, headers=((b"location", b"./"),))


_NOWHERE = Route("other", {}, problem_document)
_TO_THE_PAGE = Route("/", {"GET": _to_the_page}, problem_document, is_open=True)


def _log(name: str, **fields: Any) -> None:
    logging.getLogger("gbdtlr").warning("%s %s", name, fields)
