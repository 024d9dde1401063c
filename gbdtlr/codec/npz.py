"""Arrays to bytes and back: npz files without objects, written alike every time and read with distrust."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.errors import DamagedError, FormatError, StoreError

FORMAT = "format"
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
    buffer = io.BytesIO()
    size = 0
    if format_ is not None:
        arrays = {**arrays, FORMAT: np.array([format_], np.int64)}
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(arrays):
            array = io.BytesIO()
            np.lib.format.write_array(array, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            size += array.tell()
            if size > MAX_BYTES:
                raise StoreError(f"the arrays {', '.join(sorted(arrays))} have more than the {MAX_BYTES} bytes allowed")
            # The level is said here: an archive's own does not count for a ZipInfo.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue(), method, compresslevel=1)
    return buffer.getvalue()


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
