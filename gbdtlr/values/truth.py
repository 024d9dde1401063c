"""Truth: columns of outcomes, which are true, false or not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.errors import SchemaError
from gbdtlr.values import scalars
from gbdtlr.values.arrays import places, present, simple
from gbdtlr.values.columns import plain
from gbdtlr.values.numbers import numbers, numbers_of

Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Truths:
    """Which rows, (n,) each, are true, false (neither of the others) or missing, and which are something else."""

    true: Rows
    missing: Rows
    wrong: Rows


def truths(column: Any) -> Truths:
    """Truth of every row: numbers 0 and 1, truth values, and texts that say so, in any case.

    Parameters
    ----------
    column : (n,), of any library, or a list of Python values
    """
    column = plain(column)
    if isinstance(column, pa.ChunkedArray):
        parts = [_of_array(chunk) for chunk in column.chunks]
        values = np.concatenate([np.zeros(0), *parts])
    elif isinstance(column, pa.Array):
        values = _of_array(column)
    elif isinstance(column, np.ndarray):
        values = numbers(column)
    else:
        values = np.array([_of_value(value) for value in column], np.float64)
    missing = np.isnan(values)
    return Truths(values == 1, missing, ~missing & (values != 0) & (values != 1))


def _of_array(array: pa.Array) -> npt.NDArray[np.float64]:
    array = simple(array)
    if pt.is_dictionary(array.type):
        array = simple(array.dictionary_decode())
    if pt.is_string(array.type):
        encoded = array.dictionary_encode()
        values = np.array([*map(_of_scalar, encoded.dictionary), np.nan])
        return values[places(encoded)]
    try:
        return numbers_of(array)
    except SchemaError:
        return np.where(present(array), -1.0, np.nan)


def _of_scalar(scalar: pa.Scalar) -> float:
    try:
        return _of_value(scalar.as_py())
    except UnicodeDecodeError:
        return -1.0


def _of_value(value: Any) -> float:
    try:
        return scalars.truth(value)
    except SchemaError:
        return -1.0
