"""Rotate: turn new vectors so that they lie as near to those of the version before as a rotation can bring them.

Products of vectors, and so all that is learned from vectors of one version alone, do not change when all of them are
turned. What was learned from the version before, such as a user's weights kept by a client, then goes on to fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.blas import single_threaded
from gbdtlr.compute.parts import Parts
from gbdtlr.embeddings.counts import places_in
from gbdtlr.values.hashing import U64

F64 = NDArray[np.float64]
BLOCK = 1 << 16
SAME = 1e-6
"""A turn smaller than this is none: what does not change keeps its bytes."""


def shared(keys: U64, before: U64) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of the keys that two versions share, in the one and in the other; both rise."""
    places, there = places_in(before, np.asarray(keys))
    return np.flatnonzero(there), places[there]


def rotated_onto(vectors: NDArray[Any], own: NDArray[Any], before: NDArray[Any]) -> NDArray[Any]:
    """All ``vectors``, turned by the rotation, mirrors allowed, that brings ``own`` nearest to ``before``.

    Parameters
    ----------
    vectors : of any floats, (n, d)
    own, before : (n_shared, d), what two versions have for the same items

    Returns
    -------
    turned : float64 (n, d), or ``vectors`` themselves where there is nothing to turn

    Source
    ------
    Schönemann 1966: of ``own^T before = U S V^T``, the rotation is ``U V^T``.
    """
    if not len(own):
        return vectors
    with single_threaded():
        starts = Parts(list(range(0, len(own), BLOCK)))
        u, _, vt = np.linalg.svd(starts.sum(cross, own, before))
        turn = u @ vt
        if np.abs(turn - np.eye(len(turn))).max() < SAME:
            return vectors
        blocks = Parts(list(range(0, len(vectors), BLOCK)))
        return np.concatenate(blocks.map(turned, vectors, turn))


def cross(start: int, own: NDArray[Any], before: NDArray[Any]) -> F64:
    """What a block of items adds to ``own^T before``."""
    rows = slice(start, start + BLOCK)
    result: F64 = own[rows].astype(np.float64).T @ before[rows].astype(np.float64)
    return result


def turned(start: int, vectors: NDArray[Any], turn: F64) -> F64:
    """A block of vectors, turned."""
    result: F64 = vectors[start : start + BLOCK] @ turn
    return result


def mean_cosine(own: NDArray[Any], before: NDArray[Any], weight: NDArray[Any]) -> float | None:
    """Mean cosine of the angle between vectors of the same items, (n, d) each; None of none that have a length.

    Parameters
    ----------
    weight : (n,), of each item; where all are zero, items count alike
    """
    own, before = own.astype(np.float64), before.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", own, own) * np.einsum("ij,ij->i", before, before))
    known = lengths > 0
    if not known.any():
        return None
    cosine = np.einsum("ij,ij->i", own[known], before[known]) / lengths[known]
    weight = weight[known] if weight[known].any() else np.ones(int(known.sum()))
    return float((cosine * weight).sum() / weight.sum())
