"""Columns of JSON lines: the values of the keys somebody needs, whatever type they have from line to line.

A number, a text and a truth value may stand in one column: what each of them means is said in :mod:`gbdtlr.values`.
Arrow reads the blocks in which no column mixes them; the others are read object by object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import pyarrow as pa

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.samples.formats.columns import check_columns, needed_columns
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.jsonl import Block, blocks, check_utf8
from gbdtlr.samples.formats.lists import list_array
from gbdtlr.values import scalars
from gbdtlr.values.arrays import from_numpy, from_values, with_nulls
from gbdtlr.values.categories import from_optional
from gbdtlr.values.vectors import vector, vectors

_NULL = re.compile(rb"^\s*null\s*$", re.MULTILINE)
_PROBED = 20  # lines that tell the types to try first


class Role(Enum):
    """What a column is read as: a number, a text (of a category or id), both, whatever is there, or a dense column's
    number or list of numbers."""

    NUMBER, TEXT, BOTH, ANYTHING, DENSE = range(5)


def json_batches(file: File, cfg: SamplesConfig, seen: set[str]) -> Iterator[pa.RecordBatch]:
    """Batches of ``file`` with the needed columns; those that had a value somewhere are added to ``seen``.

    Writers leave out keys that have no value, so that one block cannot tell a column that is missing from one
    that is rare; whoever reads all files can, by ``seen``.
    """
    columns = Columns({name: _role(name, cfg) for name in needed_columns(cfg)})
    for block in blocks(file, skip_torn=True):
        batch = columns.of(block)
        check_columns(batch.schema, cfg, file)
        seen.update(name for name in batch.schema.names if batch.column(name).null_count < len(batch))
        yield batch


def role(is_numeric: bool, is_text: bool) -> Role:
    """The role of a feature."""
    return Role.BOTH if is_numeric and is_text else Role.NUMBER if is_numeric else Role.TEXT


def _role(name: str, cfg: SamplesConfig) -> Role:
    if name in cfg.linear and name not in cfg.numeric:
        return Role.DENSE
    if name in cfg.features:
        return role(name in cfg.numeric, name in cfg.wide_columns)
    if name == cfg.key:
        return Role.TEXT
    return Role.NUMBER if name == cfg.weight else Role.ANYTHING


class Columns:
    """Columns of a file's keys, by their roles, with the types that served for the last block tried first."""

    def __init__(self, roles: Mapping[str, Role]) -> None:
        self._roles = roles
        self._types: dict[str, pa.DataType | None] = {}

    def of(self, block: Block) -> pa.RecordBatch:
        """The columns of a block, one row per line.

        Raises
        ------
        SamplesError
            A line that is not one JSON object, or a text that is not UTF-8.
        SchemaError
            A value that is not what its column is read as; the message names file, line and column.
        """
        if not self._types:
            self._probe(block)
        if None not in self._types.values():
            try:
                return _by_arrow(block, pa.schema(list(self._types.items())))
            except pa.ArrowInvalid:  # also where nothing is wrong but a type; whatever it is, the objects tell
                pass
        return self._by_object(block)

    def _probe(self, block: Block) -> None:
        rows: list[dict[str, Any]] = []
        try:
            for _, (_, row) in zip(range(_PROBED), block.objects(), strict=False):
                rows.append(row)
        except SamplesError:  # told when it is its turn
            pass
        for name, role in self._roles.items():
            self._types[name] = _type_of([row.get(name) for row in rows], role, None)

    def _by_object(self, block: Block) -> pa.RecordBatch:
        numbers, rows = [], []
        for number, row in block.objects():
            numbers.append(number)
            rows.append(row)
        arrays, faults = [], []
        for name, role in self._roles.items():
            values = [row.get(name) for row in rows]
            for number, value in zip(numbers, values, strict=True):
                check_utf8(block.file, number, name, value)
            self._types[name] = _type_of(values, role, self._types[name])
            try:
                arrays.append(_array(values, role))
            except SchemaError:
                faults.append(_fault(name, role, numbers, values))
        if faults:
            raise SchemaError(f"{block.file.path}: {'; '.join(faults)}; mend the file, or the config")
        return pa.record_batch(arrays, names=list(self._roles))


def _by_arrow(block: Block, schema: pa.Schema) -> pa.RecordBatch:
    from pyarrow import json as pa_json

    parse = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    table = pa_json.read_json(pa.BufferReader(block.data), parse_options=parse).combine_chunks()
    # Arrow does not mind where lines end: objects over several lines, and several on one, are read, too.
    if len(table) != block.data.count(b"\n") and len(table) != block.n_lines():
        raise pa.ArrowInvalid("not one object per line")
    if all(column.null_count for column in table.columns) and _NULL.search(block.data):
        raise pa.ArrowInvalid("null is no object")
    table.validate(full=True)
    (batch,) = table.to_batches() or [pa.RecordBatch.from_pylist([], schema)]
    return batch


def _type_of(values: Sequence[Any], role: Role, before: pa.DataType | None) -> pa.DataType | None:
    """The type Arrow can read such values as, with nothing lost; None if there is none, or they are mixed."""
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        numbers = {Role.NUMBER: pa.float64(), Role.DENSE: pa.float64(), Role.BOTH: pa.int64()}
        return before or numbers.get(role, pa.string())
    if role is Role.DENSE:
        return pa.list_(pa.float64()) if kinds == {list} else pa.float64() if kinds <= {int, float} else None
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {str}:
        return pa.string() if role in (Role.TEXT, Role.ANYTHING) else None
    if kinds <= {int, float} and (role is Role.NUMBER or (role is Role.ANYTHING and float in kinds)):
        return pa.float64()
    if kinds == {int}:
        known = [value for value in values if value is not None]
        if min(known) >= -(2**63) and max(known) < 2**63:
            return pa.int64()
        return pa.uint64() if min(known) >= 0 and max(known) < 2**64 else None
    return None


def _array(values: list[Any], role: Role) -> pa.Array:
    if role is Role.DENSE:
        return _vectors(values)
    kind = _type_of(values, role, None)
    if kind is not None and not (role is Role.NUMBER and kind == pa.float64()):
        return pa.nulls(len(values), kind) if all(value is None for value in values) else from_values(values)
    if role is Role.NUMBER:
        numbers = [None if value is None else scalars.number(value) for value in values]
        return from_values([None if number is None or number != number else number for number in numbers])
    if role is Role.BOTH:
        return _whole_numbers([None if value is None else _whole(value) for value in values])
    spell = scalars.written if role is Role.TEXT else _spelled
    return from_optional([None if value is None else spell(value) for value in values])


def _vectors(values: list[Any]) -> pa.Array:
    found = vectors(values)
    if any(isinstance(value, list) for value in values):
        return list_array(found)
    return with_nulls(from_numpy(found[:, 0]), np.isnan(found[:, 0]))


def _whole(value: Any) -> int:
    scalars.number(value)
    digits = scalars.written(value) or ""
    if not digits.removeprefix("-").isdigit():
        raise SchemaError(f"is {value!r:.60}, a whole number expected")
    return int(digits)


def _whole_numbers(values: list[int | None]) -> pa.Array:
    try:
        return from_values(values)
    except OverflowError:
        return pa.array(values, pa.decimal128(38, 0))


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _fault(name: str, role: Role, numbers: list[int], values: list[Any]) -> str:
    """What is wrong with the first value that is not what its role asks for."""
    read: Callable[[Any], Any] = {
        Role.NUMBER: scalars.number,
        Role.BOTH: _whole,
        Role.DENSE: vector,
    }.get(role, scalars.written)
    for number, value in zip(numbers, values, strict=True):
        try:
            if value is not None:
                read(value)
        except SchemaError as error:
            return f"line {number}, column {name} {error}"
    if role is Role.DENSE:
        try:
            vectors(values)
        except SchemaError as error:
            return f"column {name} {error}"
    return f"column {name} cannot be read"
