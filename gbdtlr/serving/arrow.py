"""Arrow streams that strangers send: read without trusting a byte of them."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.serving.answer import Refusal
from gbdtlr.values.arrays import from_numpy

_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
_HEADER_TYPE, _HEADER = 1, 2  # fields of the flatbuffer table Message
_DICTIONARY_DATA, _COMPRESSION = 1, 3  # of DictionaryBatch, of RecordBatch
_SCORES = pa.schema([("probability", pa.float64()), ("release", pa.int64())])


def read_stream(body: bytes, names: Collection[str], max_rows: int) -> tuple[pa.RecordBatch | pa.Table, list[str]]:
    """Rows of a stream, of them only the columns in ``names``, every value of these checked; and all its columns.

    Raises
    ------
    Refusal
        Not a stream, damaged, compressed, or with more rows. Compressed buffers are refused because a few bytes of
        them may stand for all the memory there is.
    """
    try:
        _refuse_compressed(body)
        batches = []
        n_rows = 0
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            schema = reader.schema
            for batch in reader:
                n_rows += len(batch)
                if n_rows > max_rows:
                    raise Refusal(413, f"more than {max_rows} rows; send fewer at a time")
                batches.append(batch)
        all_names = [str(name) for name in schema.names]
        places = [i for i, name in enumerate(all_names) if name in names]
        # A table of one batch takes longer to read than the batch.
        frame = batches[0] if len(batches) == 1 else pa.Table.from_batches(batches, schema)
        rows = frame.select(places)
        rows.validate(full=True)
    except (pa.ArrowException, struct.error, OSError, ValueError, IndexError, NotImplementedError) as error:
        raise Refusal(400, f"the body is no Arrow IPC stream: {' '.join(str(error).split())[:300]}") from None
    for column in rows.columns:
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        if any(isinstance(chunk, pa.DictionaryArray) and len(chunk.dictionary) > max_rows for chunk in chunks):
            raise Refusal(413, f"a dictionary of more than {max_rows} values; send those that the rows use")
    return rows, all_names


def write_scores(probability: NDArray[np.float64], release: int) -> bytes:
    """Stream with the columns ``probability`` and ``release``, a row for each."""
    columns = [from_numpy(probability), from_numpy(np.full(len(probability), release, np.int64))]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCORES) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCORES))
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _refuse_compressed(body: bytes) -> None:
    messages: Any = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
    for message in messages:
        if _is_compressed(message.metadata.to_pybytes()):
            raise Refusal(415, "compressed buffers are not taken; write the stream without compression")


def _is_compressed(message: bytes) -> bool:
    """Whether the metadata of a message, a flatbuffer that Arrow has verified, names a codec for its buffers."""
    table = _u32(message, 0)
    kind = _field(message, table, _HEADER_TYPE)
    header = _field(message, table, _HEADER)
    if not kind or not header or message[kind] not in (_RECORD_BATCH, _DICTIONARY_BATCH):
        return False
    batch = header + _u32(message, header)
    if message[kind] == _DICTIONARY_BATCH:
        data = _field(message, batch, _DICTIONARY_DATA)
        if not data:
            return False
        batch = data + _u32(message, data)
    return bool(_field(message, batch, _COMPRESSION))


def _field(data: bytes, table: int, number: int) -> int:
    """Place of a field of a flatbuffer table, 0 if it has none; see the FlatBuffers internals page."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    size, place = struct.unpack_from("<H", data, vtable)[0], 4 + 2 * number
    if place + 2 > size:
        return 0
    offset: int = struct.unpack_from("<H", data, vtable + place)[0]
    return table + offset if offset else 0


def _u32(data: bytes, place: int) -> int:
    value: int = struct.unpack_from("<I", data, place)[0]
    return value
