"""The jobs: ``train-trees`` and ``train-embeddings``, the slow ones, and ``update-lr``, the fast one."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from gbdtlr import tables
from gbdtlr.cli import metrics, outcome
from gbdtlr.cli.session import Session, as_of, by, reason, wall_clock, with_config

if TYPE_CHECKING:
    from gbdtlr.jobs import JobResult

REFUSED = 4
HELD = "held "
"""How the reason of a refusal begins that is a hold's: it names its own remedy."""
_force = click.option("--force", is_flag=True, help="Publish even if a guard objects; the release says it was forced.")


def _hear_candidate(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    session = ctx.find_object(Session)
    if session is not None:
        session.candidate = value
    return value


_candidate = click.option(
    "--candidate", is_flag=True, callback=_hear_candidate, help="Publish to be tried in the shadow, not to go live."
)


@click.command("train-trees")
@as_of("Learn only from what was known at this time")
@_force
@_candidate
@reason
@outcome.metrics
@with_config
def train_trees(session: Session, as_of: str | None, force: bool, candidate: bool, reason: str) -> int:
    """Fit and freeze trees, fit their first head, publish both.

    The slow job: once a day or so. Ends as published, superseded, or refused (exit 4), by a guard or a hold.

    \b
    Example:
      gbdtlr train-trees -c configs/flights.toml --as-of 2013-02-15
    """
    from gbdtlr.jobs.train_trees import train_trees

    result = train_trees(
        session.config,
        session.now(as_of),
        force=force,
        on_event=session.log.event,
        progress=session.log.progress("trees.progress"),
        by=by(reason),
        candidate=candidate,
    )
    return finish(session, result)


@click.command("train-embeddings")
@as_of("Learn only from what was known at this time")
@_force
@_candidate
@reason
@outcome.metrics
@with_config
def train_embeddings(session: Session, as_of: str | None, force: bool, candidate: bool, reason: str) -> int:
    """Make vectors of items, publish them with the live trees and head.

    The third job: once a day or a week, where [embeddings] and [samples] item are set. Ends as published, superseded,
    or refused (exit 4), by a guard or a hold.

    \b
    Example:
      gbdtlr train-embeddings -c configs/shop.toml --as-of 2013-02-15
    """
    from gbdtlr.jobs.train_embeddings import train_embeddings

    moment, log = session.now(as_of), session.log.event
    result = train_embeddings(session.config, moment, force=force, on_event=log, by=by(reason), candidate=candidate)
    return finish(session, result)


@click.command("update-lr")
@as_of("Learn only from what was known at this time")
@_force
@_candidate
@reason
@outcome.metrics
@with_config
def update_lr(session: Session, as_of: str | None, force: bool, candidate: bool, reason: str) -> int:
    """Refit the head on the live trees with fresh samples.

    The fast job: every few minutes. Ends as published, unchanged (nothing new to learn from), superseded (newer
    trees appeared meanwhile), or refused (exit 4), by a guard or a hold.

    \b
    Example:
      gbdtlr update-lr -c configs/flights.toml --as-of 2013-02-15T03:00
    """
    from gbdtlr.jobs.update_lr import update_lr

    moment = session.now(as_of)
    log = session.log.event
    result = update_lr(session.config, moment, force=force, on_event=log, by=by(reason), candidate=candidate)
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
    session.ended(result)
    counts = {"release": result.release, "samples": result.samples}
    session.log.end(f"job.{result.status}", **counts, **({"reason": result.reason} if result.reason else {}))
    values = result.as_dict()
    session.result(values, lambda: _text(values, session))
    if result.status != "refused":
        return 0
    remedy = "" if result.reason.startswith(HELD) else f"; mend the samples, or {overrule}"
    session.log.error(f"refused: {result.reason}{remedy}", REFUSED)
    return REFUSED


def _text(values: dict[str, Any], session: Session) -> str:
    names = ["trees", *(["embeddings"] if values["embeddings"] else []), "head", "as_of"]
    if values["samples"]:
        names.append("samples")
    rows = [(name.replace("_", " "), tables.cell(values[name])) for name in names]
    role = "the candidate" if values["candidate"] else "live"
    live = f"; {role} is release {values['release']}" if values["release"] else ""
    title = f"published release {values['release']}" if values["status"] == "published" else values["status"] + live
    if values["status"] == "published" and values["candidate"]:
        title += " as the candidate"
    return f"{title}\n\n{metrics.text(rows, values['metrics'], values['reason'], session)}"


COMMANDS = (train_trees, train_embeddings, update_lr)
