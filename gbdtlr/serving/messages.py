"""Messages of an Arrow stream: what their metadata says, read where it lies.

A stream is a row of messages. Each begins with eight bytes, a mark and the length of its metadata, a flatbuffer; what
the metadata tells of comes behind it, if anything does. See the FlatBuffers internals page, and Arrow's ``Message.fbs``
and ``Schema.fbs`` for the numbers of fields.
"""

from __future__ import annotations

import struct

SCHEMA, DICTIONARY_BATCH, RECORD_BATCH = 1, 2, 3
HEADER_TYPE, HEADER, BODY_LENGTH = 1, 2, 3  # fields of the table Message
LENGTH, NODES, BUFFERS, COMPRESSION = 0, 1, 2, 3  # of RecordBatch
ENDIANNESS = 0  # of Schema
_DICTIONARY_DATA = 1  # of DictionaryBatch
MARK = b"\xff\xff\xff\xff"
END = MARK + bytes(4)
BEFORE_METADATA = 8


def metadata_end(stream: bytes, start: int = 0) -> int:
    """Where the metadata of the message that begins at ``start`` ends, and its body begins."""
    return start + BEFORE_METADATA + int.from_bytes(stream[start + 4 : start + BEFORE_METADATA], "little")


def header(data: bytes, start: int, *kinds: int) -> int:
    """The table a Message speaks of, if it is of one of these kinds; else 0.

    Parameters
    ----------
    start : of the flatbuffer in the data

    Raises
    ------
    struct.error
        It leads out of the data.
    """
    message = start + u32(data, start)
    kind, table = field(data, message, HEADER_TYPE), field(data, message, HEADER)
    return table + u32(data, table) if kind and table and data[kind] in kinds else 0


def field(data: bytes, table: int, number: int) -> int:
    """Place of a field of a flatbuffer table, 0 if it has none."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    size, place = struct.unpack_from("<H", data, vtable)[0], 4 + 2 * number
    if place + 2 > size:
        return 0
    offset: int = struct.unpack_from("<H", data, vtable + place)[0]
    return table + offset if offset else 0


def u32(data: bytes, place: int) -> int:
    """The whole number there."""
    value: int = struct.unpack_from("<I", data, place)[0]
    return value


def is_compressed(metadata: bytes) -> bool:
    """Whether the metadata of a message, which Arrow has verified, names a codec for its buffers."""
    batch = header(metadata, 0, RECORD_BATCH)
    if not batch and (dictionary := header(metadata, 0, DICTIONARY_BATCH)):
        data = field(metadata, dictionary, _DICTIONARY_DATA)
        batch = data + u32(metadata, data) if data else 0
    return bool(batch and field(metadata, batch, COMPRESSION))
