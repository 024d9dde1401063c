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

from gbdtlr.compute import threads
from gbdtlr.head import kernels
from gbdtlr.head.codes import Codes
from gbdtlr.head.curvature import Curvature
from gbdtlr.head.groups import Groups
from gbdtlr.head.lines import Lanes, Lines, aligned, blocks, zeros
from gbdtlr.head.sampling import curvature_of
from gbdtlr.head.window import Window

PIECES = 8
"""Parts of the rows that are summed apart; fixed, so that the sum does not depend on the number of threads."""
IN_FLOAT32 = 65_536
"""Rows after which sums in float32 are added to those in float64."""


@dataclass(frozen=True)
class Setting:
    """One way to fit the head: how fast old samples fade, and how strongly the anchor pulls."""

    half_life: timedelta
    l2: float


class Objective:
    """Value and gradient of the objective of each setting, several of them in one pass over the codes."""

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
        settings : one per lane
        as_of : the moment the weights of samples are discounted from
        """
        half_lives = sorted({setting.half_life for setting in settings})
        self._half_of_lane = [half_lives.index(setting.half_life) for setting in settings]
        self.l2 = np.array([setting.l2 for setting in settings])
        self._window = Window(window, offsets, anchor, half_lives, as_of)
        self.parameters = self._window.parameters
        self._pieces = _pieces([len(part) for part in window])
        self._groups = Groups(offsets, self._window.n // PIECES)

    def value_and_gradient(self, delta: Lines, lanes: Lanes) -> tuple[NDArray[np.float64], Lines]:
        """Objective of each of these k settings, (k,), and its gradient, float64 (n_params, k)."""
        l2 = self.l2[lanes]
        value = l2 / 2 * np.einsum("pk,pk->k", delta, delta)
        gradient = l2 * delta
        for block, width in blocks(len(lanes), kernels.LANES):
            self._add_loss(delta[:, block], lanes[block], width, value[block], gradient[:, block])
        return value, gradient

    def _add_loss(self, delta: Lines, lanes: Lanes, width: int, value: NDArray[np.float64], gradient: Lines) -> None:
        window, groups, lines = self._window, self._groups, aligned(delta, width)
        table = groups.table(lines)
        k = len(lanes)
        halves = [self._half_of_lane[lane] for lane in lanes]
        halves += halves[:1] * (width - k)
        # Added up in the order of the pieces, whichever is done first, and none kept for longer than that takes.
        waiting: dict[int, tuple[NDArray[np.float64], Lines]] = {}
        n_added = 0
        adding = threading.Lock()

        def work(piece: int) -> None:
            nonlocal n_added
            loss = np.zeros(width)
            total = np.zeros(lines.shape)
            part, part_table = zeros(len(lines), width), groups.zeros(width)
            n_summed = 0
            for p, start, stop in self._pieces[piece]:
                kernels.loss_and_gradient(
                    window.parts[p].leaves,
                    *groups.arguments,
                    window.wide[p],
                    window.base[p],
                    window.parts[p].label,
                    window.weight[p],
                    tuple(halves),
                    lines,
                    table,
                    start,
                    stop,
                    part_table,
                    part,
                    loss,
                )
                n_summed += stop - start
                if n_summed >= IN_FLOAT32:
                    groups.fold(part_table, part)
                    total += part
                    part[:], part_table[:], n_summed = 0, 0, 0
            groups.fold(part_table, part)
            groups.give_back(part_table)
            total += part
            with adding:
                waiting[piece] = loss, total
                while n_added in waiting:
                    loss, total = waiting.pop(n_added)
                    np.add(value, loss[:k], out=value)
                    np.add(gradient, total[:, :k], out=gradient)
                    n_added += 1

        threads.run(len(self._pieces), work)
        groups.give_back(table)

    def curvature(self, at: Lines | None = None) -> Curvature:
        """Approximate Hessian of each setting at the anchor, or at these points, (n_params, lanes)."""
        return curvature_of(self._window, self._half_of_lane, self.l2, at)

    def background(self, lane: int) -> float:
        """Log-odds of the rate of positives as setting ``lane`` discounts it, half a sample of each class added."""
        h = self._half_of_lane[lane]
        window = self._window
        negatives, positives = (
            sum(
                float(weight[h][part.label == each].sum(dtype=np.float64))
                for weight, part in zip(window.weight, window.parts, strict=True)
            )
            for each in (0, 1)
        )
        return float(np.log((positives + 0.5) / (negatives + 0.5)))


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
