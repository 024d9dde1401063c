"""Memory: what a fit has learned from samples that are gone, as curvature around it.

Per half-life, the Hessian of the log loss is kept as a diagonal and a factor, ``H = diag(d) + U' U``. Its diagonal is
exact, but where the factor of a sample of the rows has more of it; the factor holds the directions the samples say
most about. Leaves of different trees say much the same: a diagonal alone would forget just what all samples agree on,
such as their common rate. So the factor spans the *core*: all leaves, dense columns, the bias and, where these are
fewer than ``DENSE``, the busiest ids. A core of up to ``DENSE`` parameters has a square factor and loses nothing that
is in the sample; the many ids outside have their diagonal, and cost an update nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.npz import checked, from_npz, to_npz
from gbdtlr.compute import threads
from gbdtlr.errors import DamagedError
from gbdtlr.head.fit.candidates import Candidates
from gbdtlr.head.layout import Layout
from gbdtlr.head.past.factor import square, thin
from gbdtlr.head.past.weighed import Weighed, half_lives_of

FORMAT = 1
DENSE = 512
RANK = 64
NOTHING = 1e-30
"""Stands for a curvature of zero where one is divided by."""
SAMPLE = 2**16
"""Rows the factor is made from, drawn where there are more; the diagonal is of all."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Memory:
    """Curvature of forgotten samples, in the parameters of the candidates it belongs to.

    Attributes
    ----------
    half_lives : in rising order
    diagonal : float32 (n_half_lives, n_params), without the factor's
    core : int64 (n_core,), the factor's parameters in rising order: leaves, some wide buckets, dense columns, the bias
    factor : float32 (n_half_lives, rank, n_core)
    squares : float64 (n_half_lives,), what the gradient of the bias varies by; not numbers in a memory of a version
        that did not keep it, until the next full fit
    """

    half_lives: tuple[timedelta, ...]
    diagonal: Floats
    core: NDArray[np.int64]
    factor: Floats
    squares: NDArray[np.float64]

    @classmethod
    def empty(cls, half_lives: Sequence[timedelta], n_params: int) -> Memory:
        """Memory of no samples."""
        n, core = len(half_lives), np.arange(n_params)
        diagonal, factor = np.zeros((n, n_params), np.float32), np.zeros((n, 0, n_params), np.float32)
        return cls(tuple(half_lives), diagonal, core, factor, np.zeros(n))

    @property
    def noise(self) -> NDArray[np.float64]:
        """What gradients vary by, as a multiple of the curvature, (n_half_lives,); see ``ridges``."""
        return self.squares / np.maximum(self._of_bias(), NOTHING)

    def _of_bias(self) -> NDArray[np.float64]:
        """The bias's curvature, (n_half_lives,)."""
        factor = self.factor[:, :, -1].astype(np.float64)
        bias: NDArray[np.float64] = self.diagonal[:, -1] + np.einsum("hr,hr->h", factor, factor)
        return bias

    def faded(self, passed: timedelta) -> Memory:
        """The memory a time later: each half-life halves what it holds."""
        exact = np.array([2.0 ** -(passed / half_life) for half_life in self.half_lives])
        fade = exact.astype(np.float32)
        diagonal, factor = fade[:, None] * self.diagonal, np.sqrt(fade)[:, None, None] * self.factor
        return replace(self, diagonal=diagonal, factor=factor, squares=exact**2 * self.squares)

    def total_diagonal(self) -> Floats:
        """Diagonal of the Hessians, float32 (n_half_lives, n_params)."""
        total = self.diagonal.copy()
        total[:, self.core] += np.einsum("hrp,hrp->hp", self.factor, self.factor)
        return total

    def at(self, columns: NDArray[np.intp], n_params: int) -> Memory:
        """The same in other parameters: parameter p becomes ``columns[p]`` of ``n_params``; new ones hold nothing."""
        diagonal = np.zeros((len(self.half_lives), n_params), np.float32)
        diagonal[:, columns] = self.diagonal
        return replace(self, diagonal=diagonal, core=columns[self.core])

    def of(self, columns: NDArray[np.intp]) -> Memory:
        """Only those parameters, given in rising order; what is known of others is dropped."""
        kept = np.isin(self.core, columns)
        core = columns.searchsorted(self.core[kept])
        return replace(self, diagonal=self.diagonal[:, columns], core=core, factor=self.factor[:, :, kept])

    def learn(self, samples: Weighed, sample: int | None = None) -> Memory:
        """Memory with samples added.

        Parameters
        ----------
        samples : as seen from candidates of the same parameters as this memory
        sample : rows to make the factor from, in place of ``SAMPLE``
        """
        n_params, n_half = self.diagonal.shape[1], len(self.half_lives)
        total = self.total_diagonal().astype(np.float64)
        for h in range(n_half):
            total[h] += samples.diagonal(h)
        core = _core(total, samples.layout)
        n = len(core)
        place = np.full(n_params, -1, np.int32)
        place[core] = np.arange(n)
        kept = place[self.core] >= 0
        before = np.zeros((n_half, self.factor.shape[1], n), np.float32)
        before[:, :, place[self.core[kept]]] = self.factor[:, :, kept]
        factor = np.empty((n_half, n if n <= DENSE else min(n, RANK), n), np.float32)

        def work(h: int) -> None:
            some = samples.sampled(h, SAMPLE if sample is None else sample).at(place)
            factor[h] = square(before[h], some) if n <= DENSE else thin(before[h], some, factor.shape[1])

        threads.run(n_half, work)
        total[:, core] -= np.einsum("hrp,hrp->hp", factor, factor)
        squares = self.squares + samples.squares()
        return Memory(self.half_lives, np.maximum(total, 0.0).astype(np.float32), core, factor, squares)

    def to_bytes(self) -> bytes:
        """The memory as an npz; equal memories give equal bytes."""
        seconds = np.array([half_life.total_seconds() for half_life in self.half_lives])
        arrays = {"half_lives_s": seconds, "diagonal": self.diagonal, "core": self.core, "factor": self.factor}
        return to_npz({**arrays, "squares": self.squares}, FORMAT, compress=False)

    @classmethod
    def from_bytes(cls, data: bytes, fitted: Candidates) -> Memory:
        """Memory as :meth:`to_bytes` gave it, of those candidates.

        Raises
        ------
        DamagedError, FormatError
            Not such bytes; written by a newer gbdtlr.
        """
        arrays = from_npz(data, "memory.npz", FORMAT)
        layout, n = fitted.layout, fitted.layout.n
        try:
            half_lives = tuple(timedelta(seconds=float(s)) for s in checked(arrays["half_lives_s"], np.float64, None))
            rank = int(arrays["factor"].shape[1])
            # Memories of the first days had a factor of all parameters.
            core = checked(arrays["core"], np.int64, None) if "core" in arrays else np.arange(n)
            memory = cls(
                half_lives,
                checked(arrays["diagonal"], np.float32, (len(half_lives), n)),
                core,
                checked(arrays["factor"], np.float32, (len(half_lives), rank, len(core))),
                checked(arrays.get("squares", np.full(len(half_lives), np.nan)), np.float64, (len(half_lives),)),
            )
            shared = [*range(layout.n_leaves), *range(layout.linear.start, n)]
            if (np.diff(core) <= 0).any() or not (np.isin(shared, core).all() and core[0] >= 0 and core[-1] < n):
                raise ValueError("its core is none of the candidates'")
            if half_lives != half_lives_of(fitted):
                raise ValueError("its half-lives are not those of the candidates")
            if not np.isfinite(memory.factor).all() or not (memory.diagonal >= 0).all() or (memory.squares < 0).any():
                raise ValueError("not all of its numbers can be")
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"the head's memory is damaged: {error}") from None
        return memory


def _core(total: NDArray[np.float64], layout: Layout) -> NDArray[np.int64]:
    """Leaves, the busiest of the wide buckets as long as there are at most ``DENSE`` parameters, and what all rows
    have: dense columns and the bias."""
    last = np.arange(layout.linear.start, layout.n)
    room = max(0, DENSE - layout.n_leaves - len(last))
    ids = np.arange(layout.n_leaves, layout.linear.start) if room else np.arange(0)
    if room < len(ids):
        ids = np.sort(ids[np.argsort(-total[:, ids].sum(axis=0), kind="stable")[:room]])
    return np.concatenate([np.arange(layout.n_leaves), ids, last])
