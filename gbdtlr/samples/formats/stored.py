"""Stored: how the columns of a table stand in one of its files, and what the table's snapshot says of the file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from gbdtlr.times import zone
from gbdtlr.values.times import is_time, statistics_us, times

Bounds = tuple[int, int, pa.DataType]
"""Least and greatest value of a column as whole numbers, and the type that says what they mean."""
_ID = b"PARQUET:field_id"


def no_bounds(name: str) -> Bounds | None:  # noqa: ARG001 - one of those that may know
    """What a snapshot without statistics says."""
    return None


@dataclass(frozen=True, eq=False)
class Stored:
    """A file of a table, as the table's snapshot describes it.

    It travels without its bounds, which refer to what the snapshot says of all files: they tell which are to be read.

    Attributes
    ----------
    table : its path with the snapshot, as a config names it
    remedy : what somebody who has the table can do where a file of it is broken
    types : of the table's columns
    constants : values of columns that are not in the file, as they are the same in all its rows
    bounds : what is known of a column, by its name in the table, and None of others
    names : in the file, of the columns that are called otherwise in the table
    ids : of the columns in the file, where not their names but these numbers say which they are
    aliases : names in the file of each column, where no column of the file has such a number
    defaults : values in rows of files that were written before the column was added
    kept : of every row of the file, whether it is still one of the table's; None where all are
    """

    table: str
    remedy: str
    types: Mapping[str, pa.DataType]
    constants: Mapping[str, pa.Scalar] = field(default_factory=dict)
    bounds: Callable[[str], Bounds | None] = no_bounds
    names: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, int] | None = None
    aliases: Mapping[str, Collection[str]] = field(default_factory=dict)
    defaults: Mapping[str, pa.Scalar] = field(default_factory=dict)
    kept: pa.Array | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "bounds": no_bounds}

    def span_us(self, name: str, timezone: str) -> tuple[int, int] | None:
        """Inclusive bounds in UTC microseconds of a column of times; None where nothing is known."""
        where = zone(timezone)
        if name in self.constants:
            column = pa.array([self.constants[name].as_py()], self.types.get(name))
            if not is_time(column.type):
                return None
            (first_us, known, _), (last_us, _, _) = times(column, where), times(column, where, late=True)
            return (int(first_us[0]), int(last_us[0])) if known[0] else None
        found = self.bounds(name)
        return None if found is None else statistics_us(*found, where)

    def inside(self, schema: pa.Schema) -> dict[str, str]:
        """Names in the file, whose schema is given, of those columns of the table that it has."""
        there = {*schema.names}
        by_id = {int(each.metadata[_ID]): each.name for each in schema if each.metadata and _ID in each.metadata}
        if self.ids is None:
            found = {name: self.names.get(name, name) for name in self.types}
        elif by_id:
            found = {name: by_id.get(number, "") for name, number in self.ids.items()}
        else:
            found = {name: next(iter(there & {*self.aliases.get(name, [name])}), "") for name in self.types}
        return {name: inside for name, inside in found.items() if inside in there and name not in self.constants}


class View:
    """A parquet file under the names of its table; a file of no table is seen as it is.

    Attributes
    ----------
    schema : the columns, those that are not in the file too
    """

    def __init__(self, schema: pa.Schema, stored: Stored | None) -> None:
        self._stored = stored
        self._inside = {name: name for name in schema.names} if stored is None else stored.inside(schema)
        self.schema = schema
        if stored is not None:
            kinds = {name: schema.field(inside).type for name, inside in self._inside.items()}
            self.schema = pa.schema([(name, kinds.get(name, kind)) for name, kind in stored.types.items()])

    def inside(self, name: str) -> str | None:
        """The column's name in the file; None if it is not in there."""
        return self._inside.get(name)

    def columns(self, names: Sequence[str]) -> list[str]:
        """What is to be read of the file for these columns."""
        return [self._inside[name] for name in names if name in self._inside]

    def batches(
        self, batches: Iterator[pa.RecordBatch], names: Sequence[str], spans: Sequence[tuple[int, int]]
    ) -> Iterator[pa.RecordBatch]:
        """The table's rows in the batches of a file, with the named columns; empty batches are left out.

        Parameters
        ----------
        spans : first row and the one after the last of each row group that the batches are of, in their order
        """
        if self._stored is None:
            yield from batches
            return
        kept = None if self._stored.kept is None else _picked(self._stored.kept, spans)
        at = 0
        for batch in batches:
            table = pa.RecordBatch.from_arrays([self._column(batch, name) for name in names], names=list(names))
            if kept is not None:
                table = table.filter(kept.slice(at, len(batch)))
                at += len(batch)
            if len(table):
                yield table

    def _column(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        assert self._stored is not None
        if name in self._inside:
            return batch.column(self._inside[name])
        kind = self._stored.types[name]
        constant = self._stored.constants.get(name, self._stored.defaults.get(name))
        if constant is None or not constant.is_valid:
            return pa.nulls(len(batch), kind)
        return pa.repeat(constant.cast(kind), len(batch))


def group_spans(metadata: pa.Table, groups: Sequence[int]) -> list[tuple[int, int]]:
    """First row, and the one after the last, of the row groups of a parquet file, whose metadata is given."""
    ends = np.cumsum([0, *(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))])
    return [(int(ends[i]), int(ends[i + 1])) for i in groups]


def _picked(kept: pa.Array, spans: Sequence[tuple[int, int]]) -> pa.Array:
    """Parts of the mask, one after the other; what it is too short for has been kept."""
    if missing := max((stop for _, stop in spans), default=0) - len(kept):
        kept = pa.concat_arrays([kept, pa.repeat(pa.scalar(True), max(0, missing))])
    return pa.concat_arrays([kept.slice(start, stop - start) for start, stop in spans] or [kept.slice(0, 0)])
