"""Delta tables: the files of a snapshot, with what its log says of each. The only door to deltalake."""

from __future__ import annotations

import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.buckets.clouds import shared_settings
from gbdtlr.buckets.paths import native
from gbdtlr.buckets.urls import SCHEMES, is_remote, plain_url
from gbdtlr.errors import ConfigError, NoSamplesError, SamplesError
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.stored import Bounds, Stored

_PATH = re.compile(r"^delta\+(?P<place>.+?)(\?version=(?P<version>\d+))?$", re.DOTALL)
_READABLE = {
    "appendOnly",
    "columnMapping",
    "deletionVectors",
    "domainMetadata",
    "rowTracking",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
}
_REMEDY = (
    "restore the table to a version without that file (RESTORE TABLE), read an older version with ?version=NUMBER, or "
    "overwrite the partition that the file is in"
)
_UNIT = {"s": 1, "ms": 1, "us": 1000, "ns": 1_000_000}  # a millisecond, or the next that can be said


def delta_pinned(path: str) -> str:
    """The path with the version that the table has now, if it names none."""
    place, version = _parts(path)
    return path if version is not None else f"{path}?version={_open(path, place, None).version()}"


def delta_files(path: str) -> tuple[File, ...]:
    """The files of a snapshot of the table, the newest if the path names none.

    Raises
    ------
    ConfigError
        A path that is none, or deltalake is not installed.
    NoSamplesError
        There is no such table, no such version, or nothing in it.
    SamplesError
        The table cannot be read, or not rightly by this version.
    """
    place, version = _parts(path)
    if version is None:
        return _files(path, place, _open(path, place, None))
    settings = tuple(sorted(shared_settings(place).items())) if is_remote(place) else ()
    return _files_at(path, place, version, settings)


@lru_cache(maxsize=8)
def _files_at(path: str, place: str, version: int, settings: tuple[tuple[str, str], ...]) -> tuple[File, ...]:
    """Files of a version, which are the same for ever: a job asks for them several times."""
    del settings  # what else the answer could depend on
    return _files(path, place, _open(path, place, version))


def _parts(path: str) -> tuple[str, int | None]:
    match = _PATH.match(path)
    place = "" if match is None else match["place"]
    if match is None or "?version=" in place:
        raise ConfigError(f"[samples] path {path!r}: expected delta+FOLDER, or delta+FOLDER?version=NUMBER")
    place = re.sub(r"^file://(localhost)?(?=/)", "", place)
    if is_remote(place):
        place = plain_url(place)
    elif "://" in place:
        raise ConfigError(f"[samples] path {path!r}: expected a folder of this machine or a URL of {SCHEMES}")
    else:
        place = os.path.expanduser(native(place)).rstrip("/") or "/"
    return place, None if match["version"] is None else int(match["version"])


def _open(path: str, place: str, version: int | None) -> Any:
    try:
        from deltalake import DeltaTable
    except ImportError:
        raise ConfigError(f"{path} needs deltalake; pip install 'gbdtlr[delta]'") from None
    with _reading(path):
        return DeltaTable(place, version=version, storage_options=shared_settings(place) if is_remote(place) else None)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Say in one line what is wrong with a table that cannot be read inside."""
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        yield
    except TableNotFoundError:
        raise NoSamplesError(f"there is no Delta table at {path}; check [samples] path") from None
    except (DeltaError, OSError, ValueError) as error:
        words = re.split(r"\s0: ", " ".join(str(error).split()))[0]  # without the library's stack
        if "LogSegment end version" in words:
            raise NoSamplesError(
                f"{path}: the table has no such version, or has it no more; leave out ?version= for the newest"
            ) from None
        remedy = "let this user read it" if isinstance(error, PermissionError) else "check the table and [samples] path"
        raise SamplesError(f"cannot read {path}: {words[:300].rstrip('.')}; {remedy}") from None


def _files(path: str, place: str, table: Any) -> tuple[File, ...]:
    _check_features(path, table)
    with _reading(path):
        schema = table.schema()
        types = {each.name: each.type for each in pa.schema(schema.to_arrow())}
        partitions = table.metadata().partition_columns
        actions = pa.table(table.get_add_actions(flatten=True))
    mode = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    names, ids = _mapped(schema, mode)
    named = path if "?version=" in path else f"{path}?version={table.version()}"
    kept = _kept(path, table)
    found: list[File] = []
    for i, (where, size, modified) in enumerate(
        zip(*(actions.column(name).to_pylist() for name in ("path", "size_bytes", "modification_time")), strict=True)
    ):
        file = _place_of(place, where)
        mask = kept.get(os.path.basename(file))
        constants = {name: _partition(actions, names.get(name, name), name)[i] for name in partitions}
        bounds = partial(_bounds, actions, names, i)
        stored = Stored(named, _REMEDY, types, constants, bounds, names=names, ids=ids, kept=mask)
        found.append(File(file, f"{size}-{modified}{_told(mask)}", stored))
    if not found:
        raise NoSamplesError(f"{path} has no files in version {table.version()}; write rows to it first")
    n_files = Counter(os.path.basename(file.path) for file in found)
    if wrong := [name for name in kept if n_files[name] != 1]:
        raise SamplesError(
            f"cannot read {path}: it has {n_files[wrong[0]]} files {wrong[0]} with deleted rows; compact it"
        )
    return tuple(found)


def _told(mask: pa.Array | None) -> str:
    """What a file's stamp says of the rows that are deleted from it."""
    if mask is None:
        return ""
    return f"-{zlib.crc32(np.packbits(mask.to_numpy(zero_copy_only=False)).tobytes()):08x}"


def _check_features(path: str, table: Any) -> None:
    """Nothing, if the rows can be read as the table means them."""
    features = {*(table.protocol().reader_features or ())}
    if unknown := sorted(features - _READABLE):
        raise SamplesError(
            f"cannot read {path}: it uses {', '.join(unknown)}, which this version cannot read; switch it off for the "
            "table, or read a copy without it"
        )


def _mapped(schema: Any, mode: str) -> tuple[dict[str, str], dict[str, int] | None]:
    """What the columns are called in files, and by which numbers they are found, where that is so."""
    if mode == "none":
        return {}, None
    key = "delta.columnMapping."
    names = {each.name: str(each.metadata.get(f"{key}physicalName", each.name)) for each in schema.fields}
    if mode != "id":
        return names, None
    return names, {each.name: int(each.metadata[f"{key}id"]) for each in schema.fields}


def _kept(path: str, table: Any) -> dict[str, pa.Array]:
    """Masks of the rows that are not deleted, by the name of the file, of files with rows that are."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    masks: dict[str, pa.Array] = {}
    with _reading(path):
        for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()):
            for uri, mask in zip(batch.column(0), batch.column(1), strict=True):
                name = os.path.basename(unquote(uri.as_py()))
                if name in masks:
                    raise SamplesError(f"cannot read {path}: it has two files {name} with deleted rows; compact it")
                masks[name] = mask.values
    return masks


def _place_of(root: str, path: str) -> str:
    """Where a file is whose path the log has, relative to the table or not."""
    path = re.sub("^s3[an]://", "s3://", unquote(path))
    if is_remote(path):
        return plain_url(path)
    if path.startswith("file://"):
        return path.removeprefix("file://")
    return path if path.startswith("/") else f"{root.rstrip('/')}/{path}"


def _partition(actions: pa.Table, *names: str) -> pa.ChunkedArray:
    return next(actions.column(f"partition.{name}") for name in names if f"partition.{name}" in actions.column_names)


def _bounds(actions: pa.Table, names: dict[str, str], i: int, name: str) -> Bounds | None:
    """Least and greatest value of a column in the i-th file, as its statistics say."""
    inside = names.get(name, name)
    if f"min.{inside}" not in actions.column_names or f"max.{inside}" not in actions.column_names:
        return None
    low, high = actions.column(f"min.{inside}")[i], actions.column(f"max.{inside}")[i]
    if not low.is_valid or not high.is_valid:
        return None
    if pt.is_timestamp(low.type):  # of which the log keeps whole milliseconds, cut off
        return low.value, high.value + _UNIT[low.type.unit], low.type
    return (low.as_py(), high.as_py(), low.type) if pt.is_integer(low.type) else None
