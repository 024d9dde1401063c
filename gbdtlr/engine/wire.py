"""The wire: values as bytes on their way from process to process, never to a file.

Arrays arrive as they were sent, writeable or not, since kernels tell the two apart. Of a large array whose rows are
mostly zeros, such as a gradient over ids of which a worker has met a few, only the others travel.
"""

from __future__ import annotations

import pickle
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE = 2**14
"""Bytes from which an array is looked through for rows of zeros."""


def packed(value: Any) -> bytes:
    """The value as bytes; :func:`unpacked` has it back, to the last bit."""
    file = BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()


def unpacked(data: bytes) -> Any:
    """The value that :func:`packed` was given, in memory of its own."""
    return pickle.loads(data)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if type(value) is not np.ndarray or value.nbytes < LARGE or value.dtype.kind != "f" or value.ndim != 2:
            return NotImplemented
        bits = np.ascontiguousarray(value).view(f"u{value.itemsize}")  # minus zero is not nothing
        rows = np.flatnonzero(bits.any(axis=1))
        return (_filled, (rows, value[rows], len(value))) if 2 * len(rows) < len(value) else NotImplemented


def _filled(rows: NDArray[np.int64], values: NDArray[Any], n_rows: int) -> NDArray[Any]:
    full = np.zeros((n_rows, *values.shape[1:]), values.dtype)
    full[rows] = values
    return full
