"""Conjugate gradients for many lanes at once, each left out when it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head.fit.lines import Lanes, Lines

Times = Callable[[Lines, Lanes], Lines]
"""(n_params, k) and which k lanes these are -> (n_params, k)"""


def conjugate_gradients(times: Times, guess: Times, lines: Lines, lanes: Lanes, *, steps: int, enough: float) -> Lines:
    """Inverse of each lane's matrix times its column, nearly, (n_params, k).

    Parameters
    ----------
    times : the matrix of each lane times its column
    guess : a first guess of its inverse, likewise; symmetric, positive definite
    lines, lanes : (n_params, k) and which k lanes these are
    steps, enough : a lane is done after so many steps, or once the square of its residual, as ``guess`` measures it,
        is that share of what it was

    Source
    ------
    Nocedal and Wright 2006, algorithm 5.3.
    """
    x = np.zeros_like(lines)
    live, which = np.arange(lines.shape[1]), np.asarray(lanes, np.intp)
    residual = lines.copy()
    z = guess(residual, which)
    direction, size = z, _dot(residual, z)
    small = enough * size
    for _ in range(steps):
        image = times(direction, which[live])
        step = _ratio(size, _dot(direction, image))
        x[:, live] += step * direction
        residual -= step * image
        z = guess(residual, which[live])
        left = _dot(residual, z)
        going = left > small[live]
        if not going.any():
            break
        if not going.all():
            live, size, left = live[going], size[going], left[going]
            direction, residual, z = direction[:, going], residual[:, going], z[:, going]
        direction, size = z + _ratio(left, size) * direction, left
    return x


def _dot(a: Lines, b: Lines) -> NDArray[Any]:
    result: NDArray[Any] = np.einsum("pk,pk->k", a, b)
    return result


def _ratio(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """``a / b``, zero where there is nothing left to divide: a lane of zeros stays one."""
    result: NDArray[Any] = np.divide(a, b, out=np.zeros_like(a), where=b > 0)
    return result
