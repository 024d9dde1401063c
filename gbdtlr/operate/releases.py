"""Releases: the log as people read it, damaged and pruned entries too."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

from gbdtlr.operate.opened import AnyStore, check_not_empty, opened, readable
from gbdtlr.store import Entry
from gbdtlr.store.backend import each
from gbdtlr.store.entry import PAIRS

_UNREADABLE: dict[str, Any] = {
    **{each.name: None for each in fields(Entry) if each.name != "number"},
    "why": "damaged",
    "forced": False,
    "metrics": {},
    "pruned": False,
}


def releases(store: AnyStore, last: int | None = None) -> list[dict[str, Any]]:
    """The newest ``last`` entries of the log, or all, newest last, in JSON's types; their numbers are ``release``.

    Candidates and holds are among them, by their ``kind``. ``pruned`` tells those any of whose versions is no longer in
    the store, so that they cannot be rolled back to. Of an entry that cannot be read, ``why`` is ``damaged``,
    ``reason`` says what is wrong, and the rest is None.

    Raises
    ------
    NoReleaseError
        The store is empty, or its name is mistyped.
    """
    store = opened(store)
    newest = store.newest()
    if not newest:
        check_not_empty(store)
    numbers = range(1 if last is None else max(1, newest - last + 1), newest + 1)
    found = each(store.backend, partial(readable, store), numbers)
    entries = [entry for entry in found if isinstance(entry, Entry)]
    needed = sorted({version for entry in entries if entry.kind in PAIRS for version in entry.versions}, key=str)
    if last is None:
        there = set(store.list_versions())
    else:  # a listing goes through all versions, these may be few
        exists = each(store.backend, lambda it: store.has_version(it.kind, it.name, it.under), needed)
        there = {version for version, exist in zip(needed, exists, strict=True) if exist}
    return [
        {**values_of(entry), "pruned": entry.kind in PAIRS and not {*entry.versions} <= there}
        if isinstance(entry, Entry)
        else {"release": number, **_UNREADABLE, "reason": entry}
        for number, entry in zip(numbers, found, strict=True)
    ]


def values_of(entry: Entry) -> dict[str, Any]:
    """An entry in the words of ``--json``, where the number of a release is ``release`` everywhere."""
    values = entry.to_dict()
    return {"release": values.pop("number"), **values}
