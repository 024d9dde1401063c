"""What a person decides about releases: ``rollback``, ``promote``, ``withdraw``, ``hold`` and ``release-hold``."""

from __future__ import annotations

import click

from gbdtlr.cli.jobs import finish
from gbdtlr.cli.session import Session, as_of, by, reason, with_store

_number = click.argument("number", type=click.IntRange(min=1), metavar="[N]", required=False)


@click.command("rollback")
@_number
@reason
@as_of("Time of the rollback")
@with_store
def rollback(session: Session, number: int | None, reason: str, as_of: str | None) -> int:
    """Make release N, or the one before the live one, live again.

    A rollback is a release too: nothing is lost, and it can be undone by another.

    \b
    Example:
      gbdtlr rollback -c configs/flights.toml 2 --reason "clicks were counted twice"
    """
    from gbdtlr.operate.rollback import rollback

    return finish(session, rollback(session.store(), number, session.now(as_of), reason, by(reason)))


@click.command("promote")
@_number
@reason
@as_of("Time of the promotion")
@with_store
def promote(session: Session, number: int | None, reason: str, as_of: str | None) -> int:
    """Make candidate N, or the one that stands, live.

    That is a new release with the candidate's trees and head; a rollback undoes it.

    \b
    Example:
      gbdtlr promote -c configs/flights.toml --reason "NE 2% lower over three days"
    """
    from gbdtlr.operate.rollback import promote

    return finish(session, promote(session.store(), number, session.now(as_of), by(reason)))


@click.command("withdraw")
@reason
@as_of("Time of the withdrawal")
@with_store
def withdraw(session: Session, reason: str, as_of: str | None) -> int:
    """Let no candidate stand any more.

    The next is built on the live release.

    \b
    Example:
      gbdtlr withdraw -c configs/flights.toml --reason "no better after three days"
    """
    from gbdtlr.operate.hold import withdraw

    return finish(session, withdraw(session.store(), session.now(as_of), by(reason)))


@click.command("hold")
@reason
@as_of("Time of the hold")
@with_store
def hold(session: Session, reason: str, as_of: str | None) -> int:
    """Let no job make anything live until release-hold.

    Jobs end as refused (exit 4) meanwhile, even with --force; they may still publish candidates. Rollback and promote
    work as ever.

    \b
    Example:
      gbdtlr hold -c configs/flights.toml --reason "half of the clicks are missing since noon"
    """
    from gbdtlr.operate.hold import hold

    return finish(session, hold(session.store(), session.now(as_of), by(reason)))


@click.command("release-hold")
@reason
@as_of("Time at which it is lifted")
@with_store
def release_hold(session: Session, reason: str, as_of: str | None) -> int:
    """Lift the hold: the next job may go live.

    \b
    Example:
      gbdtlr release-hold -c configs/flights.toml
    """
    from gbdtlr.operate.hold import release_hold

    return finish(session, release_hold(session.store(), session.now(as_of), by(reason)))


COMMANDS = (rollback, promote, withdraw, hold, release_hold)
