"""Factor: ``U`` with ``U' U`` what samples say of some parameters, all of it or the directions they say most about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head import memory_kernels as kernels
from gbdtlr.head.kernels import add_leaf_counts
from gbdtlr.head.sampling import sample_rows

SPARE = 8
"""Directions looked at beyond those kept."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """Samples as their curvature, ``X' diag(strength) X`` of the one-hot rows X, in parts.

    Attributes
    ----------
    leaves : each uint8 or uint16 (n_trees, n)
    offsets : int64 (n_trees + 1,)
    wide : each int32 (n_wide, n), parameters, or -1 for those left out
    strength : each float32 (n,)
    """

    leaves: Sequence[NDArray[np.unsignedinteger]]
    offsets: NDArray[np.int64]
    wide: Sequence[NDArray[np.int32]]
    strength: Sequence[Floats]

    def __len__(self) -> int:
        return sum(len(each) for each in self.strength)

    def sampled(self, most: int) -> Rows:
        """The same rows, or ``most`` of them, drawn in proportion to their strength, that stand for all."""
        sizes = [len(each) for each in self.strength]
        if sum(sizes) <= most:
            return self
        share = sum(float(each.sum(dtype=np.float64)) for each in self.strength) / most
        rows, starts = sample_rows(self.strength, most), np.cumsum([0, *sizes])
        mine = [rows[a:b] - start for (a, b), start in zip(pairwise(rows.searchsorted(starts)), starts, strict=False)]
        return Rows(
            [each[:, at] for each, at in zip(self.leaves, mine, strict=True)],
            self.offsets,
            [each[:, at] for each, at in zip(self.wide, mine, strict=True)],
            [np.full(len(at), share, np.float32) for at in mine],
        )

    def at(self, place: NDArray[np.int32]) -> Rows:
        """The same rows in other parameters: wide parameter p becomes ``place[p]``; leaves stay, and come first."""
        return Rows(self.leaves, self.offsets, [place[each] for each in self.wide], self.strength)

    def diagonal(self, n: int) -> NDArray[np.float64]:
        """Diagonal of the curvature, (n,)."""
        out = np.zeros(n)
        for leaves, wide, strength in zip(self.leaves, self.wide, self.strength, strict=True):
            add_leaf_counts(leaves, self.offsets, strength, out)
            for column in wide:
                out += np.bincount(column, strength, n)
            out[-1] += strength.sum(dtype=np.float64)
        return out

    def gram(self, n: int) -> NDArray[np.float64]:
        """The curvature itself, (n, n); the last parameter is the bias."""
        lower = np.zeros((n, n))
        for leaves, wide, strength in zip(self.leaves, self.wide, self.strength, strict=True):
            kernels.add_gram(leaves, self.offsets, wide, strength, lower)
        return lower + np.tril(lower, -1).T

    def add_times(self, lines: Floats, out: Floats) -> None:
        """``out += curvature @ lines``, (n, r)."""
        for leaves, wide, strength in zip(self.leaves, self.wide, self.strength, strict=True):
            margins = np.empty((len(strength), lines.shape[1]), np.float32)
            kernels.project(leaves, self.offsets, wide, lines, margins)
            kernels.scatter(leaves, self.offsets, wide, strength[:, None] * margins, out)


def square(before: Floats, rows: Rows) -> Floats:
    """Factor of ``before' before`` and the rows, with nothing lost: float32 (n, n)."""
    known = before.astype(np.float64)
    return _root(known.T @ known + rows.gram(before.shape[1]))


def thin(before: Floats, rows: Rows, rank: int) -> Floats:
    """Factor of the directions in which ``before' before`` and the rows are largest: float32 (rank, n).

    Source
    ------
    Halko, Martinsson and Tropp 2011, algorithms 4.1 and 5.3.
    """

    def times(lines: Floats) -> Floats:
        out: Floats = before.T @ (before @ lines)
        rows.add_times(lines, out)
        return out

    n = before.shape[1]
    start = np.random.default_rng(0).standard_normal((n, min(n, rank + SPARE)), np.float32)
    basis = np.ascontiguousarray(np.linalg.qr(times(start))[0])
    factor: Floats = _root((basis.T @ times(basis)).astype(np.float64))[-rank:] @ basis.T
    return factor


def _root(symmetric: NDArray[np.float64]) -> Floats:
    """``R`` with ``R' R`` the matrix, its lines in rising order of what they hold, (n, n)."""
    values, vectors = np.linalg.eigh(symmetric)
    root: Floats = (np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T).astype(np.float32)
    return root
