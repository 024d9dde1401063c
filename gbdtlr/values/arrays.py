"""Arrays: between numpy and Arrow by their buffers.

``pyarrow.array``, ``pyarrow.scalar`` and ``to_numpy`` import pandas to see whether it is wanted: 0.2 seconds and
30 MB in a process that has no other use for it. These do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

Number = TypeVar("Number", np.int64, np.uint64, np.float64)


def from_numpy(values: npt.NDArray[Any]) -> pa.Array:
    """Arrow array of the same numbers or truth values, (n,), without copying the numbers."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if values.dtype == bool:
        bits = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def from_texts(texts: Sequence[str]) -> pa.Array:
    """Arrow array of texts, (n,)."""
    pieces = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, pieces)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(pieces), pa.py_buffer(offsets), pa.py_buffer(b"".join(pieces)))


def from_values(values: Sequence[Any]) -> pa.Array:
    """Arrow array of Python values of one kind, texts, numbers or truth values, (n,), None as null."""
    known = np.array([value is not None for value in values])
    first = next((value for value in values if value is not None), None)
    if isinstance(first, str):
        array = from_texts([value or "" for value in values])
    elif isinstance(first, bool):
        array = from_numpy(np.array([bool(value) for value in values]))
    elif isinstance(first, int) and not any(isinstance(value, float) for value in values):
        whole = [value or 0 for value in values]
        array = from_numpy(np.array(whole, np.uint64 if max(whole) >= 2**63 else np.int64))
    else:
        array = from_numpy(np.array([value or 0.0 for value in values], np.float64))
    if known.all():
        return array
    return pc.replace_with_mask(array, from_numpy(~known), pa.nulls(int((~known).sum()), array.type))


def present(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Where ``array``, (n,), has a value."""
    return true_rows(array.is_valid()) if array.null_count else np.ones(len(array), bool)


def true_rows(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Where an array of truth values, (n,), is true; nulls are not."""
    rows = np.zeros(len(array), bool)
    rows[_values(pc.indices_nonzero(array), np.uint64)] = True
    return rows


def whole_numbers(array: pa.Array) -> npt.NDArray[np.int64]:
    """Values of an array that can be cast to int64, (n,); nulls as 0."""
    values = _values(array.cast(pa.int64()), np.int64)
    return np.where(present(array), values, 0) if array.null_count else values


def real_numbers(array: pa.Array) -> npt.NDArray[np.float64]:
    """Numbers or truth values as float64, (n,), nulls as NaN."""
    if pt.is_boolean(array.type):
        array = array.cast(pa.int8())
    values = _values(array.cast(pa.float64(), safe=False), np.float64)
    return np.where(present(array), values, np.nan) if array.null_count else values


def _values(array: pa.Array, dtype: type[Number]) -> npt.NDArray[Number]:
    if not len(array):
        return np.zeros(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype, array.offset + len(array))[array.offset :]


def give_back() -> None:
    """Give memory that is not in use to the system, Arrow's and, where the C library can, everybody's.

    Both keep what was let go for those who ask next: after a file has been read that is as much as was ever in use.
    """
    pa.default_memory_pool().release_unused()
    pa.system_memory_pool().release_unused()


def empty_as_null(array: pa.Array) -> pa.Array:
    """Texts with the empty ones as nulls."""
    empty = true_rows(pc.invert(pc.cast(pc.binary_length(array), pa.bool_())))
    if not empty.any():
        return array
    return pc.replace_with_mask(array, from_numpy(empty), pa.nulls(int(empty.sum()), array.type))
