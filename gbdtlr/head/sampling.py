"""Samples of a window's rows that stand for the Hessian of each setting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gbdtlr import threads
from gbdtlr.head.curvature import Curvature, SampledCurvature, SubsampledNewton
from gbdtlr.head.lines import Lines
from gbdtlr.head.window import Window
from gbdtlr.metrics import sigmoid

MAX_ROWS, MAX_ROWS_BELOW_SUBSAMPLE = 2048, 1024
MIN_ROWS = 64
ROWS_PER_SAMPLE = 24
"""The sample grows with the rows until inverting a matrix of its size costs as much as the passes it saves."""

SUBSAMPLE, SUBSAMPLE_SHARE = 24_576, 24
SUBSAMPLE_FROM = 65_536
"""Rows from which the larger sample pays; it has one in SUBSAMPLE_SHARE of them, or SUBSAMPLE."""

FLAT = 0.01
"""Least ``p (1 - p)`` a row is taken to have: what is all but certain at one point need not be so at the next."""
NOTHING = 1e-30
"""Stands for a weight of zero where one is divided by: samples many half-lives old weigh nothing at all."""


def curvature_of(
    window: Window, half_of_lane: Sequence[int], l2: NDArray[np.float64], at: Lines | None = None
) -> Curvature:
    """Approximate Hessian of each setting at the anchor, or at these points.

    Parameters
    ----------
    half_of_lane : (lanes,), index into the half-lives of the window's weights
    l2 : (lanes,)
    at : distances from the anchor, float64 (n_params, lanes)
    """
    # At the anchor p is the same for all lanes, so that those of a half-life share what each row counts for.
    lanes = range(len(l2))
    group_of_lane = list(half_of_lane if at is None else lanes)
    groups = range(max(group_of_lane) + 1)
    strength = np.empty((len(groups), window.n), np.float32)
    made: list[SampledCurvature] = [None] * len(lanes)  # type: ignore[list-item]
    subsampled = window.n >= SUBSAMPLE_FROM
    most = MAX_ROWS_BELOW_SUBSAMPLE if subsampled else MAX_ROWS

    def work(group: int) -> None:
        mine = [lane for lane in lanes if group_of_lane[lane] == group]
        _fill(strength[group], window, half_of_lane[mine[0]], None if at is None else at[:, mine[0]])
        total = max(strength[group].sum(dtype=np.float64), NOTHING)
        diagonal = _diagonal(window, strength[group], total)
        for lane in mine:
            m = sample_size(window.n, diagonal[0] / l2[lane], most)
            share = min(1.0, m * float(strength[group] @ strength[group]) / total**2)
            codes = window.codes(sample_rows(strength[group], m))
            made[lane] = SampledCurvature(codes, share, total / m, diagonal, l2[lane], window.parameters.n_codes)

    threads.run(len(groups), work)
    if not subsampled:
        return Curvature(made)
    leaves, wide, scaled = _subsample(window, strength)
    return SubsampledNewton(made, leaves, wide, window.offsets, scaled, group_of_lane, l2)


def _fill(strength: NDArray[np.float32], window: Window, half: int, delta: NDArray[np.float64] | None) -> None:
    """``s p (1 - p)`` of each row at the anchor, or so far from it."""
    start = 0
    for p, part in enumerate(window.parts):
        margin = window.base[p].astype(np.float64)
        if delta is not None:
            window.add_margins(p, np.ascontiguousarray(delta), margin)
        chance = sigmoid(margin)
        stop = start + len(part)
        strength[start:stop] = window.weight[p][half] * np.maximum(chance * (1.0 - chance), FLAT)
        start = stop


def _diagonal(window: Window, strength: NDArray[np.float32], total: float) -> NDArray[np.float64]:
    """Diagonal of the Hessian without l2, but the leaves' mean for each leaf: all that is asked of them."""
    diagonal = np.zeros(window.parameters.n)
    start = 0
    for part, wide in zip(window.parts, window.wide, strict=True):
        for column in wide:
            diagonal += np.bincount(column, strength[start : start + len(part)], window.parameters.n)
        start += len(part)
    diagonal[: window.parameters.n_codes] = total * (len(window.offsets) - 1) / window.parameters.n_codes
    diagonal[-1] = total
    return diagonal


def _subsample(
    window: Window, strength: NDArray[np.float32]
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int32], NDArray[np.float32]]:
    """Codes of one sample for all groups, and its strengths; the more rows count for a group, the larger its say."""
    total = np.maximum(strength.sum(axis=1, keepdims=True, dtype=np.float64), NOTHING)
    density = np.einsum("gn,g->n", strength, 1.0 / np.sqrt(total[:, 0])) + NOTHING
    density /= density.sum()
    m = max(SUBSAMPLE, window.n // SUBSAMPLE_SHARE)
    chosen, times = np.unique(sample_rows(density, m), return_counts=True)
    leaves, wide = window.taken(chosen)
    return leaves, wide, (strength[:, chosen] * (times / (m * density[chosen]))).astype(np.float32)


def sample_size(n: int, ratio: float, most: int) -> int:
    """Rows to sample out of n so that a setting takes about as many passes as others.

    Parameters
    ----------
    ratio : how many times the pull of its anchor a leaf's samples weigh; the cube root was found by trial
    """
    return min(n, max(MIN_ROWS, min(most, n // ROWS_PER_SAMPLE, int(1024 * np.cbrt(ratio / 10)))))


def sample_rows(strength: NDArray[np.floating], m: int) -> NDArray[np.intp]:
    """``m`` rows, each as often as its share of ``strength`` says, always the same ones (systematic sampling)."""
    total = np.cumsum(strength, dtype=np.float64)
    marks = (np.arange(m) + 0.5) * (total[-1] / m)
    rows: NDArray[np.intp] = np.minimum(total.searchsorted(marks), len(strength) - 1)
    return rows
