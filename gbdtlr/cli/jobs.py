"""The jobs: ``train-trees`` and ``train-embeddings``, the slow ones, and ``update-lr``, the fast one."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from gbdtlr import tables
from gbdtlr.cli import metrics
from gbdtlr.cli.session import Session, as_of, wall_clock, with_config

if TYPE_CHECKING:
    from gbdtlr.jobs import JobResult

REFUSED = 4
_force = click.option("--force", is_flag=True, help="Publish even if a guard objects; the release says it was forced.")


@click.command("train-trees")
@as_of("Learn only from what was known at this time")
@_force
@with_config
def train_trees(session: Session, as_of: str | None, force: bool) -> int:
    """Fit and freeze trees, fit their first head, publish both.

    The slow job: once a day or so. Ends as published, superseded, or refused (exit 4).

    \b
    Example:
      gbdtlr train-trees -c configs/flights.toml --as-of 2013-02-15
    """
    from gbdtlr.jobs.train_trees import train_trees

    progress = session.log.progress("trees.progress")
    log = session.log.event
    return finish(
        session, train_trees(session.config, session.now(as_of), force=force, on_event=log, progress=progress)
    )


@click.command("train-embeddings")
@as_of("Learn only from what was known at this time")
@_force
@with_config
def train_embeddings(session: Session, as_of: str | None, force: bool) -> int:
    """Make vectors of items, publish them with the live trees and head.

    The third job: once a day or a week, where [embeddings] and [samples] item are set. Ends as published, superseded,
    or refused (exit 4).

    \b
    Example:
      gbdtlr train-embeddings -c configs/shop.toml --as-of 2013-02-15
    """
    from gbdtlr.jobs.train_embeddings import train_embeddings

    moment, log = session.now(as_of), session.log.event
    return finish(session, train_embeddings(session.config, moment, force=force, on_event=log))


@click.command("update-lr")
@as_of("Learn only from what was known at this time")
@_force
@with_config
def update_lr(session: Session, as_of: str | None, force: bool) -> int:
    """Refit the head on the live trees with fresh samples.

    The fast job: every few minutes. Ends as published, unchanged (nothing new to learn from), superseded (newer
    trees appeared meanwhile), or refused (exit 4).

    \b
    Example:
      gbdtlr update-lr -c configs/flights.toml --as-of 2013-02-15T03:00
    """
    from gbdtlr.jobs.update_lr import update_lr

    moment = session.now(as_of)
    result = update_lr(session.config, moment, force=force, on_event=session.log.event)
    if result.status == "unchanged" and (ahead := moment - wall_clock()) > timedelta():
        told = f"as_of is {tables.age(ahead.total_seconds())} ahead of this machine's clock"
        result = dataclasses.replace(result, reason=f"{result.reason}; {told}")
    return finish(session, result)


def finish(session: Session, result: JobResult, overrule: str = "publish all the same with --force") -> int:
    """Write what a job came to, and return the exit code that says so.

    Parameters
    ----------
    overrule : what to do if a guard was wrong to refuse
    """
    counts = {"release": result.release, "samples": result.samples}
    session.log.end(f"job.{result.status}", **counts, **({"reason": result.reason} if result.reason else {}))
    values = result.as_dict()
    session.result(values, lambda: _text(values, session))
    if result.status != "refused":
        return 0
    session.log.error(f"refused: {result.reason}; mend the samples, or {overrule}", REFUSED)
    return REFUSED


def _text(values: dict[str, Any], session: Session) -> str:
    names = ["trees", "head", "as_of"]
    if values["embeddings"]:
        names.insert(1, "embeddings")
    if values["samples"]:
        names.append("samples")
    rows = [(name.replace("_", " "), tables.cell(values[name])) for name in names]
    live = f"; live is release {values['release']}" if values["release"] else ""
    title = f"published release {values['release']}" if values["status"] == "published" else values["status"] + live
    return f"{title}\n\n{metrics.text(rows, values['metrics'], values['reason'], session)}"


COMMANDS = (train_trees, train_embeddings, update_lr)
