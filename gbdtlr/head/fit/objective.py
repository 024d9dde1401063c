"""The anchored objective: discounted log loss plus the squared distance from the anchor, for many settings at once.

For setting k, over the samples i of the window and the parameters w (one per code, and a bias)::

    sum_i s_ik logloss(y_i, base_i + delta_k . row_i) + sum_w l2_kw / 2 delta_kw^2
    s_ik = weight_i 2^-((as_of - event_time_i) / half_life_k)

``delta`` is the distance from the anchor and ``base`` the anchor's own margin; ``l2`` is one ridge for each kind of
weight (see ``ridges``). A row's codes are one-hot per tree and per wide column, so the product is a gather and its
transpose a scatter (see ``kernels``); beside them stand the values of its dense columns.
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
from gbdtlr.head.fit.own_lines import OwnLines
from gbdtlr.head.fit.point import Point
from gbdtlr.head.fit.sampling import curvature_of
from gbdtlr.head.fit.window import Part, Window
from gbdtlr.head.layout import Layout
from gbdtlr.head.ridges import Ridges


@dataclass(frozen=True)
class Setting:
    """One way to fit the head: how fast old samples fade, and how strongly the anchor pulls the leaves."""

    half_life: timedelta
    l2: float


class Objective:
    """Value and gradient of the objective of each setting, several of them in one pass over the codes.

    Attributes
    ----------
    layout : the parameters: those of the trees, and of the wide buckets that occur in the window
    half_of_lane : index into the half-lives, in rising order
    ridges : of each kind of weight in each lane
    """

    def __init__(
        self,
        window: Parts[Codes],
        layout: Layout,
        settings: Sequence[Setting],
        as_of: datetime,
        ridges: Ridges | None = None,
    ) -> None:
        """Objective over coded samples.

        Parameters
        ----------
        window : the samples in pieces, each with the same trees and wide columns
        layout : of heads on them
        settings : one per lane
        as_of : the moment the weights of samples are discounted from
        ridges : of each kind of weight in each lane; each setting's own for all kinds, where there are none
        """
        half_lives = sorted({setting.half_life for setting in settings})
        self.half_of_lane = [half_lives.index(setting.half_life) for setting in settings]
        self.ridges = Ridges.tied(layout, [setting.l2 for setting in settings]) if ridges is None else ridges
        self._window = Window.of(window, layout, half_lives, as_of)
        self.layout = self._window.layout
        self._groups = Groups(layout.offsets, self._window.n // max(len(window), 1))

    def value_and_gradient(self, delta: Lines, lanes: Lanes) -> tuple[NDArray[np.float64], Lines]:
        """Objective of each of these k settings, (k,), and its gradient, float64 (n_params, k)."""
        layout = self.layout
        wide, last = layout.ids, slice(layout.linear.start, layout.n)
        gradient = self.ridges.lanes(lanes).times(delta, layout)
        value = np.einsum("pk,pk->k", delta, gradient) / 2
        for block, width in blocks(len(lanes), kernels.LANES):
            lines = aligned(delta[wide, block], width)
            slope_wide = np.empty_like(lines)
            loss, slope = self.losses(delta[layout.leaves, block], delta[last, block], lines, lanes[block], slope_wide)
            value[block] += loss
            gradient[layout.leaves, block] += slope[: layout.n_leaves]
            gradient[wide, block] += slope_wide[:, : len(loss)]
            gradient[last, block] += slope[layout.n_leaves :]
        return value, gradient

    def losses(
        self,
        leaves: Lines,
        last: Lines,
        wide: NDArray[np.float32],
        lanes: Lanes,
        slope_wide_out: NDArray[np.float32],
    ) -> tuple[NDArray[np.float64], Lines]:
        """Discounted log loss of each of these k settings, (k,), and its gradient, without l2.

        Parameters
        ----------
        leaves, last : (n_leaves, k), and (n_dense + 1, k) of the dense columns and the bias
        wide : (n_wide_params, width), the k of them first
        lanes : no more than a line has
        slope_wide_out : as ``wide``, what the wide parameters' gradient is written to

        Returns
        -------
        loss, slope : (k,); float64 (n_leaves + n_dense + 1, k), of the leaves, the dense columns and the bias
        """
        k, width = len(lanes), wide.shape[1]
        halves = [self.half_of_lane[lane] for lane in lanes]
        halves += halves[:1] * (width - k)
        at = Point(self._groups, aligned(leaves, width), aligned(last, width), wide)
        loss, slope, own = self._window.parts.sum(loss_and_gradient, at, tuple(halves))
        at.give_back()
        own.into(slope_wide_out)
        return loss[:k], slope[:, :k]

    def curvature(self, at: Lines | None = None) -> Curvature:
        """Approximate Hessian of each setting at the anchor, or at these points, (n_params, lanes)."""
        return curvature_of(self._window, self.half_of_lane, self.ridges, at)

    def background(self, lane: int) -> float:
        """Log-odds of the rate of positives as setting ``lane`` discounts it, half a sample of each class added."""
        negatives, positives = self._window.parts.sum(weight_of_classes, self.half_of_lane[lane], zero=(0.0, 0.0))
        return float(np.log((positives + 0.5) / (negatives + 0.5)))


def loss_and_gradient(
    part: Part, at: Point, half_of_lane: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float32], OwnLines]:
    """Discounted log loss of a part's rows for each lane, (lanes,), and its gradient.

    Parameters
    ----------
    half_of_lane : index into the half-lives of the part's weights

    Returns
    -------
    loss, slope, own : (lanes,); (n_leaves + n_dense + 1, lanes), of leaves, dense columns and bias; of the part's own
        wide parameters
    """
    groups, tiles = at.groups, part.tiles
    loss, slope = np.zeros(at.width), zeros(at.n_leaves + len(at.last), at.width)
    slope_table, slope_own = groups.zeros(at.width), groups.lines(len(tiles.own), at.width)
    kernels.loss_and_gradient(
        part.codes.leaves,
        *groups.arguments,
        *tiles.arguments,
        part.codes.dense,
        part.base,
        part.codes.label,
        part.weight,
        half_of_lane,
        at.last,
        at.table,
        at.wide,
        slope_table,
        slope[at.n_leaves :],
        slope_own,
        loss,
    )
    groups.fold(slope_table, slope)
    groups.give_back(slope_table)
    return loss, slope, OwnLines.of(tiles, slope_own, len(at.wide), groups)


def weight_of_classes(part: Part, half: int) -> tuple[float, float]:
    """Discounted weight of a part's negatives and of its positives."""
    weight, label = part.weight[half], part.codes.label
    negatives, positives = (float(weight[label == each].sum(dtype=np.float64)) for each in (0, 1))
    return negatives, positives
