"""The blend: how much of each candidate goes into the published head, learned from what each said before it knew.

Margins are linear in the weights, so a weighted average of heads is one head again. The weights minimise the
progressive log loss of the blended margin itself, not a vote on whose loss was lowest: candidates that err in
different directions are worth more together than the best of them alone. All that is kept of the past is a quadratic
in the weights, discounted by half-life.

Levels (see ``levels``) are no candidates: they move all margins of a blend alike. Each has a share of its own, and
these sum to at most 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.documents import Time, read, table
from gbdtlr.compute import blas
from gbdtlr.compute.parts import Parts
from gbdtlr.errors import DamagedError
from gbdtlr.head.codes import Codes
from gbdtlr.metrics import sigmoid

CAUTION = 3.0
"""Weight of the pull towards the prior shares, in nats of log loss: stops the blend from chasing noise."""
BACKGROUND = 0.2
"""Prior share of the background, the last candidate: one against however many that may have learned noise by heart."""

LEVEL = "level "
"""What the names of levels begin with."""
LEVELS = 0.2
"""Prior share of all levels together: where the rate only follows the hours of the day and labels are late, they are
wrong, and a record must first find out."""

STEPS, MOST = 500, 300.0
"""Steps, and the most one of them multiplies a share by, as its logarithm: beyond, shares would be no numbers."""

LEAST = 1e-12
"""Share that is none."""

BLOCK = 16_384
"""Rows worked at together: the margins of all candidates take far more than codes."""


class Predictor(Protocol):
    """What says the margins of all candidates, and all levels, float64 (n, n_names), of coded rows."""

    def margins(self, codes: Codes) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Record:
    """What the candidates' progressive predictions were worth so far; it outlives heads and trees.

    Attributes
    ----------
    names : of the candidates, and of the levels after them
    as_of : the moment up to which labels were counted
    curvature : float64 (n, n), second derivative of the discounted progressive loss in the weights
    pull : float64 (n,), minus its first derivative at zero weights
    weights : float64 (n,), shares of the candidates in the blend, which sum to 1, and of the levels, which sum to at
        most 1
    """

    names: tuple[str, ...]
    as_of: Time
    curvature: NDArray[np.float64]
    pull: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def blank(cls, names: Sequence[str], as_of: datetime) -> Record:
        """Record of candidates nothing is known of: their prior shares."""
        n = len(names)
        return cls(tuple(names), as_of, np.zeros((n, n)), np.zeros(n), prior_shares(names))

    def known_of(self, names: Sequence[str]) -> Record | None:
        """The record of these, None if it says nothing of them; of levels that were not there it knows nothing."""
        if self.names == tuple(names):
            return self
        if self.names != tuple(name for name in names if not name.startswith(LEVEL)):
            return None
        n, blank = len(self.names), Record.blank(names, self.as_of)
        blank.curvature[:n, :n], blank.pull[:n], blank.weights[:n] = self.curvature, self.pull, self.weights
        return blank

    def learn(self, told: Sequence[tuple[Parts[Codes], Predictor]], as_of: datetime, half_life: timedelta) -> Record:
        """Record with more progressive predictions counted in.

        Parameters
        ----------
        told : samples in pieces, each with the candidates that were live when they happened: those made later, if
            only before the labels were known, would be tried on nearer rows than they are to serve
        as_of : the moment the labels are known at; what is on record fades until then
        half_life : of what is on record

        Source
        ------
        A second-order step of exponentiated gradient (Kivinen and Warmuth 1997) on the log loss of the blend.
        """
        fade = 2.0 ** -((as_of - self.as_of) / half_life)
        nothing = curvature, slope = np.zeros_like(self.curvature), np.zeros_like(self.pull)
        with blas.single_threaded():  # its own threads would fight ours, and change the last bits
            for samples, candidates in told:
                more, steeper = samples.sum(loss_to_second_order, candidates, self.weights, zero=nothing)
                curvature, slope = curvature + more, slope + steeper
        pull = fade * self.pull + curvature @ self.weights - slope
        curvature = fade * self.curvature + curvature
        return Record(self.names, as_of, curvature, pull, _shares(self.names, curvature, pull, self.weights))

    def to_dict(self) -> dict[str, Any]:
        """The record in JSON's types."""
        return table(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Record:
        """Record as :meth:`to_dict` gave it; ``DamagedError`` for anything else."""
        record = read(fields, cls, "the blend's record")
        n = len(record.names)
        if not record.curvature.shape == (n, n) or not record.pull.shape == record.weights.shape == (n,):
            raise DamagedError(f"the blend's record is damaged: not of {n} candidates throughout")
        n -= n_levels(record.names)
        off = abs(float(record.weights[:n].sum()) - 1.0), float(record.weights[n:].sum()) - 1.0
        if not max(off) < 1e-3 or (record.weights < 0).any():
            raise DamagedError("the blend's record is damaged: its shares are none")
        return record


def loss_to_second_order(
    codes: Codes, candidates: Predictor, weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Second and first derivative in the weights, (n, n) and (n,), of a part's log loss under the blend."""
    curvature, slope = np.zeros((len(weights), len(weights))), np.zeros(len(weights))
    for block in codes.blocks(BLOCK):
        margins = candidates.margins(block)
        probability = sigmoid(margins @ weights)
        curvature += margins.T @ (margins * (block.weight * probability * (1.0 - probability))[:, None])
        slope += margins.T @ (block.weight * (probability - block.label))
    return curvature, slope


def n_levels(names: Sequence[str]) -> int:
    """How many of these are levels, which stand last."""
    return sum(name.startswith(LEVEL) for name in names)


def prior_shares(names: Sequence[str]) -> NDArray[np.float64]:
    """Shares before anything is known, (n,): the background, last of the candidates, its own, the others the same; and
    those of the levels."""
    levels = n_levels(names)
    n = len(names) - levels
    shares = np.full(n, (1.0 - BACKGROUND) / max(n - 1, 1))
    shares[-1] = 1.0 - shares[:-1].sum()
    return np.append(shares, np.full(levels, LEVELS / max(levels, 1)))


def _shares(
    names: Sequence[str], curvature: NDArray[np.float64], pull: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shares q that minimise ``q' curvature q / 2 - pull q + CAUTION sum q log(q / prior)``, those of the candidates on
    one simplex, and on another those of the levels and what they leave.

    Mirror descent, one simplex after the other: shares stay positive and sum to 1 by construction.
    """
    n, levels = len(names), n_levels(names)
    groups = [slice(0, n - levels), slice(n - levels, n + 1)] if levels else [slice(0, n)]
    if levels:  # what they leave moves nothing
        curvature, pull = np.pad(curvature, (0, 1)), np.append(pull, 0.0)
        start = np.append(start, 1.0 - start[groups[1]].sum())
    prior = np.append(prior_shares(names), [1.0 - LEVELS] if levels else [])
    steps = [_step(curvature[group, group]) for group in groups]
    shares = np.maximum(start, LEAST)
    for group in groups:
        shares[group] /= shares[group].sum()
    for _ in range(STEPS):
        for group, step in zip(groups, steps, strict=True):
            own = shares[group]
            slope = curvature[group] @ shares - pull[group] + CAUTION * np.log(own / prior[group])
            own = own * np.exp(np.minimum(-step * (slope - slope @ own), MOST))
            shares[group] = np.maximum(own / own.sum(), LEAST)
    for group in groups:
        shares[group] /= shares[group].sum()
    return shares[:n]


def _step(curvature: NDArray[np.float64]) -> float:
    """Length of a step on one simplex: what all have in common moves no share, it follows their differences alone."""
    spread = curvature - curvature[:, -1:] - curvature[-1:, :] + curvature[-1, -1]
    return float(1.0 / (np.abs(spread).max() + CAUTION))
