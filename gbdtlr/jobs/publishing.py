"""Publishing: who wins when jobs overlap. Every decision is made on the log as it is, and again if it has moved."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gbdtlr.errors import Conflict, NoReleaseError, Refused, StoreError
from gbdtlr.store import Entry, Standing, Store, Version
from gbdtlr.times import format_time


@dataclass(frozen=True)
class Published:
    """What became of a new head: live as ``entry``, or superseded by ``entry`` for a ``reason``."""

    entry: Entry
    superseded: bool = False
    reason: str = ""


def note_refusal(store: Store, live: Entry | None, job: str, as_of: datetime, reason: str) -> None:
    """Leave a note of a refusal in the store; the job ends the same if that fails."""
    with contextlib.suppress(StoreError):
        store.note_refusal(live.number if live is not None else 0, job, as_of, reason)


def as_of_version(name: str) -> str:
    """The part of a version's name that says its as_of; names sort by time."""
    return name.partition("-")[0]


def held_reason(hold: Entry) -> str:
    """Why a job may not publish while a hold stands, and what to do."""
    who = f" by {hold.user}" if hold.user else ""
    why = f": {hold.reason}" if hold.reason else ""
    return (
        f"held since {format_time(hold.as_of)}{who} (entry {hold.number}){why}; lift it with gbdtlr release-hold, or "
        "publish a candidate with --candidate"
    )


def publish_head(
    store: Store,
    base: Entry,
    head: Version,
    values: Mapping[str, Any],
    since: int,
    candidate: bool = False,
    exactly: bool = False,
) -> Published:
    """Make ``head`` live, or the candidate, unless something newer than entry ``since`` says otherwise.

    Newer trees, other embeddings, a rollback, a promotion, or a head that knows as much win over it; an older head on
    the same trees does not. A candidate is overtaken by candidates, not by what goes live.

    Parameters
    ----------
    base : entry the head was built on
    values : further fields of the entry: ``why``, ``reason``, ``forced``, ``metrics``, ``user``, ``host``
    exactly : any release made meanwhile wins, however little it knows

    Raises
    ------
    Refused
        It was to go live, and a hold was made meanwhile.
    """
    n_looked = seen = since
    while True:
        standing = _standing(store, seen)
        now = store.entry(standing.candidate) if candidate and standing.candidate is not None else standing.live
        for number in range(n_looked + 1, standing.newest.number + 1):
            entry = store.entry(number)
            reason = _overtaken(entry, base, head, candidate)
            if exactly and not reason and entry.kind == "release":
                reason = f"release {number} was published meanwhile"
            if reason:
                return Published(now, True, reason)
        n_looked = standing.newest.number
        _check_not_held(store, standing, candidate)
        entry_values = {
            **values,
            "as_of": head.as_of,
            "trees": base.trees,
            "embeddings": base.embeddings,
            "head": head.name,
            "base": base.number,
            "kind": "candidate" if candidate else "release",
        }
        try:
            return Published(store.append(entry_values, n_looked + 1))
        except Conflict:
            seen = n_looked + 1


def _overtaken(entry: Entry, base: Entry, head: Version, candidate: bool) -> str:
    """Why an entry made meanwhile leaves no place for a head built on ``base``; empty if it does not."""
    if entry.stands_against_jobs:
        return f"release {entry.number} {entry.did} meanwhile"
    if candidate and entry.kind == "withdrawal":
        return f"entry {entry.number} withdrew the candidate meanwhile"
    if entry.kind != ("candidate" if candidate else "release"):
        return ""
    if entry.trees != base.trees:
        return f"release {entry.number} brought newer trees meanwhile"
    if entry.embeddings != base.embeddings:
        return f"release {entry.number} brought other embeddings meanwhile"
    if entry.as_of >= head.as_of:  # an update's is its head's, exactly; names carry whole seconds
        return f"release {entry.number} knows as much meanwhile"
    return ""


def chosen_since(store: Store, base: Entry, live: Entry) -> Entry | None:
    """The newest rollback or promotion after ``base`` up to ``live``, or None: what a job began before it must not
    undo."""
    for number in range(live.number, base.number, -1):
        entry = store.entry(number)
        if entry.stands_against_jobs:
            return entry
    return None


def try_publish_trees(
    store: Store, live: Entry | None, values: Mapping[str, Any], candidate: bool = False
) -> Entry | None:
    """Make a pair live, or the candidate, beside the live release ``live``; None if another is live meanwhile.

    Parameters
    ----------
    values : fields of the entry but ``number`` and ``base``

    Raises
    ------
    Refused
        It was to go live, and a hold stands.
    NoReleaseError
        A candidate, where nothing is live.
    """
    base = live.number if live is not None else None
    kind = "candidate" if candidate else "release"
    if live is None and candidate:
        raise no_candidate_first(store)
    while True:
        standing = store.standing(base or 0)
        if (None if standing is None else standing.live.number) != base:
            return None
        number = 0 if standing is None else standing.newest.number
        if standing is not None:
            _check_not_held(store, standing, candidate)
        try:
            return store.append({**values, "base": base, "kind": kind}, number + 1)
        except Conflict:
            continue


def no_candidate_first(store: Store) -> NoReleaseError:
    """What to raise of a candidate in a store where nothing is live."""
    return NoReleaseError(
        f"nothing is live in {store.url} yet, so there is nothing to try a candidate beside; run first, without "
        "--candidate: gbdtlr train-trees"
    )


def _standing(store: Store, at_least: int) -> Standing:
    standing = store.standing(at_least)
    if standing is None:
        raise NoReleaseError(f"the log of {store.url} is gone; restore it from a backup")
    return standing


def _check_not_held(store: Store, standing: Standing, candidate: bool) -> None:
    if standing.held is not None and not candidate:
        raise Refused(held_reason(store.entry(standing.held)))
