"""Arrow streams that strangers send: read without trusting a byte of them."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.serving import messages
from gbdtlr.serving.answer import Refusal
from gbdtlr.serving.plain_streams import PlainStreams
from gbdtlr.values.arrays import from_numpy
from gbdtlr.values.lines import Lines

_SCORES = pa.schema([("probability", pa.float64()), ("release", pa.int64())])
_UNREADABLE = (pa.ArrowException, struct.error, OSError, ValueError, IndexError, NotImplementedError)
MAX_SCHEMAS = 64
MAX_SCHEMA_BYTES = 64 * 1024
MAX_KEPT, MAX_KEPT_ROWS = 64, 4096
"""Answers whose surroundings are kept, and their rows."""


@dataclass(frozen=True)
class Sent:
    """The columns that a client has sent.

    Attributes
    ----------
    names : in its order
    known : the same as a set
    twice : those that are there more than once
    numbers, others : places of those of float64, and of all others
    plain : reads streams of such columns, if they may be plain
    """

    names: tuple[str, ...]
    known: frozenset[str]
    twice: frozenset[str]
    numbers: tuple[int, ...]
    others: tuple[int, ...]
    plain: PlainStreams | None = None

    @classmethod
    def of(cls, schema: pa.Schema, plain: PlainStreams | None = None) -> Sent:
        """Those of a schema."""
        names = tuple(str(name) for name in schema.names)
        is_number = [bool(kind == pa.float64()) for kind in schema.types]
        return cls(
            names,
            frozenset(names),
            frozenset(name for name, n in Counter(names).items() if n > 1),
            tuple(i for i, number in enumerate(is_number) if number),
            tuple(i for i, number in enumerate(is_number) if not number),
            plain,
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
    frame: pa.RecordBatch | pa.Table | Lines
    max_values: int

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return self.frame.n_rows if isinstance(self.frame, Lines) else len(self.frame)

    def columns(self, names: Collection[str]) -> Mapping[str, Any]:
        """Those of some names, if not more, as numpy or Arrow arrays.

        Numbers are taken out all at once: each array of Arrow that is touched costs a microsecond.

        Raises
        ------
        Refusal
            A dictionary is too large.
        """
        sent, frame = self.sent, self.frame
        if isinstance(frame, Lines):
            return frame
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
        known = self._schemas.get(_schema_of(body))
        if known is not None and known.plain is not None and (lines := known.plain.read(body)) is not None:
            if lines.n_rows > max_rows:
                raise _too_many(max_rows)
            return Rows(known, lines, max_rows)
        try:
            _refuse_compressed(body)
            with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
                sent = self._sent(body, reader.schema)
                batches, n_rows = [], 0
                for batch in reader:
                    n_rows += len(batch)
                    if n_rows > max_rows:
                        raise _too_many(max_rows)
                    batches.append(batch)
                # A table of one batch takes longer to read than the batch.
                frame = batches[0] if len(batches) == 1 else pa.Table.from_batches(batches, reader.schema)
            frame.validate(full=True)
        except _UNREADABLE as error:
            raise Refusal(400, f"the body is no Arrow IPC stream: {' '.join(str(error).split())[:300]}") from None
        return Rows(sent, frame, max_rows)

    def _sent(self, body: bytes, schema: pa.Schema) -> Sent:
        """What a schema says."""
        key = _schema_of(body)
        found = self._schemas.get(key)
        if found is None:
            found = Sent.of(schema, PlainStreams.of(body, schema))
            if 0 < len(key) <= MAX_SCHEMA_BYTES:
                if len(self._schemas) >= MAX_SCHEMAS:
                    self._schemas.clear()
                self._schemas[key] = found
        return found


def _schema_of(body: bytes) -> bytes:
    """The first message of a stream; nothing of streams of old, whose first bytes do not tell how long it is."""
    return body[: messages.metadata_end(body)] if body.startswith(messages.MARK) else b""


def _too_many(max_rows: int) -> Refusal:
    return Refusal(413, f"more than {max_rows} rows; send fewer at a time")


def _limit_dictionary(column: Any, max_values: int) -> None:
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if any(isinstance(chunk, pa.DictionaryArray) and len(chunk.dictionary) > max_values for chunk in chunks):
        raise Refusal(413, f"a dictionary of more than {max_values} values; send those that the rows use")


class ScoreStreams:
    """Writes probabilities as streams with the columns ``probability`` and ``release``.

    What surrounds the probabilities is the same for as many of them from the same release, and is kept.
    """

    def __init__(self) -> None:
        self._around: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def write(self, probability: NDArray[np.float64], release: int) -> bytes:
        """The stream of probabilities, float64 (n,) without gaps."""
        key = len(probability), release
        around = self._around.get(key)
        if around is None:
            around = _around(_stream_of(probability, release), probability)
            if len(probability) <= MAX_KEPT_ROWS:
                if len(self._around) >= MAX_KEPT:
                    self._around.clear()
                self._around[key] = around
        return probability.tobytes().join(around)


def _stream_of(probability: NDArray[np.float64], release: int) -> bytes:
    columns = [from_numpy(probability), from_numpy(np.full(len(probability), release, np.int64))]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCORES) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCORES))
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _around(stream: bytes, probability: NDArray[np.float64]) -> tuple[bytes, bytes]:
    """What is before and behind the probabilities of a stream: they begin the body of its second message."""
    start = messages.metadata_end(stream, messages.metadata_end(stream))
    return stream[:start], stream[start + probability.nbytes :]


def _refuse_compressed(body: bytes) -> None:
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        if messages.is_compressed(message.metadata.to_pybytes()):
            raise Refusal(415, "compressed buffers are not taken; write the stream without compression")
