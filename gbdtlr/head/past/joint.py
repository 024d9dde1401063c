"""The joint objective: over the memory of old samples and new samples, its gradient, and what guides its search."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.head.fit.conjugate import conjugate_gradients
from gbdtlr.head.fit.lines import Lanes, Lines
from gbdtlr.head.fit.objective import Objective, Setting
from gbdtlr.head.past.factor import Rows
from gbdtlr.head.past.memory import Memory

STEPS, ENOUGH = 3, 0.05
"""Conjugate gradients end after so many steps, as each costs much of a pass over the new samples, or once the
residual's square is that share of what it was."""


class JointObjective:
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
        l2: tuple[Lines, Lines],
    ) -> None:
        """Objective over some parameters.

        Parameters
        ----------
        new : where the parameters of ``objective`` are among them
        memory, expected : of these parameters, without the new samples and with them as they look from the start
        guides : for each half-life, some of the new samples that stand for all; none to go by ``expected`` alone
        start : float64 (n_params, n_settings), the fit before
        l2 : ridges of that fit and of this, (n_params, n_settings) each
        """
        self._objective, self._new, self._start = objective, new, start
        self._half = np.array([memory.half_lives.index(setting.half_life) for setting in settings])
        before, self._l2 = l2
        fade = np.array([2.0 ** -(passed / setting.half_life) for setting in settings])
        self._pull = fade * before * start
        # What the old samples' loss was is not known to the memory; a floor of it, for a relative tolerance to mean
        # something: the log loss of a probability p is on average at least 2 p (1 - p).
        bias = memory.total_diagonal()[:, -1]
        self._constant = 2.0 * bias[self._half] + np.einsum("pk,pk->k", self._pull, start) / 2
        self._old = np.ones(len(start), bool)
        self._old[new] = False
        self._diagonal = memory.diagonal[self._half].T.astype(np.float64)
        self._core, self._factor = memory.core, memory.factor.astype(np.float64)
        self._guides = guides
        # Woodbury's inverse of the Hessian at the start.
        self._inverse = 1.0 / (self._l2 + expected.diagonal[self._half].T.astype(np.float64))
        self._thin_core, self._thin = expected.core, expected.factor
        self._inner: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(settings)
        threads.run(len(settings), self._invert)

    def value_and_gradient(self, delta: Lines, lanes: Lanes) -> tuple[NDArray[np.float64], Lines]:
        value, new_gradient = self._objective.value_and_gradient(np.ascontiguousarray(delta[self._new]), lanes)
        l2, pull = self._l2[:, lanes], self._pull[:, lanes]
        gradient = l2 * delta
        gradient[self._new] = new_gradient
        rest = delta[self._old]
        moved = delta - self._start[:, lanes]
        curved = self._remembered(moved, lanes)
        value = value + self._constant[lanes] + np.einsum("pk,pk,pk->k", l2[self._old], rest, rest) / 2
        value = value + np.einsum("pk,pk->k", moved, curved / 2) - np.einsum("pk,pk->k", pull, delta)
        return value, gradient + curved - pull

    def _remembered(self, lines: Lines, lanes: Lanes) -> Lines:
        """The memory's Hessian times the lines."""
        out: Lines = self._diagonal[:, lanes] * lines
        core = lines[self._core]
        image = np.empty_like(core)
        groups = self._by_half_life(lanes)

        def work(task: int) -> None:
            half, own = groups[task]
            factor = self._factor[half]
            image[:, own] = factor.T @ (factor @ core[:, own])

        threads.run(len(groups), work)
        out[self._core] += image
        return out

    def precondition(self, gradient: Lines, lanes: Lanes) -> Lines:
        """About the inverse Hessian of each lane times its column."""
        if not self._guides:
            return self._guess(gradient, lanes)
        return conjugate_gradients(self._times, self._guess, gradient, lanes, steps=STEPS, enough=ENOUGH)

    def _times(self, lines: Lines, lanes: Lanes) -> Lines:
        """The Hessian times the lines, of the new samples as the guides say."""
        out: Lines = self._l2[:, lanes] * lines + self._remembered(lines, lanes)
        groups = self._by_half_life(lanes)

        def work(task: int) -> None:
            half, own = groups[task]
            some = np.ascontiguousarray(lines[:, own], np.float32)
            image = np.zeros_like(some)
            self._guides[half].add_times(some, image)
            out[:, own] += image

        threads.run(len(groups), work)
        return out

    def _guess(self, gradient: Lines, lanes: Lanes) -> Lines:
        inverse = self._inverse[:, lanes]
        out: Lines = inverse * gradient
        core = out[self._thin_core].astype(np.float32)
        image = np.empty_like(core)
        groups = self._by_half_life(lanes)

        def work(task: int) -> None:
            half, own = groups[task]
            factor = self._thin[half]
            sums = factor @ core[:, own]
            sums = np.stack([self._inner[lanes[i]] @ sums[:, j] for j, i in enumerate(own)], axis=1)
            image[:, own] = factor.T @ sums

        threads.run(len(groups), work)
        out[self._thin_core] -= inverse[self._thin_core] * image
        return out

    def _by_half_life(self, lanes: Lanes) -> list[tuple[int, NDArray[np.intp]]]:
        """Each half-life and where in ``lanes`` its are: its factor is read once for all of them."""
        half = self._half[lanes]
        return [(int(h), np.flatnonzero(half == h)) for h in np.unique(half)]

    def _invert(self, k: int) -> None:
        factor = self._thin[self._half[k]].astype(np.float64)
        inner = np.eye(len(factor)) + (factor * self._inverse[self._thin_core, k]) @ factor.T
        self._inner[k] = np.linalg.inv(inner).astype(np.float32)
