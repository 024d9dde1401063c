"""Lines: one column per setting, so that what all settings read of a code lies in one cache line."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Lines = NDArray[Any]
"""(n_params, lanes), float64 or float32"""


def aligned(lines: Lines) -> NDArray[np.float32]:
    """Copy as float32 that starts on a cache line: a line of 16 lanes then never straddles two."""
    raw = np.empty(lines.size * 4 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    copy = raw[start : start + lines.size * 4].view(np.float32).reshape(lines.shape)
    copy[:] = lines
    return copy
