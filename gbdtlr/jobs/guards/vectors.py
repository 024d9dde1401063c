"""Vectors: whether new embeddings are of the items that are shown, and near enough to the live ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gbdtlr.config import GuardConfig
from gbdtlr.embeddings import Counts, Embeddings, mean_cosine, shared
from gbdtlr.embeddings.counts import places_in
from gbdtlr.jobs.guards.check import Check


def not_finite_vectors(embeddings: Embeddings) -> Iterator[Check]:
    """Objection to vectors that are not finite: no score made of them would be a number."""
    if not embeddings.is_finite:
        bad = int((~np.isfinite(embeddings.vectors).all(axis=1)).sum())
        largest = float(np.finfo(np.float16).max)
        told = f"{bad} of {len(embeddings)} items have vectors that are not finite, or beyond {largest:g} in size"
        yield Check("finite", 0.0, low=1.0, objection=told)


def share_known(embeddings: Embeddings, shown: Counts, n_rows: int) -> float | None:
    """Share of rows whose item has a vector of its own; None of no rows.

    Parameters
    ----------
    shown : rows by item
    n_rows : of all rows, those without an item among them
    """
    known = places_in(embeddings.keys, shown.keys)[1]
    return float(shown.n[known].sum() / n_rows) if n_rows else None


def cosine_to(live: Embeddings, embeddings: Embeddings, shown: Counts) -> tuple[float | None, int]:
    """Mean cosine between the vectors of two versions, each item by its rows, and how many items both have.

    None where they have no item in common, or vectors of other lengths.
    """
    if live.dimensions != embeddings.dimensions:
        return None, 0
    own, before = shared(embeddings.keys, live.keys)
    places, known = places_in(shown.keys, embeddings.keys[own])
    weight = np.zeros(len(own))
    weight[known] = shown.n[places[known]]
    return mean_cosine(embeddings.vectors[own], live.vectors[before], weight), len(own)


def unknown_items(share: float | None, n_rows: int, guard: GuardConfig) -> Iterator[Check]:
    """Check of embeddings, which must not lack the items of too many rows."""
    if share is None or n_rows < guard.min_samples:
        return
    unknown = (
        f"{share:.0%} of the last day's {n_rows} rows have an item with a vector; [guard] vectors = "
        f"{guard.vectors:g} asks for {guard.vectors:.0%}; are items spelled as in the samples?"
    )
    yield Check("vectors", share, low=guard.vectors, objection=unknown if share < guard.vectors else "")


def far_from_live(cosine: float | None, n_shared: int, live: Embeddings, guard: GuardConfig) -> Iterator[Check]:
    """Check of vectors, which, rotated, must have something to do with the live ones."""
    if not n_shared and len(live):
        gone = "no item of the live embeddings has a vector any more; are items spelled as they were?"
        yield Check("shared", 0.0, low=1.0, objection=gone)
    if cosine is not None:
        far = (
            f"the mean cosine between new vectors, rotated, and live ones is {cosine:.3f} on {n_shared} items; "
            f"[guard] cosine asks for {guard.cosine:g}"
        )
        yield Check("cosine", cosine, low=guard.cosine, objection=far if cosine < guard.cosine else "")
