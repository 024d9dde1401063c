"""Arrays to bytes and back: npz files without objects, written alike every time and read with distrust."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.errors import DamagedError, FormatError, StoreError

FORMAT = "format"
LEVEL = 1
"""Of compression, from 1 to 9."""
MOST_AT_ONCE = 2**30
"""Bytes of an array up to which it is compressed beside others; larger ones have a header of another form."""
MAX_BYTES = 2**32
"""What all arrays of one npz together may take."""


def to_npz(arrays: Mapping[str, NDArray[Any]], format_: int | None = None, *, compress: bool = True) -> bytes:
    """Arrays as an npz whose bytes depend on nothing but the arrays (``numpy.savez`` writes the time).

    Parameters
    ----------
    format_ : number of the format they are in, from 1, kept beside them
    compress : leave it out for many fractions, whose bytes are noise: it takes long and gains nothing

    Raises
    ------
    StoreError
        So many that :func:`from_npz` would refuse them.
    """
    if format_ is not None:
        arrays = {**arrays, FORMAT: np.array([format_], np.int64)}
    members = [_Member.of(name, arrays[name]) for name in sorted(arrays)]
    if sum(member.size for member in members) > MAX_BYTES:
        raise StoreError(f"the arrays {', '.join(sorted(arrays))} have more than the {MAX_BYTES} bytes allowed")
    packed: list[bytes | None] = [None] * len(members)

    def work(i: int) -> None:
        packed[i] = members[i].packed()

    if compress:
        threads.run(len(members), work)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, smaller in zip(members, packed, strict=True):
            member.put(archive, buffer, smaller, zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED)
    return buffer.getvalue()


class _Member(NamedTuple):
    """An array in an npz: a header and its bytes."""

    name: str
    header: bytes
    content: memoryview

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> _Member:
        array, header = np.ascontiguousarray(array), io.BytesIO()
        if array.dtype.hasobject:
            raise ValueError(f"{name} holds objects")
        np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
        return cls(name, header.getvalue(), array.reshape(-1).view(np.uint8).data)

    @property
    def size(self) -> int:
        return len(self.header) + len(self.content)

    def packed(self) -> bytes | None:
        """As an archive packs them, many arrays at once on several threads; None where one is too large for that."""
        if self.size > MOST_AT_ONCE:
            return None
        packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
        return packer.compress(b"".join((self.header, self.content))) + packer.flush()

    def put(self, archive: zipfile.ZipFile, buffer: io.BytesIO, packed: bytes | None, method: int) -> None:
        """Write it to the archive behind those that are there; packed, if it is so already, as it stands."""
        info = zipfile.ZipInfo(f"{self.name}.npy")
        if packed is None:
            # The level is said here: an archive's own does not count for a ZipInfo.
            content = b"".join((self.header, self.content))
            archive.writestr(info, content, method, compresslevel=LEVEL)
            return
        archive.writestr(info, packed, zipfile.ZIP_STORED)
        info.compress_type, info.file_size = method, self.size
        info.CRC = zlib.crc32(self.content, zlib.crc32(self.header))
        end = buffer.tell()
        buffer.seek(info.header_offset)
        buffer.write(info.FileHeader())
        buffer.seek(end)


def from_npz(data: bytes, name: str = "the file", newest: int = 1) -> dict[str, NDArray[Any]]:
    """Arrays of an npz; objects, absurd sizes and anything malformed are refused before memory is taken.

    Parameters
    ----------
    name : of the file, for messages
    newest : number of the newest format that is understood; arrays without one are in the first

    Raises
    ------
    DamagedError
        Not an npz of plain arrays.
    FormatError
        Written in a format that is newer.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            claimed = sum(info.file_size for info in archive.infolist())
            if claimed > MAX_BYTES:
                raise DamagedError(f"the arrays claim {claimed} bytes, more than the {MAX_BYTES} allowed")
            for info in archive.infolist():
                raw = archive.read(info)
                header = io.BytesIO(raw)
                version = np.lib.format.read_magic(header)
                if version != (1, 0):
                    raise DamagedError(f"the array {info.filename} has an unknown format")
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(header)
                size = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
                if dtype.hasobject or fortran or dtype.names or size != len(raw) - header.tell():
                    raise DamagedError(f"the array {info.filename} is not a plain array")
                array = np.frombuffer(raw, dtype, offset=header.tell()).reshape(shape)
                arrays[info.filename.removesuffix(".npy")] = array
    except DamagedError:
        raise
    except Exception as error:  # zipfile and numpy raise a dozen kinds on bytes made to confuse them
        raise DamagedError(f"not an npz of arrays: {type(error).__name__}: {error}") from None
    if FORMAT in arrays:
        number = arrays[FORMAT]
        if number.shape != (1,) or number.dtype.kind != "i" or number[0] < 1:
            raise DamagedError(f"the format of {name} is no number")
        if number[0] > newest:
            raise FormatError(
                f"{name} has format {number[0]}, newer than the {newest} this gbdtlr reads; upgrade gbdtlr"
            )
    return arrays


def checked(array: NDArray[Any], dtype: Any, shape: tuple[int, ...] | None) -> NDArray[Any]:
    """The array, if it has that type and shape (any one-dimensional if None); ValueError otherwise."""
    if array.dtype != dtype or (array.ndim != 1 if shape is None else array.shape != shape):
        raise ValueError(f"{np.dtype(dtype)} {shape or '(n,)'} expected, found {array.dtype} {array.shape}")
    return array
