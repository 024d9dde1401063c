"""Categories and ids: any column as texts, one for each value.

A text is a category or id as it stands, a whole number by its digits, whatever type holds it, a truth value ``true`` or
``false``, a UUID as it is written. :func:`texts` then gives one spelling to what programs spell in several ways
(``True``, ``7.0``) and takes the empty text for missing. Releases of before that rule learned texts as :func:`written`
gives them, and go on reading them so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from gbdtlr.errors import SchemaError
from gbdtlr.values import scalars
from gbdtlr.values.arrays import (
    fixed_width,
    from_numpy,
    from_texts,
    has_value,
    places,
    present,
    real_numbers,
    simple,
    simple_type,
    text_parts,
    true_rows,
    with_nulls,
)
from gbdtlr.values.columns import plain
from gbdtlr.values.numbers import is_number, numbers
from gbdtlr.values.plain import is_plain

Spell = Callable[[pa.Array], pa.Array]
"""What makes texts of an array: :func:`texts_of` or :func:`written_of`."""

_EXACT = {pa.float16().id: 2**11, pa.float32().id: 2**24, pa.float64().id: scalars.EXACT}


def texts(column: Any) -> pa.Array | pa.ChunkedArray:
    """The one text of every category or id, null for missing, (n,): two values are the same if their texts are.

    Parameters
    ----------
    column : (n,), of any library, or a list of Python values

    Raises
    ------
    SchemaError
        Values that are neither texts nor whole numbers nor truth values; floats at or above 2^53 (of 32 bits, 2^24; of
        16, 2^11), which may have been other whole numbers; texts that are not UTF-8.
    """
    return _mapped(column, texts_of)


def written(column: Any) -> pa.Array | pa.ChunkedArray:
    """As :func:`texts`, but every text as it stands; the empty one too."""
    return _mapped(column, written_of)


def texts_of(array: pa.Array) -> pa.Array:
    """:func:`texts` of an Arrow array."""
    array = simple(array)
    if pt.is_dictionary(array.type):
        return _of_dictionary(array, texts_of)
    if pt.is_string(array.type) and is_plain(array):
        return array
    found = written_of(array)
    return one_spelling(found) if pt.is_string(array.type) else found


def written_of(array: pa.Array) -> pa.Array:
    """:func:`written` of an Arrow array."""
    array = simple(array)
    kind = array.type
    if pt.is_dictionary(kind):
        return _of_dictionary(array, written_of)
    if pt.is_string(kind):
        return _sound(array)
    if pt.is_integer(kind) or pt.is_boolean(kind) or pt.is_null(kind):
        return array.cast(pa.string())
    if pt.is_floating(kind):
        return _of_floats(array)
    if pt.is_decimal(kind):
        return _of_decimals(array)
    if has_value(array):
        raise SchemaError(f"holds {kind}, {scalars.TEXTS_EXPECTED}")
    return pa.nulls(len(array), pa.string())


def encoded(array: pa.Array, spell: Spell = texts_of) -> tuple[pa.Array, npt.NDArray[Any]]:
    """The texts, and of each row the place of its own among them: each distinct value is spelled once.

    Parameters
    ----------
    spell : :func:`texts_of` or :func:`written_of`

    Returns
    -------
    texts : string (n_texts,), some maybe null, or the same
    places : int64 (n,), ``n_texts`` where a value is missing
    """
    array = simple(array)
    if pt.is_dictionary(array.type):
        try:
            return spell(array.dictionary), places(array)
        except SchemaError:  # maybe of a value that no row has
            array = simple(array.dictionary_decode())
    try:
        array = array.dictionary_encode()
    except pa.ArrowNotImplementedError:
        array = spell(array).dictionary_encode()
    return spell(array.dictionary), places(array)


def text_dictionary(array: pa.Array, spell: Spell = texts_of) -> pa.DictionaryArray:
    """The texts as ``dictionary<int32, string>``, (n,), missing ones as nulls of the index."""
    distinct, at = encoded(array, spell)
    missing = np.append(~present(distinct), True)[at]
    indices = with_nulls(from_numpy(np.where(missing, 0, at).astype(np.int32)), missing)
    if distinct.null_count:
        distinct = pc.coalesce(distinct, from_texts([""] * len(distinct)))
    return pa.DictionaryArray.from_arrays(indices, distinct)


def whole_array(column: Any) -> pa.Array:
    """Whole numbers as int64 or, where these are too short, ``decimal128(38, 0)``: exact as ids, and numbers too.

    Parameters
    ----------
    column : (n,), of any library but in one chunk, or a list of Python values

    Raises
    ------
    SchemaError
        Values that are no whole numbers.
    """
    numbers(column)
    digits = texts(column)
    for kind in (pa.int64(), pa.decimal128(38, 0)):
        with contextlib.suppress(pa.ArrowInvalid):
            return digits.cast(kind)
    raise SchemaError("holds truth values among numbers, or numbers of more than 38 digits, as ids")


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type can be categories and ids: of floats and decimals, whole numbers can."""
    return is_number(kind) or bool(pt.is_string(simple_type(kind)))


def one_spelling(array: pa.Array) -> pa.Array:
    """Texts in their one spelling, (n,), as :func:`scalars.one_spelling` gives it; the empty one is missing."""
    n = len(array)
    if not n:
        return array
    data, offsets = text_parts(array)
    data = data if len(data) else np.zeros(1, np.uint8)
    lengths = np.diff(offsets)
    odd = lengths == 0
    # What may have another spelling is a truth word by its length and its last letter, or a float: most texts need no
    # further look, and most columns have no text that could be one.
    last = data[np.maximum(offsets[1:], 1) - 1]
    odd |= ((last | 32) == ord("e")) & ((lengths == 4) | (lengths == 5))
    if _has_mark(data[offsets[0] : offsets[-1]]):
        odd |= _float_like(data, offsets, last, lengths)
    if array.null_count:
        odd &= present(array)
    rows = np.flatnonzero(odd)
    return _respelled(array, odd, array.take(from_numpy(rows))) if len(rows) else array


def _has_mark(data: npt.NDArray[np.uint8]) -> bool:
    """Whether there is a point or a plus, which every float that is written out has."""
    return bool((data == ord(".")).any() or (data == ord("+")).any())


def _float_like(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int32],
    last: npt.NDArray[np.uint8],
    lengths: npt.NDArray[np.int32],
) -> npt.NDArray[np.bool_]:
    """Texts that begin and end with a digit and, near their end, have what a whole float may have."""
    found = np.zeros(len(lengths), bool)
    first = data[np.minimum(offsets[:-1], len(data) - 1)]
    rows = np.flatnonzero(_is_digit(last) & (_is_digit(first) | (first == ord("-"))) & (lengths > 2))
    ends = offsets[1:][rows]
    second, third, fourth = (data[np.maximum(ends - k, 0)] for k in (2, 3, 4))
    odd = (last[rows] == ord("0")) & ((second == ord(".")) | (second == ord("0")))
    for mark in (second, third, fourth):
        odd |= (mark == ord("+")) | (mark == ord("E"))
    found[rows[odd]] = True
    return found


def _respelled(array: pa.Array, odd: npt.NDArray[np.bool_], pieces: pa.Array) -> pa.Array:
    """The texts with other spellings where ``odd``, whose texts are ``pieces``."""
    numeric = true_rows(pc.match_substring_regex(pieces, scalars.FLOAT_TEXT))
    other = ~numeric & ~true_rows(pc.is_in(pieces, value_set=_WORDS))
    if other.all():
        return array
    distinct = pieces.dictionary_encode()
    try:
        spelled = [scalars.one_spelling(text) for text in distinct.dictionary.to_pylist()]
    except SchemaError as error:
        raise SchemaError(scalars.held(error)) from None
    replaced = from_optional(spelled).take(distinct.indices)
    return pc.replace_with_mask(array, from_numpy(odd), replaced)


_WORDS = from_texts(["", *scalars.TRUTHS])


def from_optional(values: list[str | None]) -> pa.Array:
    """Arrow array of texts, (n,), None as null."""
    return with_nulls(
        from_texts([value or "" for value in values]), np.array([value is None for value in values], bool)
    )


def _mapped(column: Any, of_array: Spell) -> pa.Array | pa.ChunkedArray:
    column = plain(column)
    if isinstance(column, list):
        return _of_values(column, scalars.text if of_array is texts_of else scalars.written)
    if isinstance(column, np.ndarray):
        column = from_numpy(column)
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([of_array(chunk) for chunk in column.chunks], pa.string())
    return of_array(column)


def _of_values(values: list[Any], spell: Callable[[Any], str | None]) -> pa.Array:
    try:
        return from_optional([spell(value) for value in values])
    except SchemaError as error:
        raise SchemaError(scalars.held(error)) from None


def _of_dictionary(array: pa.DictionaryArray, spell: Spell) -> pa.Array:
    spelled, at = encoded(array, spell)
    return pa.concat_arrays([spelled, pa.nulls(1, pa.string())]).take(from_numpy(at))


def _of_floats(array: pa.Array) -> pa.Array:
    values = real_numbers(array)
    missing = np.isnan(values)
    lost = np.abs(values) >= _EXACT[array.type.id]
    wrong = (lost | (values != np.floor(values))) & ~missing
    if wrong.any():
        row = int(wrong.argmax())
        reason = scalars.LOST if lost[row] else scalars.FRACTION
        raise SchemaError(f"holds {fixed_width(array)[row]} ({array.type}), {reason}")
    whole = np.where(missing, 0, values).astype(np.int64)
    return with_nulls(from_numpy(whole).cast(pa.string()), missing)


def _of_decimals(array: pa.Array) -> pa.Array:
    kind = pa.decimal256(76, 0) if array.type.bit_width > 128 else pa.decimal128(38, 0)
    try:
        return array.cast(kind).cast(pa.string())
    except pa.ArrowInvalid:
        return _of_values(array.to_pylist(), scalars.written)


def _sound(array: pa.Array) -> pa.Array:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        wrong = next(value for value in map(_raw, array.cast(pa.binary())) if not _is_utf8(value))
        raise SchemaError(f"holds {wrong!r:.60}, which is not UTF-8; mend it, or write it as text") from None
    return array


def _raw(value: pa.Scalar) -> bytes:
    return value.as_py() or b""


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_digit(characters: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return (characters >= ord("0")) & (characters <= ord("9"))
