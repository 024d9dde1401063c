"""Preconditioned L-BFGS over many independent problems that share every pass over the data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Lines = NDArray[np.float64]  # (n_params, lanes): one column per problem
ValueAndGradient = Callable[[Lines], tuple[NDArray[np.float64], Lines]]

MEMORY = 20
ARMIJO = 1e-4


def minimise(
    evaluate: ValueAndGradient,
    start: Lines,
    precondition: Callable[[Lines], Lines],
    *,
    tolerance: float,
    max_passes: int,
) -> tuple[Lines, NDArray[np.float64], int]:
    """Minimum of each lane's convex function, to a relative ``tolerance`` of its value.

    All lanes are evaluated in the same pass; a lane that has converged keeps still. A lane stops when the decrease
    its quadratic model still expects, ``g' P g / 2``, falls below ``tolerance * value``.

    Parameters
    ----------
    evaluate : (n_params, lanes) -> values (lanes,), gradients (n_params, lanes)
    start : float64 (n_params, lanes)
    precondition : gradient lines -> lines close to the inverse Hessian times them; symmetric, positive definite
    tolerance : expected decrease left over, relative to the value
    max_passes : evaluations at most

    Returns
    -------
    x, value, passes : float64 (n_params, lanes), float64 (lanes,), evaluations made

    Source
    ------
    Nocedal and Wright 2006, algorithms 7.4 and 3.1.
    """
    x = start.copy()
    value, gradient = evaluate(x)
    passes = 1
    steps: list[Lines] = []
    changes: list[Lines] = []
    curvatures: list[NDArray[np.float64]] = []
    done = np.zeros(len(value), bool)
    while passes < max_passes:
        direction = -_two_loop(gradient, steps, changes, curvatures, precondition)
        slope = _dot(gradient, direction)
        done |= -slope / 2 <= tolerance * value
        if done.all():
            break
        direction[:, done] = 0.0
        slope[done] = 0.0
        length = np.ones(len(value))
        while True:
            trial = x + length * direction
            trial_value, trial_gradient = evaluate(trial)
            passes += 1
            # float32 sums cannot tell smaller decreases apart
            high = trial_value > value + ARMIJO * length * slope + 1e-9 * np.abs(value)
            high &= ~done
            if not high.any() or passes >= max_passes:
                break
            length[high] *= 0.3
        failed = high
        trial[:, failed], trial_value[failed] = x[:, failed], value[failed]
        trial_gradient[:, failed] = gradient[:, failed]
        done |= failed
        step, change = trial - x, trial_gradient - gradient
        curvature = _dot(step, change)
        useful = curvature > 1e-10 * _dot(step, step)
        steps.append(np.where(useful, step, 0.0))
        changes.append(np.where(useful, change, 0.0))
        curvatures.append(np.where(useful, curvature, 1.0))
        if len(steps) > MEMORY:
            del steps[0], changes[0], curvatures[0]
        x, value, gradient = trial, trial_value, trial_gradient
    return x, value, passes


def _dot(a: Lines, b: Lines) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.einsum("pk,pk->k", a, b)
    return result


def _two_loop(
    gradient: Lines,
    steps: list[Lines],
    changes: list[Lines],
    curvatures: list[NDArray[np.float64]],
    precondition: Callable[[Lines], Lines],
) -> Lines:
    q = gradient.copy()
    weights = []
    for s, y, sy in zip(reversed(steps), reversed(changes), reversed(curvatures), strict=True):
        a = _dot(s, q) / sy
        weights.append(a)
        q -= a * y
    r = precondition(q)
    for s, y, sy, a in zip(steps, changes, curvatures, reversed(weights), strict=True):
        r += (a - _dot(y, r) / sy) * s
    return r
