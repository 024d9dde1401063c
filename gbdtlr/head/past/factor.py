"""Factor: ``U`` with ``U' U`` what samples say of some parameters, all of it or the directions they say most about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head.past import kernels

SPARE = 8
"""Directions looked at beyond those kept."""
BLOCK = 4096
"""Rows whose margins are worked out at once: so many stay in a processor's own cache."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """A few samples as their curvature, ``X' diag(strength) X`` of the rows X of the design matrix.

    Attributes
    ----------
    leaves : uint8 or uint16 (n_trees, n)
    offsets : int64 (n_trees + 1,)
    wide : int32 (n_wide, n), parameters, or -1 for those left out
    dense : float32 (n_dense, n); their parameters stand before the last, the bias's
    strength : float32 (n,)
    """

    leaves: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]
    wide: NDArray[np.int32]
    dense: NDArray[np.float32]
    strength: Floats

    def at(self, place: NDArray[np.int32]) -> Rows:
        """The same rows in other parameters: wide parameter p becomes ``place[p]``; leaves stay, and come first, as do
        dense columns and the bias, which come last."""
        return Rows(self.leaves, self.offsets, place[self.wide], self.dense, self.strength)

    def gram(self, n: int) -> NDArray[np.float64]:
        """The curvature itself, (n, n); the last parameter is the bias."""
        lower = np.zeros((n, n))
        kernels.add_gram(self.leaves, self.offsets, self.wide, self.dense, self.strength, lower)
        return lower + np.tril(lower, -1).T

    def add_times(self, lines: Floats, out: Floats) -> None:
        """``out += curvature @ lines``, (n, r)."""
        for start in range(0, len(self.strength), BLOCK):
            rows = slice(start, start + BLOCK)
            strength = self.strength[rows]
            leaves, wide, dense = (np.ascontiguousarray(each[:, rows]) for each in (self.leaves, self.wide, self.dense))
            margins = np.empty((len(strength), lines.shape[1]), np.float32)
            kernels.project(leaves, self.offsets, wide, dense, lines, margins)
            kernels.scatter(leaves, self.offsets, wide, dense, strength[:, None] * margins, out)


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
