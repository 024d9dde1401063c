"""Carrying: the live head goes on under other embeddings, as long as it reads nothing of them.

A head of leaves and ids gives the same margin whatever the vectors are. So the first head of new embeddings is the live
one to the byte, with all that the next update goes on from, and tied to them: it knows all that the live one knew, and
nothing has to be fitted or judged again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gbdtlr.jobs.publishing import try_publish_trees
from gbdtlr.release import Embedded, Release, Slow
from gbdtlr.store import Entry, Store, Version


def carried(store: Store, base: Release, slow: Slow) -> Version:
    """The head of ``base``, written again as one of ``slow``, whose trees are the same.

    Raises
    ------
    DamagedError, FormatError, MismatchError
        It cannot be trusted here.
    """
    head = store.read_version("heads", base.entry.head, under=base.entry.trees)
    kept = {key: value for key, value in head.own.items() if key != "embeddings"}
    manifest = {**kept, **slow.ties(), "base": base.entry.number}
    version = store.write_version("heads", head.files, manifest, head.as_of, under=slow.trees_name)
    slow.model(version)
    return version


def try_publish_embeddings(
    store: Store,
    base: Release,
    embeddings: Embedded,
    as_of: datetime,
    values: Mapping[str, Any],
    candidate: bool = False,
) -> Entry | None:
    """Make embeddings live with the head of ``base``, or the candidate; None if another release came after it.

    Parameters
    ----------
    as_of : the moment the job pretends is now; the release is of no earlier one than ``base``'s
    values : further fields of the entry: ``why``, ``reason``, ``forced``, ``metrics``, ``user``, ``host``

    Raises
    ------
    Refused
        They were to go live, and a hold stands.
    """
    slow = base.slow.with_embeddings(embeddings)
    head = carried(store, base, slow)
    trees, name = slow.names
    names = {"trees": trees, "embeddings": name, "head": head.name}
    moment = max(as_of, base.entry.as_of)
    return try_publish_trees(store, base.entry, {**values, **names, "as_of": moment}, candidate)
