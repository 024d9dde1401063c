"""Vectors: a dense column's values, numbers or lists of them of one length, from any frame, row or file.

A list may come as one column of lists, as a matrix, or as a column for each of its numbers, called ``name_0``,
``name_1`` and so on, which is all that CSV can hold.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.errors import SchemaError
from gbdtlr.values import scalars
from gbdtlr.values.arrays import present, real_numbers, simple, whole_numbers
from gbdtlr.values.columns import plain
from gbdtlr.values.frames import column_of
from gbdtlr.values.missing import is_missing
from gbdtlr.values.numbers import is_number, numbers, numbers_of

Matrix = npt.NDArray[np.float64]


def numbered(names: Collection[str], name: str) -> list[str]:
    """``name_0``, ``name_1`` and so on, as far as they are among the names."""
    found: list[str] = []
    while (part := f"{name}_{len(found)}") in names:
        found.append(part)
    return found


def is_list(kind: pa.DataType) -> bool:
    """Whether values of this Arrow type are lists."""
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def vectors_of(frame: Any, names: Collection[str], name: str, size: int | None = None) -> Matrix:
    """The numbers of a dense column, (n, size), NaN where one or a whole list is missing.

    Parameters
    ----------
    frame : as ``values.frames.frame_of`` gives it
    names : of its columns
    size : of the lists; None where it is not known yet

    Raises
    ------
    SchemaError
        Values that are no numbers and no lists of as many of them.
    """
    if name in names:
        column = _matrix_of(frame, name)
        return vectors(column_of(frame, name) if column is None else column, size)
    parts = numbered(names, name)
    if size is not None and len(parts) != size:
        raise SchemaError(f"comes as {len(parts)} columns {name}_0, {name}_1 and so on; {size} expected")
    return np.stack([numbers(column_of(frame, part)) for part in parts], axis=1)


def vectors(column: Any, size: int | None = None) -> Matrix:
    """As :func:`vectors_of`, of a column alone: of any library, a list of Python values, or a matrix (n, size)."""
    if isinstance(column, np.ndarray) and column.ndim == 2 and column.dtype.kind in "fiub":
        found = column.astype(np.float64)
        if isinstance(column, np.ma.MaskedArray):
            found = np.where(np.ma.getmaskarray(column), np.nan, np.ma.getdata(found))
        return _of_size(np.asarray(found), size)
    column = plain(column)
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        return _of_arrow(column, size)
    if isinstance(column, np.ndarray):
        return _of_size(column.astype(np.float64)[:, None], size)
    return _of_values(column, size)


def vector(value: Any) -> list[float]:
    """The numbers of one value, NaN for those that are missing; a missing value is one NaN.

    Raises
    ------
    SchemaError
        Neither a number nor a list of numbers.
    """
    inner = scalars.unwrapped(value)
    if isinstance(inner, (list, tuple)) or (isinstance(inner, np.ndarray) and inner.ndim == 1):
        if type(inner) is np.ndarray and inner.dtype.kind in "fiub":
            return inner.astype(np.float64).tolist()  # type: ignore[no-any-return]  # numpy does not say of what
        return [scalars.number(each) for each in inner]
    if isinstance(inner, pa.ListScalar) or hasattr(inner, "to_list"):  # a polars Series, one row of a list column
        return vector(inner.to_list() if hasattr(inner, "to_list") else inner.as_py())
    return [scalars.number(inner)]


def row_vector(row: Mapping[str, Any], name: str, size: int) -> list[float]:
    """As :func:`vector`, of a named value of a row, or of its numbered ones; always ``size`` numbers.

    Raises
    ------
    SchemaError
        Neither is there, or not as many numbers.
    """
    if name in row:
        found = vector(row[name])
        if len(found) == size:
            return found
        if len(found) == 1 and math.isnan(found[0]) and not _is_sequence(row[name]):
            return found * size
        raise SchemaError(f"{_counted(len(found), row[name])}, {_expected(size)}")
    parts = numbered(row, name)
    if len(parts) != size:
        raise KeyError(name)
    return [scalars.number(row[part]) for part in parts]


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _matrix_of(frame: Any, name: str) -> Any:
    """The frame's column where it is a matrix, which is no column elsewhere."""
    if isinstance(frame, Mapping) or (isinstance(frame, np.ndarray) and frame.dtype.names):
        column = frame[name]
        if isinstance(column, np.ndarray) and column.ndim == 2:
            return column
    return None


def _of_size(found: Matrix, size: int | None) -> Matrix:
    if size is not None and found.shape[1] != size:
        if found.shape[1] == 1 and np.isnan(found).all():  # nothing but missing values have no length
            return np.full((len(found), size), np.nan)
        raise SchemaError(f"{_counted(found.shape[1], [])}, {_expected(size)}")
    return found


def _of_arrow(column: pa.Array | pa.ChunkedArray, size: int | None) -> Matrix:
    if isinstance(column, pa.ChunkedArray):
        if pt.is_null(column.type) or not column.num_chunks:
            return np.full((len(column), size or 1), np.nan)
        if size is None and is_list(column.type):
            size = next((len(value) for value in column if value.is_valid), 1)
        parts = [_of_arrow(chunk, size) for chunk in column.chunks if len(chunk)]
        return np.concatenate(parts) if parts else np.full((0, size or 1), np.nan)
    kind = column.type
    if not is_list(kind):
        return _of_size(numbers_of(column)[:, None], size)
    if pt.is_dictionary(kind.value_type) or not is_number(kind.value_type):
        raise SchemaError(f"holds {kind}, numbers or lists of numbers expected")
    there = present(column)
    flat = real_numbers(simple(column.flatten()))  # of the lists that are there
    if pt.is_fixed_size_list(kind):
        sizes = np.full(int(there.sum()), kind.list_size)
    else:
        sizes = whole_numbers(_lengths(column))[there]
    wanted = size if size is not None else (int(sizes[0]) if len(sizes) else 1)
    wrong = np.flatnonzero(sizes != wanted)
    if len(wrong):
        row = int(np.flatnonzero(there)[wrong[0]])
        raise SchemaError(f"{_counted(int(sizes[wrong[0]]), [])} in row {row}, {_expected(wanted)}")
    out = np.full((len(column), wanted), np.nan)
    out[there] = flat.reshape(-1, wanted)
    return out


def _lengths(column: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.list_value_length(column)


def _of_values(values: Sequence[Any], size: int | None) -> Matrix:
    found: list[list[float] | None] = []
    for value in values:
        if not _is_sequence(value) and is_missing(value):
            found.append(None)
            continue
        try:
            found.append(vector(value))
        except SchemaError as error:
            raise SchemaError(f"{scalars.held(error)}; numbers, or lists of numbers, expected") from None
    wanted = size if size is not None else next((len(each) for each in found if each is not None), 1)
    out = np.full((len(found), wanted), np.nan)
    for i, each in enumerate(found):
        if each is None:
            continue
        if len(each) != wanted:
            if len(each) == 1 and math.isnan(each[0]) and not _is_sequence(values[i]):
                continue
            raise SchemaError(f"{_counted(len(each), values[i])} in row {i}, {_expected(wanted)}")
        out[i] = each
    return out


def _counted(n: int, value: Any) -> str:
    return f"has a list of {n}" if _is_sequence(value) or n != 1 or value == [] else "has a number"


def _expected(size: int) -> str:
    return "a number expected" if size == 1 else f"a list of {size} numbers expected"
