"""Publishing: who wins when jobs overlap. Every decision is made on the log as it is, and again if it has moved."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gbdtlr.errors import Conflict, StoreError
from gbdtlr.store import Entry, Store, Version


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


def publish_head(store: Store, base: Entry, head: Version, values: Mapping[str, Any]) -> Published:
    """Make ``head`` live unless something since ``base`` says otherwise.

    Newer trees, other embeddings, a rollback, or a head that knows as much win over it; an older head on the same trees
    does not.

    Parameters
    ----------
    base : entry the head was built on
    values : further fields of the entry: ``why``, ``reason``, ``forced``, ``metrics``
    """
    seen = base.number
    while True:
        live = store.live(at_least=seen) or base
        for number in range(base.number + 1, live.number + 1):
            entry = store.entry(number)
            if entry.trees != base.trees:
                return Published(live, True, f"release {number} brought newer trees meanwhile")
            if entry.rolled_back_to is not None:
                return Published(live, True, f"release {number} rolled back meanwhile")
            if entry.embeddings != base.embeddings:
                return Published(live, True, f"release {number} brought other embeddings meanwhile")
            if entry.as_of >= head.as_of:  # an update's is its head's, exactly; names carry whole seconds
                return Published(live, True, f"release {number} knows as much meanwhile")
        entry_values = {
            **values,
            "as_of": head.as_of,
            "trees": base.trees,
            "embeddings": base.embeddings,
            "head": head.name,
            "base": base.number,
        }
        try:
            return Published(store.append(entry_values, live.number + 1))
        except Conflict:
            seen = live.number + 1


def rolled_back_since(store: Store, base: Entry, live: Entry) -> Entry | None:
    """The newest rollback after ``base`` up to ``live``, or None: what a job began before it must not undo."""
    for number in range(live.number, base.number, -1):
        entry = store.entry(number)
        if entry.rolled_back_to is not None:
            return entry
    return None


def try_publish_trees(store: Store, live: Entry | None, values: Mapping[str, Any]) -> Entry | None:
    """Make a pair live right behind ``live``, or return None if another release took that number.

    Parameters
    ----------
    values : fields of the entry but ``number`` and ``base``
    """
    base = live.number if live is not None else None
    try:
        return store.append({**values, "base": base}, live.number + 1 if live is not None else 1)
    except Conflict:
        return None
