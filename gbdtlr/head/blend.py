"""The blend: how much of each candidate goes into the published head, learned from what each said before it knew.

Margins are linear in the weights, so a weighted average of heads is one head again. The weights minimise the
progressive log loss of the blended margin itself, not a vote on whose loss was lowest: candidates that err in
different directions are worth more together than the best of them alone. All that is kept of the past is a quadratic
in the weights, discounted by half-life.
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

STEPS, MOST = 500, 300.0
"""Steps, and the most one of them multiplies a share by, as its logarithm: beyond, shares would be no numbers."""

BLOCK = 16_384
"""Rows worked at together: the margins of all candidates take far more than codes."""


class Predictor(Protocol):
    """What says the margins of all candidates, float64 (n, n_candidates), of coded rows."""

    def margins(self, codes: Codes) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Record:
    """What the candidates' progressive predictions were worth so far; it outlives heads and trees.

    Attributes
    ----------
    names : of the candidates
    as_of : the moment up to which labels were counted
    curvature : float64 (n, n), second derivative of the discounted progressive loss in the weights
    pull : float64 (n,), minus its first derivative at zero weights
    weights : float64 (n,), shares of the candidates in the blend; they sum to 1
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
        return cls(tuple(names), as_of, np.zeros((n, n)), np.zeros(n), prior_shares(n))

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
        return Record(self.names, as_of, curvature, pull, _shares(curvature, pull, self.weights))

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


def prior_shares(n: int) -> NDArray[np.float64]:
    """Shares of n candidates before anything is known of them, (n,): the background its own, all others the same."""
    shares = np.full(n, (1.0 - BACKGROUND) / max(n - 1, 1))
    shares[-1] = 1.0 - shares[:-1].sum()
    return shares


def _shares(
    curvature: NDArray[np.float64], pull: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shares q on the simplex that minimise ``q' curvature q / 2 - pull q + CAUTION sum q log(q / prior)``.

    Mirror descent: shares stay positive and sum to 1 by construction.
    """
    prior = prior_shares(len(pull))
    # What all candidates have in common moves no share; the step follows their differences alone.
    spread = curvature - curvature[:, -1:] - curvature[-1:, :] + curvature[-1, -1]
    step = 1.0 / (np.abs(spread).max() + CAUTION)
    shares = np.maximum(start, 1e-12)
    shares /= shares.sum()
    for _ in range(STEPS):
        slope = curvature @ shares - pull + CAUTION * np.log(shares / prior)
        shares = shares * np.exp(np.minimum(-step * (slope - slope @ shares), MOST))
        shares = np.maximum(shares / shares.sum(), 1e-12)
    result: NDArray[np.float64] = shares / shares.sum()
    return result
