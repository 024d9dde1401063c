"""The outcome: how a job ended, told outside of its log: by a file of metrics, and to whom ``[notify]`` names."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gbdtlr.cli.session import Function, Session
from gbdtlr.errors import ConfigError
from gbdtlr.times import format_time

if TYPE_CHECKING:
    from gbdtlr.jobs import JobResult


def metrics(function: Function) -> Function:
    """The option ``--metrics``, which is heard before anything can fail, so that all that does is written there."""

    def hear(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        session = ctx.find_object(Session)
        if value is not None and session is not None:
            session.watchers.insert(0, MetricsFile(session, str(ctx.info_name), value).write)

    return click.option(
        "--metrics",
        metavar="FILE",
        callback=hear,
        expose_value=False,
        is_eager=True,
        help="Write how the run ended there, for Prometheus.",
    )(function)


class MetricsFile:
    """The file where it is written how a run of a job ends.

    Raises
    ------
    ConfigError
        Nothing can be written there: better told before the job than after it.
    """

    def __init__(self, session: Session, command: str, path: str) -> None:
        self._session = session
        self._command = command
        self._path = Path(path)
        self._start = session.clock()
        if self._path.is_dir():
            raise ConfigError(f"--metrics: {path} is a folder; name a file in it")
        if not os.access(self._path.parent, os.W_OK):
            raise ConfigError(
                f"--metrics: nothing can be written in {self._path.parent}; make that folder, or name another"
            )

    def write(self, result: JobResult | None, _code: int) -> None:
        """Write the file whole: what came of the job, or that an error ended it. A job never fails of it."""
        from gbdtlr.operate.job_metrics import Ended, job_metrics

        now = self._session.clock()
        seconds, status = (now - self._start).total_seconds(), "error" if result is None else result.status
        store = self._session.store_if_known
        ended = Ended(self._command, store, self._session.candidate, status, now.timestamp(), seconds, result)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            before = self._path.read_text("utf-8", "replace") if self._path.exists() else ""
            temporary.write_text(job_metrics(ended, before), "utf-8")
            os.replace(temporary, self._path)
        except OSError as error:
            self._session.log.event("metrics.failed", file=str(self._path), reason=str(error))


MAKE_LIVE = ("train-trees", "train-embeddings", "update-lr", "learn", "rollback", "promote")
"""Commands whose ends somebody may want to be told of."""
INTERRUPTED = 130


class Notifier:
    """Tells whom ``[notify]`` names of each end of a command, once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._told: tuple[Any, ...] = ()

    def tell(self, result: JobResult | None, code: int) -> None:
        """Tell of a result, or of the error that ended the command with ``code``. A job never fails of it."""
        config, command = self._session.notified, self._session.command
        if not (config.command or config.url) or command not in MAKE_LIVE:
            return
        event = event_of(command, result, code)
        this = (event, result.release if result is not None else None, result.reason if result is not None else "")
        if event not in config.on or this == self._told:  # a stream's end says its last release again
            return
        self._told = this
        from gbdtlr.operate.notify import notify

        for target, reason in notify(config, self._document(event, result)).items():
            self._session.log.event("notify.failed", target=target, reason=reason)

    def _document(self, event: str, result: JobResult | None) -> dict[str, Any]:
        from gbdtlr.jobs.by import By

        by = By.here()
        told: dict[str, Any] = {
            "event": event,
            "id": secrets.token_hex(8),
            "time": format_time(self._session.clock()),
            "command": self._session.command,
            "store": self._session.store_if_known,
            "user": by.user,
            "host": by.host,
        }
        if result is None:
            return {**told, "reason": self._session.log.last_error}
        values = result.as_dict()
        return {**told, **{name: value for name, value in values.items() if name not in ("metrics", "guards")}}


def event_of(command: str, result: JobResult | None, code: int) -> str:
    """What the end of a command is called; empty for one that is nobody's business."""
    if result is None:
        return "error" if code not in (0, INTERRUPTED) else ""
    if result.status == "published" and command == "rollback":
        return "rolled_back"
    return result.status
