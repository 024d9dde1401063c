"""The anchored objective: discounted log loss plus the squared distance from the anchor, for many settings at once.

For setting k, over the samples i of the window and the parameters w (one per code, and a bias)::

    sum_i s_ik logloss(y_i, base_i + delta_k . codes_i) + l2_k / 2 |delta_k|^2
    s_ik = weight_i 2^-((as_of - event_time_i) / half_life_k)

``delta`` is the distance from the anchor and ``base`` the anchor's own margin. Codes are one-hot per tree and per
wide column, so the product is a gather and its transpose a scatter (see ``kernels``).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr import threads
from gbdtlr.head import kernels
from gbdtlr.head.codes import Codes
from gbdtlr.head.curvature import (
    MAX_ROWS,
    MAX_ROWS_BELOW_SUBSAMPLE,
    SUBSAMPLE,
    SUBSAMPLE_FROM,
    Curvature,
    SampledCurvature,
    SubsampledNewton,
    sample_rows,
    sample_size,
)
from gbdtlr.head.lines import Lines, aligned
from gbdtlr.metrics import sigmoid
from gbdtlr.times import to_us

NOTHING = 1e-30
"""Stands for a weight of zero where one is divided by: samples many half-lives old weigh nothing at all."""

PIECES = 8
"""Parts of the rows that are summed apart; fixed, so that the sum does not depend on the number of threads."""


@dataclass(frozen=True)
class Setting:
    """One way to fit the head: how fast old samples fade, and how strongly the anchor pulls."""

    half_life: timedelta
    l2: float


@dataclass(frozen=True)
class Parameters:
    """Which parameter is which: leaves first, then the wide buckets that occur in the window, then the bias.

    Attributes
    ----------
    n_codes : leaves of all trees
    wide_index : per wide column, uint32 (n_active,), sorted
    """

    n_codes: int
    wide_index: tuple[NDArray[np.uint32], ...]

    @property
    def wide_offsets(self) -> list[int]:
        """First parameter of each wide column, and the bias's behind them."""
        sizes = [len(index) for index in self.wide_index]
        return [self.n_codes + sum(sizes[:j]) for j in range(len(sizes) + 1)]

    @property
    def n(self) -> int:
        """How many there are, the bias included."""
        return self.wide_offsets[-1] + 1


class Objective:
    """Value and gradient of the objective for up to ``kernels.LANES`` settings, in one pass over the codes."""

    def __init__(
        self,
        window: Sequence[Codes],
        offsets: NDArray[np.int64],
        anchor: NDArray[np.float64],
        settings: Sequence[Setting],
        as_of: datetime,
    ) -> None:
        """Objective over coded samples.

        Parameters
        ----------
        window : parts of the samples, each with the same trees and wide columns
        offsets : int64 (n_trees + 1,)
        anchor : float64 (n_codes,), leaf weights the fit is pulled towards; wide weights are pulled to zero
        settings : at most ``kernels.LANES``
        as_of : the moment the weights of samples are discounted from
        """
        self._window = window
        self._offsets = offsets
        self.lanes = 1 if len(settings) == 1 else kernels.LANES
        half_lives = sorted({setting.half_life for setting in settings})
        padded = [*settings, *[settings[0]] * (self.lanes - len(settings))]
        self._half_of_lane = np.array([half_lives.index(setting.half_life) for setting in padded])
        self.l2 = np.array([setting.l2 for setting in padded])
        n_wide = len(window[0].buckets) if window else 0
        self.parameters = Parameters(len(anchor), tuple(_active(window, j) for j in range(n_wide)))
        first = self.parameters.wide_offsets
        self._wide = [
            np.stack(
                [first[j] + index.searchsorted(part.buckets[j]) for j, index in enumerate(self.parameters.wide_index)]
            ).astype(np.int32)
            if n_wide
            else np.empty((0, len(part)), np.int32)
            for part in window
        ]
        self._base = []
        self._weight = []
        for part in window:
            base = np.zeros(len(part))
            kernels.add_leaf_weights(part.leaves, offsets, anchor, base)
            self._base.append(base.astype(np.float32))
            age = (to_us(as_of) - part.event_us) / 1e6
            decay = [part.weight * np.exp2(-age / half_life.total_seconds()) for half_life in half_lives]
            self._weight.append(np.stack(decay).astype(np.float32))
        self._pieces = _pieces([len(part) for part in window])

    def value_and_gradient(self, delta: Lines) -> tuple[NDArray[np.float64], Lines]:
        """Objective of each setting, (lanes,), and its gradient, float64 (n_params, lanes)."""
        lines = aligned(delta)
        value = self.l2 / 2 * np.einsum("pk,pk->k", delta, delta)
        total = self.l2 * delta
        # Added up in the order of the pieces, whichever is done first, and none kept for longer than that takes.
        waiting: dict[int, tuple[NDArray[np.float64], Lines]] = {}
        n_added = 0
        adding = threading.Lock()

        def work(piece: int) -> None:
            nonlocal n_added
            loss = np.zeros(self.lanes)
            gradient = np.zeros(delta.shape)
            for p, start, stop in self._pieces[piece]:
                part = aligned(np.zeros(delta.shape, np.float32))
                kernels.loss_and_gradient(
                    self._window[p].leaves,
                    self._offsets,
                    self._wide[p],
                    self._base[p],
                    self._window[p].label,
                    self._weight[p],
                    tuple(self._half_of_lane.tolist()),
                    lines,
                    start,
                    stop,
                    part,
                    loss,
                )
                gradient += part
            with adding:
                waiting[piece] = loss, gradient
                while n_added in waiting:
                    loss, gradient = waiting.pop(n_added)
                    np.add(value, loss, out=value)
                    np.add(total, gradient, out=total)
                    n_added += 1

        threads.run(len(self._pieces), work)
        return value, total

    def curvature(self) -> Curvature:
        """Approximate Hessian of each setting at the anchor."""
        strength = []
        for base, weight in zip(self._base, self._weight, strict=True):
            p = sigmoid(base.astype(np.float64))
            strength.append(weight * np.maximum(p * (1.0 - p), 0.01))
        n_half = len(self._weight[0])
        diagonals = np.zeros((n_half, self.parameters.n))

        def count(h: int) -> None:
            for part, wide, each in zip(self._window, self._wide, strength, strict=True):
                kernels.add_leaf_counts(part.leaves, self._offsets, each[h], diagonals[h])
                for column in wide:
                    diagonals[h] += np.bincount(column, each[h], self.parameters.n)
                diagonals[h, -1] += each[h].sum()

        threads.run(n_half, count)
        flat = np.concatenate(strength, axis=1)
        n, n_codes = flat.shape[1], self.parameters.n_codes
        subsampled = n >= SUBSAMPLE_FROM
        most = MAX_ROWS_BELOW_SUBSAMPLE if subsampled else MAX_ROWS
        keys = list(zip(self._half_of_lane.tolist(), self.l2.tolist(), strict=True))
        distinct = list(dict.fromkeys(keys))  # lanes that only fill the line are settings seen before
        made: list[SampledCurvature] = [None] * len(distinct)  # type: ignore[list-item]

        def work(task: int) -> None:
            h, l2 = distinct[task]
            rows, diagonal = flat[h], diagonals[h]
            m = sample_size(n, diagonal[:n_codes].mean() / l2, most)
            total = max(rows.sum(dtype=np.float64), NOTHING)
            share = min(1.0, m * (rows @ rows) / total**2)
            codes = self._codes_of(sample_rows(rows, m))
            made[task] = SampledCurvature(codes, share, total / m, diagonal, l2, n_codes)

        threads.run(len(distinct), work)
        of_lane = [made[distinct.index(key)] for key in keys]
        return self._subsampled(of_lane, flat) if subsampled else Curvature(of_lane)

    def _subsampled(self, of_lane: Sequence[SampledCurvature], strength: NDArray[np.float32]) -> Curvature:
        """The Hessians of one sample for all settings; the more rows count for one of them, the larger its say."""
        n = strength.shape[1]
        total = np.maximum(strength.sum(axis=1, keepdims=True, dtype=np.float64), NOTHING)
        density = (strength / np.sqrt(total)).sum(axis=0)
        density = (density + NOTHING) / (density + NOTHING).sum()
        m = max(SUBSAMPLE, n // 16)
        rows, times = np.unique(sample_rows(density, m), return_counts=True)
        leaves, wide = self._taken(rows)
        scaled = (strength[:, rows] * (times / (m * density[rows]))).astype(np.float32)
        return SubsampledNewton(of_lane, leaves, wide, self._offsets, scaled, self._half_of_lane.tolist(), self.l2)

    def _codes_of(self, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        """Parameters of those rows, counted through all parts, int32 (m, n_trees + n_wide + 1), the bias last."""
        leaves, wide = self._taken(rows)
        bias = np.full((len(rows), 1), self.parameters.n - 1)
        return np.concatenate([leaves.T + self._offsets[:-1], wide.T, bias], axis=1).astype(np.int32)

    def _taken(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int32]]:
        """Leaves (n_trees, m) and wide parameters (n_wide, m) of those rows, in rising order through all parts."""
        starts = np.cumsum([0, *(len(part) for part in self._window)])
        cuts = rows.searchsorted(starts)
        mine = [rows[a:b] - start for a, b, start in zip(cuts, cuts[1:], starts, strict=False)]
        return (
            np.concatenate([part.leaves[:, at] for part, at in zip(self._window, mine, strict=True)], axis=1),
            np.concatenate([wide[:, at] for wide, at in zip(self._wide, mine, strict=True)], axis=1),
        )

    def background(self, lane: int) -> float:
        """Log-odds of the rate of positives as setting ``lane`` discounts it, half a sample of each class added."""
        h = self._half_of_lane[lane]
        positives = sum(float(weight[h] @ part.label) for weight, part in zip(self._weight, self._window, strict=True))
        total = sum(float(weight[h].sum(dtype=np.float64)) for weight in self._weight)
        return float(np.log((positives + 0.5) / (total - positives + 0.5)))


def _active(window: Sequence[Codes], j: int) -> NDArray[np.uint32]:
    return np.unique(np.concatenate([np.unique(part.buckets[j]) for part in window]))


def _pieces(sizes: Sequence[int]) -> list[list[tuple[int, int, int]]]:
    """(part, start, stop) ranges of rows, in ``PIECES`` groups of about the same size."""
    total = sum(sizes)
    share = max(1, -(-total // PIECES))
    groups: list[list[tuple[int, int, int]]] = []
    room = 0
    for p, size in enumerate(sizes):
        start = 0
        while start < size:
            if room == 0:
                groups.append([])
                room = share
            stop = min(size, start + room)
            groups[-1].append((p, start, stop))
            room -= stop - start
            start = stop
    return groups
