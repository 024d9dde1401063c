"""Lists: dense columns in files: as columns of lists, or as a column for each number, called ``name_0`` and so on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa

from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SchemaError
from gbdtlr.values.arrays import from_numpy, has_value, with_nulls
from gbdtlr.values.numbers import is_number
from gbdtlr.values.vectors import Matrix, is_list, numbered, vectors

Numbered = Mapping[str, list[str]]
"""Names of the columns of each number, by the name of the list."""


def numbered_lists(names: Collection[str], cfg: SamplesConfig) -> Numbered:
    """The dense columns that are not among the names, but whose numbers are."""
    there = {*names}
    found = {name: numbered(there, name) for name in cfg.linear if name not in there}
    return {name: parts for name, parts in found.items() if parts}


def in_file(names: Collection[str], lists: Numbered) -> list[str]:
    """The names as the file has them."""
    return [part for name in names for part in lists.get(name, [name])]


def with_lists(schema: pa.Schema, lists: Numbered) -> pa.Schema:
    """The schema of :func:`gathered`."""
    for name, parts in lists.items():
        schema = schema.append(pa.field(name, pa.list_(pa.float64(), len(parts))))
    return schema


def gathered(batch: pa.RecordBatch, lists: Numbered) -> pa.RecordBatch:
    """The batch with each list that comes as numbered columns as one.

    Raises
    ------
    SchemaError
        Some of them are no numbers.
    """
    for name, parts in lists.items():
        numbers = []
        for part in parts:
            try:
                numbers.append(vectors(batch.column(part), 1)[:, 0])
            except SchemaError as error:
                raise SchemaError(f"{part} {error}") from None
        batch = batch.append_column(name, list_array(np.stack(numbers, axis=1)))
    return batch


def list_array(values: Matrix) -> pa.Array:
    """Lists, (n, size), as an Arrow array of lists of one length; NaN as null."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(with_nulls(from_numpy(flat), np.isnan(flat)), values.shape[1])


def dense_column(column: pa.Array) -> pa.Array:
    """A dense column in one of few types: lists of float64 of one length, or float64 or float32.

    Raises
    ------
    SchemaError
        Neither numbers nor lists of as many of them.
    """
    kind = column.type
    if not is_list(kind):
        if pa.types.is_float32(kind) or pa.types.is_float64(kind):
            return column
        numbers = vectors(column, 1)[:, 0]
        return with_nulls(from_numpy(numbers), np.isnan(numbers))
    if not has_value(column):
        return pa.nulls(len(column), pa.float64())
    return list_array(vectors(column))


def serves(kind: pa.DataType) -> bool:
    """Whether a dense column may have this type."""
    return is_number(kind.value_type) if is_list(kind) else is_number(kind)


def alike(chunks: list[pa.Array], types: set[pa.DataType], name: str) -> list[pa.Array]:
    """Chunks of a dense column as lists of one length; those without any value take it.

    Raises
    ------
    SchemaError
        Lists of several lengths, or numbers among them.
    """
    sizes = {kind.list_size for kind in types if is_list(kind)}
    if len(sizes) > 1:
        told = " and ".join(map(str, sorted(sizes)))
        raise SchemaError(f"{name} has lists of {told} numbers; give lists of another length another name")
    (size,) = sizes
    made = []
    for chunk in chunks:
        if is_list(chunk.type):
            made.append(chunk)
        elif has_value(chunk):
            raise SchemaError(f"{name} has lists of {size} numbers in some rows and a number in others")
        else:
            made.append(list_array(np.full((len(chunk), size), np.nan)))
    return made
