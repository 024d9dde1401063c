"""Arrays: between numpy and Arrow by their buffers.

``pyarrow.array``, ``pyarrow.scalar`` and ``to_numpy`` import pandas to see whether it is wanted: 0.2 seconds and
30 MB in a process that has no other use for it. These do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

_WIDTHS = {
    kind.id: np.dtype(name)
    for kind, name in (
        *(
            (pa.from_numpy_dtype(f"{sign}int{width}"), f"{sign}int{width}")
            for sign in ("", "u")
            for width in (8, 16, 32, 64)
        ),
        *((pa.from_numpy_dtype(f"float{width}"), f"float{width}") for width in (16, 32, 64)),
    )
}
_SIMPLE = {*_WIDTHS, pa.string().id, pa.bool_().id, pa.null().id}
_is_view = getattr(pt, "is_string_view", lambda _kind: False)  # older versions of pyarrow do not have the type


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
    """Arrow array of Python values of one kind, texts, whole numbers, floats or truth values, (n,), None as null.

    Raises
    ------
    OverflowError
        Whole numbers that no 64 bits hold together.
    UnicodeError
        Texts that are none.
    """
    known = np.array([value is not None for value in values], bool)
    first = next((value for value in values if value is not None), None)
    if isinstance(first, str):
        array = from_texts([value or "" for value in values])
    elif isinstance(first, bool):
        array = from_numpy(np.array([bool(value) for value in values]))
    elif isinstance(first, int):
        whole = [value or 0 for value in values]
        array = from_numpy(np.array(whole, np.uint64 if max(whole) >= 2**63 else np.int64))
    else:
        array = from_numpy(np.array([0.0 if value is None else value for value in values], np.float64))
    return with_nulls(array, ~known)


def with_nulls(array: pa.Array, missing: npt.NDArray[np.bool_]) -> pa.Array:
    """The array, of numbers, truth values or texts, with nulls where ``missing``, (n,), is true."""
    n_missing = int(np.count_nonzero(missing))
    if not n_missing:
        return array
    return pc.replace_with_mask(array, from_numpy(missing), pa.nulls(n_missing, array.type))


def simple_type(kind: pa.DataType) -> pa.DataType:
    """Type that the values of :func:`simple` have, of a dictionary's as well."""
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return simple_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return {"arrow.bool8": pa.bool_(), "arrow.uuid": pa.string()}.get(kind.extension_name, kind)
    return pa.string() if pt.is_large_string(kind) or _is_view(kind) else kind


def is_string(kind: pa.DataType) -> bool:
    """Whether values of this type are texts, dictionary-encoded ones included."""
    kind = kind.value_type if pt.is_dictionary(kind) else kind
    return bool(pt.is_string(simple_type(kind))) and not isinstance(kind, pa.BaseExtensionType)


def simple(array: pa.Array) -> pa.Array:
    """The same values in one of few types, without runs, views, extensions and short decimals; dictionaries stay.

    UUIDs become texts, ``arrow.bool8`` truth values. A type that is not known here stays as it is.
    """
    kind = array.type
    if kind.id in _SIMPLE:  # nearly all columns are
        return array
    if pt.is_run_end_encoded(kind):
        array = pc.run_end_decode(array)
        kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(array)
    if not pt.is_dictionary(kind) and simple_type(kind) != kind:
        return array.cast(pa.string())
    if pt.is_decimal(kind) and kind.bit_width < 128:
        return array.cast(pa.decimal128(kind.precision, kind.scale))
    return array


def _of_extension(array: pa.Array) -> pa.Array:
    if array.type.extension_name == "arrow.bool8":
        return array.storage.cast(pa.bool_())
    if array.type.extension_name == "arrow.uuid":
        return with_nulls(_uuid_texts(array.storage), ~present(array))
    return array


def _uuid_texts(array: pa.Array) -> pa.Array:
    """UUIDs, 16 bytes each, as RFC 9562 writes them: 8-4-4-4-12 lower-case digits."""
    data = np.frombuffer(array.buffers()[1] or b"", np.uint8)[16 * array.offset :][: 16 * len(array)]
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    texts = np.full((len(array), 36), ord("-"), np.uint8)
    places = [i for i in range(36) if i not in (8, 13, 18, 23)]
    texts[:, places] = digits[np.stack([data >> 4, data & 15], axis=1)].reshape(len(array), 32)
    offsets = np.arange(len(array) + 1, dtype=np.int32) * 36
    return pa.StringArray.from_buffers(len(array), pa.py_buffer(offsets), pa.py_buffer(texts.tobytes()))


def present(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Where ``array``, (n,), has a value."""
    return true_rows(array.is_valid()) if array.null_count else np.ones(len(array), bool)


def has_value(column: pa.Array | pa.ChunkedArray) -> bool:
    """Whether any row is not null."""
    if pt.is_run_end_encoded(column.type):  # whose nulls nobody counts
        column = pc.run_end_decode(column)
    return bool(column.null_count < len(column))


def true_rows(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Where an array of truth values, (n,), is true; nulls are not."""
    rows = np.zeros(len(array), bool)
    rows[_values(pc.indices_nonzero(array), np.uint64)] = True
    return rows


def whole_numbers(array: pa.Array) -> npt.NDArray[np.int64]:
    """Values of an array that can be cast to int64, (n,); nulls as 0."""
    values = _values(array.cast(pa.int64()), np.int64)
    return np.where(present(array), values, 0) if array.null_count else values


def places(array: pa.DictionaryArray) -> npt.NDArray[np.int64]:
    """Place of each row's value in the dictionary, (n,); its length for null."""
    indices = whole_numbers(array.indices)
    return np.where(present(array.indices), indices, len(array.dictionary)) if array.indices.null_count else indices


def real_numbers(array: pa.Array) -> npt.NDArray[np.float64]:
    """Numbers, truth values or texts of numbers as the nearest float64, (n,), nulls as NaN."""
    if pt.is_string(array.type):
        array = array.cast(pa.float64())
    kind = array.type
    values: npt.NDArray[np.float64]
    if pt.is_boolean(kind):
        values = _values(array.cast(pa.uint8()), np.uint8).astype(np.float64)
    elif pt.is_decimal(kind):
        values = _of_decimals(array)
    elif pt.is_null(kind):
        return np.full(len(array), np.nan)
    else:
        values = fixed_width(array).astype(np.float64, copy=False)
    return np.where(present(array), values, np.nan) if array.null_count else values


def fixed_width(array: pa.Array) -> npt.NDArray[Any]:
    """Numbers of an array of integers or floats in their own type, (n,); anything where it has nulls."""
    return _values(array, _WIDTHS[array.type.id])


def text_parts(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Bytes of a string array, and where in them its texts begin and end, (n + 1,); anything may stand behind nulls."""
    if not len(texts):
        return np.zeros(0, np.uint8), np.zeros(1, np.int32)
    _, offsets, data = texts.buffers()
    return np.frombuffer(data or b"", np.uint8), np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset)


def _of_decimals(array: pa.Array) -> npt.NDArray[np.float64]:
    """float64 nearest to each decimal; where numbers and scale are short, one division rounds just so."""
    width, scale = array.type.bit_width // 64, array.type.scale
    words = np.frombuffer(array.buffers()[1] or b"", np.int64)[width * array.offset :][: width * len(array)]
    words = words.reshape(len(array), width)
    low = words[:, 0]
    short = (low < 2**53) & (low > -(2**53)) & (words[:, 1:] == (low >> 63)[:, None]).all(axis=1)
    if not 0 <= scale <= 22:
        short[:] = False
    values: npt.NDArray[np.float64] = low / 10.0 ** min(max(scale, 0), 22)
    long = np.flatnonzero(~short & present(array))
    if len(long):
        values[long] = _values(array.take(from_numpy(long)).cast(pa.string()).cast(pa.float64()), np.float64)
    return values


def _values(array: pa.Array, dtype: Any) -> npt.NDArray[Any]:
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
