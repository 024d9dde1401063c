"""Kernels: users' weights stepped through all their events, as :mod:`gbdtlr.users.rule` steps one."""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import inline, kernel


@inline
def _score(weights: Any, numbers: Any, scale: Any) -> Any:
    total = 0.0
    for k in range(len(weights)):
        total += weights[k] * (numbers[k] * scale)
    return total


@inline
def _learn(
    weights: Any, squares: Any, numbers: Any, scale: Any, label: Any, margin: Any, is_mean: Any, alpha: Any, l2: Any
) -> None:
    if is_mean:
        if label == 1:
            for k in range(len(weights)):
                weights[k] += alpha * (numbers[k] * scale - weights[k])
        return
    margin += _score(weights, numbers, scale)
    e = np.exp(-abs(margin))
    residual = (1.0 / (1.0 + e) if margin >= 0.0 else e / (1.0 + e)) - label
    for k in range(len(weights)):
        g = residual * (numbers[k] * scale) + l2 * weights[k]
        squares[k] += g * g
        weights[k] -= alpha / (1.0 + np.sqrt(squares[k])) * g


@kernel()
def play(
    shown: Any,
    taught: Any,
    user: Any,
    vector: Any,
    at_us: Any,
    taught_us: Any,
    label: Any,
    margin: Any,
    numbers: Any,
    scale: Any,
    is_mean: Any,
    alpha: Any,
    l2: Any,
    out: Any,
) -> None:
    """Give every event, (n,), the score that its user had.

    Parameters
    ----------
    shown, taught : int64 (n,), the events by user, and of one user by when they are scored and by when they teach
    user : uint64 (n,)
    vector : int64 (n,), row of ``numbers`` and ``scale``; below zero of an item without one
    at_us, taught_us : int64 (n,), an event's score knows what was taught before ``at_us``
    label : int8 (n,)
    margin : float64 (n,)
    numbers, scale : int8 (m, d) and float32 (m,), packed vectors
    out : float64 (n,)
    """
    n, size = len(user), numbers.shape[1]
    weights, squares = np.zeros(size), np.zeros(size)
    next_ = 0
    for i in range(n):
        event = shown[i]
        if i > 0 and user[event] != user[shown[i - 1]]:
            weights[:] = 0.0
            squares[:] = 0.0
            next_ = i  # each user has as many places in the one order as in the other
        while next_ < n and user[taught[next_]] == user[event] and taught_us[taught[next_]] < at_us[event]:
            e = taught[next_]
            v = vector[e]
            if v >= 0 and scale[v] > 0:  # an item without a vector says nothing
                _learn(weights, squares, numbers[v], np.float64(scale[v]), label[e], margin[e], is_mean, alpha, l2)
            next_ += 1
        v = vector[event]
        out[event] = _score(weights, numbers[v], np.float64(scale[v])) if v >= 0 else 0.0
