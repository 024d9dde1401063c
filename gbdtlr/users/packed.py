"""Packed vectors: whole numbers of 8 bits and one scale, 20 bytes for 16 numbers, as they are sent to clients.

Scores are of packed vectors on the server too: what a client works out is then what the server would have.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 127


def quantised(vectors: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Vectors as whole numbers times a scale: the largest number of each becomes 127.

    Parameters
    ----------
    vectors : floats, (n, d)

    Returns
    -------
    numbers : int8 (n, d)
    scale : float32 (n,); zero where a vector is zero or not finite
    """
    vectors = np.asarray(vectors, np.float64)
    top = np.abs(vectors).max(axis=1, initial=0.0)
    with np.errstate(over="ignore"):
        scale = (top / MOST).astype(np.float32)
    scale[~np.isfinite(scale)] = 0.0
    divisor = np.where(scale > 0, scale, 1.0).astype(np.float64)[:, None]
    numbers = np.where(scale[:, None] > 0, np.nan_to_num(vectors) / divisor, 0.0)
    return np.clip(np.rint(numbers), -MOST, MOST).astype(np.int8), scale


def values(numbers: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float64]:
    """What packed vectors stand for, float64 (n, d); each product is exact."""
    return numbers.astype(np.float64) * scale.astype(np.float64)[:, None]


def pack(numbers: NDArray[np.int8], scale: float) -> bytes:
    """Bytes of one vector: its numbers, then the scale as a little-endian float of 32 bits."""
    return numbers.tobytes() + struct.pack("<f", scale)


def unpack(data: bytes) -> list[float]:
    """What :func:`pack` gave as numbers; ValueError of anything that cannot be."""
    if len(data) < 5:
        raise ValueError(f"a packed vector has at least 5 bytes, not {len(data)}")
    numbers = struct.unpack(f"<{len(data) - 4}b", data[:-4])
    (scale,) = struct.unpack("<f", data[-4:])
    return [number * scale for number in numbers]
