"""Rule: how a user's weights ``w`` score a vector ``v``, and what an event does to them.

All in double precision, sums in rising order of ``k``, so that clients in other languages come to the same::

    score       sum_k w_k v_k

    regression  p   = sigmoid(margin + score)       margin: the log-odds without the user's score
                g_k = (p - label) v_k + l2 w_k
                n_k = n_k + g_k^2
                w_k = w_k - alpha / (1 + sqrt(n_k)) g_k

    mean        w_k = w_k + alpha (v_k - w_k)       where the label is 1

An item without a vector, which is all zeros, moves nothing. The regression's step is that of ``[head.online]`` for one
coordinate, with its ``beta`` of 1. No step is as long as ``alpha``, whatever comes in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gbdtlr.config import UsersConfig

REGRESSION, MEAN = "regression", "mean"
BETA = 1.0
ALPHA = {REGRESSION: 0.5, MEAN: 0.1}
"""Where nothing is said."""


@dataclass(frozen=True)
class Rule:
    """How weights move.

    Attributes
    ----------
    method : ``regression`` or ``mean``
    alpha : longest step of a weight; of ``mean`` the share that the newest click has
    l2 : pull of the regression's weights towards zero, at each event
    """

    method: str = REGRESSION
    alpha: float = ALPHA[REGRESSION]
    l2: float = 0.0

    @classmethod
    def of(cls, config: UsersConfig) -> Rule:
        """The rule that ``[users]`` of a config says."""
        return cls(config.method, ALPHA[config.method] if config.alpha is None else config.alpha, config.l2)

    def learn(
        self, weights: list[float], squares: list[float], vector: Sequence[float], label: int, margin: float
    ) -> None:
        """Move ``weights``, and the sums of squared gradients, ``squares``, by one event.

        Parameters
        ----------
        weights : (n,), changed in place
        squares : (n,), changed in place; empty for ``mean``, which has none
        vector : of the item, (n,)
        margin : log-odds of the event without the user's score
        """
        if not any(vector):  # an item without a vector says nothing
            return
        if self.method == MEAN:
            if label:
                for k, x in enumerate(vector):
                    weights[k] += self.alpha * (x - weights[k])
            return
        residual = sigmoid(margin + score(weights, vector)) - label
        for k, x in enumerate(vector):
            g = residual * x + self.l2 * weights[k]
            squares[k] += g * g
            weights[k] -= self.alpha / (BETA + math.sqrt(squares[k])) * g


def score(weights: Sequence[float], vector: Sequence[float]) -> float:
    """Product of weights and vector, (n,) each, summed in their order."""
    total = 0.0
    for w, x in zip(weights, vector, strict=True):
        total += w * x
    return total


def sigmoid(margin: float) -> float:
    """Probability of log-odds, without overflow."""
    e = math.exp(-abs(margin))
    return 1.0 / (1.0 + e) if margin >= 0 else e / (1.0 + e)
