"""Brought: vectors that somebody else trained, read from parquet files of ``id`` and ``vector``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from gbdtlr.embeddings.keys import keys_of
from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.unreadable import unreadable
from gbdtlr.values.hashing import U64

ID, VECTOR = "id", "vector"


def read_vectors(path: str) -> tuple[U64, NDArray[np.float32]]:
    """Keys, rising, and vectors of the items in parquet files.

    Parameters
    ----------
    path : a file, folder or glob, on disk or in a bucket, as ``[samples] path``

    Returns
    -------
    keys : uint64 (n,)
    vectors : float32 (n, dimensions); numbers that are none are left for a guard to find

    Raises
    ------
    ConfigError
        Not such a path.
    SamplesError
        Files that are not such tables, ids that come twice, vectors of several lengths.
    """
    files = find_files((path,), "[embeddings] path")
    keys: list[U64] = []
    vectors: list[NDArray[np.float32]] = []
    for file in files:
        try:
            for batch in _batches(file):
                key, vector = _of_batch(batch)
                if vectors and vector.shape[1] != vectors[0].shape[1]:
                    first, other = vectors[0].shape[1], vector.shape[1]
                    raise SchemaError(f"{VECTOR} has {other} numbers, where those before have {first}")
                keys.append(key)
                vectors.append(vector)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(file, error, "write it again") from None
        except SchemaError as error:
            raise SchemaError(f"{file.subject}: {error}; mend the {file.noun}") from None
    if not sum(map(len, keys)):
        raise SamplesError(f"{path} has no vectors; write some, or mend [embeddings] path")
    return _each_once(np.concatenate(keys), np.concatenate(vectors), path)


def _batches(file: File) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet

    if file.format != "parquet" or file.stored is not None:
        raise SchemaError("vectors are read from parquet files alone, and from no tables")
    with file.random_access() as source:
        table = parquet.ParquetFile(source)
        there = table.schema_arrow.names
        if missing := [name for name in (ID, VECTOR) if name not in there]:
            raise SchemaError(f"{' and '.join(missing)} missing; there are {', '.join(there)}")
        for batch in table.iter_batches(1 << 18, columns=[ID, VECTOR]):
            if len(batch):
                yield batch


def _of_batch(batch: pa.RecordBatch) -> tuple[U64, NDArray[np.float32]]:
    try:
        keys, there = keys_of(batch.column(ID))
    except SchemaError as error:
        raise SchemaError(f"{ID} {error}") from None
    if not there.all():
        raise SchemaError(f"{int((~there).sum())} rows have no {ID}")
    column = batch.column(VECTOR)
    kind = column.type
    if not (pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)):
        raise SchemaError(f"{VECTOR} is {kind}, a list of numbers expected")
    if not (pt.is_floating(kind.value_type) or pt.is_integer(kind.value_type)):
        raise SchemaError(f"{VECTOR} is {kind}, a list of numbers expected")
    if column.null_count:
        raise SchemaError(f"{column.null_count} rows have no {VECTOR}")
    flat = column.flatten()
    dimensions, rest = divmod(len(flat), len(column))
    lengths = (
        np.diff(np.asarray(column.offsets)) if not pt.is_fixed_size_list(kind) else np.full(len(column), dimensions)
    )
    if rest or not dimensions or (lengths != dimensions).any():
        raise SchemaError(f"{VECTOR} has from {lengths.min()} to {lengths.max()} numbers, as many in all rows expected")
    numbers = np.asarray(flat.cast(pa.float32(), safe=False).fill_null(np.nan))
    return keys, numbers.reshape(len(column), dimensions)


def _each_once(keys: U64, vectors: NDArray[np.float32], path: str) -> tuple[U64, NDArray[np.float32]]:
    order = np.argsort(keys, kind="stable")
    keys, vectors = keys[order], vectors[order]
    twice = int((keys[1:] == keys[:-1]).sum())
    if twice:
        raise SamplesError(f"{path}: {twice} ids come more than once; write each item once")
    return keys, vectors
