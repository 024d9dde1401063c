"""Curvature of the objective from samples of its rows: what turns hundreds of passes over the codes into a dozen.

Leaves of different trees say much the same, so the Hessian is far from diagonal. For a setting it is::

    H = diag(l2) + X' diag(s p (1 - p)) X   ~   B + Z' Z

where Z holds a sample of the rows of X, drawn in proportion to ``s p (1 - p)`` and scaled, and the diagonal B makes
up for the rows left out. Its inverse is applied by Woodbury's identity through a matrix as large as the sample,
however many codes there are::

    (B + Z'Z)^-1 = B^-1 - B^-1 Z' (I + Z B^-1 Z')^-1 Z B^-1

Where there are so many rows that a pass costs more, a second, larger sample stands for the Hessian itself, and a few
steps of conjugate gradients on it, preconditioned by the first, come much closer to its inverse.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.head.fit import kernels
from gbdtlr.head.fit.conjugate import conjugate_gradients
from gbdtlr.head.fit.core import Core
from gbdtlr.head.fit.groups import Groups
from gbdtlr.head.fit.lines import Lanes, Lines, aligned, blocks, zeros

EXACT = 4e6
"""Trace from which float32 would lose the ones on the diagonal among the rest: float64 takes its place."""
TRIES = 18
"""Times the diagonal is raised at most, eight times as much each time: at last by as much as the trace."""

PIECES = 4
"""Parts of the larger sample that are summed apart; fixed, so that the sum does not depend on the threads."""


class Told(NamedTuple):
    """What samples tell of wide parameters, each by itself; see ``ridges``.

    Attributes
    ----------
    held : float32 (n_wide_params, n_groups), diagonal of the Hessian, without l2
    noise : float64 (n_groups,), variance of the gradient as a multiple of the curvature; 0 where no sample weighs
        anything
    """

    held: NDArray[np.float32]
    noise: NDArray[np.float64]


class Curvature:
    """Inverse of every setting's approximate Hessian, from one small sample of rows each."""

    tolerance = 1e-7
    """Of the decrease the solver still expects, for the fit to be within 1e-5 of its optimum: a small sample is up to
    a hundred times too hopeful."""

    def __init__(
        self,
        of_lane: Sequence[SampledCurvature],
        core: Core,
        wide: NDArray[np.float32],
        group_of_lane: Sequence[int],
        told: Told | None = None,
    ) -> None:
        """Curvature of the core's parameters, and of wide parameters by themselves.

        Parameters
        ----------
        wide : float32 (n_wide_params, n_groups), diagonal of the Hessian, without l2, or somewhat more
        group_of_lane : (lanes,), index into the groups
        told : by the samples, of groups that are half-lives
        """
        self._of_lane = of_lane
        self.core, self.group_of_lane, self.exact, self.told = core, group_of_lane, wide, told

    @property
    def wide(self) -> NDArray[np.float32]:
        """Diagonal of the Hessian for wide parameters by themselves, infinite for those of the core."""
        wide = self.exact.copy()
        wide[self.core.busy] = np.inf
        return wide

    def solve(self, lines: Lines, lanes: Lanes) -> Lines:
        """Inverse Hessian of each of these k lanes times its column, (n_core, k)."""
        rows = np.ascontiguousarray(lines.T.astype(np.float32))
        out = np.empty_like(rows)

        def work(i: int) -> None:
            out[i] = self._of_lane[lanes[i]].solve(rows[i])

        threads.run(len(rows), work)
        result: Lines = np.ascontiguousarray(out.T).astype(lines.dtype, copy=False)
        return result


class SubsampledNewton(Curvature):
    """As :class:`Curvature`, much closer: conjugate gradients on the Hessian of a larger sample.

    Source
    ------
    Byrd, Chin, Neveitt and Nocedal 2011, section 2.
    """

    tolerance = 2e-6

    def __init__(
        self,
        guess: Curvature,
        rows: SampledRows,
        offsets: NDArray[np.int64],
        l2: NDArray[np.float32],
        steps: int,
        enough: float,
    ) -> None:
        """Curvature of sampled rows.

        Parameters
        ----------
        guess : of a smaller sample
        offsets : int64 (n_trees + 1,)
        l2 : (n_core, lanes)
        steps, enough : as of ``conjugate_gradients``
        """
        super().__init__(guess._of_lane, guess.core, guess.exact, guess.group_of_lane, guess.told)
        place = self.core.place[rows.wide]
        self._wide = np.ascontiguousarray(place[(place != self.core.others).any(axis=1)])  # columns with busy buckets
        self._dense, self._strength = rows.dense, rows.strength
        self._groups = Groups(offsets, rows.leaves.shape[1] // PIECES)
        self._place = self._groups.places_of(rows.leaves)
        self._strength_of_lane, self._l2 = tuple(guess.group_of_lane), l2
        self._steps, self._enough = steps, enough
        self._scale = self._scale_of_busy(rows)

    def _scale_of_busy(self, rows: SampledRows) -> NDArray[np.float32]:
        """What makes the sample's diagonal that of all rows, for busy buckets and groups: (n_busy, n_groups).

        The few rows of a bucket that are sampled weigh more or less than they should.
        """
        exact, place = self.exact[self.core.busy], self._wide - self.core.n_leaves
        sampled = np.zeros((len(exact) + 1, exact.shape[1]))
        for group, strength in enumerate(rows.strength):
            for column in place:
                sampled[:, group] += np.bincount(column, strength, len(sampled))
        scale: NDArray[np.float32] = np.sqrt(exact / np.maximum(sampled[:-1], 1e-30)).astype(np.float32)
        return scale

    def solve(self, lines: Lines, lanes: Lanes) -> Lines:
        thin = lines.astype(np.float32)
        x = conjugate_gradients(self.times, super().solve, thin, lanes, steps=self._steps, enough=self._enough)
        result: Lines = x.astype(lines.dtype)
        return result

    def times(self, lines: NDArray[np.float32], lanes: Lanes) -> NDArray[np.float32]:
        """Hessian of each of these k lanes times its column, float32 (n_core, k)."""
        m = self._place.shape[1]
        share = -(-m // PIECES)
        total: NDArray[np.float32] = self._l2[:, lanes] * lines
        busy, scale = self.core.of_busy, self._scale[:, [self._strength_of_lane[lane] for lane in lanes]]
        lines = lines.copy()
        lines[busy] *= scale
        image = np.zeros_like(lines)
        for block, width in blocks(len(lanes), kernels.LANES):
            chosen = [self._strength_of_lane[lane] for lane in lanes[block]]
            chosen += [0] * (width - len(chosen))
            vectors = aligned(lines[:, block], width)
            table = self._groups.table(vectors)
            images = [zeros(len(lines), width) for _ in range(PIECES)]

            def work(
                piece: int,
                chosen: Sequence[int] = chosen,
                vectors: Lines = vectors,
                table: Lines = table,
                images: Sequence[NDArray[np.float32]] = images,
            ) -> None:
                start, stop = piece * share, min(m, (piece + 1) * share)
                scratch = self._groups.zeros(vectors.shape[1])
                kernels.curvature_times(
                    self._place, self._groups.places, self._wide, self._dense, self._strength, tuple(chosen),
                    vectors, table, start, stop, scratch, images[piece],
                )  # fmt: skip
                self._groups.fold(scratch, images[piece])
                self._groups.give_back(scratch)

            threads.run(PIECES, work)
            self._groups.give_back(table)
            for each in images:
                image[:, block] += each[:, : block.stop - block.start]
        image[busy] *= scale
        total += image
        total[self.core.others] = 0
        return total


class SampledRows(NamedTuple):
    """Rows that stand for all.

    Attributes
    ----------
    leaves, wide, dense : (n_trees, m), parameters of their wide buckets, int32 (n_wide, m), and float32 (n_dense, m)
    strength : float32 (n_strengths, m), ``s p (1 - p)`` over the share of the rows like it that are sampled
    """

    leaves: NDArray[np.unsignedinteger]
    wide: NDArray[np.int32]
    dense: NDArray[np.float32]
    strength: NDArray[np.float32]


class SampledCurvature:
    """Inverse of one setting's approximate Hessian, as a function of gradients."""

    def __init__(
        self,
        codes: NDArray[np.int32],
        dense: NDArray[np.float32],
        share: float,
        scale: float,
        diagonal: NDArray[np.float64],
        l2: float | NDArray[np.float64],
        leaves: slice,
    ) -> None:
        """Curvature from sampled rows.

        Parameters
        ----------
        codes : int32 (m, n_codes_of_a_row + 1), parameters of each sampled row, the bias last
        dense : float32 (m, n_dense), its dense values
        share : of the diagonal the sample stands for
        scale : weight of one row
        diagonal : float64 (n_params,), diagonal of the Hessian without l2; infinite for what is not to move
        l2 : of all parameters, or of each, (n_params,)
        leaves : where the leaves of all trees are among the parameters
        """
        self._codes, self._dense, self._linear = codes, dense, slice(-1 - dense.shape[1], -1)
        # The same for all leaves: every tree's leaves sum to the same thing, and a B that differed among them would
        # push the search into directions the data say nothing about, which only l2 leads back from, slowly.
        moves = np.isfinite(diagonal)
        rest = (1.0 - share) * np.where(moves, diagonal, 0.0)
        rest[leaves] = rest[leaves].mean()
        # Every row has all dense numbers, so a sample of a few times as many rows knows all of their part: no more is
        # left out than what it may be wrong by, and columns that say much the same are seen to.
        rest[self._linear] *= min(1.0, 2.0 * dense.shape[1] / len(codes))
        inverse_b = np.where(moves, 1.0 / (l2 + rest), 0.0)
        trace = scale * inverse_b[codes].sum()
        if dense.shape[1]:
            trace += scale * float(np.square(dense, dtype=np.float64).sum(axis=0) @ inverse_b[self._linear])
        kind = np.float32 if trace <= EXACT else np.float64
        self._inverse_b: NDArray[np.floating] = inverse_b.astype(kind)
        self._scale = kind(scale)
        m = len(codes)
        gram = np.zeros((m, m), kind)  # below its diagonal only, as is all that is read of it
        kernels.add_gram(np.ascontiguousarray(codes.T), self._inverse_b, gram)
        if dense.shape[1]:
            gram += (dense * self._inverse_b[self._linear]) @ dense.T.astype(kind)
        gram *= self._scale
        self._inner = _inverse_of_root(gram)

    def solve(self, gradient: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inverse Hessian times the gradient, float32 (n_params,)."""
        q = gradient * self._inverse_b
        sums = np.empty(len(self._codes), q.dtype)
        kernels.gather_rows(self._codes, q, sums)
        if self._dense.shape[1]:
            sums += self._dense.astype(q.dtype) @ q[self._linear]
        back, solved = np.zeros_like(q), (self._inner @ sums) @ self._inner
        kernels.scatter_rows(self._codes, solved, back)
        if self._dense.shape[1]:
            back[self._linear] += solved @ self._dense.astype(q.dtype)
        result: NDArray[np.float32] = (q - self._scale * back * self._inverse_b).astype(np.float32, copy=False)
        return result


def _inverse_of_root(gram: NDArray[np.floating]) -> NDArray[np.floating]:
    """Inverse of the Cholesky factor of ``1 + gram``, whose lower half is given and is changed.

    Where there are more rows than directions, and they weigh so much that rounding outweighs the ones, the diagonal is
    raised until there is a factor: as if each row weighed less.
    """
    diagonal = np.diag_indices(len(gram))
    lost = np.finfo(gram.dtype).eps * gram.trace()
    gram[diagonal] += 1.0
    for _ in range(TRIES):
        with contextlib.suppress(np.linalg.LinAlgError):
            return _inverse_of_factor(gram)
        gram[diagonal] += lost
        lost *= 8.0
    return _inverse_of_factor(gram)


def _inverse_of_factor(lower: NDArray[np.floating]) -> NDArray[np.floating]:
    """Inverse of the Cholesky factor of a matrix whose lower half is given, by halves: nearly all is multiplying."""
    m = len(lower)
    if m <= 64:
        return np.tril(np.linalg.inv(np.linalg.cholesky(lower)))
    h = m // 2
    out = np.zeros_like(lower)
    out[:h, :h] = _inverse_of_factor(lower[:h, :h])
    below = lower[h:, :h] @ out[:h, :h].T
    out[h:, h:] = _inverse_of_factor(lower[h:, h:] - below @ below.T)
    out[h:, :h] = -out[h:, h:] @ (below @ out[:h, :h])
    return out
