"""Numbers: any column as float64, and the texts of a CSV as the numbers they are."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from gbdtlr.errors import SchemaError
from gbdtlr.values import scalars
from gbdtlr.values.arrays import (
    from_numpy,
    from_texts,
    has_value,
    present,
    real_numbers,
    simple,
    simple_type,
    true_rows,
)
from gbdtlr.values.columns import plain

NO_NUMBER = (
    *("", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null"),
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"),
)
"""What stands in a text file for a number that is missing."""
_REMEDY = "list it under categorical or convert it"
_EXPECTED = f"numbers expected; {_REMEDY}"
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)")


def numbers(column: Any) -> npt.NDArray[np.float64]:
    """The float nearest to every number, 0 and 1 for truth values, NaN for missing, (n,).

    Parameters
    ----------
    column : (n,), of any library, or a list of Python values

    Raises
    ------
    SchemaError
        Values that are no numbers, texts among them: only where there is nothing but text, in CSV, do they stand for
        numbers (:func:`read_numbers`).
    """
    column = plain(column)
    if isinstance(column, np.ndarray):
        return column.astype(np.float64)
    if isinstance(column, list):
        return _of_values(column)
    if isinstance(column, pa.ChunkedArray):
        return np.concatenate([np.zeros(0), *(numbers_of(chunk) for chunk in column.chunks)])
    return numbers_of(column)


def numbers_of(array: pa.Array) -> npt.NDArray[np.float64]:
    """:func:`numbers` of an Arrow array."""
    array = simple(array)
    if pt.is_dictionary(array.type):
        array = simple(array.dictionary_decode())
    if is_number(array.type):
        return real_numbers(array)
    if has_value(array):
        raise SchemaError(f"holds {array.type}, {_EXPECTED}")
    return np.full(len(array), np.nan)


def check_numbers(column: pa.Array | pa.ChunkedArray) -> None:
    """Nothing, if an Arrow column has a type of numbers, or no value at all; raise SchemaError otherwise."""
    if not is_number(column.type) and has_value(column):
        raise SchemaError(f"holds {column.type}, {_EXPECTED}")


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type are numbers or truth values, or always missing."""
    kind = simple_type(kind)
    return bool(
        pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind) or pt.is_decimal(kind) or pt.is_null(kind)
    )


def _of_values(values: list[Any]) -> npt.NDArray[np.float64]:
    try:
        return np.array([scalars.number(value) for value in values], np.float64)
    except SchemaError as error:
        raise SchemaError(f"{scalars.held(error)}; {_REMEDY}") from None


def read_numbers(texts: pa.Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Numbers written in a text file, blanks around them aside, and which of the texts are none.

    A number is digits with a point and an exponent, or ``inf``; truth words in any case are 1 and 0. Nothing,
    :data:`NO_NUMBER` and null are missing.

    Returns
    -------
    values : float64 (n,), NaN for missing
    wrong : bool (n,), neither a number nor missing
    """
    trimmed = pc.utf8_trim_whitespace(texts)
    missing = ~present(trimmed) | true_rows(pc.is_in(trimmed, value_set=from_texts(NO_NUMBER)))
    there = trimmed.filter(from_numpy(~missing)) if missing.any() else trimmed
    values, wrong = np.full(len(texts), np.nan), np.zeros(len(texts), bool)
    try:
        values[~missing] = real_numbers(there.cast(pa.float64()))
    except pa.ArrowInvalid:
        found = [_read(text) for text in there.to_pylist()]
        values[~missing] = [np.nan if number is None else number for number in found]
        wrong[~missing] = [number is None for number in found]
    return values, wrong


def _read(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    word = scalars.TRUTHS.get(text)
    return None if word is None else float(word == "true")
