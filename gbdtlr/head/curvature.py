"""Curvature of the objective from samples of its rows: what turns hundreds of passes over the codes into a dozen.

Leaves of different trees say much the same, so the Hessian is far from diagonal. For a setting it is::

    H = l2 I + X' diag(s p (1 - p)) X   ~   B + Z' Z

where Z holds a sample of the rows of X, drawn in proportion to ``s p (1 - p)`` and scaled, and the diagonal B makes
up for the rows left out. Its inverse is applied by Woodbury's identity through a matrix as large as the sample,
however many codes there are::

    (B + Z'Z)^-1 = B^-1 - B^-1 Z' (I + Z B^-1 Z')^-1 Z B^-1

Where there are so many rows that a pass costs more, a second, larger sample stands for the Hessian itself, and a few
steps of conjugate gradients on it, preconditioned by the first, come much closer to its inverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gbdtlr import threads
from gbdtlr.head import kernels
from gbdtlr.head.lines import Lines, aligned

MAX_ROWS, MAX_ROWS_BELOW_SUBSAMPLE = 2048, 1024
MIN_ROWS = 64
ROWS_PER_SAMPLE = 24
"""The sample grows with the rows until inverting a matrix of its size costs as much as the passes it saves."""
EXACT = 4e6
"""Trace from which float32 would lose the ones on the diagonal among the rest."""

SUBSAMPLE = 2**15
SUBSAMPLE_FROM = 4 * SUBSAMPLE
"""Rows from which the larger sample pays; it has a sixteenth of them, or SUBSAMPLE."""
STEPS, ENOUGH = 8, 0.05
"""Conjugate gradients end after so many steps, or once the residual's square is that share of what it was."""
PIECES = 4
"""Parts of the larger sample that are summed apart; fixed, so that the sum does not depend on the threads."""


def sample_size(n: int, ratio: float, most: int) -> int:
    """Rows to sample out of n so that a setting takes about as many passes as others.

    Parameters
    ----------
    ratio : how many times the pull of its anchor a leaf's samples weigh; the cube root was found by trial
    """
    return min(n, max(MIN_ROWS, min(most, n // ROWS_PER_SAMPLE, int(1024 * np.cbrt(ratio / 10)))))


class Curvature:
    """Inverse of every setting's approximate Hessian, from one small sample of rows each."""

    tolerance = 1e-7
    """Of the decrease the solver still expects, for the fit to be within 1e-5 of its optimum: a small sample is up to
    a hundred times too hopeful."""

    def __init__(self, of_lane: Sequence[SampledCurvature]) -> None:
        self._of_lane = of_lane

    def solve(self, lines: Lines) -> Lines:
        """Inverse Hessian of each lane times its column, (n_params, lanes)."""
        rows = np.ascontiguousarray(lines.T.astype(np.float32))
        out = np.empty_like(rows)

        def work(lane: int) -> None:
            out[lane] = self._of_lane[lane].solve(rows[lane])

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
        of_lane: Sequence[SampledCurvature],
        leaves: NDArray[np.unsignedinteger],
        wide: NDArray[np.int32],
        offsets: NDArray[np.int64],
        strength: NDArray[np.float32],
        half_of_lane: Sequence[int],
        l2: NDArray[np.float64],
    ) -> None:
        """Curvature of sampled rows.

        Parameters
        ----------
        leaves, wide : (n_trees, m) and int32 (n_wide, m), codes of the sampled rows
        offsets : int64 (n_trees + 1,)
        strength : float32 (n_half_lives, m), ``s p (1 - p)`` over the share of the rows like it that are sampled
        half_of_lane : (lanes,), index into ``strength``
        """
        super().__init__(of_lane)
        self._leaves, self._wide, self._offsets, self._strength = leaves, wide, offsets, strength
        self._half_of_lane, self._l2 = tuple(half_of_lane), l2.astype(np.float32)

    def solve(self, lines: Lines) -> Lines:
        x = np.zeros(lines.shape, np.float32)
        residual = lines.astype(np.float32)
        z = super().solve(residual)
        direction, size = z, _dot(residual, z)
        enough = ENOUGH * size
        for _ in range(STEPS):
            image = self.times(direction)
            step = _ratio(size, _dot(direction, image))
            x += step * direction
            residual -= step * image
            z = super().solve(residual)
            left = _dot(residual, z)
            if (left <= enough).all():
                break
            direction, size = z + _ratio(left, size) * direction, left
        result: Lines = x.astype(lines.dtype)
        return result

    def times(self, lines: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hessian of each lane times its column, float32 (n_params, lanes)."""
        vectors, m = aligned(lines), self._leaves.shape[1]
        share = -(-m // PIECES)
        images: list[NDArray[np.float32]] = [None] * PIECES  # type: ignore[list-item]

        def work(piece: int) -> None:
            images[piece] = aligned(np.zeros(lines.shape, np.float32))
            start, stop = piece * share, min(m, (piece + 1) * share)
            kernels.curvature_times(
                self._leaves, self._offsets, self._wide, self._strength, self._half_of_lane, vectors, start, stop,
                images[piece],
            )  # fmt: skip

        threads.run(PIECES, work)
        total: NDArray[np.float32] = self._l2 * lines
        for image in images:
            total += image
        return total


def _dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.einsum("pk,pk->k", a, b)
    return result


def _ratio(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """``a / b``, zero where there is nothing left to divide: a lane of zeros stays one."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


class SampledCurvature:
    """Inverse of one setting's approximate Hessian, as a function of gradients."""

    def __init__(
        self,
        codes: NDArray[np.int32],
        share: float,
        scale: float,
        diagonal: NDArray[np.float64],
        l2: float,
        n_codes: int,
    ) -> None:
        """Curvature from sampled rows.

        Parameters
        ----------
        codes : int32 (m, n_codes_of_a_row + 1), parameters of each sampled row, the bias last
        share : of the diagonal the sample stands for
        scale : weight of one row
        diagonal : float64 (n_params,), diagonal of the Hessian without l2
        n_codes : leaves of all trees: the first parameters
        """
        self._codes = codes
        self._scale = np.float32(scale)
        # The same for all leaves: every tree's leaves sum to the same thing, and a B that differed among them would
        # push the search into directions the data say nothing about, which only l2 leads back from, slowly.
        rest = (1.0 - share) * diagonal
        rest[:n_codes] = rest[:n_codes].mean()
        self._inverse_b = (1.0 / (l2 + rest)).astype(np.float32)
        m = len(codes)
        gram = np.zeros((m, m), np.float32)  # below its diagonal only, as is all that is read of it
        kernels.add_gram(np.ascontiguousarray(codes.T), self._inverse_b, gram)
        gram *= self._scale
        if gram.trace() > EXACT:
            gram = gram.astype(np.float64)
        gram[np.diag_indices(m)] += 1.0
        self._inner = _inverse_of_factor(gram).astype(np.float32, copy=False)

    def solve(self, gradient: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inverse Hessian times the gradient, float32 (n_params,)."""
        q = gradient * self._inverse_b
        sums = np.empty(len(self._codes), np.float32)
        kernels.gather_rows(self._codes, q, sums)
        back = np.zeros_like(q)
        kernels.scatter_rows(self._codes, (self._inner @ sums) @ self._inner, back)
        result: NDArray[np.float32] = q - self._scale * back * self._inverse_b
        return result


def sample_rows(strength: NDArray[np.float64], m: int) -> NDArray[np.intp]:
    """``m`` rows, each as often as its share of ``strength`` says, always the same ones (systematic sampling)."""
    total = np.cumsum(strength)
    marks = (np.arange(m) + 0.5) * (total[-1] / m)
    rows: NDArray[np.intp] = np.minimum(total.searchsorted(marks), len(strength) - 1)
    return rows


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
