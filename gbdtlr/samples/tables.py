"""Tables: whole files as streams of tables, all columns kept: what ``gbdtlr score`` reads and writes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator
from datetime import date, datetime
from types import TracebackType
from typing import IO, Any

import pyarrow as pa

from gbdtlr.errors import ConfigError, SamplesError
from gbdtlr.samples.files import READABLE, File, is_remote, open_remote
from gbdtlr.samples.finding import find_files
from gbdtlr.values.arrays import is_string

_BATCH_ROWS = 65536


def read_tables(path: str, numeric: Collection[str] = ()) -> Iterator[pa.Table]:
    """Every row of the files ``path`` names, all columns kept; at least one table, if only an empty one.

    The column types of one file are the same in all its tables. CSV says nothing of types: columns named in
    ``numeric`` are numbers and all others the text that is there, so that ``007`` stays ``007``.

    Raises
    ------
    NoSamplesError
        No files match.
    SamplesError
        A file that cannot be read, or whose columns change their type along the way.
    """
    for file in find_files([path]):
        with _reading(file):
            yield from _tables(file, numeric)


@contextlib.contextmanager
def _reading(file: File) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        remedy = "let this user read it" if isinstance(error, PermissionError) else "write it again"
        raise SamplesError(f"cannot read {file.path}: {reason}; {remedy}") from None


def plain_numbers(path: str) -> dict[str, pa.DataType]:
    """Types of the columns that hold nothing but numbers, as JSON writes them, in every line of the CSV ``path`` names.

    Of other files, whose columns have types, it says nothing. Raises as :func:`read_tables`.
    """
    from gbdtlr.samples.csv import Content, content_of

    columns: dict[str, Content] = {}
    for file in find_files([path]):
        if file.format != "csv":
            return {}
        with _reading(file):
            for name, content in content_of(file).items():
                columns[name] = max(content, columns.get(name, content))
    types = {Content.WHOLE: pa.int64(), Content.NUMBERS: pa.float64()}
    return {name: types[content] for name, content in columns.items() if content in types}


def _tables(file: File, numeric: Collection[str]) -> Iterator[pa.Table]:
    if file.format == "parquet":
        from pyarrow import parquet

        from gbdtlr.samples.parquet import sparing

        with file.random_access() as source:
            reader = parquet.ParquetFile(source, **sparing(file))
            batches = reader.iter_batches(_BATCH_ROWS)
            yield from _with_schema(batches, reader.schema_arrow)
    elif file.format == "csv":
        from gbdtlr.samples.csv import csv_header, typed_csv

        header = csv_header(file)
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SamplesError(f"{file.path} has more than one column {', '.join(twice)}; give each its own name")
        types = {name: pa.float64() if name in numeric else pa.string() for name in header}
        yield from _with_schema(typed_csv(file, types), pa.schema(list(types.items())))
    else:
        from gbdtlr.samples.jsonl import blocks, read_block

        schema = _json_schema(file, numeric)
        tables = (read_block(block, schema) for block in blocks(file))
        yield from _with_schema((batch for table in tables for batch in table.to_batches(_BATCH_ROWS)), schema)


def _with_schema(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    empty = True
    for batch in batches:
        if len(batch):
            empty = False
            yield pa.Table.from_batches([batch], schema)
    if empty:
        yield schema.empty_table()


def _json_schema(file: File, numeric: Collection[str]) -> pa.Schema:
    """One schema for all lines of the file: it is read twice, since the last line may have a new key."""
    from gbdtlr.samples.jsonl import blocks, guessed

    schema = pa.schema([])
    unsigned: set[str] = set()
    for block in blocks(file):
        found = guessed(block)
        # Text that looks like a time is guessed to be one; it stays the text that it is.
        found = pa.schema([(f.name, pa.string() if pa.types.is_timestamp(f.type) else f.type) for f in found])
        unsigned.update(field.name for field in found if pa.types.is_uint64(field.type))
        try:
            schema = pa.unify_schemas([schema, found], promote_options="permissive")
        except pa.ArrowException as error:
            raise SamplesError(f"{file.path}: a key changes its type along the file: {error}") from None
    # Keys that never have a value say nothing of their type.
    valueless = [field.name for field in schema if pa.types.is_null(field.type)]
    types = {field.name: field.type for field in schema}
    # Beside signed numbers Arrow would take them for signed ones.
    types.update({name: pa.uint64() for name in unsigned if pa.types.is_integer(types[name])})
    types.update({name: pa.float64() if name in numeric else pa.string() for name in valueless})
    return pa.schema(list(types.items()))


class TableWriter:
    """Tables written to one file, which appears whole when the ``with`` block ends, or not at all.

    Until then the rows are in a file of another name beside it, which an error removes. The suffix decides the
    format: ``.parquet``, ``.csv`` or ``.jsonl``, the texts also with ``.gz`` or ``.zst``. An object in a bucket is
    written at the end, from a temporary file of this machine.

    Raises
    ------
    ConfigError
        A suffix that cannot be written.
    SamplesError
        A table with other columns than the first, or a disk that does not take it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.n_rows = 0
        self._file = File(path)
        self._temporary = ""
        self._sink: Any = None
        self._writer: Any = None
        self._schema: pa.Schema | None = None
        if not self._file.format:
            raise ConfigError(f"cannot write {path}: expected a name that ends in {READABLE}")

    def __enter__(self) -> TableWriter:
        folder, name = os.path.split(self.path)
        if is_remote(self.path):
            folder = tempfile.gettempdir()
        # The suffix of the compression stays last. The dot keeps readers of the folder away.
        self._temporary = os.path.join(folder, f".{secrets.token_hex(4)}-{name}")
        with self._telling():
            os.makedirs(folder or ".", exist_ok=True)
            self._sink = pa.output_stream(self._temporary, compression=self._file.compression)
        return self

    def write(self, table: pa.Table) -> None:
        """Append rows; the columns of the first table are those of the file."""
        if self._schema is None:
            self._schema = pa.schema(
                [(f.name, pa.string() if is_string(f.type) and self._is_text else f.type) for f in table.schema]
            )
        if table.schema.names != self._schema.names:
            raise SamplesError(
                f"cannot write {self.path}: found the columns {', '.join(table.schema.names)} after "
                f"{', '.join(self._schema.names)}; files with different columns need an output each"
            )
        with self._telling():
            if self._writer is None:
                self._writer = self._open(self._schema)
            self._writer.write_table(table.cast(self._schema))
        self.n_rows += len(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._telling():
                    self._close()
                    self._publish()
            else:
                # What went wrong before is what the user must hear of, not what that does to closing.
                with contextlib.suppress(pa.ArrowException, OSError):
                    self._close()
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._temporary)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._sink.close()

    @property
    def _is_text(self) -> bool:
        return self._file.format != "parquet"

    def _open(self, schema: pa.Schema) -> Any:
        if self._file.format == "parquet":
            from pyarrow import parquet

            return parquet.ParquetWriter(self._sink, schema, compression="zstd")
        if self._file.format == "csv":
            from pyarrow import csv

            return csv.CSVWriter(self._sink, schema, write_options=csv.WriteOptions(quoting_style="needed"))
        return _JsonLines(self._sink)

    def _publish(self) -> None:
        if is_remote(self.path):
            fs, inside = open_remote(self.path)
            with open(self._temporary, "rb") as source, fs.open_output_stream(inside, compression=None) as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
        else:
            os.replace(self._temporary, self.path)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise SamplesError(f"cannot write {self.path}: {' '.join(str(error).split())}") from None


class _JsonLines:
    """Writer of one JSON object per row; missing values and numbers that JSON has no word for are null."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink

    def write_table(self, table: pa.Table) -> None:
        for batch in table.to_batches(4096):
            lines = (json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) for row in batch.to_pylist())
            self._sink.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """Nothing is held back."""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)
