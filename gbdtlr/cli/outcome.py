"""The outcome: how a job ended, told outside of its log, by a file of metrics; whatever came of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gbdtlr.cli.session import Function, Session
from gbdtlr.errors import ConfigError

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
