"""Plain streams: one batch of float64 columns without gaps, taken where it lies, without Arrow's library.

To open a stream, check it and touch its columns costs a microsecond or two for each of them, as long as the trees take
for it. What is not plain in any way, or wrong, is left to Arrow, which reads it or says what is wrong with it.
"""

from __future__ import annotations

import struct
import sys

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.serving import messages
from gbdtlr.values.lines import Lines, Names

MAX_LAYOUTS, MAX_METADATA_BYTES = 16, 64 * 1024
MAX_BYTES = 2**40
_Layout = tuple[int, int, NDArray[np.int64]]


class PlainStreams:
    """Reads streams of one schema, which Arrow has read before.

    Batches of as many rows mostly have the same metadata, which is then looked at once.
    """

    def __init__(self, names: tuple[str, ...], schema_end: int) -> None:
        self._names = Names(names)
        self._schema_end = schema_end
        self._layouts: dict[bytes, _Layout | None] = {}

    @classmethod
    def of(cls, body: bytes, schema: pa.Schema) -> PlainStreams | None:
        """Those with the schema that this stream begins with; None if they cannot be plain."""
        names = tuple(schema.names)
        if not names or len(set(names)) < len(names) or any(kind != pa.float64() for kind in schema.types):
            return None
        schema_end = messages.metadata_end(body)
        if sys.byteorder != "little" or schema_end % 8 or not body.startswith(messages.MARK):
            return None
        table = messages.header(body, messages.BEFORE_METADATA, messages.SCHEMA)
        order = table and messages.field(body, table, messages.ENDIANNESS)
        return None if order and any(body[order : order + 2]) else cls(names, schema_end)

    def read(self, body: bytes) -> Lines | None:
        """Columns of a stream that begins with this schema; None if it is not plain."""
        start = self._schema_end
        metadata = body[start : messages.metadata_end(body, start)]
        if metadata not in self._layouts and len(metadata) <= MAX_METADATA_BYTES:
            if len(self._layouts) >= MAX_LAYOUTS:
                self._layouts.clear()
            self._layouts[metadata] = self._layout(metadata)
        layout = self._layouts.get(metadata)
        if layout is None:
            return None
        n_rows, n_bytes, starts = layout
        end = start + len(metadata) + n_bytes
        if end > len(body) or body[end : end + len(messages.END)] not in (messages.END, b""):
            return None
        numbers = np.frombuffer(body, np.float64, len(body) // 8)
        return Lines(self._names, numbers, starts, n_rows) if numbers.flags.aligned else None

    def _layout(self, metadata: bytes) -> _Layout | None:
        """Rows of a batch, bytes of its body, and where in the stream each column begins, counted in numbers."""
        try:
            return self._checked_layout(metadata)
        except (struct.error, IndexError, ValueError):  # it leads out of itself
            return None

    def _checked_layout(self, metadata: bytes) -> _Layout | None:
        n, root = len(self._names.all), messages.BEFORE_METADATA
        batch = messages.header(metadata, root, messages.RECORD_BATCH)
        if not metadata.startswith(messages.MARK) or len(metadata) % 8 or not batch:
            return None
        message = root + messages.u32(metadata, root)
        numbers = (
            messages.field(metadata, message, messages.BODY_LENGTH),
            messages.field(metadata, batch, messages.LENGTH),
        )
        if not all(numbers) or messages.field(metadata, batch, messages.COMPRESSION):
            return None
        n_bytes, n_rows = (struct.unpack_from("<q", metadata, place)[0] for place in numbers)
        nodes, buffers = self._pairs(metadata, batch, messages.NODES), self._pairs(metadata, batch, messages.BUFFERS)
        if not 0 < n_rows <= n_bytes < MAX_BYTES or len(nodes) != n or len(buffers) != 2 * n:
            return None
        offsets, lengths = buffers[1::2].T  # of the numbers: before them is which are there
        is_plain = (
            (nodes == (n_rows, 0)).all()
            and ((offsets >= 0) & (offsets <= n_bytes) & (offsets % 8 == 0)).all()
            and ((lengths >= 8 * n_rows) & (lengths <= n_bytes - offsets)).all()
        )
        return (n_rows, n_bytes, (self._schema_end + len(metadata) + offsets) // 8) if is_plain else None

    def _pairs(self, metadata: bytes, table: int, number: int) -> NDArray[np.int64]:
        """Pairs of 64-bit numbers in a field of the table, int64 (n, 2)."""
        place = messages.field(metadata, table, number)
        if not place:
            return np.zeros((0, 2), np.int64)
        vector = place + messages.u32(metadata, place)
        return np.frombuffer(metadata, np.int64, 2 * messages.u32(metadata, vector), vector + 4).reshape(-1, 2)
