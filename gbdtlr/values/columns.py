"""Columns: any column a library has, as a numpy array of numbers, an Arrow array, or a list of Python values."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.errors import SchemaError
from gbdtlr.values.arrays import from_numpy, from_values, with_nulls
from gbdtlr.values.missing import is_missing

_NUMBERS = "fiub"
# Types in which Arrow takes nothing but what is of the type, or missing, and all of it as it is.
_INFERRED = (pa.string(), pa.int64(), pa.bool_())
_PLAIN = {str, bool, int, float}
_NO_VALUE = ("NoneType", "NAType", "NaTType")
_REFUSED = (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError)


def plain(column: Any) -> Any:
    """The column without what is its library's own: masked values are missing, subclasses of numpy's arrays are arrays.

    Returns
    -------
    column : ndarray of numbers or truth values, without a mask; pyarrow Array or ChunkedArray of any type; or, where
        there is no such array for the values, a list of them

    Raises
    ------
    SchemaError
        It has more or less than one dimension, or is not a column at all.
    """
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        return column
    if isinstance(column, np.ndarray):
        return _of_numpy(column)
    if isinstance(column, (list, tuple)):
        return _of_values(list(column))
    if isinstance(column, (str, bytes, dict, set)) or not (hasattr(column, "__len__") or hasattr(column, "__array__")):
        raise SchemaError(f"is {type(column).__name__}; an array or a list expected")
    if getattr(column, "ndim", 1) != 1:
        raise SchemaError(f"has {column.ndim} dimensions or is there more than once")
    if hasattr(column, "to_arrow"):  # polars
        return _of_polars(column)
    if type(column).__module__.split(".")[0] == "pandas":
        return _of_pandas(column)
    if hasattr(column, "__arrow_c_stream__"):
        return _or_values(lambda: pa.chunked_array(column), column)
    if hasattr(column, "__arrow_c_array__"):
        return _or_values(lambda: pa.array(column), column)
    return _of_numpy(np.asarray(column)) if hasattr(column, "__array__") else _of_values(list(column))


def _of_numpy(column: npt.NDArray[Any]) -> Any:
    if column.ndim != 1:
        raise SchemaError(f"has {column.ndim} dimensions or is there more than once")
    if type(column) is np.ndarray and column.dtype == np.float64:  # nearly all columns are
        return column
    mask = np.ma.getmaskarray(column) if isinstance(column, np.ma.MaskedArray) else None
    values = np.asarray(np.ma.getdata(column))
    if values.dtype.kind not in _NUMBERS:
        if mask is None and (array := _by_pandas(values)) is not None:
            return array
        listed = list(values) if values.dtype.kind in "Mm" else values.tolist()
        if mask is not None:
            listed = [None if hidden else value for value, hidden in zip(listed, mask.tolist(), strict=True)]
        return _of_values(listed)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:  # to Arrow, and to us, no float is longer
        values = values.astype(np.float64)
    return values if mask is None or not mask.any() else with_nulls(from_numpy(values), mask)


def _of_pandas(column: Any) -> Any:
    if isinstance(column.dtype, np.dtype) or str(column.dtype).startswith("Sparse"):
        return _of_numpy(np.asarray(column))
    return _or_values(lambda: pa.array(column, from_pandas=True), column)


def _of_polars(column: Any) -> Any:
    # Objects come as bare pointers, and 128-bit numbers not at all.
    if str(getattr(column, "dtype", "")) in ("Object", "Int128", "UInt128"):
        return _of_values(column.to_list())
    return column.to_arrow()


def _or_values(convert: Callable[[], Any], column: Any) -> Any:
    try:
        return convert()
    except _REFUSED:
        return _of_values(list(column))


def _by_pandas(values: npt.NDArray[Any]) -> pa.Array | None:
    """Arrow array of objects that are texts, whole numbers or truth values alone, if pandas is there to tell fast."""
    pandas = sys.modules.get("pandas")
    if pandas is None or values.dtype.kind != "O":
        return None
    if pandas.api.types.infer_dtype(values, skipna=True) not in ("string", "integer", "boolean"):
        return None
    with contextlib.suppress(*_REFUSED):
        array = pa.array(values, from_pandas=True)
        return array if array.type in _INFERRED else None
    return None


def _of_values(values: list[Any]) -> Any:
    """Arrow array of Python values of one plain type, None and NaN as null; the list itself of any others."""
    kinds = set(map(type, values))
    known = {kind for kind in kinds if kind.__name__ not in _NO_VALUE}
    if "pandas" in sys.modules and known <= _PLAIN:  # Arrow would import it; it finds the same as below, faster
        with contextlib.suppress(*_REFUSED):
            array = pa.array(values, from_pandas=True)
            if array.type in _INFERRED:
                return array
    # A NaN among others is pandas' way to say that a text or a whole number is missing.
    if not kinds <= {*known, type(None)} or (float in known and known != {float}):
        values = [None if is_missing(value) else value for value in values]
        known = set(map(type, values)) - {type(None)}
    if len(known) > 1 or not known <= _PLAIN:
        return values
    try:
        return from_values(values)
    except (OverflowError, UnicodeError):
        return values
