"""The wire: values as bytes on their way from process to process, never to a file.

Arrays arrive as they were sent, writeable or not, since kernels tell the two apart. Of a large array whose rows are
mostly zeros, such as a gradient over ids of which a worker has met a few, only the others travel.
"""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGE = 2**14
"""Bytes from which an array is looked through for rows of zeros."""


class _Sparse(NamedTuple):
    rows: NDArray[np.int64]
    values: NDArray[Any]
    n_rows: int


def packed(value: Any) -> bytes:
    """The value as bytes; :func:`unpacked` has it back, to the last bit."""
    return pickle.dumps(_thinned(value), pickle.HIGHEST_PROTOCOL)


def unpacked(data: bytes) -> Any:
    """The value that :func:`packed` was given, in memory of its own."""
    return _filled(pickle.loads(data))


def _thinned(value: Any) -> Any:
    if type(value) is tuple:
        return tuple(map(_thinned, value))
    if type(value) is dict:
        return {key: _thinned(each) for key, each in value.items()}
    if type(value) is not np.ndarray or value.nbytes < LARGE or value.dtype.kind != "f" or value.ndim != 2:
        return value
    bits = np.ascontiguousarray(value).view(f"u{value.itemsize}")  # minus zero is not nothing
    rows = np.flatnonzero(bits.any(axis=1))
    return _Sparse(rows, value[rows], len(value)) if 2 * len(rows) < len(value) else value


def _filled(value: Any) -> Any:
    if type(value) is tuple:
        return tuple(map(_filled, value))
    if type(value) is dict:
        return {key: _filled(each) for key, each in value.items()}
    if type(value) is not _Sparse:
        return value
    full = np.zeros((value.n_rows, *value.values.shape[1:]), value.values.dtype)
    full[value.rows] = value.values
    return full
