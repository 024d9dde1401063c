"""The anchored objective: discounted log loss plus the squared distance from the anchor, for many settings at once.

For setting k, over the samples i of the window and the parameters w (one per code, and a bias)::

    sum_i s_ik logloss(y_i, base_i + delta_k . codes_i) + l2_k / 2 |delta_k|^2
    s_ik = weight_i 2^-((as_of - event_time_i) / half_life_k)

``delta`` is the distance from the anchor and ``base`` the anchor's own margin. Codes are one-hot per tree and per
wide column, so the product is a gather and its transpose a scatter (see ``kernels``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.head.codes import Codes
from gbdtlr.head.fit import kernels
from gbdtlr.head.fit.curvature import Curvature
from gbdtlr.head.fit.groups import Groups
from gbdtlr.head.fit.lines import Lanes, Lines, aligned, blocks, zeros
from gbdtlr.head.fit.sampling import curvature_of
from gbdtlr.head.fit.window import Part, Window
from gbdtlr.head.layout import Layout


@dataclass(frozen=True)
class Setting:
    """One way to fit the head: how fast old samples fade, and how strongly the anchor pulls."""

    half_life: timedelta
    l2: float


class Objective:
    """Value and gradient of the objective of each setting, several of them in one pass over the codes.

    Attributes
    ----------
    layout : the parameters: those of the trees, and of the wide buckets that occur in the window
    """

    def __init__(self, window: Parts[Codes], layout: Layout, settings: Sequence[Setting], as_of: datetime) -> None:
        """Objective over coded samples.

        Parameters
        ----------
        window : the samples in pieces, each with the same trees and wide columns
        layout : of heads on them
        settings : one per lane
        as_of : the moment the weights of samples are discounted from
        """
        half_lives = sorted({setting.half_life for setting in settings})
        self._half_of_lane = [half_lives.index(setting.half_life) for setting in settings]
        self.l2 = np.array([setting.l2 for setting in settings])
        self._window = Window.of(window, layout, half_lives, as_of)
        self.layout = self._window.layout
        self._groups = Groups(layout.offsets, self._window.n // max(len(window), 1))

    def value_and_gradient(self, delta: Lines, lanes: Lanes) -> tuple[NDArray[np.float64], Lines]:
        """Objective of each of these k settings, (k,), and its gradient, float64 (n_params, k)."""
        l2 = self.l2[lanes]
        value = l2 / 2 * np.einsum("pk,pk->k", delta, delta)
        gradient = l2 * delta
        for block, width in blocks(len(lanes), kernels.LANES):
            lines = aligned(delta[:, block], width)
            halves = [self._half_of_lane[lane] for lane in lanes[block]]
            halves += halves[:1] * (width - len(halves))
            table = self._groups.table(lines)
            loss, slope = self._window.parts.sum(loss_and_gradient, self._groups, tuple(halves), lines, table)
            self._groups.give_back(table)
            value[block] += loss[: len(lanes[block])]
            gradient[:, block] += slope[:, : len(lanes[block])]
        return value, gradient

    def curvature(self, at: Lines | None = None) -> Curvature:
        """Approximate Hessian of each setting at the anchor, or at these points, (n_params, lanes)."""
        return curvature_of(self._window, self._half_of_lane, self.l2, at)

    def background(self, lane: int) -> float:
        """Log-odds of the rate of positives as setting ``lane`` discounts it, half a sample of each class added."""
        negatives, positives = self._window.parts.sum(weight_of_classes, self._half_of_lane[lane], zero=(0.0, 0.0))
        return float(np.log((positives + 0.5) / (negatives + 0.5)))


def loss_and_gradient(
    part: Part, groups: Groups, half_of_lane: tuple[int, ...], delta: NDArray[np.float32], table: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Discounted log loss of a part's rows for each lane, (lanes,), and its gradient, float32 (n_params, lanes).

    Parameters
    ----------
    half_of_lane : index into the half-lives of the part's weights
    delta : (n_params, lanes)
    table : its leaves' lines, spread over the places of ``groups``
    """
    width = len(half_of_lane)
    loss, gradient, part_table = np.zeros(width), zeros(len(delta), width), groups.zeros(width)
    kernels.loss_and_gradient(
        part.codes.leaves,
        *groups.arguments,
        part.wide,
        part.base,
        part.codes.label,
        part.weight,
        half_of_lane,
        delta,
        table,
        part_table,
        gradient,
        loss,
    )
    groups.fold(part_table, gradient)
    groups.give_back(part_table)
    return loss, gradient


def weight_of_classes(part: Part, half: int) -> tuple[float, float]:
    """Discounted weight of a part's negatives and of its positives."""
    weight, label = part.weight[half], part.codes.label
    negatives, positives = (float(weight[label == each].sum(dtype=np.float64)) for each in (0, 1))
    return negatives, positives
