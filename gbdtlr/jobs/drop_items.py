"""Drop: the live embeddings without some items, which somebody wants deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from gbdtlr.embeddings import keys_of
from gbdtlr.embeddings.counts import places_in
from gbdtlr.errors import NoReleaseError, Refused
from gbdtlr.jobs.by import NOBODY, By
from gbdtlr.jobs.carrying import try_publish_embeddings
from gbdtlr.jobs.result import JobResult
from gbdtlr.jobs.run import ended
from gbdtlr.jobs.versions import versions
from gbdtlr.release import Embedded, Release
from gbdtlr.store import Store

WHY = "embeddings drop"


def drop_items(store: Store, items: Sequence[str], as_of: datetime, by: By = NOBODY) -> JobResult:
    """Publish embeddings that know nothing of the items, in whichever release is live by then.

    All other vectors stay as they are, and as old as they are. Versions before keep the items until they are pruned,
    and the next ``train-embeddings`` learns them again from samples that still have them.

    Parameters
    ----------
    items : as in the samples
    as_of : the moment of the deletion
    by : who asks, and why

    Returns
    -------
    result : ``published``, ``unchanged`` if no vector is of any of them, or ``refused`` while a hold stands

    Raises
    ------
    NoReleaseError
        Nothing is published, or there are no embeddings.
    GbdtlrError
        The live release cannot be used here; nothing was published.
    """
    store.ensure_put_if_absent()
    base: Release | None = None
    while True:
        base = Release.live(store, base)
        if base is None or base.embeddings is None:
            what = "nothing is published" if base is None else f"release {base.entry.number} has no embeddings"
            raise NoReleaseError(f"{what} in {store.url}; gbdtlr train-embeddings makes the first")
        embedded, live = base.embeddings, base.embeddings.vectors
        keys = np.unique(keys_of(list(items), live.hash)[0])
        n_dropped = int(places_in(live.keys, keys)[1].sum())
        if not n_dropped:
            return ended("unchanged", base.entry, as_of, f"none of {len(items)} items has a vector")
        metrics = {"dropped": n_dropped, "items": len(live) - n_dropped}
        made = live.without(keys)
        manifest = {"metrics": metrics, "before": embedded.name, "turned_onto": embedded.lineage}
        manifest |= {"versions": versions()}
        version = store.write_version("embeddings", made.to_files(), manifest, embedded.as_of)
        who = by.values(f"{n_dropped} items were to be deleted")
        values = {"why": WHY, "forced": False, "metrics": metrics, **who}
        try:
            entry = try_publish_embeddings(store, base, Embedded.of(store, version), as_of, values)
        except Refused as refusal:
            return ended("refused", base.entry, as_of, str(refusal))
        if entry is not None:
            return ended("published", entry, as_of, entry.reason, 0, metrics)
