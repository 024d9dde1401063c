"""Samples of a window's rows that stand for the Hessian of each setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.head.curvature import Curvature, SampledCurvature, SubsampledNewton
from gbdtlr.head.lines import Lines
from gbdtlr.head.window import Window
from gbdtlr.metrics import sigmoid

Floats = NDArray[np.floating]

MAX_ROWS = 2048
MIN_ROWS = 64
ROWS_PER_SAMPLE = 24
"""The sample grows with the rows until inverting a matrix of its size costs as much as the passes it saves."""

SUBSAMPLE, SUBSAMPLE_SHARE = 24_576, 24
SUBSAMPLE_FROM = 65_536
"""Rows from which the larger sample pays; it has one in SUBSAMPLE_SHARE of them, or SUBSAMPLE."""


class Care(NamedTuple):
    """How closely the larger sample's Hessian is inverted.

    Attributes
    ----------
    max_rows : of the small sample that guides it, at most
    steps, enough : conjugate gradients end after so many steps, or once the residual's square is that share of what
        it was
    """

    max_rows: int
    steps: int
    enough: float


SOME, MUCH = Care(768, 6, 0.1), Care(1024, 8, 0.05)
MUCH_FROM = 400_000
"""Rows from which a pass costs so much more than a step on the larger sample that more care pays; all by trial."""

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
    if at is None:
        spread = _spread(window, None)
        groups = [Strength(window.weight, half, spread) for half in range(max(half_of_lane) + 1)]
    else:
        groups = [Strength(window.weight, half_of_lane[lane], _spread(window, at[:, lane])) for lane in lanes]
    made: list[SampledCurvature] = [None] * len(lanes)  # type: ignore[list-item]  # filled by threads
    subsampled = window.n >= SUBSAMPLE_FROM
    subsample: list[tuple[NDArray[np.unsignedinteger], NDArray[np.int32], NDArray[np.float32]]] = []
    care = MUCH if window.n >= MUCH_FROM else SOME
    most = care.max_rows if subsampled else MAX_ROWS

    def work(task: int) -> None:
        if task == len(groups):
            subsample.append(_subsample(window, groups))
        else:
            invert(task)

    def invert(group: int) -> None:
        strength = groups[group]
        total = max(sum(_sums(strength)), NOTHING)
        squares = sum(float(part @ part) for part in strength)
        diagonal = _diagonal(window, strength, total)
        for lane in (lane for lane in lanes if group_of_lane[lane] == group):
            m = sample_size(window.n, diagonal[0] / l2[lane], most)
            codes = window.codes(sample_rows(strength, m))
            share = min(1.0, m * squares / total**2)
            made[lane] = SampledCurvature(codes, share, total / m, diagonal, l2[lane], window.parameters.n_codes)

    threads.run(len(groups) + subsampled, work)
    if not subsampled:
        return Curvature(made)
    leaves, wide, scaled = subsample[0]
    return SubsampledNewton(made, leaves, wide, window.offsets, scaled, group_of_lane, l2, care.steps, care.enough)


class Strength(Sequence[Floats]):
    """``s p (1 - p)`` of each row, a part of the window at a time, made when it is asked for."""

    def __init__(self, weight: Sequence[NDArray[np.float32]], half: int, spread: Sequence[NDArray[np.float32]]) -> None:
        """Strengths of one half-life.

        Parameters
        ----------
        weight : per part, float32 (n_half_lives, n_part)
        half : index of the half-life
        spread : per part, ``p (1 - p)``, float32 (n_part,)
        """
        self._weight, self._half, self._spread = weight, half, spread

    def __len__(self) -> int:
        return len(self._spread)

    def __getitem__(self, p: Any) -> Any:
        return self._weight[p][self._half] * self._spread[p]


class _Mixed(Sequence[Floats]):
    """How often a row is to be drawn for all groups at once; the more it counts for one, the larger its say."""

    def __init__(self, groups: Sequence[Strength]) -> None:
        self._groups = groups
        self._scale = [1.0 / np.sqrt(max(sum(_sums(group)), NOTHING)) for group in groups]

    def __len__(self) -> int:
        return len(self._groups[0])

    def __getitem__(self, p: Any) -> Any:
        mixed = np.zeros(len(self._groups[0][p]))
        for group, scale in zip(self._groups, self._scale, strict=True):
            mixed += scale * group[p]
        return mixed + NOTHING


def _spread(window: Window, delta: NDArray[np.float64] | None) -> list[NDArray[np.float32]]:
    """``p (1 - p)`` of each row at the anchor, or so far from it, part by part."""
    spread = []
    for p, base in enumerate(window.base):
        margin = base.astype(np.float64)
        if delta is not None:
            window.add_margins(p, np.ascontiguousarray(delta), margin)
        chance = sigmoid(margin)
        spread.append(np.maximum(chance * (1.0 - chance), FLAT).astype(np.float32))
    return spread


def _diagonal(window: Window, strength: Strength, total: float) -> NDArray[np.float64]:
    """Diagonal of the Hessian without l2, but the leaves' mean for each leaf: all that is asked of them."""
    diagonal = np.zeros(window.parameters.n)
    for p, wide in enumerate(window.wide):
        for column in wide:
            diagonal += np.bincount(column, strength[p], window.parameters.n)
    diagonal[: window.parameters.n_codes] = total * (len(window.offsets) - 1) / window.parameters.n_codes
    diagonal[-1] = total
    return diagonal


def _subsample(
    window: Window, groups: Sequence[Strength]
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int32], NDArray[np.float32]]:
    """Codes of one sample for all groups, and its strengths, float32 (n_groups, m)."""
    mixed = _Mixed(groups)
    m = max(SUBSAMPLE, window.n // SUBSAMPLE_SHARE)
    chosen, times = np.unique(sample_rows(mixed, m), return_counts=True)
    leaves, wide = window.taken(chosen)
    # Each stands for the rows like it that were not drawn.
    stands = times * (sum(_sums(mixed)) / m) / _at(mixed, chosen)
    return leaves, wide, np.stack([(_at(group, chosen) * stands).astype(np.float32) for group in groups])


def _at(parts: Sequence[Floats], rows: NDArray[np.intp]) -> Floats:
    """Values of rows in rising order, counted through all parts."""
    found, start = [], 0
    for part in parts:
        mine = slice(*rows.searchsorted([start, start + len(part)]))
        found.append(part[rows[mine] - start])
        start += len(part)
    return np.concatenate(found)


def _sums(parts: Sequence[Floats]) -> list[float]:
    return [float(part.sum(dtype=np.float64)) for part in parts]


def sample_size(n: int, ratio: float, most: int) -> int:
    """Rows to sample out of n so that a setting takes about as many passes as others.

    Parameters
    ----------
    ratio : how many times the pull of its anchor a leaf's samples weigh; the cube root was found by trial
    """
    return min(n, max(MIN_ROWS, min(most, n // ROWS_PER_SAMPLE, int(1024 * np.cbrt(ratio / 10)))))


def sample_rows(strength: Sequence[Floats], m: int) -> NDArray[np.intp]:
    """``m`` rows, each as often as its share of ``strength`` says, always the same ones (systematic sampling).

    Parameters
    ----------
    strength : in parts, (n_part,) each; gone through twice

    Returns
    -------
    rows : (m,), in rising order, counted through all parts
    """
    sums = _sums(strength)
    marks = (np.arange(m) + 0.5) * (sum(sums) / m)
    cuts = marks.searchsorted(np.cumsum(sums))
    cuts[-1] = m  # whatever rounding says
    rows, start, before, low = [], 0, 0.0, 0
    for part, total, high in zip(strength, sums, cuts.tolist(), strict=True):
        within = np.cumsum(part, dtype=np.float64).searchsorted(marks[low:high] - before)
        rows.append(start + np.minimum(within, len(part) - 1))
        start, before, low = start + len(part), before + total, high
    return np.concatenate(rows)
