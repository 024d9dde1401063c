"""Preconditioned L-BFGS over many independent problems that share every pass over the data.

Each problem, a *lane*, searches for itself: a pass evaluates one trial point of every lane that is not done, and a
lane that has to shorten its step keeps no other waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.head.fit.apart import Apart
from gbdtlr.head.fit.lines import Lanes, Lines

Vector = NDArray[np.float64]  # (n_params,): one problem's
ValueAndGradient = Callable[[Lines, Lanes], tuple[NDArray[np.float64], Lines]]
Precondition = Callable[[Lines, Lanes], Lines]

MEMORY = 10
ARMIJO = 1e-4
SHORTER = 0.3
MOST_SHORTENINGS = 12


def minimise(
    evaluate: ValueAndGradient,
    start: Lines,
    precondition: Precondition,
    *,
    tolerance: float,
    max_passes: int,
    apart: Apart | None = None,
) -> tuple[Lines, NDArray[np.float64], int, NDArray[np.bool_]]:
    """Minimum of each lane's convex function, to about a relative ``tolerance`` of its value.

    A lane stops when the decrease its quadratic model still expects, ``g' P g / 2``, falls below
    ``tolerance * value``, or when no step of some lengths, each shorter, lowers its value.

    Parameters
    ----------
    evaluate : (n_params, k) and which k lanes these are -> values (k,), gradients (n_params, k)
    start : float64 (n_params, lanes)
    precondition : lines (n_params, k) and which k lanes these are -> lines close to the inverse Hessian of each lane
        times them; symmetric, positive definite
    tolerance : expected decrease left over, relative to the value
    max_passes : evaluations at most
    apart : further parameters, which ``evaluate`` reads there and whose gradient it leaves there

    Returns
    -------
    x, value, passes, done : float64 (n_params, lanes), float64 (lanes,), evaluations made, bool (lanes,)

    Source
    ------
    Nocedal and Wright 2006, algorithms 7.4 and 3.1.
    """
    lanes = [_Lane(x) for x in np.ascontiguousarray(start.T)]
    passes = 0
    while passes < max_passes and (going := [k for k, lane in enumerate(lanes) if not lane.done]):
        if apart is not None:
            apart.keep(going)
        value, gradient = evaluate(np.stack([lanes[k].trial for k in going], axis=1), going)
        passes += 1
        rows = np.ascontiguousarray(gradient.T)

        def accept(i: int, value: Vector = value, rows: Lines = rows, going: Sequence[int] = going) -> None:
            rows[i] = lanes[going[i]].accept(float(value[i]), rows[i])

        threads.run(len(going), accept)
        asking = [i for i, k in enumerate(going) if lanes[k].asks]
        asked = [going[i] for i in asking]
        slopes = {} if apart is None else apart.move(asked, {k: lanes[k].length for k in going})
        if not asking:
            continue
        rows = np.ascontiguousarray(precondition(rows[asking].T, asked).T)

        def head_on(
            i: int, rows: Lines = rows, asked: Sequence[int] = asked, slopes: Mapping[int, float] = slopes
        ) -> None:
            lanes[asked[i]].go(rows[i], tolerance, slopes.get(asked[i], 0.0))

        threads.run(len(asked), head_on)
        if apart is not None:
            apart.move([], {k: lanes[k].length for k in asked if not lanes[k].done})
    return (
        np.stack([lane.x for lane in lanes], axis=1),
        np.array([lane.value for lane in lanes]),
        passes,
        np.array([lane.done for lane in lanes]),
    )


class _Lane:
    """One problem: the best point so far, ``x``, and the one whose value is wanted next, ``trial``.

    ``trial`` is so much of a direction away from ``x`` as ``length`` says, and so it is with parameters apart.

    The two-loop recursion is cut in two where the preconditioner stands, which serves all lanes at once: ``asks`` says
    that what :meth:`accept` returned is to be preconditioned and given to :meth:`go`.
    """

    def __init__(self, start: Vector) -> None:
        self.x = self.trial = start
        self.value = np.inf
        self.done = self.asks = False
        self._gradient = self._direction = np.zeros_like(start)
        self.length, self._slope, self._shortenings = 1.0, 0.0, 0
        self._pairs: list[tuple[NDArray[np.float32], NDArray[np.float32], float]] = []
        self._shares: list[np.float32] = []

    def accept(self, value: float, gradient: Vector) -> Vector:
        """Value and gradient at the trial point: go on from there, or take a shorter step to the next.

        Returns what is to be preconditioned, if the lane ``asks`` for it.
        """
        self.asks = False
        # The last term: float32 sums cannot tell smaller decreases apart. A value that is no number is no decrease.
        if not value <= self.value + ARMIJO * self.length * self._slope + 1e-9 * abs(self.value):
            self._shortenings += 1
            self.length *= SHORTER
            self.trial = self.x + self.length * self._direction
            if self._shortenings == MOST_SHORTENINGS:
                self._stop()
            return gradient
        if np.isfinite(self.value):
            self._remember(self.trial - self.x, gradient - self._gradient)
        self.x, self.value, self._gradient = self.trial, value, gradient.copy()
        self.asks = True
        q = gradient.astype(np.float32)
        self._shares.clear()
        for step, change, curvature in reversed(self._pairs):
            share = np.float32(step @ q / curvature)
            self._shares.append(share)
            q -= share * change
        return q.astype(np.float64)

    def go(self, preconditioned: Vector, tolerance: float, slope_apart: float = 0.0) -> None:
        """Take the direction towards the minimum that follows from what :meth:`accept` asked for.

        Parameters
        ----------
        slope_apart : derivative along the direction of the parameters apart
        """
        r = preconditioned.astype(np.float32)
        for (step, change, curvature), share in zip(self._pairs, reversed(self._shares), strict=True):
            r += (share - np.float32(change @ r / curvature)) * step
        self._direction = -r.astype(np.float64)
        slope = float(self._gradient @ self._direction)
        self._slope = slope + slope_apart
        self.length, self._shortenings = 1.0, 0
        if slope >= 0 and self._pairs:  # rounding led astray: from here again, without what led there
            self._pairs.clear()
            self._slope, self.length, self.trial = 0.0, 0.0, self.x
        elif -self._slope / 2 - slope_apart / 2 <= tolerance * self.value:  # apart, steps are damped
            self._stop()
        else:
            self.trial = self.x + self._direction

    def _stop(self) -> None:
        self.done, self.length, self.trial = True, 0.0, self.x
        self._pairs.clear()

    def _remember(self, step: Vector, change: Vector) -> None:
        curvature = float(step @ change)
        if curvature > 1e-10 * float(step @ step):
            self._pairs.append((step.astype(np.float32), change.astype(np.float32), curvature))
            if len(self._pairs) > MEMORY:
                del self._pairs[0]
