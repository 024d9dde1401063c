"""Common: one type for a column that different files hold in different ones, in which no value is lost.

Numbers widen, and so do units of time; a column without a value takes the type of the others. What has no such type
in common, a number here and a text there, is text: numbers as they are written, what is nested as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.samples.formats.json_text import plain_texts
from gbdtlr.values.arrays import is_string

_UNITS = ("s", "ms", "us", "ns")
_EXACT_BITS = 53  # of a float64

Fits = Callable[[str, pa.DataType], bool]


def common_schema(schemas: Sequence[pa.Schema], fits: Fits) -> pa.Schema:
    """All columns of all schemas, those of the first in front, each in a type that holds the values of all.

    Parameters
    ----------
    schemas : of files that have rows
    fits : whether all values of a column, by its name, can be cast to a type as they are; asked where that depends
        on the values: whole numbers of 64 bits beside fractions, far years beside nanoseconds, lists beside others
    """
    distinct = list({str(schema): schema for schema in schemas}.values())
    kinds: dict[str, list[pa.DataType]] = {}
    for schema in distinct:
        for field in schema:
            kinds.setdefault(field.name, []).append(field.type)
    return pa.schema([(name, _common(name, found, fits)) for name, found in kinds.items()])


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table's rows with the columns of ``schema``, nulls for those it has not."""
    columns = []
    for field in schema:
        if table.schema.get_field_index(field.name) < 0:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table.column(field.name)
        if column.type != field.type:
            is_new_text = is_string(field.type) and not is_string(_plain(column.type)) and not pt.is_null(column.type)
            column = plain_texts(column) if is_new_text else _cast(column.cast(_plain(column.type)), field.type)
        columns.append(column)
    return pa.table(columns, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pt.is_decimal(column.type) and pt.is_floating(kind):
        column = column.cast(pa.string())  # by their digits, as what Arrow makes of them else is not always the nearest
    return column.cast(kind)


def _common(name: str, kinds: list[pa.DataType], fits: Fits) -> pa.DataType:
    found = kinds[0]
    for kind in kinds[1:]:
        found = _of_two(found, kind)
    if any(_depends(kind, found) for kind in kinds) and not fits(name, found):
        return pa.string()
    return found


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, whatever they are packed in."""
    return kind.value_type if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind) else kind


def _of_two(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if a == b:
        return a
    a, b = _plain(a), _plain(b)
    if a == b or pt.is_null(b):
        return a
    if pt.is_null(a):
        return b
    for are_kin, of_kin in _KIN:
        if are_kin(a) and are_kin(b):
            return of_kin(a, b)
    return pa.string()


def _number(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if pt.is_floating(a) or pt.is_floating(b):
        narrow = all(pt.is_float16(kind) or pt.is_float32(kind) for kind in (a, b))
        return pa.float32() if narrow else pa.float64()
    if pt.is_decimal(a) or pt.is_decimal(b):
        return _decimal(a, b)
    signed = [kind.bit_width for kind in (a, b) if pt.is_signed_integer(kind)]
    unsigned = [kind.bit_width for kind in (a, b) if pt.is_unsigned_integer(kind)]
    if not signed:
        return {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[max(unsigned)]
    bits = max([*signed, *(2 * width for width in unsigned)])
    return {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(bits, pa.decimal128(20, 0))


def _decimal(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    a, b = (kind if pt.is_decimal(kind) else pa.decimal128(len(str(2**kind.bit_width)), 0) for kind in (a, b))
    scale = max(a.scale, b.scale)
    precision = max(kind.precision - kind.scale for kind in (a, b)) + scale
    if precision <= 38:
        return pa.decimal128(precision, scale)
    return pa.decimal256(precision, scale) if precision <= 76 else pa.string()


def _stamp(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if (a.tz is None) != (b.tz is None):  # a time on some clock is no moment
        return pa.string()
    return pa.timestamp(_finer(a, b), a.tz if a.tz == b.tz else "UTC")


def _day(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if pt.is_date(a) and pt.is_date(b):
        return pa.date32()
    stamp = a if pt.is_timestamp(a) else b
    return pa.string() if stamp.tz is not None else stamp


def _clock(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    unit = _finer(a, b)
    return pa.time64(unit) if unit in ("us", "ns") else pa.time32(unit)


def _finer(a: pa.DataType, b: pa.DataType) -> str:
    return str(max(a.unit, b.unit, key=_UNITS.index))


def _nested(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    try:
        both = pa.unify_schemas([pa.schema([("x", kind)]) for kind in (a, b)], promote_options="permissive")
    except pa.ArrowException:
        return pa.string()
    return both.field("x").type


def _bytes(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    return pa.large_binary() if pa.large_binary() in (a, b) else pa.binary()


def _is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind))


_KIN: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType, pa.DataType], pa.DataType]], ...] = (
    (_is_number, _number),
    (is_string, lambda a, b: pa.large_string() if pa.large_string() in (a, b) else pa.string()),
    (pt.is_timestamp, _stamp),
    (lambda kind: pt.is_date(kind) or pt.is_timestamp(kind), _day),
    (pt.is_time, _clock),
    (pt.is_duration, lambda a, b: pa.duration(_finer(a, b))),
    (_is_bytes, _bytes),
    (pt.is_nested, _nested),
)


def _depends(kind: pa.DataType, target: pa.DataType) -> bool:
    """Whether it depends on the values of ``kind`` that all are in ``target`` what they were."""
    kind = _plain(kind)
    if pt.is_floating(target):
        mantissa = 24 if pt.is_float32(target) else _EXACT_BITS
        return bool(pt.is_integer(kind) and kind.bit_width - pt.is_signed_integer(kind) > mantissa)
    if pt.is_timestamp(target) and (pt.is_timestamp(kind) or pt.is_date(kind)):
        return bool(kind != target)
    return bool((pt.is_duration(target) or pt.is_nested(target)) and kind != target)
