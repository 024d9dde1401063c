"""Curvature of the objective from a sample of its rows: what turns hundreds of passes over the codes into dozens.

Leaves of different trees say much the same, so the Hessian is far from diagonal. For a setting it is::

    H = l2 I + X' diag(s p (1 - p)) X   ~   B + Z' Z

where Z holds a thousand rows of X, drawn in proportion to ``s p (1 - p)`` and scaled, and the diagonal B makes up for
the rows left out. Its inverse is applied by Woodbury's identity through a matrix as large as the sample, however
many codes there are::

    (B + Z'Z)^-1 = B^-1 - B^-1 Z' (I + Z B^-1 Z')^-1 Z B^-1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr import threads
from gbdtlr.head import kernels
from gbdtlr.head.solver import Lines

MAX_ROWS = 1024
MIN_ROWS = 64
ROWS_PER_SAMPLE = 24
"""The sample grows with the rows until inverting a matrix of its size costs as much as the passes it saves."""


class SampledCurvature:
    """Inverse of each setting's approximate Hessian, as a function of gradients."""

    def __init__(
        self,
        codes: Sequence[NDArray[np.int32]],
        strength: Sequence[tuple[float, float]],
        half_of_lane: NDArray[Any],
        diagonal: Lines,
        l2: NDArray[np.float64],
        n_codes: int,
    ) -> None:
        """Curvature from sampled rows.

        Parameters
        ----------
        codes : per half-life, int32 (m, n_codes_of_a_row + 1), parameters of each sampled row, the bias last
        strength : per half-life, (share, scale): the share of the diagonal the sample stands for, weight of one row
        half_of_lane : (lanes,), index into ``codes``
        diagonal : float64 (n_params, lanes), diagonal of the Hessian
        l2 : float64 (lanes,)
        n_codes : leaves of all trees: the first parameters
        """
        self._codes = codes
        self._half = half_of_lane
        self._scale = [each[1] for each in strength]
        rest = np.array([1.0 - each[0] for each in strength])[half_of_lane]
        # The same for all leaves: every tree's leaves sum to the same thing, and a B that differed among them would
        # push the search into directions the data say nothing about, which only l2 leads back from, slowly.
        diagonal = diagonal.copy()
        diagonal[:n_codes] = diagonal[:n_codes].mean(axis=0)
        self._inverse_b = np.ascontiguousarray((1.0 / (l2 + rest * (diagonal - l2))).T.astype(np.float32))
        lanes = len(l2)
        self._inner: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * lanes

        def work(lane: int) -> None:
            half = half_of_lane[lane]
            same = [k for k in range(lane) if half_of_lane[k] == half and l2[k] == l2[lane]]
            if same:
                return
            m = len(codes[half])
            gram = np.zeros((m, m), np.float32)  # below its diagonal only, as is all that cholesky reads
            kernels.add_gram(np.ascontiguousarray(codes[half].T), self._inverse_b[lane], gram)
            full = gram.astype(np.float64) * self._scale[half]
            full[np.diag_indices(m)] += 1.0
            self._inner[lane] = _inverse_of_lower(np.linalg.cholesky(full).astype(np.float32))

        threads.run(lanes, work)
        for lane in range(lanes):
            if not len(self._inner[lane]):
                twin = next(k for k in range(lanes) if half_of_lane[k] == half_of_lane[lane] and l2[k] == l2[lane])
                self._inner[lane] = self._inner[twin]

    def solve(self, gradient: Lines) -> Lines:
        """Inverse Hessian times each lane's gradient, float64 (n_params, lanes)."""
        lines = np.ascontiguousarray(gradient.T.astype(np.float32))
        out = np.empty(lines.shape, np.float32)

        def work(lane: int) -> None:
            half = self._half[lane]
            codes, inverse_b = self._codes[half], self._inverse_b[lane]
            q = lines[lane] * inverse_b
            sums = np.empty(len(codes), np.float32)
            kernels.gather_rows(codes, q, sums)
            back = np.zeros_like(q)
            kernels.scatter_rows(codes, (self._inner[lane] @ sums) @ self._inner[lane], back)
            out[lane] = q - np.float32(self._scale[half]) * back * inverse_b

        threads.run(len(lines), work)
        result: Lines = out.T.astype(np.float64)
        return result


def sample_rows(strength: NDArray[np.float64], m: int) -> NDArray[np.intp]:
    """``m`` rows, each as often as its share of ``strength`` says, always the same ones (systematic sampling)."""
    total = np.cumsum(strength)
    marks = (np.arange(m) + 0.5) * (total[-1] / m)
    rows: NDArray[np.intp] = np.minimum(total.searchsorted(marks), len(strength) - 1)
    return rows


def _inverse_of_lower(factor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of a lower triangular matrix, by halves: a third of the time of a general inverse."""
    m = len(factor)
    if m <= 64:
        small: NDArray[np.float32] = np.tril(np.linalg.inv(factor))
        return small
    h = m // 2
    out = np.zeros_like(factor)
    out[:h, :h] = _inverse_of_lower(factor[:h, :h])
    out[h:, h:] = _inverse_of_lower(factor[h:, h:])
    out[h:, :h] = -out[h:, h:] @ (factor[h:, :h] @ out[:h, :h])
    return out
