"""JSON text: every Arrow value as JSON writes it, and tables as lines of objects.

Numbers are numbers with all their digits, decimals too; what JSON has no number for (NaN, infinities) is null. Texts
are texts, and so are times (ISO 8601, with a zone in UTC), dates, times of the day, UUIDs and bytes (base64). Durations
are seconds. Lists are arrays, structs and maps objects, calendar intervals objects of months, days and nanoseconds.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from json.encoder import encode_basestring  # json.dumps of a text, with less about it
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from gbdtlr.values.arrays import is_string, present, simple, whole_numbers
from gbdtlr.values.categories import from_optional

NULL = "null"
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def json_lines(table: pa.Table) -> bytes:
    """One line of JSON for each row."""
    names = [encode_basestring(name).replace("%", "%%") for name in table.schema.names]
    line = "{" + ", ".join(f"{name}: %s" for name in names) + "}\n"
    columns = [json_texts(column) for column in table.columns]
    return "".join([line % row for row in zip(*columns, strict=True)]).encode()


def json_texts(column: pa.Array | pa.ChunkedArray) -> list[str]:
    """JSON of every value, (n,)."""
    if isinstance(column, pa.ChunkedArray):
        return [text for chunk in column.chunks for text in json_texts(chunk)]
    if pt.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        known = simple(column)
        return json_texts(column.storage if isinstance(known.type, pa.BaseExtensionType) else known)
    if pt.is_dictionary(kind):
        texts = [*json_texts(column.dictionary), NULL]
        places = np.where(present(column.indices), whole_numbers(column.indices), -1)
        return [texts[place] for place in places.tolist()]
    write = next((write for is_kind, write in _WRITERS if is_kind(kind)), None)
    return [NULL] * len(column) if write is None else write(column)


def plain_texts(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """The same as texts, string (n,): without the quotes of JSON where it has them, nulls for null."""
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([c for chunk in column.chunks for c in plain_texts(chunk).chunks], pa.string())
    if is_string(column.type):
        return pa.chunked_array([column.cast(pa.string())])
    if pt.is_floating(column.type):  # a text may be infinite
        values = [None if value is None or value != value else repr(value) for value in column.to_pylist()]
        return pa.chunked_array([from_optional(values)])
    texts = json_texts(column)
    values = [json.loads(text) if text[0] == '"' else text for text in texts]
    return pa.chunked_array([from_optional([None if t == NULL else v for t, v in zip(texts, values, strict=True)])])


def clock_texts(column: pa.Array) -> list[str | None]:
    """Timestamps as numpy writes them, of whatever year, in UTC where they have a zone."""
    moments = whole_numbers(column).view(f"datetime64[{column.type.unit}]")
    texts = np.datetime_as_string(moments).tolist()
    return [text if known else None for text, known in zip(texts, present(column).tolist(), strict=True)]


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pt.is_nested(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    sized = pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind)
    return bool(sized or str(kind) == "binary_view")


def _each(spell: Callable[[Any], str]) -> Callable[[pa.Array], list[str]]:
    """Writer of an array by its Python values."""

    def write(column: pa.Array) -> list[str]:
        return [NULL if value is None else spell(value) for value in column.to_pylist()]

    return write


def _real(value: float) -> str:
    return repr(value) if value - value == 0 else NULL


def _interval(value: Any) -> str:
    months, days, nanoseconds = value
    return f'{{"months": {months}, "days": {days}, "nanoseconds": {nanoseconds}}}'


def _decimals(column: pa.Array) -> list[str]:
    return [NULL if text is None else text for text in column.cast(pa.string()).to_pylist()]


def _timestamps(column: pa.Array) -> list[str]:
    zone = "" if column.type.tz is None else "+00:00"
    return [NULL if text is None else f'"{_short(text)}{zone}"' for text in clock_texts(column)]


def _dates(column: pa.Array) -> list[str]:
    days = whole_numbers(column.cast(pa.int32() if pt.is_date32(column.type) else pa.int64()))
    days = days if pt.is_date32(column.type) else days // 86_400_000
    texts = np.datetime_as_string(days.view("datetime64[D]")).tolist()
    return [f'"{text}"' if known else NULL for text, known in zip(texts, present(column).tolist(), strict=True)]


def _clocks(column: pa.Array) -> list[str]:
    kind = pa.timestamp(column.type.unit)
    stamps = column.cast(pa.int32() if pt.is_time32(column.type) else pa.int64()).cast(pa.int64()).cast(kind)
    return [NULL if text is None else f'"{_short(text.partition("T")[2])}"' for text in clock_texts(stamps)]


def _durations(column: pa.Array) -> list[str]:
    digits = _DIGITS[column.type.unit]
    return [
        _seconds(value, digits) if known else NULL
        for value, known in zip(whole_numbers(column).tolist(), present(column).tolist(), strict=True)
    ]


def _seconds(value: int, digits: int) -> str:
    seconds, fraction = divmod(abs(value), 10**digits)
    text = f"{seconds}.{fraction:0{digits}}".rstrip("0").rstrip(".") if fraction else str(seconds)
    return f"-{text}" if value < 0 else text


def _short(text: str) -> str:
    """The text without a fraction that is zero."""
    head, _, fraction = text.partition(".")
    return text if fraction.strip("0") else head


def _nested(column: pa.Array) -> list[str]:
    if pt.is_map(column.type):
        return _maps(column)
    if pt.is_struct(column.type):
        return _structs(column)
    if pt.is_union(column.type):
        return [json_texts(pa.array([value.value]))[0] if value.is_valid else NULL for value in column]
    items = iter(json_texts(column.flatten()))
    lengths = pc.list_value_length(column).to_pylist()
    return [NULL if n is None else f"[{', '.join(_next(items, n))}]" for n in lengths]


def _next(items: Iterator[str], n: int) -> list[str]:
    return [next(items) for _ in range(n)]


def _maps(column: pa.Array) -> list[str]:
    names = [text if text[0] == '"' else encode_basestring(text) for text in json_texts(column.keys)]
    pairs = [f"{name}: {item}" for name, item in zip(names, json_texts(column.items), strict=True)]
    ends = whole_numbers(column.offsets).tolist()
    return [
        f"{{{', '.join(pairs[ends[i] : ends[i + 1]])}}}" if known else NULL
        for i, known in enumerate(present(column).tolist())
    ]


def _structs(column: pa.Array) -> list[str]:
    names = [encode_basestring(field.name) for field in column.type]
    fields = [json_texts(field) for field in column.flatten()]
    rows = zip(*fields, strict=True) if fields else [()] * len(column)
    return [
        "{" + ", ".join(f"{name}: {value}" for name, value in zip(names, row, strict=True)) + "}" if known else NULL
        for row, known in zip(rows, present(column).tolist(), strict=True)
    ]


_WRITERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], list[str]]], ...] = (
    (pt.is_boolean, _each(lambda value: "true" if value else "false")),
    (pt.is_integer, _each(str)),
    (pt.is_floating, _each(_real)),
    (is_string, _each(encode_basestring)),
    (pt.is_decimal, _decimals),
    (pt.is_timestamp, _timestamps),
    (pt.is_date, _dates),
    (pt.is_time, _clocks),
    (pt.is_duration, _durations),
    (pt.is_interval, _each(_interval)),
    (_is_bytes, _each(lambda value: f'"{b64encode(value).decode()}"')),
    (_is_nested, _nested),
)
