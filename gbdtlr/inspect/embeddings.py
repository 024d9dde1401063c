"""Embeddings of two releases: which items have a vector in both, and how far these have moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gbdtlr.embeddings import mean_cosine, shared
from gbdtlr.errors import GbdtlrError, StoreUnavailable
from gbdtlr.release import Embedded, Release


def embeddings_moved(old: Release, new: Release) -> dict[str, Any] | None:
    """What is between the embeddings of two releases; None where they are the same, or neither has any.

    Returns
    -------
    ``a``, ``b`` : names of the versions, None where there is none
    ``items_a``, ``items_b``, ``shared`` : items with a vector in each, and in both; None where they cannot be opened
    ``turned`` : whether the later lie as the earlier do, so that users' states go on
    ``cosine`` : mean of that between an item's two vectors; None where none can be compared
    """
    one, other = old.embeddings, new.embeddings
    names = [None if each is None else each.name for each in (one, other)]
    if names[0] == names[1]:
        return None
    turned = one is not None and other is not None and one.name in other.lineage
    told: dict[str, Any] = {"a": names[0], "b": names[1], "items_a": None, "items_b": None}
    told |= {"shared": None, "turned": turned, "cosine": None}
    try:
        return told | _of_vectors(one, other)
    except StoreUnavailable:
        raise
    except GbdtlrError:  # pruned, or beyond use: the names can be told all the same
        return told


def _of_vectors(one: Embedded | None, other: Embedded | None) -> dict[str, Any]:
    counts = {"items_a": 0 if one is None else len(one.vectors), "items_b": 0 if other is None else len(other.vectors)}
    if one is None or other is None:
        return {**counts, "shared": 0}
    before, now = one.vectors, other.vectors
    own, theirs = shared(now.keys, before.keys)
    alike = now.dimensions == before.dimensions
    cosine = mean_cosine(now.vectors[own], before.vectors[theirs], np.ones(len(own))) if alike else None
    return {**counts, "shared": len(own), "cosine": cosine}


def embeddings_in_words(moved: Mapping[str, Any]) -> str:
    """What :func:`embeddings_moved` found, in words."""
    if moved["b"] is None or moved["a"] is None:
        return "there were embeddings, and are none" if moved["b"] is None else "there were no embeddings, and are now"
    words = "the embeddings are new"
    if moved["shared"] is not None:
        words += f": {moved['items_b']:,} items, {moved['shared']:,} of {moved['items_a']:,} before among them"
    if moved["cosine"] is not None:
        words += f", with a mean cosine of {moved['cosine']:.3f} to what they were"
    return words if moved["turned"] else f"{words}; they were not turned onto those, so all users begin anew"
