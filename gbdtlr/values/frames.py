"""Columns of any frame a user may hand over, found by name: DataFrame, pyarrow Table or dict of arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbdtlr.errors import SchemaError
from gbdtlr.values.arrays import from_numpy, from_values, real_numbers

_PLAIN = ({str}, {bool}, {int}, {float}, {int, float})


def column_names(frame: Any) -> Collection[str]:
    """Names of the frame's columns.

    Raises
    ------
    SchemaError
        Not a frame.
    """
    if isinstance(frame, Mapping):
        return frame.keys()
    if isinstance(frame, (pa.Table, pa.RecordBatch)):
        return set(frame.schema.names)
    if hasattr(frame, "columns") and hasattr(frame, "__getitem__"):
        return set(frame.columns)
    raise SchemaError(
        f"rows come as a DataFrame, a pyarrow Table or a dict of columns, not as {type(frame).__name__}; "
        "columns are found by name"
    )


def column_of(frame: Any, name: str) -> Any:
    """The frame's column as a numpy array of numbers, or as a pyarrow Array or ChunkedArray of anything.

    Raises
    ------
    SchemaError
        Not a column, two columns of that name, or values of several types.
    """
    if isinstance(frame, (pa.Table, pa.RecordBatch)):
        if frame.schema.names.count(name) > 1:
            raise SchemaError("is there more than once")
        return frame.column(name)
    column = frame[name]
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        return column
    if hasattr(column, "to_arrow"):
        return column.to_arrow()
    dtype = getattr(column, "dtype", None)
    if getattr(column, "ndim", 1) != 1:
        raise SchemaError(f"has {column.ndim} dimensions or is there more than once")
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
        column = np.asarray(column)
    elif dtype is None and not isinstance(column, (list, tuple)):
        raise SchemaError(f"is {type(column).__name__}; an array or a list expected")
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        return column
    if isinstance(column, np.ndarray) and column.dtype.kind in "OU":
        column = column.tolist()
    try:
        if isinstance(column, (list, tuple)) and {*map(type, column)} - {type(None)} in _PLAIN:
            return from_values(column)
        return pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeError, OverflowError) as error:
        raise SchemaError(f"holds values of several types or of an unknown one ({error})") from None


def is_missing(value: Any) -> bool:
    """Whether a single value is None, NaN, or what pandas has for these."""
    # By their names, so that pandas need not be there.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and value != value


def texts(column: Any) -> Any:
    """Categories as texts, one spelling each: 7, 7.0 and "7" are "7", booleans "true" and "false", NaN null."""
    if isinstance(column, np.ndarray):
        column = from_numpy(column)
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([texts(chunk) for chunk in column.chunks], pa.string())
    if isinstance(column, pa.DictionaryArray):
        return texts(column.dictionary).take(column.indices)
    if pa.types.is_floating(column.type):
        # Whole numbers with a gap come as floats from pandas: they must not become other categories for it.
        values = real_numbers(column)
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2.0**63)
        as_whole = pc.cast(from_numpy(np.where(whole, values, 0).astype(np.int64)), pa.string())
        as_float = pc.cast(from_numpy(values), pa.string())
        spelled = pc.if_else(from_numpy(whole), as_whole, as_float)
        return pc.if_else(from_numpy(np.isnan(values)), pa.nulls(1, pa.string())[0], spelled)
    return pc.cast(column, pa.string())
