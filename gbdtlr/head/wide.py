"""Wide columns: ids hashed straight into the head, the same bucket on every machine and for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.errors import SchemaError
from gbdtlr.values.arrays import from_numpy, from_values, present, whole_numbers
from gbdtlr.values.crosses import columns_of, parts_of
from gbdtlr.values.frames import column_names, column_of, is_missing, texts

MISSING = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_ALL_BITS = 2**64 - 1


@dataclass(frozen=True)
class WideColumns:
    """Names of the wide columns, crosses written ``origin:dest``, and how many buckets each has."""

    names: tuple[str, ...]
    n_buckets: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns they are made of."""
        return columns_of(self.names)

    def buckets(self, frame: Any) -> NDArray[np.uint32]:
        """Bucket of every row in every wide column; missing ids share one bucket.

        Parameters
        ----------
        frame : DataFrame, pyarrow Table or dict of arrays, (n, any columns)

        Returns
        -------
        buckets : uint32 (n_wide, n)

        Raises
        ------
        SchemaError
            Columns missing; the message lists them.
        """
        there = column_names(frame)
        missing = [part for part in self.columns if part not in there]
        if missing:
            raise SchemaError(f"wide columns missing: {', '.join(missing)}")
        hashes = {part: _column_hash(column_of(frame, part)) for part in self.columns}
        if not self.names:
            return np.empty((0, 0), np.uint32)
        return np.stack([self._bucket(name, [hashes[part] for part in parts_of(name)]) for name in self.names])

    def row_buckets(self, row: Mapping[str, Any]) -> list[int]:
        """Buckets of one row given as a mapping of names to values, as :meth:`buckets` gives them."""
        parts, plan = self._row_plan
        try:
            hashes = [_value_hash(row[part]) for part in parts]
        except KeyError:
            missing = [part for part in parts if part not in row]
            raise SchemaError(f"wide columns missing: {', '.join(missing)}") from None
        return [self._row_bucket(seed, [hashes[place] for place in places]) for seed, places in plan]

    @cached_property
    def _row_plan(self) -> tuple[tuple[str, ...], list[tuple[int, list[int]]]]:
        """All parts, and for each column its seed and the places of its parts."""
        parts = self.columns
        return parts, [(_text_hash(name), [parts.index(part) for part in parts_of(name)]) for name in self.names]

    def _row_bucket(self, mixed: int, hashes: Sequence[int]) -> int:
        """:meth:`_bucket` of one row in whole numbers: numpy takes microseconds for each step of a scalar."""
        for value in hashes:
            mixed ^= value
            mixed = (mixed ^ (mixed >> 30)) * _MULTIPLIERS[0] & _ALL_BITS
            mixed = (mixed ^ (mixed >> 27)) * _MULTIPLIERS[1] & _ALL_BITS
            mixed ^= mixed >> 31
        return mixed % self.n_buckets

    def _bucket(self, name: str, hashes: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint32]:
        mixed = np.full(len(hashes[0]), _text_hash(name), np.uint64)
        for values in hashes:
            mixed = _mix(mixed ^ values)
        return (mixed % np.uint64(self.n_buckets)).astype(np.uint32)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele et al. 2014's 64-bit finaliser: order matters, so ``a:b`` differs from ``b:a``."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MULTIPLIERS[0])
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MULTIPLIERS[1])
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


def _text_hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _value_hash(value: Any) -> int:
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) is str:
        return _text_hash(value)
    if type(value) is int:
        return _text_hash(str(value))
    if is_missing(value):
        return MISSING
    plain = isinstance(value, (str, bool, int, float))
    spelled = texts(from_values([value]) if plain else pa.array([value], from_pandas=True))[0].as_py()
    return MISSING if spelled is None else _text_hash(spelled)


def _column_hash(column: Any) -> NDArray[np.uint64]:
    """Hash of every value's text; each distinct text is hashed once."""
    if isinstance(column, np.ndarray):
        column = from_numpy(column)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = []
    for chunk in chunks:
        encoded = chunk if isinstance(chunk, pa.DictionaryArray) else chunk.dictionary_encode()
        distinct = texts(encoded.dictionary).to_pylist()
        hashes = np.array([MISSING if text is None else _text_hash(text) for text in distinct] + [MISSING], np.uint64)
        indices = whole_numbers(encoded.indices)
        parts.append(hashes[np.where(present(encoded.indices), indices, len(distinct))])
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)
