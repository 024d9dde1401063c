"""Leaks: dense columns that knew the labels they were learned from.

A number that was made with a row's label in hand tells that label. A head that learns it so trusts it, and no fit shows
that anything is wrong: the better the leak, the better the fit. It shows where nobody knows the label yet, on rows that
are as they were served. There each column of a head is asked what it is worth: in a logistic regression on what the
column adds to the margin, beside the rest of the margin as it is, an honest column has a slope about 1, and one that
told the labels next to none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.config import GuardConfig
from gbdtlr.head import Codes, Head
from gbdtlr.jobs.guards.check import Check
from gbdtlr.jobs.guards.quality import ENOUGH_POSITIVES, Z
from gbdtlr.metrics import log_loss_of, sigmoid

STEPS, HALVINGS = 20, 20
PULL = 1e-3
"""Of intercept and slope towards 0 and 1, so that there is a best one on any rows."""
MOST_ADDED = 30.0
"""Log-odds that a column is taken to add at most: one broken row must not decide."""

Judged = Sequence[tuple[Head, Parts[Codes]]]
"""Heads, and rows that they have not learned, as each reads them."""


def leaks(judged: Judged, guard: GuardConfig) -> Iterator[Check]:
    """Check of each dense column, which must be worth a share of what the head gives it, chance allowed."""
    for name in dict.fromkeys(name for head, _ in judged for name in head.dense.names):
        own = [(head, rows) for head, rows in judged if name in head.dense.names]
        counts = sum((rows.sum(counts_of, zero=np.zeros(3)) for _, rows in own), np.zeros(3))
        if counts[0] < guard.min_samples or min(counts[1:]) < ENOUGH_POSITIVES:
            continue
        worth, error = slope_of(name, own)
        if not np.isfinite(error):
            continue  # it adds the same to all rows
        told = (
            f"column {name} is worth {max(worth, 0.0):.2f} of what the head gives it on {counts[0]:.0f} rows that it "
            f"has not learned; [guard] leak asks for {guard.leak:g}, less {Z:g} standard errors of {error:.2f}. Where "
            "the head learned from it, it may have known the labels: log it as it is served, and leave it out of "
            "[samples] until it was so for the head's window"
        )
        objects = worth + Z * error < guard.leak
        yield Check("leak", worth, float(guard.leak - Z * error), None, told if objects else "")


def slope_of(name: str, judged: Judged) -> tuple[float, float]:
    """Slope of what a column adds, best on these rows beside an intercept, and its standard error.

    Source
    ------
    Cox 1958, calibration by regression on the log-odds; White 1980, of the error, for uneven weights.
    """
    parted = [rows.derive(parts_of_margin, head, name) for head, rows in judged]
    at: NDArray[Any]
    step: NDArray[Any]
    at, step, fallen = np.zeros(2), np.zeros(2), np.inf
    for _ in range(STEPS * HALVINGS):
        sums = sum((rows.sum(sums_at, *at, zero=np.zeros(9)) for rows in parted), np.zeros(9))
        loss = sums[0] + PULL / 2 * (at[0] ** 2 + (at[1] - 1) ** 2)
        if loss > fallen and np.abs(step).max() > 1e-9:  # too far: half as far
            step /= 2
            at = at - step
            continue
        fallen = loss
        curvature = np.array([[sums[3], sums[4]], [sums[4], sums[5]]]) + PULL * np.eye(2)
        move = -np.linalg.solve(curvature, sums[1:3] + PULL * (at - [0, 1]))
        if np.abs(move).max() < 1e-6:
            break
        step, at = move, at + move
    spread = np.array([[sums[6], sums[7]], [sums[7], sums[8]]])
    if sums[5] - sums[4] ** 2 / max(sums[3], 1e-300) <= 1e-9 * max(sums[3], 1e-300):
        return float(at[1]), float("inf")
    inverse = np.linalg.inv(curvature)
    return float(at[1]), float(np.sqrt((inverse @ spread @ inverse)[1, 1]))


def counts_of(codes: Codes) -> NDArray[np.float64]:
    """How many of a part's rows count, and how many of them are negative and positive, (3,)."""
    label = codes.label[codes.weight > 0]
    return np.array([len(label), (label == 0).sum(), (label == 1).sum()], np.float64)


def parts_of_margin(codes: Codes, head: Head, name: str) -> NDArray[np.float64]:
    """What a column adds to the margin of a part's rows, the rest of the margin, label and weight, (4, n)."""
    where = head.dense.places[head.dense.names.index(name)]
    added = head.dense_weights[where] @ codes.dense[where].astype(np.float64)
    rest = head.margin(codes) - added
    return np.stack([np.clip(added, -MOST_ADDED, MOST_ADDED), rest, codes.label, codes.weight])


def sums_at(parted: NDArray[np.float64], intercept: float, slope: float) -> NDArray[np.float64]:
    """Sums over a part's rows at an intercept and a slope, (9,): the loss, its two slopes, its three curvatures, and
    the three products of the rows' slopes."""
    added, rest, label, weight = parted
    margin = rest + intercept + slope * added
    probability = sigmoid(margin)
    slopes, curves = weight * (probability - label), weight * probability * (1 - probability)
    squares, loss = slopes * slopes, weight * log_loss_of(margin, label)
    values = (loss, slopes, slopes * added, curves, curves * added, curves * added * added)
    return np.array([each.sum() for each in (*values, squares, squares * added, squares * added * added)])
