"""Keys: what an item is found by, the hash of the one text of its id (``values.hashing``), 64 bits.

Two of n different items share a key, and so a vector, with odds of ``n^2 / 2^65``: of ten million items, one in
370,000. Numbers and other ids of one length of up to eight bytes never do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.values import scalars
from gbdtlr.values.arrays import from_numpy, present, simple
from gbdtlr.values.categories import text_dictionary, texts, texts_of
from gbdtlr.values.columns import plain
from gbdtlr.values.hashing import CURRENT, U64, hash_of, hash_texts

HASH = CURRENT
"""What hashes items from now on; a version says what hashed its own."""


def keys_of(items: Any, algorithm: str = HASH) -> tuple[U64, NDArray[np.bool_]]:
    """Key of every item of a column, and whether there is any item: missing ones have key 0 and are none.

    Parameters
    ----------
    items : (n,), a column of any library, or a list of Python values

    Returns
    -------
    keys : uint64 (n,)
    there : bool (n,)

    Raises
    ------
    SchemaError
        Values that are neither texts nor whole numbers nor truth values.
    """
    column = plain(items)
    if isinstance(column, list):
        column = texts(column)
    elif isinstance(column, np.ndarray):
        column = from_numpy(column)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    found = [_of_chunk(simple(chunk), algorithm) for chunk in chunks]
    return (
        np.concatenate([np.empty(0, np.uint64), *(keys for keys, _ in found)]),
        np.concatenate([np.empty(0, bool), *(there for _, there in found)]),
    )


def _of_chunk(chunk: pa.Array, algorithm: str) -> tuple[U64, NDArray[np.bool_]]:
    # A text that stands in a dictionary is spelled and hashed once, unless it is that of a whole file for a few rows.
    if isinstance(chunk, pa.DictionaryArray) and len(chunk.dictionary) <= len(chunk):
        spelled = text_dictionary(chunk)
        there = present(spelled.indices)
    else:
        spelled = texts_of(chunk)
        there = present(spelled)
    return hash_texts(spelled, 0, algorithm), there


def key_of(item: Any, algorithm: str = HASH) -> int | None:
    """Key of one item, as :func:`keys_of` gives it; None if it is missing."""
    text = scalars.text(item)
    return None if text is None else hash_of(algorithm)(text)
