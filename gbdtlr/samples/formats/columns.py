"""Columns: which ones samples need, whether a file has them in a usable type, and the type they get in memory."""

from __future__ import annotations

import difflib

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SchemaError
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.lists import dense_column, serves
from gbdtlr.tables import listed
from gbdtlr.values.arrays import from_numpy, has_value, simple_type, with_nulls
from gbdtlr.values.categories import is_text, text_dictionary, whole_array, written_of
from gbdtlr.values.numbers import is_number, numbers_of
from gbdtlr.values.times import is_time

IDS = "text or whole numbers"
_MOST_NAMES = 12
_SOME = 1000
"""Texts of a column from which it is told whether they repeat."""
TEXT_DICTIONARY = pa.dictionary(pa.int32(), pa.string())


def needed_columns(cfg: SamplesConfig) -> tuple[str, ...]:
    """Every column that is read, features first; nothing else of a file is touched."""
    about = (cfg.label_column, cfg.event_time, cfg.label_time, cfg.label_deadline, cfg.weight, cfg.key)
    return tuple(dict.fromkeys((*cfg.features, *(name for name in about if name))))


def text_columns(cfg: SamplesConfig) -> tuple[str, ...]:
    """Feature columns read as categories or ids and not as numbers."""
    return cfg.texts


def check_columns(schema: pa.Schema, cfg: SamplesConfig, file: File) -> None:
    """Nothing, if ``schema`` has every column the config names, and times in a type that can serve.

    What other columns hold is looked at where they have a value (:func:`check_types`), or if columns are missing: then
    all that is wrong is listed.

    Raises
    ------
    SchemaError
        Columns missing or of the wrong type; the message lists all of them with what was found and expected.
    """
    faults, is_strange = list[str](), False
    for name, want in _expected(cfg).items():
        count = schema.names.count(name)
        if count == 0:
            near = difflib.get_close_matches(name, schema.names, n=1)
            hint = f" (there is {near[0]})" if near else ""
            is_strange |= not near
            faults.append(f"{name if name.strip() else repr(name)} is missing{hint}, expected {want}")
        elif count > 1:
            faults.append(f"{name} is there {count} times, expected once")
        elif name in (cfg.event_time, cfg.label_time, cfg.label_deadline):
            kind = schema.field(name).type
            if not pt.is_null(kind) and not is_time(kind):
                faults.append(f"{name} is {kind}, expected {want}")
    if faults:
        faults += [
            f"{name} is {schema.field(name).type}, expected {want}"
            for name, want in _expected(cfg).items()
            if schema.names.count(name) == 1 and not _serves(schema.field(name).type, name, cfg)
        ]
    if is_strange:
        faults.append(f"its columns are {listed(schema.names, _MOST_NAMES) or 'none'}")
    _none(faults, file, cfg)


def check_types(batch: pa.RecordBatch, cfg: SamplesConfig, file: File) -> None:
    """Nothing, if no column of ``batch`` has values of a type that cannot serve; without a value any type can.

    Raises
    ------
    SchemaError
        Columns of the wrong type; the message lists all of them with what was found and expected.
    """
    faults = [
        f"{name} is {batch.column(name).type}, expected {want}"
        for name, want in _expected(cfg).items()
        if not _serves(batch.column(name).type, name, cfg) and has_value(batch.column(name))
    ]
    _none(faults, file, cfg)


def _serves(kind: pa.DataType, name: str, cfg: SamplesConfig) -> bool:
    if name in (cfg.event_time, cfg.label_time, cfg.label_deadline):
        return True  # these are looked at on their own
    if name in (*cfg.numeric, cfg.weight):
        return is_number(kind)
    return serves(kind) if name in cfg.linear else is_text(kind)


def _expected(cfg: SamplesConfig) -> dict[str, str]:
    """What each needed column should hold, in words."""
    expected = {cfg.event_time: "a time"}
    named = {cfg.label_column: "0 or 1", cfg.label_time: "a time", cfg.label_deadline: "a time"}
    named |= {cfg.weight: "a number", cfg.key: IDS}
    expected.update((name, want) for name, want in named.items() if name)
    for name in text_columns(cfg):
        expected[name] = IDS
    for name in cfg.linear:
        expected[name] = "a number or a list of numbers"
    if cfg.user_score is not None:
        expected[cfg.user_score] = "a number: the user's score, logged as it was served"
    for name in cfg.numeric:
        expected[name] = "a whole number (it is a wide column too)" if name in cfg.wide_columns else "a number"
    return expected


def _none(faults: list[str], file: File, cfg: SamplesConfig) -> None:
    if faults:
        raise SchemaError(f"{file.subject}: {'; '.join(faults)}; mend the {file.noun}, or [{cfg.table}] in the config")


def to_text_dictionary(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Texts of ``column`` as they stand, as ``dictionary<int32, string>``, missing values as nulls of the index."""
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([to_text_dictionary(chunk) for chunk in column.chunks], type=TEXT_DICTIONARY)
    if column.type == TEXT_DICTIONARY and not column.dictionary.null_count:
        return column
    return text_dictionary(column, written_of)


def feature_table(batch: pa.RecordBatch, cfg: SamplesConfig, file: File) -> pa.Table:
    """Features of ``batch`` in config order, each as :func:`feature_column` gives it.

    Raises
    ------
    SchemaError
        Values that cannot be what the config takes them for; the message lists all such columns of ``file``.
    """
    numeric, wide, categorical = set(cfg.numeric), set(cfg.wide_columns), set(cfg.categorical)
    vectors = set(cfg.linear) - numeric
    columns, faults = [], []
    for name in cfg.features:
        column = batch.column(name)
        try:
            if name in vectors:
                columns.append(dense_column(column))
            else:
                columns.append(feature_column(column, name in numeric, name in wide, name in categorical))
        except SchemaError as error:
            faults.append(f"{name} {error}")
    _none(faults, file, cfg)
    return pa.table(columns, names=list(cfg.features))


def _hardly_repeats(texts: pa.StringArray) -> bool:
    """Whether most of the first texts are there once."""
    some = texts.slice(0, _SOME)
    return 2 * len(some.dictionary_encode().dictionary) > len(some)


def feature_column(column: pa.Array, is_numeric: bool, is_wide: bool, is_category: bool = True) -> pa.Array:
    """A feature in one of few types, which keep what it means as a number, as an id or as both.

    Integers and truth values stay as they are, truth values among plain numbers as int8, and a column that is a number
    and an id holds nothing else, or ``decimal128(38, 0)``. Other numbers become float64 or float32, other categories
    and ids ``dictionary<int32, string>`` of their texts as they stand; but texts that are ids alone, of which hardly
    two rows share one, stay as they are, as to build a dictionary takes longer than all that is done with them.

    Raises
    ------
    SchemaError
        Values that cannot be that.
    """
    kind = column.type
    if pt.is_integer(kind) or (pt.is_boolean(kind) and (is_wide or not is_numeric)):
        return column
    if is_numeric and is_wide:
        return whole_array(column)
    if not is_numeric and is_wide and not is_category and pt.is_string(kind) and _hardly_repeats(column):
        return written_of(column)
    if not is_numeric:
        return to_text_dictionary(column)
    if pt.is_floating(kind):
        return column.cast(pa.float32()) if pt.is_float16(kind) else column
    numbers = numbers_of(column)
    array = with_nulls(from_numpy(numbers), np.isnan(numbers))
    return array.cast(pa.int8()) if pt.is_boolean(simple_type(kind)) else array
