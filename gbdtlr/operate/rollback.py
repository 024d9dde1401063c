"""Rollback: the way back to an earlier release, which is a new one."""

from __future__ import annotations

from datetime import datetime

from gbdtlr.errors import Conflict, DamagedError, FormatError, NoReleaseError
from gbdtlr.jobs.result import JobResult
from gbdtlr.jobs.run import ended
from gbdtlr.operate.opened import AnyStore, live_entry, opened
from gbdtlr.release import Release
from gbdtlr.store import Entry, Store


def rollback(store: AnyStore, number: int | None, as_of: datetime, reason: str = "") -> JobResult:
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
    target = store.entry(number) if number is not None else _before(store, live_entry(store))
    newest, live = _newest(store)
    Release.load(store, target)
    store.ensure_put_if_absent()
    values = {
        "as_of": as_of,
        "trees": target.trees,
        "embeddings": target.embeddings,
        "head": target.head,
        "why": "rollback",
        "reason": reason,
        "rolled_back_to": target.number,
    }
    while True:
        if live is not None and _pair(live) == _pair(target):
            told = f"release {live.number} has the trees and head of release {target.number} already"
            return _result("unchanged", live, as_of, told)
        try:
            entry = store.append({**values, "base": newest}, newest + 1)
        except Conflict:
            # Whatever was published meanwhile, the operator wants the target: only the number is another.
            newest, live = _newest(store)
            continue
        return _result("published", entry, as_of, reason)


def _newest(store: Store) -> tuple[int, Entry | None]:
    """Number of the newest entry, and the entry itself unless it is damaged."""
    newest = store.newest()
    try:
        live = live_entry(store, newest)
    except (DamagedError, FormatError):
        return store.newest(), None
    return live.number, live


def _pair(entry: Entry) -> tuple[str | None, ...]:
    return *entry.slow, entry.head


def _before(store: Store, live: Entry) -> Entry:
    """Newest release before the live one with another pair."""
    origin = live
    while origin.rolled_back_to is not None:
        origin = store.entry(origin.rolled_back_to)
    for number in range(origin.number - 1, 0, -1):
        entry = store.entry(number)
        if _pair(entry) != _pair(live):
            return entry
    raise NoReleaseError(f"no release before {origin.number} has other trees or another head; nothing to go back to")


def _result(status: str, live: Entry, as_of: datetime, reason: str) -> JobResult:
    return ended(status, live, as_of, reason)
