"""``serve``: the live release over HTTP."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import click

from gbdtlr import tables
from gbdtlr.cli.session import Session, duration, with_store


@click.command("serve")
@click.option("--bind", metavar="ADDRESS", help="Where to listen: host:port or unix:path; 127.0.0.1:8000 if not given.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes that serve; 1 if not given.")
@duration("--refresh", help="Look for a newer release so often; 30s if not given.")
@click.option("--token-file", metavar="FILE", help="Answer only who sends a bearer token of this file.")
@with_store
def serve(
    session: Session, bind: str | None, workers: int | None, refresh: timedelta | None, token_file: str | None
) -> None:
    """Answer HTTP requests with the live release.

    Speaks its own JSON and Arrow at /score, the Open Inference Protocol v2 below /v2, and MLflow's /invocations;
    /metrics is for Prometheus, / a page for people. [serve] of the config sets the limits. On SIGTERM it says that it
    is not ready, answers what has begun, and exits with 0.

    \b
    Example:
      gbdtlr serve -c configs/flights.toml --workers 2
      gbdtlr serve --store s3://example-models/ctr --bind 0.0.0.0:8080 --token-file /run/secrets/token
    """
    from gbdtlr.compute import threads
    from gbdtlr.serving.runner import run

    given = {"bind": bind, "workers": workers, "refresh": refresh, "token_file": token_file}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = dataclasses.replace(session.serving, **changes)
    threads.set_threads(session.threads)

    def ready(address: str, release: int) -> None:
        values = {"address": address, "release": release, "workers": settings.workers}
        text = f"serving release {release} at {address} with {tables.count(settings.workers, 'worker')}"
        session.result(values, lambda: text)

    run(session.store_url, settings, session.log.event, ready)
    session.log.end("serve.ended")


COMMANDS = (serve,)
