"""Status: the live release, its ages, and how well it does."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from gbdtlr.errors import DamagedError
from gbdtlr.jobs.publishing import as_of_version
from gbdtlr.operate.opened import AnyStore, opened, readable, standing_of
from gbdtlr.operate.releases import values_of
from gbdtlr.store import Entry, Store
from gbdtlr.store.backend import each

LOOK_BACK = 20
"""Releases ``status`` looks through for a progressive quality: forced runs and rollbacks measure none."""


def status(store: AnyStore, now: datetime) -> dict[str, Any]:
    """The live entry, the ages of its trees, head and embeddings, and the newest progressive quality on record.

    It costs a few requests and reads no version.

    Parameters
    ----------
    now : the moment ages are taken at

    Returns
    -------
    status : the entry in JSON's types, its number as ``release``; ``trees_age_s``, ``head_age_s`` and
        ``embeddings_age_s``, seconds since the moment up to which each knows labels, the last None where there are
        none; ``progressive``, the quality last measured on labels not yet learned, with the ``release`` it was recorded
        in, or None; ``candidate``, the same of the candidate, whose ``progressive`` is that of the candidates before
        it, and None for the first of them; None where none stands; ``held``, the entry of the hold that stands, or None

    Raises
    ------
    NoReleaseError
        Nothing is published.
    """
    store = opened(store)
    standing = standing_of(store)
    live = standing.live
    held = None if standing.held is None else store.entry(standing.held)
    tried = None if standing.candidate is None else store.entry(standing.candidate)
    return {
        **_values(live, now),
        "progressive": _progressive(store, live),
        "candidate": None if tried is None else {**_values(tried, now), "progressive": _of_candidates(store, tried)},
        "held": None if held is None else values_of(held),
    }


def ages_of(entry: Entry, now: datetime) -> dict[str, float | None]:
    """``trees_age_s``, ``head_age_s`` and ``embeddings_age_s`` of an entry, by the names of its versions."""
    names = {"trees": entry.trees, "head": entry.head, "embeddings": entry.embeddings}
    return {f"{part}_age_s": None if name is None else _age_s(name, now) for part, name in names.items()}


def _values(entry: Entry, now: datetime) -> dict[str, Any]:
    """An entry of a pair and its ages; what stands after it is told of the newest alone."""
    values = {name: value for name, value in values_of(entry).items() if name not in ("live", "candidate", "held")}
    return {**values, **ages_of(entry, now)}


def _age_s(version: str, now: datetime) -> float:
    try:
        as_of = datetime.strptime(as_of_version(version), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise DamagedError(f"a release names {version}, which is of no day there is") from None
    return (now - as_of).total_seconds()


def _progressive(store: Store, live: Entry) -> dict[str, Any] | None:
    if recorded := _recorded(live):
        return recorded
    before = range(live.number - 1, max(0, live.number - LOOK_BACK), -1)
    for entry in each(store.backend, partial(readable, store), before):
        if isinstance(entry, Entry) and entry.kind == "release" and (recorded := _recorded(entry)):
            return recorded
    return None


def _of_candidates(store: Store, tried: Entry) -> dict[str, Any] | None:
    """What candidates gave in the shadow; what is built on the live release has measured that one."""
    base = None if tried.base is None else readable(store, tried.base)
    return _recorded(tried) if isinstance(base, Entry) and base.kind == "candidate" else None


def _recorded(entry: Entry) -> dict[str, Any] | None:
    return {**entry.metrics["progressive"], "release": entry.number} if "progressive" in entry.metrics else None
