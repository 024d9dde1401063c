"""Status: the live release, its ages, and how well it does."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from gbdtlr.errors import DamagedError
from gbdtlr.jobs.publishing import as_of_version
from gbdtlr.operate.opened import AnyStore, live_entry, opened, readable
from gbdtlr.operate.releases import values_of
from gbdtlr.store import Entry, Store
from gbdtlr.store.backend import each

LOOK_BACK = 20
"""Releases ``status`` looks through for a progressive quality: forced runs and rollbacks measure none."""


def status(store: AnyStore, now: datetime) -> dict[str, Any]:
    """The live entry, the ages of its trees and head, and the newest progressive quality on record.

    It costs a few requests and reads no version.

    Parameters
    ----------
    now : the moment ages are taken at

    Returns
    -------
    status : the entry in JSON's types, its number as ``release``; ``trees_age_s``, ``head_age_s`` and
        ``embeddings_age_s``, seconds since the moment up to which each knows labels, the last None where there are
        none; ``progressive``, the quality last measured on labels not yet learned, with
        the ``release`` it was recorded in, or None

    Raises
    ------
    NoReleaseError
        Nothing is published.
    """
    store = opened(store)
    live = live_entry(store)
    return {
        **values_of(live),
        "trees_age_s": _age_s(live.trees, now),
        "head_age_s": _age_s(live.head, now),
        "embeddings_age_s": None if live.embeddings is None else _age_s(live.embeddings, now),
        "progressive": _progressive(store, live),
    }


def _age_s(version: str, now: datetime) -> float:
    try:
        as_of = datetime.strptime(as_of_version(version), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise DamagedError(f"the live release names {version}, which is of no day there is") from None
    return (now - as_of).total_seconds()


def _progressive(store: Store, live: Entry) -> dict[str, Any] | None:
    if "progressive" in live.metrics:
        return {**live.metrics["progressive"], "release": live.number}
    before = range(live.number - 1, max(0, live.number - LOOK_BACK), -1)
    for entry in each(store.backend, partial(readable, store), before):
        if isinstance(entry, Entry) and "progressive" in entry.metrics:
            return {**entry.metrics["progressive"], "release": entry.number}
    return None
