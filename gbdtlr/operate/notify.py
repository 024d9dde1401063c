"""Notifications: a program or an address is told how a job ended, within a time, and never in the job's way."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from gbdtlr.config import NotifyConfig
from gbdtlr.config.secrets import read_secret
from gbdtlr.errors import ConfigError, GbdtlrError

SIGNATURE = "X-Gbdtlr-Signature"


def notify(config: NotifyConfig, document: Mapping[str, Any]) -> dict[str, str]:
    """Tell the configured program and address of a document; nothing is raised.

    Both are told at once, and each has until ``config.timeout``, whatever it does: a program is killed then, with all
    that it has started, and an answer is waited for no longer.

    Returns
    -------
    failed : ``command`` or ``url`` to what went wrong; empty if nothing did
    """
    body = json.dumps(document, sort_keys=True, allow_nan=False).encode()
    timeout_s = config.timeout.total_seconds()
    asked: dict[str, Callable[[], None]] = {}
    if config.command:
        asked["command"] = lambda: run_command(config.command, body, timeout_s)
    if config.url is not None:
        asked["url"] = lambda: send(str(config.url), body, config.secret_file, timeout_s)
    failed = dict.fromkeys(asked, f"no end within {timeout_s:g} s")

    def ask(name: str) -> None:
        try:
            asked[name]()
        except GbdtlrError as error:
            failed[name] = str(error)
        except Exception as error:  # whatever it is, the job has ended as it has
            failed[name] = f"{type(error).__name__}: {error}"
        else:
            del failed[name]

    threads = [threading.Thread(target=ask, args=(name,), name=f"gbdtlr-notify-{name}", daemon=True) for name in asked]
    for thread in threads:
        thread.start()
    for name, thread in zip(asked, threads, strict=True):
        # A program has been killed by then; what trickles from an address is left to itself.
        thread.join(None if name == "command" else timeout_s)
    return dict(failed)


def run_command(command: tuple[str, ...], body: bytes, timeout_s: float) -> None:
    """Run a program with the document on its stdin; what it prints goes to stderr, as stdout is the job's result.

    Raises
    ------
    ConfigError
        It cannot be run.
    OSError, RuntimeError
        It exited with another code than 0, or took too long.
    """
    told = {**os.environ, "GBDTLR_EVENT": str(json.loads(body).get("event", ""))}
    printed = _stderr()
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=printed, stderr=printed, env=told, start_new_session=True
        )
    except OSError as error:
        raise ConfigError(
            f"[notify] command: cannot run {command[0]}: {error.strerror}; name a program that this user can run"
        ) from None
    try:
        child.communicate(body, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{command[0]} did not end within {timeout_s:g} s, and was killed") from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if child.returncode:
        raise RuntimeError(f"{command[0]} ended with {child.returncode}")


def _stderr() -> int:
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # closed, or a test's
        return subprocess.DEVNULL


def send(url: str, body: bytes, secret_file: str | None, timeout_s: float) -> None:
    """POST the document; its signature is the HMAC-SHA256 of the body.

    Raises
    ------
    ConfigError
        The secret cannot be read, or is empty, so that anyone could sign.
    OSError, RuntimeError
        There is no answer, or one that is not of success. It is not sent elsewhere.
    """
    import urllib.error
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    headers = {"Content-Type": "application/json", "User-Agent": "gbdtlr"}
    if secret_file is not None:
        headers[SIGNATURE] = signature(body, read_secret("[notify] secret_file", secret_file))
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=timeout_s) as answer:
            answer.read(1 << 16)
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(f"it answered {error.code}") from None


def signature(body: bytes, secret: bytes) -> str:
    """``sha256=`` and the HMAC-SHA256 of a body in hexadecimal, for its receiver to compare with."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
