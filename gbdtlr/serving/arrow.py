"""Arrow streams that strangers send: read without trusting a byte of them."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
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
_UNREADABLE = (pa.ArrowException, struct.error, OSError, ValueError, IndexError, NotImplementedError)
MAX_SCHEMAS = 64


@dataclass(frozen=True)
class Sent:
    """The columns that a client has sent.

    Attributes
    ----------
    names : in its order
    known : the same as a set
    twice : those that are there more than once
    numbers, others : places of those of float64, and of all others
    """

    names: tuple[str, ...]
    known: frozenset[str]
    twice: frozenset[str]
    numbers: tuple[int, ...]
    others: tuple[int, ...]

    @classmethod
    def of(cls, schema: pa.Schema) -> Sent:
        """Those of a schema."""
        names = tuple(str(name) for name in schema.names)
        is_number = [bool(kind == pa.float64()) for kind in schema.types]
        return cls(
            names,
            frozenset(names),
            frozenset(name for name, n in Counter(names).items() if n > 1),
            tuple(i for i, number in enumerate(is_number) if number),
            tuple(i for i, number in enumerate(is_number) if not number),
        )


@dataclass(frozen=True)
class Rows:
    """Rows that a client has sent.

    Attributes
    ----------
    frame : all of their columns
    max_values : the most that a dictionary may hold, as nothing else bounds it
    """

    sent: Sent
    frame: pa.RecordBatch | pa.Table
    max_values: int

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return len(self.frame)

    def columns(self, names: Collection[str]) -> dict[str, Any]:
        """Those of some names as numpy or Arrow arrays.

        Numbers are taken out all at once: each array of Arrow that is touched costs a microsecond.

        Raises
        ------
        Refusal
            A dictionary is too large.
        """
        sent, frame = self.sent, self.frame
        columns: dict[str, Any] = {}
        places = [i for i in sent.numbers if sent.names[i] in names]
        if places and isinstance(frame, pa.RecordBatch) and len(frame):
            numbers = frame.select(places).to_tensor(null_to_nan=True, row_major=False).to_numpy()
            columns = {sent.names[i]: numbers[:, j] for j, i in enumerate(places)}
        else:
            columns = {sent.names[i]: frame.column(i) for i in places}
        for i in sent.others:
            if sent.names[i] in names:
                columns[sent.names[i]] = column = frame.column(i)
                _limit_dictionary(column, self.max_values)
        return columns


class Streams:
    """Reads streams; most clients always send the same schema, which is then looked at once."""

    def __init__(self) -> None:
        self._schemas: dict[bytes, Sent] = {}

    def read(self, body: bytes, max_rows: int) -> Rows:
        """Rows of a stream, every value of them checked.

        Raises
        ------
        Refusal
            Not a stream, damaged, compressed, or with more rows. Compressed buffers are refused because a few bytes
            of them may stand for all the memory there is.
        """
        try:
            _refuse_compressed(body)
            with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
                sent = self._sent(body, reader.schema)
                batches, n_rows = [], 0
                for batch in reader:
                    n_rows += len(batch)
                    if n_rows > max_rows:
                        raise Refusal(413, f"more than {max_rows} rows; send fewer at a time")
                    batches.append(batch)
                # A table of one batch takes longer to read than the batch.
                frame = batches[0] if len(batches) == 1 else pa.Table.from_batches(batches, reader.schema)
            frame.validate(full=True)
        except _UNREADABLE as error:
            raise Refusal(400, f"the body is no Arrow IPC stream: {' '.join(str(error).split())[:300]}") from None
        return Rows(sent, frame, max_rows)

    def _sent(self, body: bytes, schema: pa.Schema) -> Sent:
        """What a schema says; it is the first message, whose length stands before it."""
        key = body[: 8 + int.from_bytes(body[4:8], "little")]
        found = self._schemas.get(key)
        if found is None:
            if len(self._schemas) >= MAX_SCHEMAS:
                self._schemas.clear()
            found = self._schemas[key] = Sent.of(schema)
        return found


def _limit_dictionary(column: Any, max_values: int) -> None:
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if any(isinstance(chunk, pa.DictionaryArray) and len(chunk.dictionary) > max_values for chunk in chunks):
        raise Refusal(413, f"a dictionary of more than {max_values} values; send those that the rows use")


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
