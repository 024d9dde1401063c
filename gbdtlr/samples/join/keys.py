"""Keys: what an impression and its outcome share, as 64 bits.

Two keys are one if their texts are, as :mod:`gbdtlr.values.categories` spells them: a whole number 7 in Parquet, a text
``7`` in CSV and ``7.0`` in JSON. Of a text there are 64 bits of :mod:`gbdtlr.values.hashing`. That two different keys
share them all happens, among n impressions and m outcomes, with a chance of about n m / 2^64: with ten million and a
million, once in two million readings; an impression would then have another's outcome.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gbdtlr.errors import SchemaError
from gbdtlr.samples.formats.file import File
from gbdtlr.values.arrays import present
from gbdtlr.values.categories import texts_of
from gbdtlr.values.hashing import U64, hash_texts


def key_hashes(column: pa.Array, name: str, file: File) -> tuple[U64, npt.NDArray[np.bool_]]:
    """64 bits of each key, (n,), and which rows have one.

    Raises
    ------
    SchemaError
        Values that are neither texts nor whole numbers.
    """
    try:
        texts = texts_of(column)
    except SchemaError as error:
        raise SchemaError(f"{file.subject}: the key {name} {error}") from None
    return hash_texts(texts, 0), present(texts)
