"""Early: whether the youngest rows have the outcomes they should, as far as older ones do.

The weights of unfinal rows rest on how soon outcomes came in the past. Where the log of outcomes is late, or they come
sooner or later than they did, the youngest rows have too few or too many beside those that are nearly final. A live
head that expects too much everywhere says nothing of that: the youngest are compared with the oldest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import GuardConfig

ENOUGH = 30.0
"""Outcomes that have to be expected on either side."""
PART = 8
"""Of what is expected of all unfinal rows, an eighth is that of the youngest, and one that of the oldest."""


def early(sums: NDArray[np.float64], guard: GuardConfig) -> str:
    """Why unfinal rows should not be weighed now; empty if nothing speaks against it.

    Parameters
    ----------
    sums : float64 (2, n), outcomes expected by now and those that came, the youngest rows first
    """
    expected, came = sums
    part = max(ENOUGH, float(expected.sum()) / PART)
    if expected.sum() < 2 * part:
        return ""
    n_young = int(np.cumsum(expected).searchsorted(part)) + 1
    n_old = int(np.cumsum(expected[::-1]).searchsorted(part)) + 1
    if n_young + n_old > len(expected):
        return ""
    old = float(came[-n_old:].sum() / expected[-n_old:].sum())
    young = float(came[:n_young].sum() / expected[:n_young].sum())
    low, high = guard.early
    if low * old <= young <= high * old:
        return ""
    return (
        f"the youngest rows have {young:.2f} of the outcomes expected by now, the oldest that are not final {old:.2f}; "
        f"[guard] early allows {low:g} to {high:g} times as many"
    )
