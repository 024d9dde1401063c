"""What operators rely on: probes, health, tokens, limits, and that every answer names its release."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from serving_kit import ARROW, JSON, ROW, Application, application, ask, values_of

from gbdtlr.config import Config, ServeConfig
from gbdtlr.errors import ConfigError, NoReleaseError
from gbdtlr.jobs import update_lr
from gbdtlr.scoring import Scorer
from gbdtlr.serving import app as make_app
from gbdtlr.serving.metrics import Metrics
from gbdtlr.serving.service import Service

OPEN = ("/", "/livez", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready")
CLOSED = (
    "/healthz",
    "/metrics",
    "/status.json",
    "/openapi.json",
    "/v2",
    "/v2/models/gbdtlr",
    "/v2/models/gbdtlr/ready",
)


@pytest.mark.parametrize("path", OPEN + CLOSED)
def test_every_answer_names_its_release(app: Application, path: str) -> None:
    reply = ask(app, path)
    assert (reply.status, reply.release) == (200, 5)
    bare = ask(app, path, method="HEAD")
    assert (bare.status, bare.body, bare.release) == (200, b"", 5)
    assert bare.headers["content-type"] == reply.headers["content-type"]


@pytest.mark.parametrize(
    "path", ["/nothing", "/score/", "//", "/score/1", "/%2e%2e/etc/passwd", "/v3", "/" + "x" * 5000]
)
def test_what_is_not_there_is_said_so(app: Application, path: str) -> None:
    reply = ask(app, path)
    assert (reply.status, reply.json["status"], reply.release) == (404, 404, 5)
    assert len(reply.body) < 1000


ALLOWED = {"/score": "POST", "/explain": "POST", "/livez": "GET, HEAD", "/v2/models/gbdtlr/infer": "POST"}


@pytest.mark.parametrize(("path", "allowed"), ALLOWED.items())
def test_other_methods_are_refused(app: Application, path: str, allowed: str) -> None:
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"} - {*allowed.split(", ")}:
        reply = ask(app, path, {}, method=method)
        assert (reply.status, reply.headers["allow"], reply.release) == (405, allowed, 5)


def test_health_tells_what_the_scorer_does(app: Application) -> None:
    health = ask(app, "/healthz").json
    assert (health["status"], health["ready"], health["release"], health["error"]) == ("ok", True, 5, None)
    assert health["head_age_s"] > 0
    assert (health["workers"], health["releases"]) == (1, [5])


def test_a_service_that_is_to_end_says_that_it_is_not_ready(store: str) -> None:
    app = application(store)
    app.state.draining = True
    for path in ("/readyz", "/ping", "/v2/health/ready", "/v2/models/gbdtlr/ready"):
        reply = ask(app, path)
        assert (reply.status, reply.headers["retry-after"], reply.headers["connection"]) == (503, "1", "close")
    assert ask(app, "/livez").status == 200
    assert ask(app, "/healthz").json["status"] == "draining"
    reply = ask(app, "/score", ROW)
    assert (reply.status, reply.headers["connection"]) == (200, "close")


def test_a_store_that_fails_is_told_and_changes_nothing(filled: Config) -> None:
    events = []
    app = Application(
        Scorer.open(filled.store), ServeConfig(), Metrics.alone(), lambda name, **fields: events.append((name, fields))
    )
    before = ask(app, "/score", ROW).json
    scorer = app._scorer
    broken = Path(filled.store) / "releases" / "00000006.json"
    broken.write_text("{}")
    for n in (1, 2):
        app._refreshed(scorer.refresh())
        health = ask(app, "/healthz").json
        assert (health["status"], health["ready"], health["release"], health["failures"]) == ("degraded", True, 5, n)
        assert "releases/00000006.json" in health["error"]
        metrics = ask(app, "/metrics").body.decode()
        assert f"gbdtlr_refresh_failures_total {n}\n" in metrics
        assert "gbdtlr_refresh_failing 1\n" in metrics
        assert ask(app, "/score", ROW).json == before
        assert ask(app, "/readyz").status == 200
        assert ask(app, "/status.json").json["health"]["error"]
    broken.unlink()
    app._refreshed(scorer.refresh())
    assert ask(app, "/healthz").json["status"] == "ok"
    assert "gbdtlr_refresh_failing 0\n" in ask(app, "/metrics").body.decode()
    assert [name for name, _ in events] == ["serve.refresh_failed", "serve.refreshed_again"]


def test_the_candidate_stands_beside_what_is_live(filled: Config) -> None:
    app = application(filled.store)
    assert [card["role"] for card in ask(app, "/status.json").json["releases"]] == ["live"]
    assert update_lr(filled, datetime(2024, 3, 4, 23, tzinfo=UTC), candidate=True).release == 6
    app._refreshed(app._scorer.refresh())
    health = ask(app, "/healthz").json
    assert (health["release"], health["candidate"], health["held"]) == (5, 6, None)
    told = ask(app, "/status.json").json
    assert [(card["role"], card["number"]) for card in told["releases"]] == [("live", 5), ("candidate", 6)]
    live, candidate = told["releases"]
    assert live["head_age_s"] - candidate["head_age_s"] == pytest.approx(17 * 3600)
    assert live["trees_age_s"] == pytest.approx(candidate["trees_age_s"])
    assert [point["release"] for point in told["history"]] == [1, 2, 3, 4, 5]
    shadow = Application(Scorer.open(filled.store, "candidate"), ServeConfig(), Metrics.alone(), lambda *_, **__: None)
    assert [card["role"] for card in ask(shadow, "/status.json").json["releases"]] == ["candidate"]


def test_a_store_without_a_release_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(NoReleaseError, match="train-trees"):
        make_app(str(tmp_path / "store"))


# Tokens.


@pytest.fixture
def locked(store: str, tmp_path: Path) -> Application:
    (tmp_path / "token").write_text("old-secret\nnew-secret\n")
    return application(store, token_file=str(tmp_path / "token"))


def test_who_has_no_token_is_told_nothing(locked: Application) -> None:
    for path in CLOSED:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic old-secret"},
            {"authorization": ""},
        ):
            reply = ask(locked, path, headers=headers)
            assert (reply.status, reply.headers["www-authenticate"]) == (401, 'Bearer realm="gbdtlr"')
    assert ask(locked, "/score", ROW).status == 401
    assert ask(locked, "/invocations", {}).json["error_code"] == "UNAUTHENTICATED"
    assert "error" in ask(locked, "/v2/models/gbdtlr/infer", {}).json
    for path in OPEN:
        assert ask(locked, path).status == 200
    for word in (b"secret", b"colour", b"20240303"):
        assert word not in ask(locked, "/").body.replace(b'id="secret"', b"").replace(b'$("secret")', b"")


def test_who_has_one_of_the_tokens_is_answered(locked: Application, tmp_path: Path) -> None:
    for token in ("old-secret", "new-secret"):
        for scheme in ("Bearer", "bearer"):
            assert ask(locked, "/score", ROW, headers={"authorization": f"{scheme} {token}"}).status == 200
    (tmp_path / "token").write_text("next-secret\n")
    locked._refreshed(False)
    assert ask(locked, "/score", ROW, headers={"authorization": "Bearer old-secret"}).status == 401
    assert ask(locked, "/score", ROW, headers={"authorization": "Bearer next-secret"}).status == 200
    (tmp_path / "token").write_text("")
    locked._refreshed(False)
    assert ask(locked, "/score", ROW, headers={"authorization": "Bearer next-secret"}).status == 200


def test_a_token_file_that_is_not_there_is_an_error(store: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[serve\] token_file: cannot read .*none: No such file or directory; name"):
        application(store, token_file=str(tmp_path / "none"))
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match="empty"):
        application(store, token_file=str(tmp_path / "token"))


# Limits.


def test_a_body_beyond_the_limit_is_refused_without_reading_it(store: str) -> None:
    app = application(store, max_body_bytes=200)
    assert ask(app, "/score", ROW).status == 200
    large = json.dumps(ROW).encode() + b" " * 200
    for headers in ({}, {"content-length": str(len(large))}, {"content-length": "9" * 30}):
        reply = ask(app, "/score", large, headers=headers)
        assert (reply.status, reply.headers["connection"]) == (413, "close")
        assert "200 bytes" in reply.json["detail"]
    for path, member in (("/invocations", "message"), ("/v2/models/gbdtlr/infer", "error")):
        assert "200 bytes" in ask(app, path, large).json[member]


def test_rows_beyond_the_limit_are_refused(store: str) -> None:
    app = application(store, max_rows=3)
    for n, status in ((3, 200), (4, 413)):
        rows = [ROW] * n
        tensors = [
            {"name": name, "datatype": kind, "shape": [n], "data": [ROW[name]] * n}
            for name, kind in zip(ROW, ("FP64", "FP64", "BYTES", "INT64"), strict=True)
        ]
        csv = b"x,y,colour,shop\n" + b"1,2,red,3\n" * n
        assert ask(app, "/score", {"rows": rows}).status == status
        assert ask(app, "/score", {"columns": values_of(rows)}).status == status
        assert ask(app, "/invocations", {"instances": rows}).status == status
        assert ask(app, "/invocations", {"inputs": values_of(rows)}).status == status
        assert ask(app, "/invocations", csv, "text/csv").status == status
        assert ask(app, "/v2/models/gbdtlr/infer", {"inputs": tensors}).status == status


def test_requests_beyond_the_limit_are_sent_away(store: str) -> None:
    app = application(store, max_requests=2)

    async def flood() -> list[tuple[int, dict[bytes, bytes]]]:
        release = asyncio.Event()
        answers = []

        async def one(path: str) -> None:
            async def receive() -> dict[str, Any]:
                await release.wait()
                return {"type": "http.request", "body": json.dumps(ROW).encode(), "more_body": False}

            async def send(message: dict[str, Any]) -> None:
                if "status" in message:
                    answers.append((message["status"], dict(message["headers"])))

            scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
            await app(scope, receive, send)

        tasks = [asyncio.create_task(one("/score")) for _ in range(5)]
        await asyncio.sleep(0)
        early = len(answers)
        release.set()
        await asyncio.gather(*tasks)
        assert early == 3
        return answers

    answers = asyncio.run(flood())
    assert [status for status, _ in answers] == [503, 503, 503, 200, 200]
    assert all(headers[b"retry-after"] == b"1" for status, headers in answers if status == 503)
    assert app.in_flight == 0
    assert ask(app, "/score", ROW).status == 200


def test_a_body_that_does_not_come_is_not_waited_for(store: str) -> None:
    app = application(store, body_timeout="0.05s")

    async def slow(messages: list[dict[str, Any]]) -> list[int]:
        statuses = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else await asyncio.Event().wait()

        async def send(message: dict[str, Any]) -> None:
            if "status" in message:
                statuses.append(message["status"])

        scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b"", "headers": []}
        await app(scope, receive, send)
        return statuses

    assert asyncio.run(slow([])) == [408]
    assert asyncio.run(slow([{"type": "http.request", "body": b"{", "more_body": True}])) == [408]
    gone = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    assert asyncio.run(slow(gone)) == []
    pieces = [{"type": "http.request", "body": bytes([byte]), "more_body": True} for byte in json.dumps(ROW).encode()]
    assert asyncio.run(slow([*pieces, {"type": "http.request"}])) == [200]
    assert 'gbdtlr_requests_total{route="/score",code="499"} 1' in ask(app, "/metrics").body.decode()


def test_a_fault_is_answered_and_the_next_request_served(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    app = Application(
        Scorer.open(store), ServeConfig(), Metrics.alone(), lambda name, **fields: events.append((name, fields))
    )
    with monkeypatch.context() as broken:
        broken.setattr(Service, "plain_row", lambda *_: 1 / 0)
        reply = ask(app, "/score", ROW)
    assert (reply.status, reply.release) == (500, 5)
    assert "division" not in reply.body.decode()
    assert events == [("serve.fault", {"path": "/score", "error": "ZeroDivisionError: division by zero"})]
    assert ask(app, "/score", ROW).status == 200


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"max_rows": 0}, r"\[serve\] max_rows must be at least 1"),
        ({"workers": 0}, r"\[serve\] workers"),
        ({"unknown_columns": "keep"}, r"\[serve\] unknown_columns is 'keep'; choose one of refuse, ignore"),
        ({"name": "a/b"}, r"\[serve\] name"),
        ({"idle_timeout": 7}, r"\[serve\] idle_timeout must be a duration"),
        ({"max_row": 7}, r"unknown key \[serve\] max_row; did you mean max_rows"),
    ],
)
def test_settings_that_cannot_be_are_refused(table: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ServeConfig.from_dict(table)


def test_settings_read_back() -> None:
    settings = ServeConfig.from_dict({"bind": "unix:/run/x.sock", "refresh": "5s", "max_rows": 7})
    assert ServeConfig.from_dict(settings.as_dict()) == settings


def test_how_a_service_listens_makes_no_other_release(config: Config) -> None:
    assert "serve" not in config.as_dict()


def test_kinds_are_what_clients_call_them() -> None:
    assert (JSON, ARROW) == ("application/json", "application/vnd.apache.arrow.stream")
