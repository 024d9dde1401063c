"""Tables: whole files as streams of tables, all columns kept: what ``gbdtlr score`` and ``explain`` read."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import pyarrow as pa

from gbdtlr.errors import SamplesError
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.formats.common import common_schema
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.json_columns import Role, role
from gbdtlr.samples.formats.stored import View, group_spans
from gbdtlr.samples.formats.unreadable import unreadable
from gbdtlr.samples.lakes.passwords import without_passwords
from gbdtlr.values.vectors import numbered

_BATCH_ROWS = 65536


class Piece(NamedTuple):
    """Some rows of a file.

    Attributes
    ----------
    features : what is scored, in types that say what is meant, maybe with other columns
    rows : all columns, or, of JSON lines that stay JSON lines, the lines as they are
    """

    features: pa.Table | pa.RecordBatch
    rows: pa.Table | list[str]


class Source(Protocol):
    """One file to be read from its beginning to its end, as often as need be.

    Attributes
    ----------
    schema : all its columns; of lines that stay lines, none
    is_empty : whether it has no rows
    seen : columns that are there, of lines as far as they have been read; keys without a value may be left out
    """

    file: File
    schema: pa.Schema
    is_empty: bool

    @property
    def seen(self) -> Collection[str]:
        """See above."""

    def pieces(self) -> Iterator[Piece]:
        """Its rows in order; no piece is empty."""


def read_tables(path: str, numeric: Collection[str] = (), dense: Collection[str] = ()) -> Iterator[pa.Table]:
    """Every row of the files ``path`` names, all columns kept; at least one table, if only an empty one.

    The column types of one file are the same in all its tables. CSV says nothing of types: columns named in
    ``numeric`` are numbers, as are those of the lists in ``dense``, and all others the text that is there, so that
    ``007`` stays ``007``.

    Raises
    ------
    NoSamplesError
        No files match.
    SamplesError
        A file that cannot be read.
    """
    n_tables = 0
    sources = open_sources(find_files([path]), roles_of(numeric, (), dense))
    for source in sources:
        for piece in read_pieces(source):
            n_tables += 1
            yield piece.features
    if not n_tables:
        yield common_types(sources).empty_table()


def roles_of(numeric: Collection[str], texts: Collection[str], dense: Collection[str] = ()) -> dict[str, Role]:
    """What the columns of a model are read as: numbers, categories and ids, both, or dense columns."""
    roles = {name: role(name in numeric, name in texts) for name in dict.fromkeys([*numeric, *texts])}
    return {**dict.fromkeys(dense, Role.DENSE), **roles}


def open_sources(files: Sequence[File], roles: Mapping[str, Role], *, as_lines: bool = False) -> list[Source]:
    """The files, with what they say of their columns.

    Parameters
    ----------
    roles : what the columns that will be scored are read as
    as_lines : leave JSON lines as they are

    Raises
    ------
    SamplesError
        A file that cannot be read.
    """
    sources = []
    for file in files:
        with reading(file):
            sources.append(_open(file, roles, as_lines))
    return sources


def read_pieces(source: Source) -> Iterator[Piece]:
    """Pieces of a source; raise SamplesError where it cannot be read."""
    with reading(source.file):
        yield from source.pieces()


def common_types(sources: Sequence[Source]) -> pa.Schema:
    """All columns of the sources, each in a type that holds the values of all; files without rows have no say."""
    telling = [source for source in sources if not source.is_empty] or sources

    def fits(name: str, kind: pa.DataType) -> bool:
        for source in telling:
            i = source.schema.get_field_index(name)
            if i >= 0 and source.schema.field(i).type != kind and not _fits(source, name, kind):
                return False
        return True

    return common_schema([source.schema for source in telling], fits)


def plain_numbers(sources: Sequence[Source], besides: Collection[str]) -> dict[str, pa.DataType]:
    """Types of the columns that hold nothing but numbers, as JSON writes them, in every line of CSV files.

    Of other files, whose columns have types, it says nothing; nor of the columns ``besides``.
    """
    from gbdtlr.samples.formats.csv import Content, content_of

    if not all(source.file.format == "csv" for source in sources):
        return {}
    columns: dict[str, Content] = {}
    for source in sources:
        with reading(source.file):
            for name, content in content_of(source.file).items():
                columns[name] = max(content, columns.get(name, content))
    types = {Content.WHOLE: pa.int64(), Content.NUMBERS: pa.float64()}
    return {name: types[content] for name, content in columns.items() if content in types and name not in besides}


@contextlib.contextmanager
def reading(file: File) -> Iterator[None]:
    """Say what is wrong with the file that cannot be read inside."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise unreadable(file, error, "write it again") from None


def _fits(source: Source, name: str, kind: pa.DataType) -> bool:
    for piece in read_pieces(source):
        assert isinstance(piece.rows, pa.Table)
        column = piece.rows.column(name)
        try:
            (column.combine_chunks().dictionary_decode() if pa.types.is_dictionary(column.type) else column).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return False
    return True


def _open(file: File, roles: Mapping[str, Role], as_lines: bool) -> Source:
    if file.format == "sql":
        query = without_passwords(file.path)
        raise SamplesError(f"cannot read {query:.99}, a query; write its answer to a parquet file, and name that")
    if file.format == "parquet":
        return _Parquet.of(file, roles)
    if file.format == "csv":
        return _Csv.of(file, roles)
    return _Lines(file, roles) if as_lines else _Json.of(file, roles)


def _with_numbered(names: set[str], roles: Mapping[str, Role]) -> set[str]:
    """The names, and those of lists whose numbers have columns of their own."""
    return names | {name for name, role in roles.items() if role is Role.DENSE and numbered(names, name)}


@dataclass
class _Parquet:
    file: File
    roles: Mapping[str, Role]
    schema: pa.Schema
    is_empty: bool

    @classmethod
    def of(cls, file: File, roles: Mapping[str, Role]) -> _Parquet:
        from pyarrow import parquet

        from gbdtlr.samples.formats.parquet import sparing

        with file.random_access() as source:
            reader = parquet.ParquetFile(source, **sparing(file))
            view = View(reader.schema_arrow, file.stored)
            return cls(file, roles, view.schema.remove_metadata(), not reader.metadata.num_rows)

    @property
    def seen(self) -> Collection[str]:
        return _with_numbered({*self.schema.names}, self.roles)

    def pieces(self) -> Iterator[Piece]:
        from pyarrow import parquet

        from gbdtlr.samples.formats.parquet import checked, fetch_together, rows_at_once, sparing

        with self.file.random_access() as source:
            reader = parquet.ParquetFile(source, **sparing(self.file))
            groups = range(reader.metadata.num_row_groups)
            fetch_together(self.file, source, reader.metadata, groups, None)
            if not groups:
                return
            view = View(reader.schema_arrow, self.file.stored)
            batches = reader.iter_batches(rows_at_once(reader.metadata, groups, _BATCH_ROWS))
            spans = group_spans(reader.metadata, groups)
            for batch in view.batches((checked(batch, self.file) for batch in batches), self.schema.names, spans):
                if len(batch):
                    table = pa.Table.from_batches([batch])
                    yield Piece(table, table)


@dataclass
class _Csv:
    file: File
    roles: Mapping[str, Role]
    schema: pa.Schema
    is_empty: bool

    @classmethod
    def of(cls, file: File, roles: Mapping[str, Role]) -> _Csv:
        from gbdtlr.samples.formats.csv import has_rows
        from gbdtlr.samples.formats.csv_faults import check_delimiter
        from gbdtlr.samples.formats.csv_records import csv_header

        header = csv_header(file)
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SamplesError(f"{file.path} has more than one column {', '.join(twice)}; give each its own name")
        if {*roles} - {*header} or len(header) == 1:
            check_delimiter(file, header, roles)
        dense = [name for name, role in roles.items() if role is Role.DENSE]
        numbers = {name for name, role in roles.items() if role in (Role.NUMBER, Role.DENSE)}
        numbers |= {part for name in dense if name not in header for part in numbered(header, name)}
        kinds = [(name, pa.float64() if name in numbers else pa.string()) for name in header]
        return cls(file, roles, pa.schema(kinds), not has_rows(file, header))

    @property
    def seen(self) -> Collection[str]:
        return _with_numbered({*self.schema.names}, self.roles)

    def pieces(self) -> Iterator[Piece]:
        from gbdtlr.samples.formats.csv import read_column, typed_csv

        types = {field.name: field.type for field in self.schema}
        both = [name for name in types if self.roles.get(name) is Role.BOTH]
        for batch in typed_csv(self.file, types):
            if not len(batch):
                continue
            rows = pa.Table.from_batches([batch])
            features = rows
            for name in both:
                column = read_column(self.file, batch.column(name), pa.int64(), both, skip_torn=False)
                features = features.set_column(features.schema.get_field_index(name), name, column)
            yield Piece(features, rows)


@dataclass
class _Json:
    file: File
    roles: Mapping[str, Role]
    schema: pa.Schema
    is_empty: bool

    @classmethod
    def of(cls, file: File, roles: Mapping[str, Role]) -> _Json:
        from gbdtlr.samples.formats.json_tables import json_schema

        schema, n_rows = json_schema(file, [name for name, role in roles.items() if role is Role.NUMBER])
        return cls(file, roles, schema, not n_rows)

    @property
    def seen(self) -> Collection[str]:
        return {*self.schema.names}

    def pieces(self) -> Iterator[Piece]:
        from gbdtlr.samples.formats.json_columns import Columns
        from gbdtlr.samples.formats.json_tables import json_table
        from gbdtlr.samples.formats.jsonl import blocks

        # Where numbers and others mix, the column is text to whoever reads it, but still says what it means.
        mixed = [name for name, role in self.roles.items() if role is not Role.TEXT and self._is_text(name)]
        columns = Columns({name: self.roles[name] for name in mixed})
        for block in blocks(self.file):
            features = rows = json_table(block, self.schema)
            if mixed:
                features = rows.drop_columns(mixed)
                for name, column in zip(mixed, columns.of(block).columns, strict=True):
                    features = features.append_column(name, column)
            for name in {*self.roles} - {*features.schema.names}:
                features = features.append_column(name, pa.nulls(len(features)))
            for i in range(0, len(rows), _BATCH_ROWS):
                yield Piece(features.slice(i, _BATCH_ROWS), rows.slice(i, _BATCH_ROWS))

    def _is_text(self, name: str) -> bool:
        return name in self.seen and pa.types.is_string(self.schema.field(name).type)


class _Lines:
    def __init__(self, file: File, roles: Mapping[str, Role]) -> None:
        self.file, self.roles = file, roles
        self.schema = pa.schema([])
        self.is_empty = False
        self.seen: set[str] = set()

    def pieces(self) -> Iterator[Piece]:
        from gbdtlr.samples.formats.json_columns import Columns
        from gbdtlr.samples.formats.jsonl import blocks

        columns = Columns(self.roles)
        for block in blocks(self.file):
            batch, lines = columns.of(block), block.texts()
            for name in {*self.roles} - self.seen:
                if batch.column(name).null_count < len(batch) or block.mentions(name):
                    self.seen.add(name)
            yield Piece(batch, lines)
