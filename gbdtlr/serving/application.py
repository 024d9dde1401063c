"""The application: one plain ASGI callable that answers HTTP with the live release of a store."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gbdtlr.config import ServeConfig
from gbdtlr.scoring import Scorer
from gbdtlr.serving.answer import CLOSE, JSON, Answer, Gone, Refusal, problem_document
from gbdtlr.serving.handlers import Aside, Route, State
from gbdtlr.serving.inference import Inference
from gbdtlr.serving.invocations import Mlflow
from gbdtlr.serving.metrics import Metrics
from gbdtlr.serving.operations import Operations
from gbdtlr.serving.own import Own
from gbdtlr.serving.reading import Receive, Scope, Send, read_body
from gbdtlr.serving.request import Request, check_encoding
from gbdtlr.serving.service import Service
from gbdtlr.serving.token import Tokens, user_key_of
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
        The file of tokens, or that of the key of users' states, cannot be read.
    """
    settings = settings or ServeConfig()
    scorer = Scorer.open(store, user_key=user_key_of(settings))
    return Application(scorer, settings, metrics or Metrics.alone(), on_event)


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
        self._executor = _threads()
        shared = Service(scorer), settings, metrics, self.state
        self._inference = Inference(*shared)
        own = Own(*shared)
        own.warm()
        self._routes: dict[str, Route] = {
            **own.routes(),
            **Operations(*shared).routes(),
            **Mlflow(*shared).routes(),
            **self._inference.routes(),
        }
        self.plain_urls = {path.encode(): (path, b"", route) for path, route in self._routes.items()}
        """What most URLs are, without parsing them."""
        self._failing = False
        self._refreshing_in = 0
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

    @property
    def in_flight(self) -> int:
        """Requests begun and not yet answered."""
        return self._metrics.own.in_flight

    def began(self) -> None:
        """A request begins; one is in flight more until :meth:`ended`."""
        self._metrics.own.began()

    def ended(self) -> None:
        """It has been answered, or handed over."""
        self._metrics.own.ended()

    def count(self, route: Route, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._metrics.own.request(route.label, status, seconds)

    def start(self) -> None:
        """Begin to follow the store, in this process; nothing if it has begun. Threads do not survive a fork."""
        if self._refreshing_in != os.getpid():
            self._refreshing_in = os.getpid()
            self._scorer.start_refreshing(self._settings.refresh, JITTER, on_refresh=self._refreshed)

    def close(self) -> None:
        """Stop following the store, until the next :meth:`start`."""
        self._scorer.close()
        self._refreshing_in = 0
        self._executor.shutdown(wait=False)
        self._executor = _threads()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.state.draining = False
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
        path, route = self.route_of(scope["path"], scope.get("root_path", ""))
        try:
            answer = await self._answered(scope, path, route, receive, in_flight)
            # Counted before it is sent: whoever has the answer finds it in the metrics.
            counted.request(route.label, answer.status, time.perf_counter() - begin)
            await send({"type": "http.response.start", "status": answer.status, "headers": self.headers_of(answer)})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
        except Gone:
            counted.request(route.label, CLIENT_GONE, time.perf_counter() - begin)
        finally:
            counted.ended()

    async def _answered(self, scope: Scope, path: str, route: Route, receive: Receive, in_flight: int) -> Answer:
        request = Request(scope["method"], path, scope["query_string"], scope["headers"], b"")
        if refused := self.refused_at_once(request, route, in_flight):
            return refused
        settings = self._settings
        if request.method == "POST":
            try:
                length = request.headers.get(b"content-length", b"")
                timeout_s = settings.body_timeout.total_seconds()
                request.body = await read_body(receive, length, settings.max_body_bytes, timeout_s)
            except Refusal as refusal:
                return self._refused(refusal, route)
        answer = self.answer(request, route)
        if isinstance(answer, Answer):
            return answer
        try:
            done = await asyncio.get_running_loop().run_in_executor(self._executor, answer.work)
            return answer.finish(done)
        except Exception as error:
            return self._failed(error, request, route)

    def route_of(self, path: str, mounted: str = "") -> tuple[str, Route]:
        """Where a path leads, and its part below where the application is mounted."""
        if mounted and path.startswith(mounted):
            path = path[len(mounted) :]
        route = self._routes.get(path) or self._inference.route_of(path)
        if route is None:
            route = _TO_THE_PAGE if not path else _NOWHERE
        return path, route

    def refused_at_once(self, request: Request, route: Route, in_flight: int) -> Answer | None:
        """The refusal of a request whose body need not be read for it, else None."""
        try:
            if self._tokens is not None and not route.is_open:
                _check_token(self._tokens, request)
            if request.method not in route.handlers and (request.method != "HEAD" or "GET" not in route.handlers):
                raise _no_handler(request, route)
            if in_flight > self._settings.max_requests and not route.is_open:
                raise Refusal(503, f"{in_flight - 1} requests are in flight; come again", headers=(*RETRY, *CLOSE))
        except Refusal as refusal:
            return self._refused(refusal, route)
        return None

    def answer(self, request: Request, route: Route) -> Answer | Aside:
        """The answer to a whole request that was not refused at once; whatever the client has sent, there is one."""
        try:
            if b"content-encoding" in request.headers:
                check_encoding(request)
            return route.handlers["GET" if request.method == "HEAD" else request.method](request)
        except Exception as error:
            return self._failed(error, request, route)

    def headers_of(self, answer: Answer) -> list[tuple[bytes, bytes]]:
        """The headers of an answer, its release among them."""
        headers = [
            (b"content-type", answer.kind),
            (b"content-length", b"%d" % len(answer.body)),
            (b"gbdtlr-release", b"%d" % (answer.release or self._scorer.release)),
            *answer.headers,
        ]
        if self.state.draining:
            headers.append(CLOSE[0])
        return headers

    def _failed(self, error: Exception, request: Request, route: Route) -> Answer:
        if isinstance(error, Refusal):
            return self._refused(error, route)
        # A fault in reading what was sent is no reason to stop serving.
        self._on_event("serve.fault", path=request.path[:200], error=f"{type(error).__name__}: {error}"[:500])
        logging.getLogger("gbdtlr").debug("a request could not be answered", exc_info=error)
        return self._refused(Refusal(500, "a fault in gbdtlr; its log says more"), route)

    def _refused(self, refusal: Refusal, route: Route) -> Answer:
        release = refusal.release or self._scorer.release
        document = route.error_form(refusal, release)
        kind = PROBLEM if route.error_form is problem_document else JSON
        headers = refusal.headers
        if refusal.status == 503 and b"retry-after" not in dict(headers):
            headers = (*headers, *RETRY)
        return Answer(self._inference.encoder.encode(document), refusal.status, kind, release, headers)

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
            f"{part}_as_of_s": 0
            if (as_of := health[f"{part}_as_of"]) is None
            else to_us(parse_time(as_of)) // 1_000_000
            for part in ("head", "trees", "embeddings")
        }
        self._metrics.own.set(release=health["release"], **moments)


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(N_THREADS, thread_name_prefix="gbdtlr-serve")


def _check_token(tokens: Tokens, request: Request) -> None:
    if not tokens.allow(request.headers.get(b"authorization", b"")):
        headers = ((b"www-authenticate", b'Bearer realm="gbdtlr"'),)
        raise Refusal(401, "a bearer token is needed: authorization: Bearer ...", headers=headers)


def _no_handler(request: Request, route: Route) -> Refusal:
    if not route.handlers:
        return Refusal(404, f"there is nothing at {request.path[:200]}; GET /openapi.json tells what is")
    allowed = sorted({*route.handlers, *(["HEAD"] if "GET" in route.handlers else [])})
    headers = ((b"allow", ", ".join(allowed).encode()),)
    return Refusal(
        405, f"{request.method} is not for {request.path[:200]}; use {' or '.join(allowed)}", headers=headers
    )


def _to_the_page(_: Request) -> Answer:
    """The page's own links need the slash behind where the application is mounted."""
    return Answer(b"", 307, headers=((b"location", b"./"),))


_NOWHERE = Route("other", {}, problem_document)
_TO_THE_PAGE = Route("/", {"GET": _to_the_page}, problem_document, is_open=True)


def _log(name: str, **fields: Any) -> None:
    logging.getLogger("gbdtlr").warning("%s %s", name, fields)
