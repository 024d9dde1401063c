"""Samples of a window's rows that stand for the Hessian of each setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.head.fit.core import Core
from gbdtlr.head.fit.curvature import Curvature, SampledCurvature, SampledRows, SubsampledNewton, Told
from gbdtlr.head.fit.kernels import LANES
from gbdtlr.head.fit.lines import Lines, blocks, lines
from gbdtlr.head.fit.own_lines import OwnLines
from gbdtlr.head.fit.window import Part, Window
from gbdtlr.head.layout import Layout
from gbdtlr.head.ridges import LEAVES, Ridges
from gbdtlr.metrics import sigmoid

Floats = NDArray[np.floating]

MAX_ROWS = 2048
MIN_ROWS = 64
ROWS_PER_SAMPLE = 24
"""The sample grows with the rows until inverting a matrix of its size costs as much as the passes it saves."""

SUBSAMPLE, SUBSAMPLE_SHARE, SUBSAMPLE_MOST = 24_576, 24, 2**19
SUBSAMPLE_FROM = 65_536
"""Rows from which the larger sample pays; it has one in SUBSAMPLE_SHARE of them, or SUBSAMPLE, and never more than fit
well in the memory of one machine, which works on them alone while others wait."""


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

BUSY = 4
"""Rows of the larger sample from which a wide bucket is busy: fewer say too little about it."""

FLAT = 0.01
"""Least ``p (1 - p)`` a row is taken to have: what is all but certain at one point need not be so at the next."""
NOTHING = 1e-30
"""Stands for a weight of zero where one is divided by: samples many half-lives old weigh nothing at all."""


@dataclass(frozen=True)
class Strengths:
    """How much the rows of a part count for the curvature, ``s p (1 - p)``, in groups of lanes that see them alike.

    Attributes
    ----------
    part : the rows
    half_of_group : index into the half-lives of the part's weights
    exact : ``p (1 - p)``, float32 (n,): of all groups, or of each
    """

    part: Part
    half_of_group: Sequence[int]
    exact: Sequence[NDArray[np.float32]]

    @classmethod
    def of(cls, part: Part, layout: Layout, half_of_group: Sequence[int], at: Lines | None) -> Strengths:
        """Strengths at the anchor, where p is the same for all, or so far from it, (n_params, n_groups)."""
        if at is None:
            margins = [part.base.astype(np.float64)]
        else:
            margins = [part.margins(layout, np.ascontiguousarray(delta)) for delta in at.T]
        chances = [sigmoid(margin) for margin in margins]
        return cls(part, half_of_group, [(chance * (1.0 - chance)).astype(np.float32) for chance in chances])

    def of_group(self, group: int) -> NDArray[np.float32]:
        """Those of one group, made when they are asked for."""
        weight, exact = self.part.weight[self.half_of_group[group]], self.exact[group % len(self.exact)]
        result: NDArray[np.float32] = weight * np.maximum(exact, np.float32(FLAT))
        return result

    def exact_of_group(self, group: int) -> NDArray[np.float32]:
        """The same without a least ``p (1 - p)``."""
        weight, exact = self.part.weight[self.half_of_group[group]], self.exact[group % len(self.exact)]
        result: NDArray[np.float32] = weight * exact
        return result

    def of_all(self, scales: Sequence[float]) -> NDArray[np.float64]:
        """How often a row is to be drawn for all groups at once; the more it counts for one, the larger its say."""
        mixed = np.zeros(len(self.part))
        for group, scale in enumerate(scales):
            mixed += scale * self.of_group(group)
        return mixed + NOTHING


def sums(strengths: Strengths) -> NDArray[np.float64]:
    """Sum of a part's strengths, and of their squares, for each group: (2, n_groups)."""
    groups = (strengths.of_group(group) for group in range(len(strengths.half_of_group)))
    return np.array([[each.sum(dtype=np.float64), np.square(each).sum(dtype=np.float64)] for each in groups]).T


def exact_sums(strengths: Strengths) -> NDArray[np.float64]:
    """Sum of a part's exact strengths, and of what they are times the weights, for each group: (2, n_groups)."""
    found = []
    for group, half in enumerate(strengths.half_of_group):
        each = strengths.exact_of_group(group).astype(np.float64)
        found.append([each.sum(), float(each @ strengths.part.weight[half])])
    return np.array(found).T


def wide_sums(strengths: Strengths, n: int, and_exact: bool) -> tuple[OwnLines, ...]:
    """Sums of a part's strengths for its tiles' own wide parameters, of ``n``, in blocks of groups, and after all these
    of the exact strengths."""
    n_groups, tiles = len(strengths.half_of_group), strengths.part.tiles
    of_groups = [strengths.of_group(group) for group in range(n_groups)]
    if and_exact:
        of_groups += [strengths.exact_of_group(group) for group in range(n_groups)]
    lanes = blocks(len(of_groups), LANES)
    return tuple(OwnLines.of(tiles, tiles.sums(np.stack(of_groups[some]), width), n) for some, width in lanes)


def dense_sums(strengths: Strengths) -> NDArray[np.float64]:
    """Sum of a part's strengths times the squares of each dense number, of each group, (n_dense, n_groups)."""
    groups = range(len(strengths.half_of_group))
    return np.stack([squares_of(strengths.part.codes.dense, strengths.of_group(group)) for group in groups], axis=1)


def drawn(
    strengths: Strengths, marks: Sequence[NDArray[np.float64]], layout: Layout, group: int
) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Parameters, int32 (n_marks, n_of_a_row), and dense values, float32 (n_marks, n_dense), of the rows that marks
    fall on, for each sample of a group."""
    part, strength = strengths.part, strengths.of_group(group)
    chosen = [rows_at(strength, each) for each in marks]
    codes = part.codes
    return [(layout.parameters(codes.leaves[:, rows], part.wide[:, rows]), codes.dense[:, rows].T) for rows in chosen]


def total_of_all(strengths: Strengths, scales: Sequence[float]) -> float:
    """Sum of :meth:`Strengths.of_all`."""
    return float(strengths.of_all(scales).sum())


def drawn_for_all(
    strengths: Strengths, marks: NDArray[np.float64], scales: Sequence[float]
) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.float32], Floats]:
    """Leaves, wide parameters and dense values, (..., m), of the rows that marks fall on, and their strengths,
    (n_groups, m).

    Each stands for the rows like it that were not drawn, but for one factor that all have in common.
    """
    part, mixed = strengths.part, strengths.of_all(scales)
    chosen, times = np.unique(rows_at(mixed, marks), return_counts=True)
    stands = times / mixed[chosen]
    strength = np.stack([strengths.of_group(group)[chosen] * stands for group in range(len(scales))])
    return part.codes.leaves[:, chosen], part.wide[:, chosen], part.codes.dense[:, chosen], strength


def curvature_of(window: Window, half_of_lane: Sequence[int], ridges: Ridges, at: Lines | None = None) -> Curvature:
    """Approximate Hessian of each setting at the anchor, or at these points.

    Parameters
    ----------
    half_of_lane : (lanes,), index into the half-lives of the window's weights
    ridges : of each kind of weight in each lane
    at : distances from the anchor, float64 (n_params, lanes)
    """
    l2 = ridges.values[LEAVES]
    # At the anchor p is the same for all lanes, so that those of a half-life share what each row counts for.
    half_of_group = range(max(half_of_lane) + 1) if at is None else half_of_lane
    group_of_lane = list(half_of_lane if at is None else range(len(l2)))
    strengths = window.parts.derive(Strengths.of, window.layout, half_of_group, at)
    totals, squares = np.stack(strengths.map(sums), axis=1)  # (n_parts, n_groups) each
    wide, told = _wide_diagonal(window, strengths, len(half_of_group), and_exact=at is None)
    none = np.zeros((window.layout.dense.n, len(half_of_group)))
    dense = strengths.sum(dense_sums, zero=none) if len(none) else none
    subsampled = window.n >= SUBSAMPLE_FROM
    care = MUCH if window.n >= MUCH_FROM else SOME
    is_busy = np.ones(len(wide), bool)
    if subsampled:
        scales = [float(1.0 / np.sqrt(max(total, NOTHING))) for total in totals.sum(axis=0)]
        rows = _subsample(strengths, scales, subsample_size(window.n))
        is_busy = np.bincount(rows.wide.ravel() - window.layout.n_leaves, minlength=len(wide)) >= BUSY
    core = Core.of(window.layout, is_busy)
    samples: dict[int, _Sample] = {}
    for group in range(len(half_of_group)):
        lanes = [lane for lane, own in enumerate(group_of_lane) if own == group]
        most = care.max_rows if subsampled else MAX_ROWS
        diagonal = _diagonal(window.layout, core, wide[:, group], dense[:, group], float(totals[:, group].sum()))
        sample = partial(_samples, window, strengths, group, totals[:, group], float(squares[:, group].sum()))
        samples.update(zip(lanes, sample(diagonal, l2[lanes], most, core), strict=True))
    l2_core = ridges.values[core.kinds(window.layout)]
    inverted: list[SampledCurvature] = [None] * len(l2)  # type: ignore[list-item]  # filled by threads

    def invert(lane: int) -> None:
        inverted[lane] = SampledCurvature(*samples[lane], l2_core[:, lane], window.layout.leaves)

    threads.run(len(l2), invert)
    guess = Curvature(inverted, core, wide, group_of_lane, told)
    if not subsampled:
        return guess
    thin = l2_core.astype(np.float32)
    return SubsampledNewton(guess, rows, window.layout.offsets, thin, care.steps, care.enough)


def _wide_diagonal(
    window: Window, strengths: Parts[Strengths], n_groups: int, *, and_exact: bool
) -> tuple[NDArray[np.float32], Told | None]:
    """Diagonal of the Hessian for each wide parameter and group, without l2, as the search is guided by it: float32
    (n_wide_params, n_groups); and what it exactly is, if that is asked for."""
    n = window.layout.ids.stop - window.layout.ids.start
    if not n:
        return np.empty((0, n_groups), np.float32), None
    found = []
    lanes = blocks(n_groups * (2 if and_exact else 1), LANES)
    for own, (some, width) in zip(strengths.sum(wide_sums, n, and_exact), lanes, strict=True):
        of_all = lines(n, width)
        own.into(of_all)
        found.append(of_all[:, : some.stop - some.start])
    wide = np.ascontiguousarray(found[0]) if len(found) == 1 else np.concatenate(found, axis=1)
    if not and_exact:
        return wide, None
    curvature, variance = strengths.sum(exact_sums)
    noise = np.divide(variance, curvature, out=np.zeros(n_groups), where=curvature > 0)
    return np.ascontiguousarray(wide[:, :n_groups]), Told(wide[:, n_groups:], noise)


def _diagonal(
    layout: Layout, core: Core, wide: NDArray[np.float32], dense: NDArray[np.float64], total: float
) -> NDArray[np.float64]:
    """Diagonal of the Hessian without l2 for the core's parameters, of a group whose strengths sum to ``total``."""
    diagonal, total = np.full(core.n, np.inf), max(total, NOTHING)
    # The leaves' mean for each leaf: all that is asked of them.
    diagonal[: core.n_leaves] = total * layout.n_trees / layout.n_leaves
    diagonal[core.of_busy] = wide[core.busy]
    diagonal[core.last] = np.append(dense, total)
    return diagonal


class _Sample(NamedTuple):
    """What a :class:`SampledCurvature` is made of."""

    codes: NDArray[np.int32]
    dense: NDArray[np.float32]
    share: float
    scale: float
    diagonal: NDArray[np.float64]


def _samples(
    window: Window,
    strengths: Parts[Strengths],
    group: int,
    totals: NDArray[np.float64],
    squares: float,
    diagonal: NDArray[np.float64],
    l2: NDArray[np.float64],
    most: int,
    core: Core,
) -> list[_Sample]:
    """Samples for the lanes of one group, whose strengths sum to ``totals`` in each part, and to so many squares."""
    total = max(float(totals.sum()), NOTHING)
    sizes = [sample_size(window.n, diagonal[0] / each, most) for each in l2]
    marks = zip(*(marks_in(totals, m) for m in sizes), strict=True)
    in_parts = strengths.map(drawn, window.layout, group, each=list(marks))
    made = []
    for m, rows in zip(sizes, zip(*in_parts, strict=True), strict=True):
        codes, dense = (np.concatenate(each) for each in zip(*rows, strict=True))
        made.append(_Sample(core.place[codes], dense, min(1.0, m * squares / total**2), total / m, diagonal))
    return made


def subsample_size(n: int) -> int:
    """Rows of the larger sample out of n."""
    return min(SUBSAMPLE_MOST, max(SUBSAMPLE, n // SUBSAMPLE_SHARE))


def _subsample(strengths: Parts[Strengths], scales: Sequence[float], m: int) -> SampledRows:
    """One sample for all groups, of m rows or fewer."""
    totals = np.array(strengths.map(total_of_all, scales))
    in_parts = strengths.map(drawn_for_all, scales, each=marks_in(totals, m))
    leaves, wide, dense, strength = (np.concatenate(each, axis=1) for each in zip(*in_parts, strict=True))
    dense = np.ascontiguousarray(dense)
    return SampledRows(leaves, wide, dense, (strength * (totals.sum() / m)).astype(np.float32))


def squares_of(dense: NDArray[np.float32], strength: Floats) -> NDArray[np.float64]:
    """Sum of each dense number's squares over rows, weighed by their strengths, (n_dense,)."""
    return np.array([float(np.einsum("n,n,n->", line, line, strength, dtype=np.float64)) for line in dense], np.float64)


def sample_size(n: int, ratio: float, most: int) -> int:
    """Rows to sample out of n so that a setting takes about as many passes as others.

    Parameters
    ----------
    ratio : how many times the pull of its anchor a leaf's samples weigh; the cube root was found by trial
    """
    return min(n, max(MIN_ROWS, min(most, n // ROWS_PER_SAMPLE, int(1024 * np.cbrt(ratio / 10)))))


def marks_in(totals: NDArray[np.float64], m: int) -> list[NDArray[np.float64]]:
    """Marks of a systematic sample of ``m`` rows that lie in each part, whose strengths sum to ``totals``.

    A row is drawn as often as marks fall on it, laid end to end with the others of its part: always the same ones.
    """
    marks = (np.arange(m) + 0.5) * (totals.sum() / m)
    ends = np.cumsum(totals)
    cuts = marks.searchsorted(ends)
    cuts[-1] = m  # whatever rounding says
    spans = zip([0, *cuts[:-1]], cuts, [0.0, *ends[:-1]], strict=True)
    return [marks[low:high] - before for low, high, before in spans]


def rows_at(strength: Floats, marks: NDArray[np.float64]) -> NDArray[np.intp]:
    """The row of a part that each mark falls on, in rising order."""
    return np.minimum(np.cumsum(strength, dtype=np.float64).searchsorted(marks), len(strength) - 1)
