"""Iceberg tables: the files of a snapshot, with what its manifests say of each. The only door to pyiceberg."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.buckets.urls import is_remote, plain_url
from gbdtlr.errors import ConfigError, GbdtlrError, NoSamplesError, SamplesError
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.stored import Bounds, Stored
from gbdtlr.samples.lakes.passwords import without_passwords

_PATH = re.compile(
    r"^iceberg\+(?P<catalog>[^:?]+):(?P<table>[^?]+)(\?snapshot=(?P<snapshot>-?\d+)(&schema=(?P<schema>\d+))?)?$"
)

_REMEDY = (
    "roll the table back to a snapshot without that file (rollback_to_snapshot), read an older snapshot with "
    "?snapshot=NUMBER, or overwrite the partition that the file is in"
)


@dataclass(frozen=True)
class _Place:
    """What a path names."""

    catalog: str
    table: str
    snapshot: int | None
    schema: int | None

    @classmethod
    def of(cls, path: str) -> _Place:
        match = _PATH.match(path)
        if match is None:
            raise ConfigError(
                f"[samples] path {path!r}: expected iceberg+CATALOG:NAMESPACE.TABLE, maybe with ?snapshot=NUMBER"
            )
        numbers = (None if match[name] is None else int(match[name]) for name in ("snapshot", "schema"))
        return cls(match["catalog"], match["table"], *numbers)


def iceberg_pinned(path: str) -> str:
    """The path with the snapshot and the schema that the table has now, if it names no snapshot."""
    place = _Place.of(path)
    if place.snapshot is not None:
        return path
    table = _load(path, place)
    snapshot = table.current_snapshot()
    return path if snapshot is None else f"{path}?snapshot={snapshot.snapshot_id}&schema={table.schema().schema_id}"


def iceberg_files(path: str) -> tuple[File, ...]:
    """The files of a snapshot of the table, the newest if the path names none.

    Raises
    ------
    ConfigError
        A path that is none, a catalog that is not configured, or pyiceberg is not installed.
    NoSamplesError
        There is no such table, no such snapshot, or nothing in it.
    SamplesError
        The table cannot be read, or not rightly by this version.
    """
    place = _Place.of(path)
    if place.snapshot is None:
        return _files(path, place)
    settings = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("PYICEBERG_")))
    return _files_at(path, place, settings)


@lru_cache(maxsize=8)
def _files_at(path: str, place: _Place, settings: tuple[tuple[str, str], ...]) -> tuple[File, ...]:
    """Files of a snapshot, which are the same for ever: a job asks for them several times."""
    del settings  # what else the answer could depend on
    return _files(path, place)


def _load(path: str, place: _Place) -> Any:
    try:
        from pyiceberg.catalog import load_catalog
    except ImportError:
        raise ConfigError(f"{path} needs pyiceberg; pip install 'gbdtlr[iceberg]'") from None
    with _reading(path):
        try:
            catalog = load_catalog(place.catalog)
        except ValueError as error:
            raise ConfigError(
                f"{path}: the catalog {place.catalog} is not configured ({_words(error)}); see ~/.pyiceberg.yaml, or "
                f"set PYICEBERG_CATALOG__{place.catalog.upper()}__URI"
            ) from None
        return catalog.load_table(place.table)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Say in one line what is wrong with a table that cannot be read inside."""
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    try:
        yield
    except GbdtlrError:
        raise
    except (NoSuchTableError, NoSuchNamespaceError):
        raise NoSamplesError(f"there is no Iceberg table at {path}; check [samples] path") from None
    except Exception as error:  # catalogs raise what their own libraries do
        raise SamplesError(f"cannot read {path}: {_words(error)}; check the catalog and the table") from None


def _words(error: Exception) -> str:
    return without_passwords(" ".join(str(error).split())[:300].rstrip("."))


def _files(path: str, place: _Place) -> tuple[File, ...]:
    table = _load(path, place)
    with _reading(path):
        snapshot = table.current_snapshot() if place.snapshot is None else table.snapshot_by_id(place.snapshot)
        if snapshot is None and place.snapshot is not None:
            raise NoSamplesError(
                f"{path}: the table has no such snapshot, or has it no more; leave out ?snapshot= for the newest"
            )
        tasks = [] if snapshot is None else list(table.scan(snapshot_id=snapshot.snapshot_id).plan_files())
        if not tasks:
            raise NoSamplesError(f"{path} has no files; write rows to it first")
        columns = _Columns.of(table, _schema(table, snapshot, place))
        return tuple(columns.file(path, task) for task in tasks)


def _schema(table: Any, snapshot: Any, place: _Place) -> Any:
    """The names and types that are asked for: those of now, or those that the snapshot was written with."""
    if place.snapshot is None:
        return table.schema()
    number = snapshot.schema_id if place.schema is None else place.schema
    return table.schema() if number is None else table.schemas()[number]


@dataclass(frozen=True)
class _Columns:
    """A table's columns, as its files may have them.

    Attributes
    ----------
    ids, types : numbers and types of the columns
    aliases : what columns are called in files that have no numbers
    defaults : values of columns in files that are older than they
    specs : by number, for each way of partitioning the place of each column in the partition
    """

    ids: Mapping[str, int]
    types: Mapping[str, pa.DataType]
    aliases: Mapping[str, tuple[str, ...]]
    defaults: Mapping[str, pa.Scalar]
    specs: Mapping[int, Mapping[str, int]]

    @classmethod
    def of(cls, table: Any, schema: Any) -> _Columns:
        ids = {each.name: each.field_id for each in schema.fields}
        types = {each.name: each.type for each in schema.as_arrow()}
        defaults = {}
        for each in schema.fields:
            if getattr(each, "initial_default", None) is not None:
                defaults[each.name] = pa.scalar(each.initial_default).cast(types[each.name])
        mapping = table.name_mapping()
        aliases = {each.field_id: tuple(each.names) for each in (mapping.root if mapping is not None else ())}
        names = {number: name for name, number in ids.items()}
        specs = {
            number: {
                names[each.source_id]: i
                for i, each in enumerate(spec.fields)
                if str(each.transform) == "identity" and each.source_id in names
            }
            for number, spec in table.specs().items()
        }
        return cls(ids, types, {name: aliases.get(ids[name], (name,)) for name in ids}, defaults, specs)

    def file(self, path: str, task: Any) -> File:
        """A file of the table, if its rows can be read rightly; ``SamplesError`` if not."""
        data, where = task.file, task.file.file_path
        if task.delete_files:
            kinds = sorted({str(getattr(each.content, "name", each.content)).lower() for each in task.delete_files})
            raise SamplesError(
                f"cannot read {path}: rows of {where} are deleted by {' and '.join(kinds)}, which this version cannot "
                "read; compact the table (rewrite_data_files), and have it delete by copy-on-write"
            )
        if str(data.file_format.name) != "PARQUET":
            raise SamplesError(f"cannot read {path}: {where} is {data.file_format.name}, expected parquet")
        constants = {}
        for name, i in self.specs.get(data.spec_id, {}).items():
            constant = _scalar(data.partition[i], self.types[name])
            if constant is not None:
                constants[name] = constant
        bounds = partial(_bounds, data.lower_bounds or {}, data.upper_bounds or {}, self)
        aliases, defaults = self.aliases, self.defaults
        stored = Stored(path, _REMEDY, self.types, constants, bounds, ids=self.ids, aliases=aliases, defaults=defaults)
        return File(_place_of(where), f"{data.file_size_in_bytes}-{data.record_count}", stored)


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar | None:
    """A value of a partition; None where it has a type that is left to the file."""
    if value is None:
        return pa.scalar(None, kind)
    try:
        if isinstance(value, int) and not pt.is_integer(kind):
            return pa.scalar(value, pa.int32() if pt.is_date32(kind) else pa.int64()).cast(kind)
        return pa.scalar(value).cast(kind)
    except (pa.ArrowException, OverflowError):
        return None


def _bounds(lower: Mapping[int, bytes], upper: Mapping[int, bytes], columns: _Columns, name: str) -> Bounds | None:
    """Least and greatest value of a column in a file, as its manifest says."""
    kind, number = columns.types.get(name), columns.ids.get(name, -1)
    if kind is None or number not in lower or number not in upper:
        return None
    if not pt.is_integer(kind) and not pt.is_timestamp(kind):
        return None
    low, high = (int.from_bytes(each[number], "little", signed=True) for each in (lower, upper))
    return low, high, kind


def _place_of(location: str) -> str:
    location = re.sub("^s3[an]://", "s3://", location)
    if is_remote(location):
        return plain_url(location)
    return re.sub("^file:(//(localhost)?(?=/))?", "", location)
