"""Buckets apart in kernels: one sweep over their points and directions (see ``apart``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import kernel

IN_FLOAT32 = 256
"""Buckets whose sums are in float32, before they are added to those in float64."""


@kernel()
def sweep(
    trial: Any,  # float32 (n, lanes), moved
    direction: Any,  # float32 (n, lanes), of the lanes that turn written
    slope: Any,  # float32 (n, lanes)
    curvature: Any,  # float32 (n, n_groups); infinite for what does not move
    group_of_lane: Any,  # tuple of int64: its length, known when compiled, is the number of lanes
    l2: Any,  # float32 (lanes,)
    damped: Any,  # float32
    turned: Any,  # bool (lanes,)
    step: Any,  # float32 (lanes,), how much of the direction to move by
    lo: int,
    hi: int,
    slopes: Any,  # float64 (lanes,), added to: gradient times direction
    squares: Any,  # float64 (lanes,), added to: of what was moved
) -> None:
    """Turn some lanes to minus their gradient over their curvature, move all, and sum the squares anew."""
    lanes = len(group_of_lane)
    held = np.empty(lanes, np.float32)
    along, square = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    for begin in range(lo, hi, IN_FLOAT32):
        along[:], square[:] = 0, 0
        for p in range(begin, min(hi, begin + IN_FLOAT32)):
            if curvature[p, 0] == np.inf:
                continue
            for k in range(lanes):
                held[k] = curvature[p, group_of_lane[k]]
            for k in range(lanes):
                gradient = slope[p, k] + l2[k] * trial[p, k]
                towards = -gradient / (damped * held[k] + l2[k])
                along[k] += gradient * towards
                towards = towards if turned[k] else direction[p, k]
                moved = trial[p, k] + step[k] * towards
                direction[p, k] = towards
                trial[p, k] = moved
                square[k] += moved * moved
        for k in range(lanes):
            slopes[k] += along[k]
            squares[k] += square[k]
