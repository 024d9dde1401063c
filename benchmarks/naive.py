"""Two ways to learn new samples only that remember nothing but the weights, on the codes and rows of the real jobs.

Both go on from the last head: stochastic gradient descent by one step per sample, L-BFGS by minimising the loss of the
new samples alone, its weights pulled to zero or to where they were. Each gets several strengths, of which the one with
the lowest progressive loss so far is live, as for the rivals of a replay. At each correction they start again from the
head that was then refitted on the whole window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.head import Layout
from gbdtlr.metrics import sigmoid
from gbdtlr.release import Release
from gbdtlr.replay.rivals import Choice
from gbdtlr.replay.rows import read_all
from gbdtlr.samples import Samples
from gbdtlr.times import to_us

RATES = (0.001, 0.003, 0.01, 0.03)
PULLS = (1.0, 10.0, 100.0, 1000.0)
ITERATIONS = 100

Floats = NDArray[np.float64]
Columns = NDArray[np.int64]  # (n, columns of a row), parameters of each, the bias last


@dataclass(frozen=True)
class SGD:
    """``w -= rate g`` along each sample's codes, in order of maturity."""

    options: tuple[float, ...] = RATES

    def learn(self, w: Floats, rate: float, columns: Columns, label: Floats, weight: Floats) -> Floats:
        w = w.copy()
        for row, y, s in zip(columns, label, weight, strict=True):
            w[row] -= rate * s * (sigmoid(w[row].sum()) - y)
        return w


@dataclass(frozen=True)
class LBFGS:
    """Minimum of the new samples' loss and ``pull / 2 |w - centre|^2``, the centre zero or the weights before."""

    to_last: bool
    options: tuple[float, ...] = PULLS

    def learn(self, w: Floats, pull: float, columns: Columns, label: Floats, weight: Floats) -> Floats:
        from scipy.optimize import minimize

        centre = w if self.to_last else np.zeros_like(w)

        def value_and_gradient(x: Floats) -> tuple[float, Floats]:
            margin = x[columns].sum(axis=1)
            loss = weight @ (np.logaddexp(0, margin) - label * margin)
            g = np.repeat(weight * (sigmoid(margin) - label), columns.shape[1])
            away = x - centre
            gradient = np.bincount(columns.ravel(), g, len(x)) + pull * away
            return float(loss + pull / 2 * away @ away), gradient

        found = minimize(value_and_gradient, w, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
        result: Floats = found.x
        return result


NAIVE = {
    "SGD, new samples only": SGD(),
    "L-BFGS, new samples only": LBFGS(to_last=False),
    "L-BFGS, new samples only, pulled to the last head": LBFGS(to_last=True),
}


def margins(
    config: Config,
    method: SGD | LBFGS,
    moments: Sequence[datetime],
    end: datetime,
    corrections: Sequence[tuple[datetime, Release]],
) -> Floats:
    """Margins of the rows with an event from the first moment to ``end``, by event time.

    Parameters
    ----------
    moments : when it learns what has matured since
    corrections : when it starts again from a release's head, and which; the first at the first moment
    """
    choice = Choice.of(len(method.options), None)
    said = []
    spans = [*(at for at, _ in corrections), end]
    for (_, release), (start, stop) in zip(corrections, pairwise(spans), strict=True):
        steps = [at for at in moments if start <= at < stop]
        said.append(_between(config, method, steps, stop, release, choice))
    return np.concatenate(said)


def _between(
    config: Config, method: SGD | LBFGS, steps: Sequence[datetime], stop: datetime, release: Release, choice: Choice
) -> Floats:
    samples = read_all(config.samples, steps[0] - config.head.window, stop)
    if samples is None:
        return np.empty(0)
    codes = release.model.encode(samples)
    layout = Layout.of(release.trees, release.head.wide).over(Parts([codes]))
    columns = layout.parameters(codes.leaves, layout.wide_parameters(codes.buckets)).astype(np.int64)
    heads = [release.head.layout.carried(release.head.weights, layout)] * len(method.options)
    by_event = np.argsort(samples.event_us, kind="stable")
    event_us = samples.event_us[by_event]
    said = []
    before = steps[0]
    for at, until in pairwise([*steps, stop]):
        choice.learn(to_us(at))
        news = _matured(samples, before, at)
        before = at
        if len(news):
            y, s = samples.label[news].astype(np.float64), samples.weight[news]
            heads = [
                method.learn(w, option, columns[news], y, s) for w, option in zip(heads, method.options, strict=True)
            ]
        low, high = event_us.searchsorted([to_us(at), to_us(until)])
        rows = by_event[low:high]
        each = np.stack([w[columns[rows]].sum(axis=1) for w in heads])
        said.append(each[choice.best])
        choice.wait(samples, rows, each)
    return np.concatenate(said)


def _matured(samples: Samples, after: datetime, until: datetime) -> NDArray[np.intp]:
    """Rows whose label became known in ``(after, until]``, in that order."""
    known = samples.known_us
    found = np.flatnonzero((known > to_us(after)) & (known <= to_us(until)))
    return found[np.argsort(known[found], kind="stable")]
