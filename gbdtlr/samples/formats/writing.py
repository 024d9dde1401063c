"""Writing: tables to one file, in the format its name says, which appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from functools import cache
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from gbdtlr.buckets.paths import native
from gbdtlr.buckets.urls import is_remote, plain_url
from gbdtlr.errors import ConfigError, SamplesError
from gbdtlr.samples.formats.common import conformed
from gbdtlr.samples.formats.file import READABLE, File
from gbdtlr.samples.formats.json_text import json_lines, plain_texts
from gbdtlr.values.arrays import is_string

_FAR_S = 28_000 * 365 * 86400  # from 1970 on: soon after, Arrow has no text for a time


class TableWriter:
    """Tables written to one file, which appears whole when the ``with`` block ends, or not at all.

    Until then the rows are in a file of another name beside it, which an error removes. The suffix decides the
    format: ``.parquet``, ``.csv`` or ``.jsonl``, the texts also with ``.gz`` or ``.zst``. An object in a bucket is
    written at the end, from a temporary file of this machine.

    Parameters
    ----------
    schema : the columns of the file, if it is not one of JSON lines, whose rows have what columns they have; those of
        the first table, if it is not given

    Raises
    ------
    ConfigError
        A suffix that cannot be written.
    SamplesError
        A column that the format cannot hold, or a disk that does not take it.
    """

    def __init__(self, path: str, schema: pa.Schema | None = None) -> None:
        self.path = plain_url(path) if is_remote(path) else native(path)
        self.n_rows = 0
        self._file = File(self.path)
        self._temporary = ""
        self._sink: Any = None
        self._writer: Any = None
        self._schema = schema
        if not self._file.format:
            raise ConfigError(f"cannot write {path}: expected a name that ends in {READABLE}")

    def __enter__(self) -> TableWriter:
        folder, name = os.path.split(self.path)
        if is_remote(self.path):
            folder, name = tempfile.gettempdir(), f"{name[-40:]}"
        # The suffix of the compression stays last. The dot keeps readers of the folder away.
        self._temporary = os.path.join(folder, f".{secrets.token_hex(4)}-{name}")
        with self._telling():
            os.makedirs(folder or ".", exist_ok=True)
            sink = pa.OSFile(os.fsencode(self._temporary), "wb")
            kind = self._file.compression
            self._sink = sink if kind is None else pa.CompressedOutputStream(sink, kind)
        return self

    def write(self, table: pa.Table) -> None:
        """Append rows, whose columns are found by name; such as are not there are missing."""
        with self._telling():
            if self._file.format == "json":
                for batch in table.to_batches(4096):
                    self._sink.write(json_lines(pa.Table.from_batches([batch])))
            else:
                if self._writer is None:
                    self._open(self._schema or table.schema)
                assert self._schema is not None
                self._check_columns(table)
                rows = conformed(table, self._schema)
                self._writer.write_table(rows if self._file.format == "parquet" else _csv_table(rows))
        self.n_rows += len(table)

    def write_lines(self, lines: list[str]) -> None:
        """Append rows that are JSON already, to a file of JSON lines."""
        with self._telling():
            self._sink.write("".join([f"{line}\n" for line in lines]).encode())
        self.n_rows += len(lines)

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

    def _check_columns(self, table: pa.Table) -> None:
        assert self._schema is not None
        more = [name for name in table.schema.names if self._schema.get_field_index(name) < 0]
        if more:
            raise SamplesError(
                f"cannot write {self.path}: found the columns {', '.join(more)}, which the rows before had not"
            )

    def _open(self, schema: pa.Schema) -> None:
        self._schema = schema
        if self._file.format == "parquet":
            from pyarrow import parquet

            _check_parquet(schema)
            self._writer = parquet.ParquetWriter(self._sink, schema, compression="zstd")
        else:
            from pyarrow import csv

            options = csv.WriteOptions(quoting_style="needed")
            self._writer = csv.CSVWriter(self._sink, _csv_table(schema.empty_table()).schema, write_options=options)

    def _close(self) -> None:
        if self._writer is None and self._schema is not None and self._file.format != "json":
            self._open(self._schema)  # no rows, but columns
        if self._writer is not None:
            self._writer.close()
        self._sink.close()

    def _publish(self) -> None:
        if is_remote(self.path):
            from gbdtlr.buckets.upload import upload

            upload(self._temporary, self.path)
        else:
            os.replace(self._temporary, self.path)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise SamplesError(f"cannot write {self.path}: {' '.join(str(error).split())}") from None


def _check_parquet(schema: pa.Schema) -> None:
    """Nothing, if parquet can hold all columns; ArrowInvalid that names those it cannot."""
    from pyarrow import parquet

    faults = []
    for field in schema:
        try:
            parquet.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
        except (pa.ArrowException, OSError):
            faults.append(f"{field.name} ({field.type})")
    if faults:
        raise pa.ArrowInvalid(f"parquet cannot hold {', '.join(faults)}; write .jsonl or .csv")


def _csv_table(table: pa.Table) -> pa.Table:
    """The table as CSV can hold it: what is nested as JSON, bytes as base64, moments in UTC with a Z."""
    columns = [_csv_column(column) for column in table.columns]
    return pa.table(columns, names=table.schema.names)


def _csv_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pt.is_timestamp(kind):
        return _csv_times(column)
    if pt.is_dictionary(kind):
        column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], kind.value_type)
        return _csv_column(column)
    simple = pt.is_primitive(kind) and not pt.is_duration(kind) and not pt.is_interval(kind)
    if simple or pt.is_decimal(kind) or pt.is_null(kind) or pt.is_string(kind) or pt.is_large_string(kind):
        return column
    return column.cast(pa.string()) if is_string(kind) else plain_texts(column)


def _csv_times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    ends = pc.min_max(column.cast(pa.int64())).as_py()
    most = _FAR_S * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    if ends["min"] is not None and not -most < ends["min"] <= ends["max"] < most:
        raise pa.ArrowInvalid("a time beyond the year 30000, which CSV would not have; write .parquet or .jsonl")
    if kind.tz is None:
        return column
    if _knows_utc():
        return column.cast(pa.timestamp(kind.unit, "UTC"))
    return pc.binary_join_element_wise(column.cast(pa.timestamp(kind.unit)).cast(pa.string()), "Z", "")


@cache
def _knows_utc() -> bool:
    """Whether Arrow finds the system's time zones, which it asks even for UTC."""
    try:
        pa.chunked_array([[0]], pa.timestamp("us", "UTC")).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True
