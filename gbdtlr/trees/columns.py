"""Columns of any frame, by name, as float64: numbers as they are, categories by their place in a vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gbdtlr.errors import SchemaError
from gbdtlr.values.arrays import present, real_numbers, whole_numbers
from gbdtlr.values.frames import texts

Fill = Callable[[int, int, npt.NDArray[np.float64]], None]
"""``fill(start, stop, out)`` writes rows ``start:stop`` of one column to ``out``; threads may call it at once."""


def fill_numbers(column: Any) -> Fill:
    """Fill of a numeric column: booleans are 0 and 1, null is NaN.

    Raises
    ------
    SchemaError
        Values that are not numbers.
    """
    if isinstance(column, np.ndarray):
        numbers = column

        def fill_from_numpy(start: int, stop: int, out: npt.NDArray[np.float64]) -> None:
            out[:] = numbers[start:stop]

        return fill_from_numpy
    kind = _value_type(column)
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        raise SchemaError(f"holds {kind}, numbers expected; list it under categorical or convert it")

    def fill(start: int, stop: int, out: npt.NDArray[np.float64]) -> None:
        for begin, chunk in _chunks(column, start, stop):
            values = chunk.dictionary_decode() if isinstance(chunk, pa.DictionaryArray) else chunk
            out[begin - start : begin - start + len(values)] = real_numbers(values)

    return fill


def fill_categories(column: Any, vocabulary: pa.Array) -> Fill:
    """Fill of a categorical column: place in the vocabulary, its length for values outside, NaN for null.

    Raises
    ------
    SchemaError
        Values that cannot be categories.
    """
    if isinstance(column, np.ndarray):
        column = pa.array(column, from_pandas=True)
    kind = _value_type(column)
    if not _is_category(kind):
        raise SchemaError(f"holds {kind}, texts, whole numbers or booleans expected")
    if not pa.types.is_dictionary(column.type):

        def fill(start: int, stop: int, out: npt.NDArray[np.float64]) -> None:
            for begin, chunk in _chunks(column, start, stop):
                encoded = chunk.dictionary_encode()
                place = _places(encoded.dictionary, vocabulary)
                out[begin - start : begin - start + len(chunk)] = place[_indices(encoded)]

        return fill
    # Each distinct value is looked up once, however many rows and chunks there are.
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries()
        dictionary = column.chunk(0).dictionary if column.num_chunks else pa.array([], kind)
    else:
        dictionary = column.dictionary
    places = _places(dictionary, vocabulary)

    def fill_from_dictionary(start: int, stop: int, out: npt.NDArray[np.float64]) -> None:
        for begin, chunk in _chunks(column, start, stop):
            out[begin - start : begin - start + len(chunk)] = places[_indices(chunk)]

    return fill_from_dictionary


def _places(values: pa.Array, vocabulary: pa.Array) -> npt.NDArray[np.float64]:
    """Place of each value, and last the NaN of a missing one."""
    spelled = texts(values)
    found = pc.index_in(spelled, value_set=vocabulary)
    places = np.where(present(found), whole_numbers(found), len(vocabulary)).astype(np.float64)
    # index_in cannot tell a null from a text outside the vocabulary.
    places[~present(spelled)] = np.nan
    return np.append(places, np.nan)


def _indices(encoded: pa.DictionaryArray) -> npt.NDArray[Any]:
    indices = whole_numbers(encoded.indices)
    return np.where(present(encoded.indices), indices, len(encoded.dictionary)) if encoded.null_count else indices


def _chunks(column: Any, start: int, stop: int) -> list[tuple[int, Any]]:
    """Pieces of rows ``start:stop`` that lie in one chunk each, with the row they begin at."""
    piece = column.slice(start, stop - start)
    if not isinstance(piece, pa.ChunkedArray):
        return [(start, piece)]
    begins = np.cumsum([start, *(len(chunk) for chunk in piece.chunks)])
    return list(zip(begins.tolist(), piece.chunks, strict=False))


def _value_type(column: Any) -> pa.DataType:
    return column.type.value_type if pa.types.is_dictionary(column.type) else column.type


def _is_category(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or str(kind) == "string_view"  # a type that older versions of pyarrow do not have
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_null(kind)
    )
