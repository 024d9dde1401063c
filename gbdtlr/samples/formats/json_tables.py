"""Tables of JSON lines: all keys as columns, each of one type along the whole file, whatever its values are.

The file is read twice, since the last line may have a new key. Values of several types in one key become texts:
numbers as they are written, what is nested as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from gbdtlr.samples.formats.common import common_schema
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.jsonl import Block, blocks, check_utf8
from gbdtlr.values.categories import from_optional
from gbdtlr.values.scalars import EXACT

_DEEP = 50


def json_schema(file: File, numeric: Collection[str]) -> tuple[pa.Schema, int]:
    """All keys of the file with types that hold their values, and the number of its lines.

    Keys that never have a value say nothing of their type: those in ``numeric`` are numbers, the others texts.
    """
    found: list[pa.Schema] = []
    wide: set[str] = set()  # keys with whole numbers too large for a float to hold each of them
    n_rows = 0
    for block in blocks(file):
        schema, large, n_lines = _guessed(block)
        wide |= large
        n_rows += n_lines
        if not found or schema != found[-1]:
            found.append(schema)
    schema = common_schema(found, lambda name, kind: not (pt.is_floating(kind) and name in wide))
    kinds = {field.name: field.type for field in schema}
    for name, kind in kinds.items():
        if pt.is_null(kind):
            kinds[name] = pa.float64() if name in numeric else pa.string()
        elif "struct<>" in str(kind) or str(kind).count("<") > _DEEP:  # which no parquet file can hold, or no reader
            kinds[name] = pa.string()
    return pa.schema(list(kinds.items())), n_rows


def json_table(block: Block, schema: pa.Schema) -> pa.Table:
    """The columns of ``schema``, which is :func:`json_schema`'s, in a block.

    Raises
    ------
    SamplesError
        A line that is not one JSON object, or a text that is not UTF-8.
    """
    from pyarrow import json as pa_json

    try:
        parse = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        table = pa_json.read_json(pa.BufferReader(block.data), parse_options=parse)
        _check_lines(block, len(table))
        table.validate(full=True)
        return table
    except pa.ArrowInvalid:
        pass
    numbers, rows = [], []
    for number, row in block.objects(whole=True):
        numbers.append(number)
        rows.append(row)
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        for number, value in zip(numbers, values, strict=True):
            check_utf8(block.file, number, field.name, _text(value) if isinstance(value, dict | list) else value)
        columns.append(_array(values, field.type))
    return pa.table(columns, schema=schema)


def _check_lines(block: Block, n_rows: int) -> None:
    """Nothing, if there is one row per line: Arrow does not mind where lines end."""
    if n_rows != block.data.count(b"\n") and n_rows != block.n_lines():
        raise pa.ArrowInvalid("not one object per line")


def _guessed(block: Block) -> tuple[pa.Schema, set[str], int]:
    """Types of a block, the columns with whole numbers that no float may hold, and the number of lines."""
    from pyarrow import json as pa_json

    try:
        table = pa_json.read_json(pa.BufferReader(block.data))
        _check_lines(block, len(table))
        large = {name for name in table.schema.names if _is_large(table.column(name))}
        if not any(pt.is_floating(table.schema.field(name).type) for name in large):
            # Text that looks like a time is guessed to be one; it stays the text that it is.
            fields = [(f.name, pa.string() if pt.is_timestamp(f.type) else f.type) for f in table.schema]
            return pa.schema(fields), large, len(table)
    except pa.ArrowInvalid:
        pass
    rows = [row for _, row in block.objects(whole=True)]
    columns = {name: [row.get(name) for row in rows] for name in {name: None for row in rows for name in row}}
    kinds = [(name, _type_of(values)) for name, values in columns.items()]
    wide = {name for name, values in columns.items() if any(type(v) is int and abs(v) >= EXACT for v in values)}
    return pa.schema(kinds), wide, len(rows)


def _is_large(column: pa.ChunkedArray) -> bool:
    if not (pt.is_integer(column.type) or pt.is_floating(column.type)):
        return False
    ends = pc.min_max(column)
    return any(end.is_valid and abs(end.as_py()) >= EXACT for end in ends.values())


def _type_of(values: Sequence[Any]) -> pa.DataType:
    known = [value for value in values if value is not None]
    kinds = set(map(type, known))
    if not kinds:
        return pa.null()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return _whole_type(min(known), max(known))
    if kinds <= {int, float}:
        exact = all(type(value) is float or abs(value) < EXACT for value in known)
        return pa.float64() if exact else pa.string()
    if kinds == {list} or kinds == {dict}:
        try:
            kind = pa.array(values).type
        except (pa.ArrowException, ValueError, OverflowError):
            return pa.string()
        return pa.string() if "timestamp" in str(kind) else kind
    return pa.string()


def _whole_type(low: int, high: int) -> pa.DataType:
    if low >= -(2**63) and high < 2**63:
        return pa.int64()
    if low >= 0 and high < 2**64:
        return pa.uint64()
    return pa.decimal128(38, 0) if max(-low, high) < 10**38 else pa.string()


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pt.is_string(kind):
        return from_optional([value if value is None or isinstance(value, str) else _text(value) for value in values])
    return pa.array(values, kind)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
