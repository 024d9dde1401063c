"""What is measured of predictions: log loss, normalised entropy, calibration, AUC. Weighted throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_WEIGHT = 1e12
"""Heaviest weight of a sample: beyond it the squares and products of a fit lose all others, and then themselves."""


def log_loss_of(margin: NDArray[np.float64], label: NDArray[Any]) -> NDArray[np.float64]:
    """Log loss of each row from its log-odds, exact for margins of any size."""
    loss: NDArray[np.float64] = np.logaddexp(0.0, margin) - label * margin
    return loss


def sigmoid(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of log-odds, without overflow."""
    e = np.exp(-np.abs(margin))
    probability: NDArray[np.float64] = np.where(margin >= 0, 1.0, e) / (1.0 + e)
    return probability


def row_sigmoid(margin: float) -> float:
    """:func:`sigmoid` of one number, by the same exponential: ``math.exp`` may round otherwise."""
    e = float(np.exp(-abs(margin)))
    return 1.0 / (1.0 + e) if margin >= 0 else e / (1.0 + e)


def weighted_sum(weight: NDArray[np.float64], values: NDArray[Any]) -> float:
    """``weight @ values``, (n,) each, the same to the last bit whatever the number of BLAS's threads."""
    return float((weight * values).sum())


@dataclass(frozen=True)
class Quality:
    """Weighted sums over scored rows, which add up: those of two sets are those of both.

    Attributes
    ----------
    rows : how many
    weight, positives, predicted, loss : weighted sums of 1, the label, the probability and the log loss
    """

    rows: int = 0
    weight: float = 0.0
    positives: float = 0.0
    predicted: float = 0.0
    loss: float = 0.0

    @classmethod
    def of(cls, margin: NDArray[np.float64], label: NDArray[Any], weight: NDArray[np.float64] | None = None) -> Quality:
        """Quality of margins (n,) against labels (n,)."""
        w = np.ones(len(label)) if weight is None else weight
        return cls(
            len(label),
            float(w.sum()),
            *(weighted_sum(w, each) for each in (label, sigmoid(margin), log_loss_of(margin, label))),
        )

    def __add__(self, other: Quality) -> Quality:
        return Quality(
            self.rows + other.rows,
            self.weight + other.weight,
            self.positives + other.positives,
            self.predicted + other.predicted,
            self.loss + other.loss,
        )

    @classmethod
    def total(cls, parts: Sequence[Quality]) -> Quality:
        """Quality of all parts together."""
        return sum(parts, cls())

    @property
    def log_loss(self) -> float | None:
        """Mean log loss in nats; None of no rows."""
        return self.loss / self.weight if self.weight > 0 else None

    @property
    def rate(self) -> float | None:
        """Share of positives; None of no rows."""
        return self.positives / self.weight if self.weight > 0 else None

    @property
    def ne(self) -> float | None:
        """Normalised entropy (He et al. 2014, equation 1); None where only one class is there."""
        if self.log_loss is None or not 0 < self.positives < self.weight:
            return None
        p = self.positives / self.weight
        return float(self.log_loss / -(p * np.log(p) + (1 - p) * np.log1p(-p)))

    @property
    def calibration(self) -> float | None:
        """Sum of probabilities over number of positives; None without positives."""
        return self.predicted / self.positives if self.positives > 0 else None

    def as_dict(self) -> dict[str, Any]:
        """Rows, share of positives, mean probability and the three figures, in JSON's types."""
        return {
            "rows": self.rows,
            "rate": self.rate,
            "predicted": self.predicted / self.weight if self.weight > 0 else None,
            "log_loss": self.log_loss,
            "ne": self.ne,
            "calibration": self.calibration,
        }


def auc(margin: NDArray[np.float64], label: NDArray[Any], weight: NDArray[np.float64] | None = None) -> float | None:
    """Area under the ROC curve: chance that a positive is ranked above a negative, ties half; None of one class.

    Source
    ------
    Mann and Whitney 1947. Without scikit-learn, whose import takes longer than most updates.
    """
    w = np.ones(len(label)) if weight is None else weight
    order = np.argsort(margin, kind="stable")
    values, label, w = margin[order], np.asarray(label)[order], w[order]
    positive, negative = w * label, w * (1 - label)
    if not positive.sum() > 0 or not negative.sum() > 0:
        return None
    first = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    tied_positive, tied_negative = np.add.reduceat(positive, first), np.add.reduceat(negative, first)
    below = np.cumsum(tied_negative) - tied_negative
    return float(tied_positive @ (below + tied_negative / 2) / (positive.sum() * negative.sum()))
