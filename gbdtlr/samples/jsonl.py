"""JSON lines: batches of the needed columns, one object per line, keys that are absent being missing values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError
from gbdtlr.samples.columns import check_columns, needed_columns
from gbdtlr.samples.files import File

_BLOCK = 8 << 20


def json_batches(file: File, cfg: SamplesConfig, seen: set[str]) -> Iterator[pa.RecordBatch]:
    """Batches of ``file`` with the needed columns; those that had a value somewhere are added to ``seen``.

    Writers leave out keys that have no value, so that one block cannot tell a column that is missing from one
    that is rare; whoever reads all files can, by ``seen``.
    """
    about = (cfg.label, cfg.weight)
    numbers = {*cfg.numeric, *(name for name in about if name)} - set(cfg.wide_columns)
    schema = pa.schema([(name, pa.float64() if name in numbers else pa.string()) for name in needed_columns(cfg)])
    for block in blocks(file):
        table, schema = parse_block(block, schema)
        check_columns(table.schema, cfg, file.path)
        for batch in table.combine_chunks().to_batches():
            seen.update(name for name in batch.schema.names if batch.column(name).null_count < len(batch))
            yield batch


def parse_block(block: bytes, schema: pa.Schema) -> tuple[pa.Table, pa.Schema]:
    """Columns of ``schema`` in some whole lines, and the schema that worked, to be tried first on the next ones.

    A column whose values are of another type than ``schema`` says takes the type they have.
    """
    try:
        return read_block(block, schema), schema
    except pa.ArrowInvalid:
        found = guessed(block)
    fields = []
    for want in schema:
        index = found.get_field_index(want.name)
        guess = pa.null() if index < 0 else found.field(index).type
        whole = pa.types.is_integer(guess) and pa.types.is_floating(want.type)
        if pa.types.is_timestamp(guess):
            # Text that looks like a time is guessed to be one.
            fields.append((want.name, pa.string()))
        else:
            fields.append((want.name, want.type if whole or pa.types.is_null(guess) else guess))
    mended = pa.schema(fields)
    return read_block(block, mended), mended


def guessed(block: bytes) -> pa.Schema:
    """Types of all that is in some whole lines, as Arrow guesses them: but it takes unsigned numbers for fractions."""
    table = read_block(block, None)
    schema = table.schema
    for i, field in enumerate(schema):
        if not pa.types.is_floating(field.type):
            continue
        largest = pc.max(table.column(i)).as_py()
        if largest is not None and 2**63 <= largest <= 2**64:
            with contextlib.suppress(pa.ArrowInvalid):
                read_block(block, pa.schema([(field.name, pa.uint64())]))
                schema = schema.set(i, pa.field(field.name, pa.uint64()))
    return schema


def read_block(block: bytes, schema: pa.Schema | None) -> pa.Table:
    """Whole lines as a table: of ``schema`` and nothing else, or of everything that is there if it is None."""
    from pyarrow import json as pa_json

    if schema is None:
        parse = pa_json.ParseOptions()
    else:
        parse = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return pa_json.read_json(pa.BufferReader(block), parse_options=parse)


def blocks(file: File) -> Iterator[bytes]:
    """The file's bytes in pieces of a few megabytes that end with a line.

    Raises
    ------
    SamplesError
        It is not one JSON object per line.
    """
    rest = b""
    with file.stream() as source:
        first = True
        while piece := source.read(_BLOCK):
            if first and piece.lstrip()[:1] not in (b"{", b""):
                raise SamplesError(f"{file.path} does not begin with {{, expected one JSON object per line")
            first = False
            head, newline, tail = piece.rpartition(b"\n")
            if newline:
                if (rest + head).strip():
                    yield rest + head + newline
                rest = tail
            else:
                rest += piece
    if rest.strip():
        yield rest
