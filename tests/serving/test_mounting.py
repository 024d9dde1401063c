"""One plain ASGI callable: below Starlette and FastAPI, and on hypercorn, granian and bare uvicorn."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastapi
import pyarrow as pa
import pytest
from serving_kit import ARROW, JSON, ROW, ROWS, application, ask, in_a_thread, port_of, stream_of, until, values_of
from starlette.applications import Starlette
from starlette.routing import Mount

from gbdtlr.scoring import Scorer
from gbdtlr.serving import app as make_app


def below_starlette(app: Any) -> Any:
    return Starlette(routes=[Mount("/model", app)])


def below_fastapi(app: Any) -> Any:
    outer = fastapi.FastAPI()
    outer.mount("/model", app)
    return outer


@pytest.mark.parametrize("outer", [below_starlette, below_fastapi])
def test_it_answers_below_another_application(store: str, outer: Callable[[Any], Any]) -> None:
    inner = application(store)
    mounted = outer(inner)
    assert ask(mounted, "/model/score", ROW).json == ask(inner, "/score", ROW).json
    assert ask(mounted, "/model/v2/models/gbdtlr").json["versions"] == ["5"]
    assert ask(mounted, "/model/healthz").json["refreshing"] is True  # it was told of no start, and began by itself
    assert ask(mounted, "/model/nowhere").status == 404
    assert ask(mounted, "/model/").headers["content-type"].startswith("text/html")
    page = ask(mounted, "/model")
    assert page.status == 307
    inner.close()


def test_it_answers_on_bare_uvicorn(store: str) -> None:
    check(store, make_app(store))


def check(store: str, app: Any) -> None:
    with in_a_thread(app) as address:
        check_address(store, address)


def check_address(store: str, address: str) -> None:
    """Each kind of answer, over the wire."""
    scorer = Scorer.open(store)

    def post(path: str, body: bytes, kind: str = JSON) -> tuple[int, bytes, str]:
        sent = urllib.request.Request(address + path, body, {"content-type": kind})
        try:
            with urllib.request.urlopen(sent, timeout=60) as answer:
                return answer.status, answer.read(), answer.headers["gbdtlr-release"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers["gbdtlr-release"]

    for row in ROWS:
        status, body, release = post("/score", json.dumps(row).encode())
        assert (status, json.loads(body)["probability"], release) == (200, scorer.score_row(row), "5")
    plain = pa.table(values_of([ROW] * 3000))
    status, body, _ = post("/score", stream_of(plain), ARROW)
    assert status == 200
    assert pa.ipc.open_stream(body).read_all()["probability"].to_pylist() == scorer.score(plain).tolist()
    assert post("/score", b"{")[0] == 400
    assert post("/score", b" " * 9_000_000)[0] == 413
    assert post("/explain", json.dumps(ROW).encode())[0] == 200
    with urllib.request.urlopen(f"{address}/healthz", timeout=60) as answer:
        assert json.load(answer)["refreshing"] is True


SERVERS = {
    "hypercorn": ["-m", "hypercorn", "--bind", "127.0.0.1:{port}", "served:app"],
    "granian": ["-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "served:app"],
    "uvicorn": ["-m", "uvicorn", "--port", "{port}", "--workers", "2", "served:app"],
}


@pytest.mark.parametrize("server", SERVERS)
def test_it_answers_on_other_servers(store: str, tmp_path: Path, server: str, child_env: dict[str, str]) -> None:
    (tmp_path / "served.py").write_text(f"import gbdtlr.serving\n\napp = gbdtlr.serving.app({store!r})\n")
    port = port_of()
    args = [arg.format(port=port) for arg in SERVERS[server]]
    env = {**child_env, "PYTHONPATH": f"{tmp_path}:{child_env['PYTHONPATH']}"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *args], stdout=log, stderr=log, env=env, cwd=tmp_path)
        try:

            def answers() -> bool:
                assert process.poll() is None, (tmp_path / "log").read_text()
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60):
                        return True
                except (urllib.error.URLError, ConnectionError):
                    return False

            until(answers)
            check_address(store, f"http://127.0.0.1:{port}")
            process.terminate()
            process.wait(timeout=60)
        finally:
            process.kill()
            process.wait()
