"""Columns: which ones samples need, whether a file has them in a usable type, and the type they get in memory."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SchemaError

TEXT_DICTIONARY = pa.dictionary(pa.int32(), pa.string())


def needed_columns(cfg: SamplesConfig) -> tuple[str, ...]:
    """Every column that is read, features first; nothing else of a file is touched."""
    about = (cfg.label, cfg.event_time, cfg.label_time, cfg.weight)
    return tuple(dict.fromkeys((*cfg.features, *(name for name in about if name))))


def text_columns(cfg: SamplesConfig) -> tuple[str, ...]:
    """Feature columns read as categories or ids and not as numbers."""
    return tuple(name for name in cfg.features if name not in cfg.numeric)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are texts, dictionary-encoded ones included."""
    if pt.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or str(kind) == "string_view")


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type are numbers; truth values count."""
    if pt.is_dictionary(kind):
        return is_number(kind.value_type)
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind) or pt.is_decimal(kind))


def _is_code(kind: pa.DataType) -> bool:
    if pt.is_dictionary(kind):
        return _is_code(kind.value_type)
    return bool(pt.is_integer(kind) or pt.is_boolean(kind) or is_text(kind))


def _is_time(kind: pa.DataType) -> bool:
    number = pt.is_integer(kind) or pt.is_floating(kind)
    return bool(pt.is_timestamp(kind) or pt.is_date(kind) or number or is_text(kind))


def check_columns(schema: pa.Schema, cfg: SamplesConfig, file: str) -> None:
    """Nothing, if ``schema`` has every column the config names, in a type that can serve.

    Raises
    ------
    SchemaError
        Columns missing or of the wrong type; the message lists all of them with what was found and expected.
    """
    expected: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
        cfg.label: ("0 or 1", lambda kind: is_number(kind) or is_text(kind)),
        cfg.event_time: ("a time", _is_time),
    }
    if cfg.label_time:
        expected[cfg.label_time] = ("a time", _is_time)
    if cfg.weight:
        expected[cfg.weight] = ("a number", is_number)
    for name in text_columns(cfg):
        expected[name] = ("text or whole numbers", _is_code)
    for name in cfg.numeric:
        wide = name in cfg.wide_columns
        expected[name] = (
            ("a whole number (it is a wide column too)", lambda kind: is_number(kind) and _is_code(kind))
            if wide
            else ("a number", is_number)
        )
    faults = []
    for name, (want, serves) in expected.items():
        count = schema.names.count(name)
        if count == 0:
            near = difflib.get_close_matches(name, schema.names, n=1)
            hint = f" (there is {near[0]})" if near else ""
            faults.append(f"{name} is missing{hint}, expected {want}")
        elif count > 1:
            faults.append(f"{name} is there {count} times, expected once")
        else:
            kind = schema.field(name).type
            if not pt.is_null(kind) and not serves(kind):
                faults.append(f"{name} is {kind}, expected {want}")
    if faults:
        raise SchemaError(f"{file}: {'; '.join(faults)}; mend the file, or [samples] in the config")


def to_text_dictionary(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """``column`` as ``dictionary<int32, string>``, missing values as nulls of the index."""
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([to_text_dictionary(chunk) for chunk in column.chunks], type=TEXT_DICTIONARY)
    if column.type == TEXT_DICTIONARY and not column.dictionary.null_count:
        return column
    if pt.is_dictionary(column.type):
        if column.dictionary.null_count:
            return to_text_dictionary(column.dictionary_decode())
        values = column.dictionary.cast(pa.string())
        return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), values)
    return column.cast(pa.string()).dictionary_encode()


def feature_table(batch: pa.RecordBatch, cfg: SamplesConfig) -> pa.Table:
    """Features of ``batch`` in config order, each in one of few types.

    Texts become ``dictionary<int32, string>``; decimals float64, half floats float32, truth values among the
    numbers int8; a column without any value its kind's type, all null; everything else stays as it is.
    """
    numeric = set(cfg.numeric)
    columns = []
    for name in cfg.features:
        column = batch.column(name)
        if pt.is_dictionary(column.type) and not is_text(column.type):
            column = column.dictionary_decode()
        kind = column.type
        if name in numeric:
            if pt.is_decimal(kind) or pt.is_null(kind):
                column = column.cast(pa.float64())
            elif pt.is_float16(kind):
                column = column.cast(pa.float32())
            elif pt.is_boolean(kind):
                column = column.cast(pa.int8())
        elif pt.is_null(kind):
            column = to_text_dictionary(column.cast(pa.string()))
        elif is_text(kind):
            column = to_text_dictionary(column)
        columns.append(column)
    return pa.table(columns, names=list(cfg.features))
