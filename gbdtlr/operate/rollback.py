"""Rollback and promotion: a pair that is in the log already goes live as a new release, because a person says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from gbdtlr.errors import Conflict, DamagedError, FormatError, NoReleaseError
from gbdtlr.jobs.by import NOBODY, By
from gbdtlr.jobs.result import JobResult
from gbdtlr.jobs.run import ended
from gbdtlr.operate.opened import AnyStore, opened, standing_of
from gbdtlr.release import Release, no_candidate
from gbdtlr.store import Entry, Store


def rollback(store: AnyStore, number: int | None, as_of: datetime, reason: str = "", by: By = NOBODY) -> JobResult:
    """Bring back the trees, embeddings and head of an earlier release as a new one, once they have proved whole here.

    Later updates build on what was brought back: a job that was under way ends ``superseded``, and only trees trained
    after the rollback take the place of these.

    Parameters
    ----------
    number : release to bring back; None for the newest before the live one that has another pair. Where the live
        one is itself a rollback, before the release that it brought back, so that each goes one step further. With
        a number, a newest entry that cannot be read is no hindrance
    as_of : the moment of the rollback
    reason : why, for people
    by : who asks

    Returns
    -------
    result : ``published``, or ``unchanged`` if that pair is live already

    Raises
    ------
    NoReleaseError
        No such release, or none before.
    DamagedError, FormatError, MismatchError
        It cannot be trusted here, or was pruned; nothing was published.
    """
    store = opened(store)
    target = store.entry(number) if number is not None else _before(store, standing_of(store).live)
    if target.kind == "candidate":
        raise NoReleaseError(f"release {target.number} was never live; gbdtlr promote {target.number} makes it live")
    if target.kind != "release":
        raise NoReleaseError(f"entry {target.number} is a {target.kind}, no release; gbdtlr releases lists them")
    values = {"why": "rollback", "rolled_back_to": target.number, **replace(by, reason=reason).values()}
    return _go_live(store, target, as_of, values)


def promote(store: AnyStore, number: int | None, as_of: datetime, by: By = NOBODY) -> JobResult:
    """Make a candidate live as a new release, once it has proved whole here.

    Like a rollback it is a person's word: a hold does not keep it, and a job that was under way ends ``superseded``.

    Parameters
    ----------
    number : of the candidate; None for the one that stands
    as_of : the moment of the promotion
    by : who asks, and why

    Returns
    -------
    result : ``published``, or ``unchanged`` if its pair is live already

    Raises
    ------
    NoReleaseError
        No candidate stands, or there is none of that number.
    DamagedError, FormatError, MismatchError
        It cannot be trusted here, or was pruned; nothing was published.
    """
    store = opened(store)
    number = standing_of(store).candidate if number is None else number
    if number is None:
        raise no_candidate(store)
    target = store.entry(number)
    if target.kind != "candidate":
        raise NoReleaseError(f"release {number} is no candidate; gbdtlr status shows the one that stands")
    return _go_live(store, target, as_of, {"why": "promote", "promoted": number, **by.values()})


def _go_live(store: Store, target: Entry, as_of: datetime, values: Mapping[str, Any]) -> JobResult:
    """Make the pair of an entry live as a new release, whatever is published meanwhile."""
    newest, live = _newest(store)
    Release.load(store, target)
    store.ensure_put_if_absent()
    names = {"trees": target.trees, "embeddings": target.embeddings, "head": target.head}
    values = {**values, **names, "as_of": as_of}
    while True:
        if live is not None and _pair(live) == _pair(target):
            told = f"release {live.number} has the trees and head of release {target.number} already"
            return ended("unchanged", live, as_of, told)
        try:
            base = newest if live is None else live.number
            entry = store.append({**values, "base": base}, newest + 1)
        except Conflict:
            # Whatever was published meanwhile, the operator wants the target: only the number is another.
            newest, live = _newest(store)
            continue
        return ended("published", entry, as_of, entry.reason)


def _newest(store: Store) -> tuple[int, Entry | None]:
    """Number of the newest entry, and the live release unless that, or the newest entry, is damaged."""
    newest = store.newest()
    try:
        standing = standing_of(store, newest)
    except (DamagedError, FormatError):
        return store.newest(), None
    return standing.newest.number, standing.live


def _pair(entry: Entry) -> tuple[str | None, ...]:
    return *entry.slow, entry.head


def _before(store: Store, live: Entry) -> Entry:
    """Newest release before the live one with another pair."""
    origin = live
    while origin.rolled_back_to is not None:
        origin = store.entry(origin.rolled_back_to)
    for number in range(origin.number - 1, 0, -1):
        entry = store.entry(number)
        if entry.kind == "release" and _pair(entry) != _pair(live):
            return entry
    raise NoReleaseError(f"no release before {origin.number} has other trees or another head; nothing to go back to")
