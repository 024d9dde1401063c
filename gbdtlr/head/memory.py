"""Memory: what a fit has learned from samples that are gone, as curvature around it.

Per half-life, the Hessian of the log loss is kept as a diagonal and a factor, ``H = diag(d) + U' U``, whose diagonal
is exact and whose factor holds the directions the samples say most about. Up to ``DENSE`` parameters the factor is
square and nothing is lost. Leaves of different trees say much the same: a diagonal alone would forget just what all
samples agree on, such as their common rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr import threads
from gbdtlr.errors import DamagedError
from gbdtlr.head import memory_kernels as kernels
from gbdtlr.head.candidates import Candidates
from gbdtlr.head.codes import Codes
from gbdtlr.metrics import sigmoid
from gbdtlr.npz import checked, from_npz, to_npz
from gbdtlr.times import to_us

DENSE = 512
RANK = 64
_SPARE = 8
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Memory:
    """Curvature of forgotten samples, in the parameters of the candidates it belongs to: leaves, wide buckets, bias.

    Attributes
    ----------
    half_lives : in rising order
    diagonal : float32 (n_half_lives, n_params)
    factor : float32 (n_half_lives, rank, n_params)
    """

    half_lives: tuple[timedelta, ...]
    diagonal: Floats
    factor: Floats

    @classmethod
    def empty(cls, half_lives: Sequence[timedelta], n_params: int) -> Memory:
        """Memory of no samples."""
        n = len(half_lives)
        return cls(tuple(half_lives), np.zeros((n, n_params), np.float32), np.zeros((n, 0, n_params), np.float32))

    def faded(self, passed: timedelta) -> Memory:
        """The memory a time later: each half-life halves what it holds."""
        fade = np.array([2.0 ** -(passed / half_life) for half_life in self.half_lives], np.float32)
        return Memory(self.half_lives, fade[:, None] * self.diagonal, np.sqrt(fade)[:, None, None] * self.factor)

    def total_diagonal(self) -> Floats:
        """Diagonal of the Hessians, float32 (n_half_lives, n_params)."""
        total: Floats = self.diagonal + np.einsum("hrp,hrp->hp", self.factor, self.factor)
        return total

    def at(self, columns: NDArray[np.intp], n_params: int) -> Memory:
        """The same in other parameters: parameter p becomes ``columns[p]`` of ``n_params``; new ones hold nothing."""
        diagonal = np.zeros((len(self.half_lives), n_params), np.float32)
        factor = np.zeros((*self.factor.shape[:2], n_params), np.float32)
        diagonal[:, columns], factor[:, :, columns] = self.diagonal, self.factor
        return Memory(self.half_lives, diagonal, factor)

    def of(self, columns: NDArray[np.intp]) -> Memory:
        """Only those parameters; what is known of others is dropped."""
        return Memory(self.half_lives, self.diagonal[:, columns], self.factor[:, :, columns])

    def learn(
        self,
        parts: Sequence[Codes],
        offsets: NDArray[np.int64],
        anchor: NDArray[np.float64],
        fitted: Candidates,
        as_of: datetime,
    ) -> Memory:
        """Memory with samples added, seen from the candidates fitted to them.

        Parameters
        ----------
        parts : samples whose wide buckets are all among the candidates'
        offsets, anchor : int64 (n_trees + 1,), float64 (n_codes,)
        fitted : candidates of the same parameters as this memory
        as_of : the moment the weights of samples are discounted from

        Source
        ------
        Laplace's approximation; Halko, Martinsson and Tropp 2011, algorithms 4.1 and 5.3.
        """
        n = self.diagonal.shape[1]
        wide = [_wide_parameters(part, fitted, len(anchor)) for part in parts]
        strengths = [self._strengths(part, offsets, anchor, fitted, as_of) for part in parts]
        rank = n if n <= DENSE else RANK
        if n <= DENSE:
            start = np.eye(n, dtype=np.float32)
        else:
            start = np.random.default_rng(0).standard_normal((n, RANK + _SPARE), np.float32)
        diagonal, factor = np.empty_like(self.diagonal), np.empty((len(self.half_lives), rank, n), np.float32)
        # All half-lives start from the same lines: their projections are made once.
        projected = [_project(part, offsets, each, start) for part, each in zip(parts, wide, strict=True)]

        def work(h: int) -> None:
            def times(lines: Floats, projections: Sequence[Floats]) -> Floats:
                out = self.factor[h].T @ (self.factor[h] @ lines)
                for part, each, strength, rows in zip(parts, wide, strengths, projections, strict=True):
                    kernels.scatter(part.leaves, offsets, each, strength[h][:, None] * rows, out)
                image: Floats = out
                return image

            image = times(start, projected)
            if n <= DENSE:
                basis, inner = start, image
            else:
                basis = np.linalg.qr(image)[0]
                rows = [_project(part, offsets, each, basis) for part, each in zip(parts, wide, strict=True)]
                inner = basis.T @ times(basis, rows)
            values, vectors = np.linalg.eigh(inner.astype(np.float64))
            kept = np.sqrt(np.maximum(values[-rank:], 0.0))[:, None] * (basis @ vectors[:, -rank:]).T
            factor[h] = kept
            total = self.diagonal[h] + np.einsum("rp,rp->p", self.factor[h], self.factor[h])
            for part, each, strength in zip(parts, wide, strengths, strict=True):
                ones = np.zeros((n, 1), np.float32)
                kernels.scatter(part.leaves, offsets, each, strength[h][:, None], ones)
                total = total + ones[:, 0]
            diagonal[h] = np.maximum(total - np.einsum("rp,rp->p", kept, kept), 0.0)

        threads.run(len(self.half_lives), work)
        return Memory(self.half_lives, diagonal, factor)

    def _strengths(
        self, part: Codes, offsets: NDArray[np.int64], anchor: NDArray[np.float64], fitted: Candidates, as_of: datetime
    ) -> Floats:
        """``s p (1 - p)`` of each row, float32 (n_half_lives, n); p (1 - p) a mean over its settings."""
        p = sigmoid(fitted.margins(part, offsets, anchor)[:, : len(fitted.settings)])
        spread = p * (1.0 - p)
        age_s = (to_us(as_of) - part.event_us) / 1e6
        out = np.empty((len(self.half_lives), len(part)), np.float32)
        for h, half_life in enumerate(self.half_lives):
            lanes = [k for k, setting in enumerate(fitted.settings) if setting.half_life == half_life]
            out[h] = part.weight * np.exp2(-age_s / half_life.total_seconds()) * spread[:, lanes].mean(axis=1)
        return out

    def to_bytes(self) -> bytes:
        """The memory as an npz; equal memories give equal bytes."""
        seconds = np.array([half_life.total_seconds() for half_life in self.half_lives])
        arrays = {"half_lives_s": seconds, "diagonal": self.diagonal, "factor": self.factor}
        return to_npz(arrays, compress=False)

    @classmethod
    def from_bytes(cls, data: bytes, fitted: Candidates) -> Memory:
        """Memory as :meth:`to_bytes` gave it, of those candidates; ``DamagedError`` for anything else."""
        arrays = from_npz(data)
        n = len(fitted.leaves) + sum(len(index) for index in fitted.wide_index) + 1
        try:
            half_lives = tuple(timedelta(seconds=float(s)) for s in checked(arrays["half_lives_s"], np.float64, None))
            rank = int(arrays["factor"].shape[1])
            memory = cls(
                half_lives,
                checked(arrays["diagonal"], np.float32, (len(half_lives), n)),
                checked(arrays["factor"], np.float32, (len(half_lives), rank, n)),
            )
            if half_lives != half_lives_of(fitted):
                raise ValueError("its half-lives are not those of the candidates")
            if not np.isfinite(memory.factor).all() or not (memory.diagonal >= 0).all():
                raise ValueError("not all of its numbers can be")
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"the head's memory is damaged: {error}") from None
        return memory


def half_lives_of(fitted: Candidates) -> tuple[timedelta, ...]:
    """The candidates' half-lives, each once, in rising order."""
    return tuple(sorted({setting.half_life for setting in fitted.settings}))


def _wide_parameters(part: Codes, fitted: Candidates, n_codes: int) -> NDArray[np.int32]:
    """Parameter of each row's wide buckets, int32 (n_wide, n)."""
    out = np.empty(part.buckets.shape, np.int32)
    first = n_codes
    for j, index in enumerate(fitted.wide_index):
        out[j] = first + index.searchsorted(part.buckets[j])
        first += len(index)
    return out


def _project(part: Codes, offsets: NDArray[np.int64], wide: NDArray[np.int32], thin: Floats) -> Floats:
    out = np.empty((len(part), thin.shape[1]), np.float32)
    kernels.project(part.leaves, offsets, wide, np.ascontiguousarray(thin, np.float32), out)
    return out
