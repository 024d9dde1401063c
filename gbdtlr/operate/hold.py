"""Hold: no job makes anything live until it is lifted; and the candidate's withdrawal. Both are entries of the log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gbdtlr.errors import Conflict
from gbdtlr.jobs.by import NOBODY, By
from gbdtlr.jobs.result import JobResult
from gbdtlr.jobs.run import ended
from gbdtlr.operate.opened import AnyStore, opened, standing_of
from gbdtlr.release import no_candidate
from gbdtlr.store import Standing


def hold(store: AnyStore, as_of: datetime, by: By = NOBODY) -> JobResult:
    """Keep what is live: from now on jobs end ``refused``, but for those that publish a candidate.

    A person may still roll back and promote; the hold stands until :func:`release_hold`.

    Parameters
    ----------
    as_of : the moment of the hold
    by : who asks, and why

    Returns
    -------
    result : ``held``, or ``unchanged`` if a hold stands already

    Raises
    ------
    NoReleaseError
        Nothing is published.
    """

    def stands(standing: Standing) -> str:
        return "" if standing.held is None else f"entry {standing.held} holds it already"

    return _decide(store, ("hold", "hold", "held"), as_of, by, stands)


def release_hold(store: AnyStore, as_of: datetime, by: By = NOBODY) -> JobResult:
    """Lift the hold: the next job may go live. The result is ``lifted``, or ``unchanged`` if none stands."""

    def stands(standing: Standing) -> str:
        return "no hold stands" if standing.held is None else ""

    return _decide(store, ("lift", "release-hold", "lifted"), as_of, by, stands)


def withdraw(store: AnyStore, as_of: datetime, by: By = NOBODY) -> JobResult:
    """Let no candidate stand: the next is built on the live release. The result is ``withdrawn``.

    Raises
    ------
    NoReleaseError
        No candidate stands.
    """
    store = opened(store)

    def stands(standing: Standing) -> str:
        if standing.candidate is None:
            raise no_candidate(store)
        return ""

    return _decide(store, ("withdrawal", "withdraw", "withdrawn"), as_of, by, stands)


def _decide(
    store: AnyStore, names: tuple[str, str, str], as_of: datetime, by: By, stands: Callable[[Standing], str]
) -> JobResult:
    """Write a decision that leaves the live release, unless it stands already.

    Parameters
    ----------
    names : kind of the entry, the command that makes it, and how that ends
    stands : in words, that it does; empty if not
    """
    store = opened(store)
    kind, why, status = names
    values = {"kind": kind, "why": why, "as_of": as_of, **by.values()}
    seen, checked = 0, False
    while True:
        standing = standing_of(store, seen)
        live, number = standing.live, standing.newest.number + 1
        if told := stands(standing):
            return ended("unchanged", live, as_of, told)
        if not checked:
            store.ensure_put_if_absent()
            checked = True
        versions = {"trees": live.trees, "embeddings": live.embeddings, "head": live.head}
        try:
            store.append({**values, **versions, "base": live.number}, number)
        except Conflict:
            seen = number
            continue
        return ended(status, live, as_of, by.reason)
