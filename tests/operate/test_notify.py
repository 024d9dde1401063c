"""Notifications, sent to a real server on loopback and to real programs, some of which never end."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from test_job_metrics import toml_of

from gbdtlr.cli.group import main
from gbdtlr.config import TOLD, Config, NotifyConfig
from gbdtlr.errors import ConfigError
from gbdtlr.operate.notify import SIGNATURE, notify
from gbdtlr.store import Store

SOON = timedelta(milliseconds=200)
DOCUMENT = {"event": "published", "release": 7, "reason": "ünï"}


class Hook:
    """A server that keeps what it is sent, and answers as it is told."""

    def __init__(self, answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                with contextlib.suppress(OSError):
                    answer(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]


@contextlib.contextmanager
def hooked(answer: Callable[[http.server.BaseHTTPRequestHandler], None] | None = None) -> Iterator[Hook]:
    def fine(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(204)
        handler.end_headers()

    hook = Hook(answer or fine)
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hook
    finally:
        hook.server.shutdown()
        thread.join()
        hook.server.server_close()


# To an address.


def test_a_receiver_can_tell_who_sent_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    with hooked() as hook:
        assert notify(NotifyConfig(url=hook.url, secret_file=str(secret)), DOCUMENT) == {}
        assert notify(NotifyConfig(url=hook.url), DOCUMENT) == {}
    (headers, body), (bare, _) = hook.requests
    assert json.loads(body) == DOCUMENT
    assert headers["content-type"] == "application/json"
    expected = hmac.new(b"open sesame", body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE.lower()] == f"sha256={expected}"
    assert SIGNATURE.lower() not in bare


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_without_its_secret_nothing_is_sent(tmp_path: Path, content: str | None) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content)
    with hooked() as hook:
        failed = notify(NotifyConfig(url=hook.url, secret_file=str(secret)), DOCUMENT)
    assert failed["url"].startswith(f"[notify] secret_file: {'cannot read ' if content is None else ''}{secret}")
    assert hook.requests == []


@pytest.mark.parametrize("code", [301, 307, 404, 500])
def test_what_is_not_taken_is_told_and_not_sent_elsewhere(code: int) -> None:
    with hooked() as other:

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(code)
            handler.send_header("Location", other.url)
            handler.end_headers()

        with hooked(answer) as hook:
            assert notify(NotifyConfig(url=hook.url), DOCUMENT) == {"url": f"RuntimeError: it answered {code}"}
    assert len(hook.requests) == 1
    assert other.requests == []


@pytest.mark.parametrize("how", ["silent", "trickling"])
def test_an_address_that_does_not_come_to_an_end_is_waited_for_no_longer(how: str) -> None:
    done = threading.Event()

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        if how == "silent":
            done.wait()
            return
        handler.send_response(200)
        handler.end_headers()
        while not done.wait(0.02):  # each byte comes before any socket would give up
            handler.wfile.write(b".")
            handler.wfile.flush()

    with hooked(answer) as hook:
        failed = notify(NotifyConfig(url=hook.url, timeout=SOON), DOCUMENT)
        done.set()
    assert set(failed) == {"url"}


def test_nobody_there_is_told() -> None:
    with hooked() as hook:
        pass
    assert "refused" in notify(NotifyConfig(url=hook.url), DOCUMENT)["url"].lower()


# To a program.


def program(folder: Path, text: str) -> tuple[str, ...]:
    """A program in Python, called with a file to write to."""
    path = folder / "told.py"
    path.write_text(text)
    return (sys.executable, str(path), str(folder / "out"))


SAVE = """
import os, sys
open(sys.argv[1], "w", encoding="utf-8").write(os.environ["GBDTLR_EVENT"] + "\\n" + sys.stdin.read())
"""


def test_a_program_is_given_the_document(tmp_path: Path) -> None:
    assert notify(NotifyConfig(command=program(tmp_path, SAVE)), DOCUMENT) == {}
    event, document = (tmp_path / "out").read_text("utf-8").splitlines()
    assert (event, json.loads(document)) == ("published", DOCUMENT)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ((sys.executable, "-c", "raise SystemExit(3)"), "ended with 3"),
        (("no-such-program-anywhere",), "[notify] command: cannot run no-such-program-anywhere: No such file"),
        (("/",), "[notify] command: cannot run /: Permission denied; name a program that this user can run"),
        ((sys.executable, "-c", ""), None),
    ],
)
def test_a_program_that_fails_or_does_not_listen(command: tuple[str, ...], told: str | None) -> None:
    failed = notify(NotifyConfig(command=command), {"reason": "x" * 1_000_000})
    assert failed == {} if told is None else told in failed["command"]


def test_a_program_that_never_ends_is_killed_with_all_it_has_started(tmp_path: Path) -> None:
    text = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1] + ".new", "w").write(str(child.pid))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""
    command = program(tmp_path, text)
    failed: dict[str, str] = {}
    for timeout in (SOON, timedelta(seconds=1), timedelta(seconds=5), timedelta(seconds=30)):
        failed = notify(NotifyConfig(command=command, timeout=timeout), DOCUMENT)
        if (tmp_path / "out").exists():
            break
    assert "did not end within" in failed["command"]
    child = int((tmp_path / "out").read_text())
    late = time.monotonic() + 30
    while lives(child):  # until whoever takes care of orphans has buried it
        assert time.monotonic() < late


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_both_are_told_and_one_does_not_hinder_the_other(tmp_path: Path) -> None:
    with hooked() as hook:
        config = NotifyConfig(command=(sys.executable, "-c", "raise SystemExit(1)"), url=hook.url)
        assert set(notify(config, DOCUMENT)) == {"command"}
        assert len(hook.requests) == 1
    assert notify(NotifyConfig(), DOCUMENT) == {}
    assert list(tmp_path.iterdir()) == []


# What it may be told.


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"on": ["finished"]}, r"\[notify\] on has 'finished'; choose of published, refused, rolled_back, error"),
        ({"on": [], "url": "https://example.com"}, r"\[notify\] on is empty, so that nobody would be told"),
        ({"url": "ftp://x"}, r"\[notify\] url must begin with http"),
        ({"url": "https:///hook"}, r"\[notify\] url must begin with http.* and name a host"),
        ({"url": "https://a b/hook"}, r"\[notify\] url must begin with http.* and name a host"),
        ({"command": [" "]}, r"\[notify\] command is empty; name a program"),
        ({"command": "/bin/tell my team"}, r'is no program; write it as a list: \["/bin/tell", "my", "team"\]'),
        ({"secret_file": "x"}, r"\[notify\] secret_file signs what is sent to url"),
        ({"timeout": "6m"}, r"\[notify\] timeout must be above zero and at most 5m"),
        ({"program": "x"}, r"unknown key \[notify\] program"),
    ],
)
def test_impossible_settings_are_told(
    make_config: Callable[..., Config], tmp_path: Path, table: Any, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        Config.from_dict({**make_config(tmp_path).as_dict(), "notify": table})


def test_who_is_told_makes_no_other_release(make_config: Callable[..., Config], tmp_path: Path) -> None:
    plain = make_config(tmp_path)
    table = {**plain.as_dict(), "notify": {"url": "https://example.com", "secret_file": "s", "on": ["error"]}}
    config = Config.from_dict(table)
    assert (config.notify.on, config.notify.timeout) == (("error",), timedelta(seconds=10))
    assert config.as_dict() == plain.as_dict()


# Through the commands.


@pytest.fixture
def told_of(
    tmp_path: Path, make_samples: Callable[..., pa.Table], make_config: Callable[..., Config]
) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """``told_of(line)``: runs a command, and gives what a server was told of it."""
    (tmp_path / "samples").mkdir()
    for day in range(4):
        table = make_samples(datetime(2024, 3, 1 + day, tzinfo=UTC))
        parquet.write_table(table, tmp_path / f"samples/{day}.parquet")
    with hooked() as hook:

        def run(
            *args: str, code: int = 0, on: tuple[str, ...] = TOLD, guard: int = 20, method: str = "refit"
        ) -> list[dict[str, Any]]:
            table = make_config(tmp_path, guard={"min_samples": guard}, head={"method": method}).as_dict()
            config = tmp_path / "model.toml"
            config.write_text(toml_of({**table, "notify": {"url": hook.url, "on": list(on)}}))
            before = len(hook.requests)
            assert main([*args, "-c", str(config), "-q"]) == code
            return hook.documents[before:]

        yield run


def test_what_jobs_and_people_do_is_told_once_and_by_its_name(told_of: Any, tmp_path: Path) -> None:
    (first,) = told_of("train-trees", "--as-of", "2024-03-04", "--reason", "anew")
    assert (first["event"], first["command"], first["status"], first["release"]) == (
        "published",
        "train-trees",
        "published",
        1,
    )
    assert first["store"] == str(tmp_path / "store")
    entry = Store.open(str(tmp_path / "store")).entry(1)
    assert {"user": entry.user, "host": entry.host}.items() <= first.items()
    assert first["time"].endswith("Z")
    (second,) = told_of("update-lr", "--as-of", "2024-03-04T03:00")
    assert (second["release"], second["candidate"], second["id"] != first["id"]) == (2, False, True)
    assert told_of("update-lr", "--as-of", "2024-03-04T03:00") == [], "unchanged"
    (refused,) = told_of("update-lr", "--as-of", "2024-03-04T06:00", guard=10**6, code=4)
    assert (refused["event"], refused["release"]) == ("refused", 2)
    assert "min_samples" in refused["reason"]
    assert told_of("update-lr", "--as-of", "2024-03-04T06:00", guard=10**6, code=4, on=("error",)) == []
    (back,) = told_of("rollback", "--as-of", "2024-03-04T05:00", "--reason", "so")
    assert (back["event"], back["release"], back["reason"]) == ("rolled_back", 3, "so")
    (tried,) = told_of("update-lr", "--as-of", "2024-03-04T06:00", "--candidate")
    assert (tried["event"], tried["release"], tried["candidate"]) == ("published", 4, True)
    (promoted,) = told_of("promote", "--as-of", "2024-03-04T06:00")
    assert (promoted["event"], promoted["command"], promoted["candidate"]) == ("published", "promote", False)
    for line in (["hold"], ["status"], ["releases"], ["release-hold"]):
        assert told_of(*line) == []
    (tmp_path / "samples/3.parquet").write_bytes(b"rot")
    (error,) = told_of("update-lr", "--as-of", "2024-03-04T09:00", code=1)
    assert (error["event"], "3.parquet" in error["reason"], "release" in error) == ("error", True, False)


def test_no_job_fails_of_it(told_of: Any, tmp_path: Path, capsys: Any) -> None:
    assert told_of("train-trees", "--as-of", "2024-03-04")
    text = (tmp_path / "model.toml").read_text()
    broken = text[: text.index("[notify]")] + '[notify]\ncommand = ["no-such-program"]\nurl = "http://127.0.0.1:9"\n'
    (tmp_path / "broken.toml").write_text(broken)
    assert main(["update-lr", "--as-of", "2024-03-04T03:00", "-c", str(tmp_path / "broken.toml"), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["status"] == "published"
    assert "notify.failed target=command" in captured.err
    assert "notify.failed target=url" in captured.err


def test_a_stream_tells_each_release_once(
    told_of: Any, make_samples: Callable[..., pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [each["release"] for each in told_of("train-trees", "--as-of", "2024-03-04", method="ftrl")] == [1]
    rows = make_samples(datetime(2024, 3, 4, tzinfo=UTC)).drop_columns(["ts"]).to_pylist()
    lines = [json.dumps(row) for row in rows]
    monkeypatch.setattr("gbdtlr.cli.learn._pieces", lambda *_: [lines[:100], [], lines[100:200], []])
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        told = told_of("learn", "--publish-samples", "60", method="ftrl")
    assert [(each["event"], each["command"], each["release"]) for each in told] == [
        ("published", "learn", 2),
        ("published", "learn", 3),
    ]
