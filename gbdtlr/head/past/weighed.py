"""Weighed: samples as curvature, as each half-life weighs them and candidates see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.head.codes import Codes
from gbdtlr.head.fit.candidates import Candidates
from gbdtlr.head.fit.sampling import marks_in, rows_at, squares_of
from gbdtlr.head.fit.window import decay
from gbdtlr.head.kernels import add_leaf_counts
from gbdtlr.head.layout import Layout
from gbdtlr.head.past.factor import Rows
from gbdtlr.metrics import sigmoid

BLOCK = 16_384
"""Rows whose margins of all candidates are worked out at once."""


@dataclass(frozen=True)
class WeighedPart:
    """Rows where they are.

    Attributes
    ----------
    leaves : uint8 or uint16 (n_trees, n)
    wide : int32 (n_wide, n), parameters of their buckets
    dense : float32 (n_dense, n)
    strength : float32 (n_half_lives, n), ``s p (1 - p)``
    squares : float64 (n_half_lives,), sum of ``s^2 p (1 - p)``
    """

    leaves: NDArray[np.unsignedinteger]
    wide: NDArray[np.int32]
    dense: NDArray[np.float32]
    strength: NDArray[np.float32]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, codes: Codes, fitted: Candidates, as_of: datetime) -> WeighedPart:
        """Samples seen from candidates, whose wide buckets include theirs."""
        half_lives, settings = half_lives_of(fitted), fitted.settings
        lanes = [[k for k, each in enumerate(settings) if each.half_life == half_life] for half_life in half_lives]
        strength, start = np.empty((len(half_lives), len(codes)), np.float32), 0
        squares = np.zeros(len(half_lives))
        for block in codes.blocks(BLOCK):
            p = sigmoid(fitted.margins(block)[:, : len(settings)])
            spread, rows = p * (1.0 - p), slice(start, start + len(block))
            for h, half_life in enumerate(half_lives):
                weight = block.weight * decay(block, half_life, as_of)
                strength[h, rows] = weighed = weight * spread[:, lanes[h]].mean(axis=1)
                squares[h] += float(weighed @ weight)
            start = rows.stop
        return cls(codes.leaves, fitted.layout.wide_parameters(codes.buckets), codes.dense, strength, squares)


@dataclass(frozen=True)
class Weighed:
    """All of them.

    Attributes
    ----------
    layout : their parameters
    parts : the rows
    n : how many
    """

    layout: Layout
    parts: Parts[WeighedPart]
    n: int

    @classmethod
    def of(cls, codes: Parts[Codes], fitted: Candidates, as_of: datetime) -> Weighed:
        """Samples as each half-life of the candidates weighs them, which have all their wide buckets.

        The strength of a row is ``s p (1 - p)``, p (1 - p) a mean over the half-life's settings, and s discounted
        from ``as_of``.

        Source
        ------
        Laplace's approximation.
        """
        return cls(fitted.layout, codes.derive(WeighedPart.of, fitted, as_of), codes.sum(len, zero=0))

    def diagonal(self, half: int) -> NDArray[np.float64]:
        """Diagonal of the curvature of one half-life, (n_params,)."""
        return self.parts.sum(diagonal, half, self.layout, zero=np.zeros(self.layout.n))

    def squares(self) -> NDArray[np.float64]:
        """Variance of the gradient of a weight that all rows have, of each half-life, (n_half_lives,)."""
        return self.parts.sum(squares)

    def sampled(self, half: int, most: int) -> Rows:
        """The rows of one half-life, or ``most`` of them, drawn in proportion to their strength, that stand for all."""
        if self.n <= most:
            taken = self.parts.map(everything, half)
        else:
            totals = np.array(self.parts.map(total, half))
            taken = self.parts.map(drawn, half, float(totals.sum()) / most, each=marks_in(totals, most))
        leaves, wide, dense, strength = zip(*taken, strict=True)
        return Rows(
            np.concatenate(leaves, axis=1),
            self.layout.offsets,
            np.concatenate(wide, axis=1),
            np.concatenate(dense, axis=1),
            np.concatenate(strength),
        )


def diagonal(part: WeighedPart, half: int, layout: Layout) -> NDArray[np.float64]:
    """Diagonal of the curvature of a part's rows, (n_params,)."""
    out, strength = np.zeros(layout.n), part.strength[half]
    add_leaf_counts(part.leaves, layout.offsets, strength, out)
    for column in part.wide:
        out += np.bincount(column, strength, layout.n)
    out[layout.linear] = squares_of(part.dense, strength)
    out[layout.bias] += strength.sum(dtype=np.float64)
    return out


def squares(part: WeighedPart) -> NDArray[np.float64]:
    """Sum of ``s^2 p (1 - p)`` of a part's rows, of each half-life."""
    return part.squares


def total(part: WeighedPart, half: int) -> float:
    """Sum of a part's strengths."""
    return float(part.strength[half].sum(dtype=np.float64))


Taken = tuple[NDArray[Any], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]


def everything(part: WeighedPart, half: int) -> Taken:
    """Leaves, wide parameters, dense values and strengths of a part's rows."""
    return part.leaves, part.wide, part.dense, part.strength[half]


def drawn(part: WeighedPart, marks: Sequence[float], half: int, share: float) -> Taken:
    """The same of the rows that marks fall on, each of which stands for as much."""
    rows = rows_at(part.strength[half], np.asarray(marks))
    leaves, wide, dense = (np.take(each, rows, axis=1) for each in (part.leaves, part.wide, part.dense))
    return leaves, wide, dense, np.full(len(rows), share, np.float32)


def half_lives_of(fitted: Candidates) -> tuple[timedelta, ...]:
    """The candidates' half-lives, each once, in rising order."""
    return tuple(sorted({setting.half_life for setting in fitted.settings}))
