"""Ridge: how strongly each parameter is pulled to its anchor: a setting's own strength, or the dense columns'.

Parameters are given as lines that end as a layout's do, with the dense columns' and the bias, whatever stands before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head.dense import DenseColumns
from gbdtlr.head.fit.lines import Lanes, Lines


@dataclass(frozen=True)
class Ridge:
    """Strengths of some lanes.

    Attributes
    ----------
    l2 : float64 (lanes,), of leaves, wide buckets and the bias
    of_dense : float64 (lanes,), of dense columns
    n_dense : how many numbers these have
    """

    l2: NDArray[np.float64]
    of_dense: NDArray[np.float64]
    n_dense: int

    @classmethod
    def of(cls, l2: Sequence[float], dense: DenseColumns) -> Ridge:
        """Ridge of settings of these strengths, and of dense columns, whose own is that of all settings."""
        return cls(np.array(l2, np.float64), np.full(len(l2), dense.l2), dense.n)

    def lanes(self, lanes: Lanes) -> Ridge:
        """That of these lanes."""
        return Ridge(self.l2[lanes], self.of_dense[lanes], self.n_dense)

    def scaled(self, shares: NDArray[np.float64]) -> Ridge:
        """A share, (lanes,), of each lane's."""
        return Ridge(shares * self.l2, shares * self.of_dense, self.n_dense)

    def times(self, lines: Lines) -> Lines:
        """The ridge's part of the Hessian times the lines, (n_params, lanes), in the lines' own precision."""
        l2, of_dense = (each.astype(lines.dtype, copy=False) for each in (self.l2, self.of_dense))
        out: Lines = l2 * lines
        out[self._linear] = of_dense * lines[self._linear]
        return out

    def half_square(self, lines: Lines) -> NDArray[np.float64]:
        """What the distances in the lines cost, (lanes,): ``l2 / 2 |line|^2``."""
        cost: NDArray[np.float64] = self.l2 / 2 * np.einsum("pk,pk->k", lines, lines)
        if self.n_dense:
            own = lines[self._linear]
            cost += (self.of_dense - self.l2) / 2 * np.einsum("pk,pk->k", own, own)
        return cost

    def added_to(self, diagonal: NDArray[Any]) -> NDArray[Any]:
        """The diagonal of a Hessian, (n_params, lanes), with the ridge's part."""
        out: NDArray[Any] = self.l2 + diagonal
        out[self._linear] = self.of_dense + diagonal[self._linear]
        return out

    @property
    def _linear(self) -> slice:
        return slice(-1 - self.n_dense, -1)
