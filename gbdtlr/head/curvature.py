"""Curvature of the objective from a sample of its rows: what turns hundreds of passes over the codes into dozens.

Leaves of different trees say much the same, so the Hessian is far from diagonal. For a setting it is::

    H = l2 I + X' diag(s p (1 - p)) X   ~   B + Z' Z

where Z holds a sample of the rows of X, drawn in proportion to ``s p (1 - p)`` and scaled, and the diagonal B makes
up for the rows left out. Its inverse is applied by Woodbury's identity through a matrix as large as the sample,
however many codes there are::

    (B + Z'Z)^-1 = B^-1 - B^-1 Z' (I + Z B^-1 Z')^-1 Z B^-1
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head import kernels

MAX_ROWS = 2048
MIN_ROWS = 64
ROWS_PER_SAMPLE = 24
"""The sample grows with the rows until inverting a matrix of its size costs as much as the passes it saves."""
EXACT = 4e6
"""Trace from which float32 would lose the ones on the diagonal among the rest."""


def sample_size(n: int, ratio: float) -> int:
    """Rows to sample out of n so that a setting takes about as many passes as others.

    Parameters
    ----------
    ratio : how many times the pull of its anchor a leaf's samples weigh; the cube root was found by trial
    """
    return min(n, max(MIN_ROWS, min(MAX_ROWS, n // ROWS_PER_SAMPLE, int(1024 * np.cbrt(ratio / 10)))))


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

    def solve(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inverse Hessian times the gradient, float64 (n_params,)."""
        q = gradient.astype(np.float32) * self._inverse_b
        sums = np.empty(len(self._codes), np.float32)
        kernels.gather_rows(self._codes, q, sums)
        back = np.zeros_like(q)
        kernels.scatter_rows(self._codes, (self._inner @ sums) @ self._inner, back)
        result: NDArray[np.float64] = (q - self._scale * back * self._inverse_b).astype(np.float64)
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
