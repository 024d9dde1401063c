"""Hash: 64 bits for the text of an id, the same on every machine, in every language and for ever.

The hash of a text is a chain over its UTF-8 bytes, eight at a time::

    state = mix(number of bytes)
    for each 8 bytes, the last ones filled up with zeros, as a little-endian word:
        state = mix(state XOR word)

where ``mix`` is splitmix64 (Steele, Lea and Flood 2014), all modulo 2^64::

    z = z + 0x9E3779B97F4A7C15
    z = (z XOR z >> 30) * 0xBF58476D1CE4E5B9
    z = (z XOR z >> 27) * 0x94D049BB133111EB
    mix = z XOR z >> 31

``mix`` is one to one, so texts of one length of up to eight bytes, as most numbers are, never collide. It was chosen
over XXH64, which is no faster on texts as short as ids, for being ten lines in any language. Heads of the first kind
hash by BLAKE2b of eight bytes, read as a little-endian number; they do so for as long as they live.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.compute.compiled import inline, kernel, read_only
from gbdtlr.errors import FormatError
from gbdtlr.values.arrays import present, text_parts, whole_numbers

BLAKE2B, SPLITMIX64 = "blake2b", "splitmix64"
"""Names of the hashes, as heads know theirs by."""
FIRST, CURRENT = BLAKE2B, SPLITMIX64

U64 = NDArray[np.uint64]


def hash_of(algorithm: str) -> Callable[[str], int]:
    """What hashes one text.

    Raises
    ------
    FormatError
        A hash of that name is not known.
    """
    if algorithm not in _ONE:
        raise FormatError(f"ids are hashed by {algorithm!r:.60}, which this gbdtlr does not know: upgrade it")
    return _ONE[algorithm]


def hash_texts(texts: pa.Array, missing: int, algorithm: str = CURRENT) -> U64:
    """Hash of every text, (n,).

    Parameters
    ----------
    texts : StringArray, or DictionaryArray of such, each of whose texts is hashed once
    missing : what stands for nulls
    """
    if isinstance(texts, pa.DictionaryArray):
        if len(texts.dictionary) > len(texts) and algorithm == SPLITMIX64:  # of a whole file's, for a few of its rows
            return hash_texts(texts.dictionary.take(texts.indices), missing, algorithm)
        hashes = np.append(hash_texts(texts.dictionary, missing, algorithm), np.uint64(missing))
        return hashes[np.where(present(texts.indices), whole_numbers(texts.indices), len(texts.dictionary))]
    if algorithm == SPLITMIX64:
        hashes = _splitmix64_of_many(texts)
    else:
        one = hash_of(algorithm)
        hashes = np.array([0 if text is None else one(text) for text in texts.to_pylist()], np.uint64)
    return np.where(present(texts), hashes, np.uint64(missing)) if texts.null_count else hashes


def mix(values: U64) -> U64:
    """splitmix64's finaliser: every bit of a value moves half of the result's."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


_mix = inline(mix)


@inline
def _chain(data: Any, start: Any, end: Any) -> Any:
    """Hash of ``data[start:end]``; unsigned places, as numba looks for negative ones at every byte else."""
    state, at, eight = _mix(end - start), start, np.uint64(8)
    while at + eight <= end:
        state = _mix(state ^ _eight(data, at))
        at += eight
    if at < end:
        word, shift = np.uint64(0), np.uint64(0)
        while at < end:
            word |= np.uint64(data[at]) << shift
            shift += eight
            at += np.uint64(1)
        state = _mix(state ^ word)
    return state


@inline
def _eight(data: Any, at: Any) -> Any:
    """Eight bytes as a word, written out, as LLVM then makes one load of them."""
    word = np.uint64(data[at])
    word |= np.uint64(data[at + np.uint64(1)]) << np.uint64(8)
    word |= np.uint64(data[at + np.uint64(2)]) << np.uint64(16)
    word |= np.uint64(data[at + np.uint64(3)]) << np.uint64(24)
    word |= np.uint64(data[at + np.uint64(4)]) << np.uint64(32)
    word |= np.uint64(data[at + np.uint64(5)]) << np.uint64(40)
    word |= np.uint64(data[at + np.uint64(6)]) << np.uint64(48)
    word |= np.uint64(data[at + np.uint64(7)]) << np.uint64(56)
    return word


@kernel()
def _hash_bytes(data: Any) -> Any:
    return _chain(data, np.uint64(0), np.uint64(len(data)))


@kernel()
def _hash_pieces(data: Any, offsets: Any, out: Any) -> None:
    for i in range(len(out)):
        out[i] = _chain(data, np.uint64(offsets[i]), np.uint64(offsets[i + 1]))


def _splitmix64_of_many(texts: pa.Array) -> U64:
    out = np.zeros(len(texts), np.uint64)
    if len(texts):
        data, offsets = text_parts(texts)
        _hash_pieces(read_only(data), read_only(offsets), out)
    return out


def _splitmix64(text: str) -> int:
    hashed: int = _hash_bytes(text.encode("utf-8", "surrogatepass"))
    return hashed


def _blake2b(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


_ONE: dict[str, Callable[[str], int]] = {BLAKE2B: _blake2b, SPLITMIX64: _splitmix64}
