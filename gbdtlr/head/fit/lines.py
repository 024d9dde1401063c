"""Lines: one column per setting, so that what several settings read of a code lies side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Lines = NDArray[Any]
"""(n_params, lanes), float64 or float32"""
Lanes = Sequence[int] | NDArray[np.intp]
"""Which lanes they are, (k,)"""


def aligned(lines: Lines, width: int) -> NDArray[np.float32]:
    """Copy as float32 that starts on a cache line, with zeros for lanes up to ``width``: no line straddles two."""
    copy = zeros(len(lines), width)
    copy[:, : lines.shape[1]] = lines
    return copy


def zeros(n: int, width: int) -> NDArray[np.float32]:
    """``n`` lines of zeros, the first at the start of a cache line."""
    return _at_cache_line(np.zeros(n * width * 4 + 64, np.uint8), n, width)


def lines(n: int, width: int) -> NDArray[np.float32]:
    """``n`` lines that are yet to be written, the first at the start of a cache line."""
    return _at_cache_line(np.empty(n * width * 4 + 64, np.uint8), n, width)


def _at_cache_line(raw: NDArray[np.uint8], n: int, width: int) -> NDArray[np.float32]:
    start = -raw.ctypes.data % 64
    return raw[start : start + n * width * 4].view(np.float32).reshape(n, width)


def blocks(n_lanes: int, most: int) -> Iterator[tuple[slice, int]]:
    """Which lanes a kernel serves at once, at most ``most``, and how wide their lines are.

    That is one lane, half of the most, or the most: most searches go on with a few lanes that are not done, and lines
    of all would be fetched and added in vain.
    """
    for first in range(0, n_lanes, most):
        block = slice(first, min(first + most, n_lanes))
        n = block.stop - first
        yield block, 1 if n == 1 else most // 2 if n <= most // 2 else most
