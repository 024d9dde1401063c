"""Together: the objective over the memory of old samples and new samples, its gradient, and what guides its search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr import threads
from gbdtlr.head.factor import Rows
from gbdtlr.head.lines import Lines
from gbdtlr.head.memory import Memory
from gbdtlr.head.objective import Objective, Setting

STEPS, ENOUGH = 3, 0.05
"""Conjugate gradients end after so many steps, as each costs much of a pass over the new samples, or once the
residual's square is that share of what it was."""


class Together:
    """Value and gradient of the objective over memory and new samples, (n_params, lanes)."""

    def __init__(
        self,
        objective: Objective,
        new: NDArray[np.intp],
        memory: Memory,
        expected: Memory,
        guides: Sequence[Rows],
        settings: Sequence[Setting],
        start: Lines,
        passed: timedelta,
    ) -> None:
        """Objective over some parameters.

        Parameters
        ----------
        new : where the parameters of ``objective`` are among them
        memory, expected : of these parameters, without the new samples and with them as they look from the start
        guides : for each half-life, some of the new samples that stand for all; none to go by ``expected`` alone
        start : float64 (n_params, n_settings), the fit before
        """
        self._objective, self._new = objective, new
        padded = [*range(len(settings)), *[0] * (objective.lanes - len(settings))]
        self.start = start[:, padded]
        self._half = np.array([memory.half_lives.index(settings[k].half_life) for k in padded])
        self._l2 = np.array([settings[k].l2 for k in padded])
        fade = np.array([2.0 ** -(passed / settings[k].half_life) for k in padded])
        self._pull = fade * self._l2 * self.start
        # What the old samples' loss was is not known to the memory; a floor of it, for a relative tolerance to mean
        # something: the log loss of a probability p is on average at least 2 p (1 - p).
        bias = memory.total_diagonal()[:, -1]
        self._constant = 2.0 * bias[self._half] + fade * self._l2 / 2 * np.einsum("pk,pk->k", self.start, self.start)
        self._old = np.ones(len(start), bool)
        self._old[new] = False
        self._diagonal = memory.diagonal[self._half].T.astype(np.float64)
        self._core, self._factor = memory.core, memory.factor.astype(np.float64)
        self._lanes = [np.flatnonzero(self._half == h) for h in np.unique(self._half)]
        self._guides = guides
        # Woodbury's inverse of the Hessian at the start.
        self._inverse = 1.0 / (self._l2 + expected.diagonal[self._half].T.astype(np.float64))
        self._thin_core, self._thin = expected.core, expected.factor
        self._inner: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * objective.lanes
        threads.run(objective.lanes, self._invert)

    def value_and_gradient(self, delta: Lines) -> tuple[NDArray[np.float64], Lines]:
        value, new_gradient = self._objective.value_and_gradient(np.ascontiguousarray(delta[self._new]))
        gradient = self._l2 * delta
        gradient[self._new] = new_gradient
        rest = delta[self._old]
        moved = delta - self.start
        curved = self._remembered(moved)
        value = value + self._constant + self._l2 / 2 * np.einsum("pk,pk->k", rest, rest)
        value = value + np.einsum("pk,pk->k", moved, curved / 2) - np.einsum("pk,pk->k", self._pull, delta)
        return value, gradient + curved - self._pull

    def _remembered(self, lines: Lines) -> Lines:
        """The memory's Hessian times the lines."""
        out: Lines = self._diagonal * lines
        core = lines[self._core]
        image = np.empty_like(core)

        def work(task: int) -> None:
            lanes = self._lanes[task]
            factor = self._factor[self._half[lanes[0]]]
            image[:, lanes] = factor.T @ (factor @ core[:, lanes])

        threads.run(len(self._lanes), work)
        out[self._core] += image
        return out

    def precondition(self, gradient: Lines) -> Lines:
        """About the inverse Hessian of each lane times its column."""
        if not self._guides:
            return self._guess(gradient)
        return conjugate_gradients(self._times, self._guess, gradient)

    def _times(self, lines: Lines) -> Lines:
        """The Hessian times the lines, of the new samples as the guides say."""
        out: Lines = self._l2 * lines + self._remembered(lines)
        images: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(self._lanes)

        def work(task: int) -> None:
            mine = np.ascontiguousarray(lines[:, self._lanes[task]], np.float32)
            images[task] = np.zeros_like(mine)
            self._guides[self._half[self._lanes[task][0]]].add_times(mine, images[task])

        threads.run(len(self._lanes), work)
        for lanes, image in zip(self._lanes, images, strict=True):
            out[:, lanes] += image
        return out

    def _guess(self, gradient: Lines) -> Lines:
        out: Lines = self._inverse * gradient
        core = out[self._thin_core].astype(np.float32)
        image = np.empty_like(core)

        # A half-life's factor is read once for all of its lanes.
        def work(task: int) -> None:
            lanes = self._lanes[task]
            factor = self._thin[self._half[lanes[0]]]
            sums = factor @ core[:, lanes]
            sums = np.stack([self._inner[k] @ sums[:, i] for i, k in enumerate(lanes)], axis=1)
            image[:, lanes] = factor.T @ sums

        threads.run(len(self._lanes), work)
        out[self._thin_core] -= self._inverse[self._thin_core] * image
        return out

    def _invert(self, k: int) -> None:
        factor = self._thin[self._half[k]].astype(np.float64)
        inner = np.eye(len(factor)) + (factor * self._inverse[self._thin_core, k]) @ factor.T
        self._inner[k] = np.linalg.inv(inner).astype(np.float32)


def conjugate_gradients(times: Callable[[Lines], Lines], guess: Callable[[Lines], Lines], lines: Lines) -> Lines:
    """Each lane's matrix's inverse times its column, nearly, given the matrix and a first guess of its inverse."""
    x, residual = np.zeros_like(lines), lines
    z = guess(residual)
    direction, size = z, np.einsum("pk,pk->k", residual, z)
    enough = ENOUGH * size
    for _ in range(STEPS):
        image = times(direction)
        step = _ratio(size, np.einsum("pk,pk->k", direction, image))
        x = x + step * direction
        residual = residual - step * image
        z = guess(residual)
        left = np.einsum("pk,pk->k", residual, z)
        if (left <= enough).all():
            break
        direction, size = z + _ratio(left, size) * direction, left
    return x


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """``a / b``, zero where there is nothing left to divide: a lane of zeros stays one."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
