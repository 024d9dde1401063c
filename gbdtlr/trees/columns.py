"""Columns of any frame, by name, as float64: numbers as they are, categories by their place in a vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gbdtlr.errors import SchemaError
from gbdtlr.values.arrays import from_numpy, places, present, simple, simple_type, whole_numbers
from gbdtlr.values.categories import Spell, texts, texts_of, written, written_of
from gbdtlr.values.numbers import check_numbers, numbers, numbers_of

Fill = Callable[[int, int, npt.NDArray[np.float64]], None]
"""``fill(start, stop, out)`` writes rows ``start:stop`` of one column to ``out``; threads may call it at once."""


def fill_numbers(column: Any) -> Fill:
    """Fill of a numeric column, as ``values.columns.plain`` gives it: truth values are 0 and 1, missing is NaN.

    Raises
    ------
    SchemaError
        Values that are not numbers.
    """
    if isinstance(column, list):
        column = numbers(column)
    if isinstance(column, np.ndarray):

        def fill_from_numpy(start: int, stop: int, out: npt.NDArray[np.float64]) -> None:
            out[:] = column[start:stop]

        return fill_from_numpy
    check_numbers(column)

    def fill(start: int, stop: int, out: npt.NDArray[np.float64]) -> None:
        for begin, chunk in _chunks(column, start, stop):
            out[begin - start : begin - start + len(chunk)] = numbers_of(chunk)

    return fill


def fill_categories(column: Any, vocabulary: pa.Array, *, as_written: bool = False) -> Fill:
    """Fill of a categorical column: place in the vocabulary, its length for values outside, NaN for missing.

    Parameters
    ----------
    column : as ``values.columns.plain`` gives it
    as_written : whether the vocabulary holds texts as they stood, and not their one spelling

    Raises
    ------
    SchemaError
        Values that cannot be categories.
    """
    spell, of_column = (written_of, written) if as_written else (texts_of, texts)
    if isinstance(column, np.ndarray) and column.dtype.kind != "f":
        column = from_numpy(column)
    if not isinstance(column, (pa.Array, pa.ChunkedArray)) or not _is_quick(column.type):
        column = of_column(column)  # what is wrong with it is told before any row is scored
    if not pa.types.is_dictionary(column.type):

        def fill(start: int, stop: int, out: npt.NDArray[np.float64]) -> None:
            for begin, chunk in _chunks(column, start, stop):
                found = simple(chunk).dictionary_encode()
                out[begin - start : begin - start + len(chunk)] = _codes(found.dictionary, vocabulary, spell)[
                    places(found)
                ]

        return fill
    # Each distinct value is looked up once, however many rows and chunks there are.
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries()
        dictionary = column.chunk(0).dictionary if column.num_chunks else pa.array([], column.type.value_type)
    else:
        dictionary = column.dictionary
    try:
        codes = _codes(simple(dictionary), vocabulary, spell)
    except SchemaError:  # maybe of a value that no row has
        return fill_categories(of_column(column), vocabulary, as_written=as_written)

    def fill_from_dictionary(start: int, stop: int, out: npt.NDArray[np.float64]) -> None:
        for begin, chunk in _chunks(column, start, stop):
            out[begin - start : begin - start + len(chunk)] = codes[places(chunk)]

    return fill_from_dictionary


def _is_quick(kind: pa.DataType) -> bool:
    """Whether values of this type are no surprise: they are spelled slice by slice, by several threads."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        if str(kind) == "string_view":  # which Arrow cannot unify
            return False
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(simple_type(kind)))


def _codes(values: pa.Array, vocabulary: pa.Array, spell: Spell) -> npt.NDArray[np.float64]:
    """Place of each value's text in the vocabulary, and last the NaN of a missing one."""
    # What is in the vocabulary as it stands has no other spelling: most texts are looked at no further.
    found = pc.index_in(values, value_set=vocabulary) if pa.types.is_string(values.type) else None
    if found is None or found.null_count:
        values = spell(values)
        found = pc.index_in(values, value_set=vocabulary)
    codes = np.where(present(found), whole_numbers(found), len(vocabulary)).astype(np.float64)
    # index_in cannot tell a null from a text outside the vocabulary.
    codes[~present(values)] = np.nan
    return np.append(codes, np.nan)


def _chunks(column: Any, start: int, stop: int) -> list[tuple[int, Any]]:
    """Pieces of rows ``start:stop`` that lie in one chunk each, with the row they begin at."""
    piece = column.slice(start, stop - start)
    if not isinstance(piece, pa.ChunkedArray):
        return [(start, piece)]
    begins = np.cumsum([start, *(len(chunk) for chunk in piece.chunks)])
    return list(zip(begins.tolist(), piece.chunks, strict=False))
