"""Frames: whatever holds columns by name, and rows that hold values by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.values.columns import plain

KINDS = "a DataFrame, a pyarrow Table, a dict of columns, or anything with __arrow_c_stream__"
_LIBRARIES = ("pandas", "polars")
# What things that are computed later, or elsewhere, are known by: the call that makes a frame of them.
_LATER = ("toPandas", "compute", "collect", "to_pandas")


def frame_of(frame: Any) -> Any:
    """The frame, as what :func:`column_of` can take columns out of again and again.

    DataFrames, Tables, mappings and numpy's structured arrays are so already; a stream (a RecordBatchReader, a DuckDB
    relation, an Ibis table) is read to its end.

    Raises
    ------
    SchemaError
        Not a frame; the message says what to do.
    SamplesError
        A stream that breaks off.
    """
    if isinstance(frame, (Mapping, pa.Table, pa.RecordBatch)) or _is_structured(frame):
        return frame
    if _is_data_frame(frame):
        return frame
    if _is_series(frame):
        raise SchemaError("a Series is one row or one column, rows are expected; score_row takes it as a row")
    if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
        return _of_stream(frame)
    call = next((f"; call .{name}() on it first" for name in _LATER if hasattr(frame, name)), "")
    if not call and _has_columns(frame):
        return frame
    if not call:
        is_rows = isinstance(frame, Iterable) and not isinstance(frame, (str, bytes, np.ndarray))
        call = "; make a frame of them, as with pandas.DataFrame(rows)" if is_rows else "; columns are found by name"
    raise SchemaError(f"rows come as {KINDS}, not as {_name(frame)}{call}")


def column_names(frame: Any) -> Collection[str]:
    """Names of the columns of a frame as :func:`frame_of` gives it."""
    if isinstance(frame, Mapping):
        return frame.keys()
    if isinstance(frame, (pa.Table, pa.RecordBatch)):
        return set(frame.schema.names)
    return set(frame.dtype.names) if _is_structured(frame) else set(frame.columns)


def column_of(frame: Any, name: str) -> Any:
    """The frame's column as :func:`columns.plain` gives it.

    Raises
    ------
    SchemaError
        Not a column, or two columns of that name.
    """
    if isinstance(frame, (pa.Table, pa.RecordBatch)):
        if frame.schema.names.count(name) > 1:
            raise SchemaError("is there more than once")
        return frame.column(name)
    return plain(frame[name])


def row_of(row: Any) -> Mapping[str, Any] | None:
    """A row as a mapping of names to values, None if it does not tell the names of its values.

    Mappings are, and pandas' Series, named tuples, rows of structured arrays, and whatever has ``keys`` as dicts do.

    Raises
    ------
    SchemaError
        Two values of one name, or rows in place of one.
    """
    if isinstance(row, Mapping):
        return row
    if hasattr(row, "columns") or isinstance(row, (pa.Table, pa.RecordBatch)):
        raise SchemaError(f"{_name(row)} holds rows; score takes them, score_row takes one of them, as a dict")
    if _is_series(row) and hasattr(row, "index"):
        names, values = row.index.tolist(), row.tolist()
    elif isinstance(row, np.void) and row.dtype.names:
        names, values = list(row.dtype.names), [row[name] for name in row.dtype.names]
    elif isinstance(row, tuple) and hasattr(row, "_fields"):
        names, values = list(row._fields), list(row)
    elif hasattr(row, "keys") and hasattr(row, "__getitem__"):
        names = list(row.keys())
        values = [row[name] for name in names]
    else:
        return None
    if len(set(names)) < len(names):
        raise SchemaError("more than one value has the same name")
    return dict(zip(names, values, strict=True))


def _of_stream(frame: Any) -> pa.Table:
    try:
        if not hasattr(frame, "__arrow_c_stream__"):
            return pa.Table.from_batches([pa.record_batch(frame)])
        return pa.table(frame) if not isinstance(frame, pa.RecordBatchReader) else frame.read_all()
    except (pa.ArrowException, OSError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SamplesError(f"the rows of {_name(frame)} cannot be read: {reason}; {KINDS} is expected") from None


def _has_columns(frame: Any) -> bool:
    return hasattr(frame, "columns") and hasattr(frame, "__getitem__")


def _is_structured(frame: Any) -> bool:
    return isinstance(frame, np.ndarray) and frame.dtype.names is not None and frame.ndim == 1


def _is_data_frame(frame: Any) -> bool:
    """Whether it is one of pandas or polars, or of a library on top of them."""
    kinds = type(frame).__mro__
    return any(kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] in _LIBRARIES for kind in kinds)


def _is_series(value: Any) -> bool:
    return type(value).__name__ == "Series"


def _name(frame: Any) -> str:
    return f"{type(frame).__module__.split('.')[0]} {type(frame).__name__}".removeprefix("builtins ")
