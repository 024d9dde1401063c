"""Wide columns: ids hashed straight into the head, the same bucket on every machine and for ever.

A column's bucket of a row begins with the hash of its name; the hash of each part's text (``values.hashing``) is mixed
in by XOR and ``mix`` without its addition; the result modulo the number of buckets is the bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.errors import SchemaError
from gbdtlr.values import scalars
from gbdtlr.values.arrays import from_numpy, simple
from gbdtlr.values.categories import Spell, text_dictionary, texts, texts_of, written, written_of
from gbdtlr.values.crosses import columns_of, parts_of
from gbdtlr.values.frames import column_names, column_of, frame_of
from gbdtlr.values.hashing import BLAKE2B, CURRENT, FIRST, U64, hash_of, hash_texts

MISSING = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_ALL_BITS = 2**64 - 1


@dataclass(frozen=True)
class WideColumns:
    """Names of the wide columns, crosses written ``origin:dest``, how many buckets each has, and what hashes ids.

    Heads, candidates and memories of wide columns that differ in any of the three have nothing to say to each other.
    Heads of the first hash are from before a text had one spelling: to them ``True`` is another id than ``true``.
    """

    names: tuple[str, ...]
    n_buckets: int
    hash: str = CURRENT

    def __reduce__(self) -> tuple[Any, ...]:
        return WideColumns, (self.names, self.n_buckets, self.hash)  # without how single rows are hashed

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns they are made of."""
        return columns_of(self.names)

    @property
    def as_written(self) -> bool:
        """Whether ids are the texts that stand there, and not their one spelling."""
        return self.hash == FIRST

    def same_ids(self, other: WideColumns) -> bool:
        """Whether the other has the same columns and as many buckets, whatever hashes them."""
        return (self.names, self.n_buckets) == (other.names, other.n_buckets)

    def buckets(self, frame: Any) -> NDArray[np.uint32]:
        """Bucket of every row in every wide column; missing ids share one bucket.

        Parameters
        ----------
        frame : any that :func:`gbdtlr.values.frames.frame_of` takes, (n, any columns)

        Returns
        -------
        buckets : uint32 (n_wide, n)

        Raises
        ------
        SchemaError
            Columns missing, or with values that cannot be ids; the message lists them.
        """
        frame = frame_of(frame)
        there = column_names(frame)
        missing = [part for part in self.columns if part not in there]
        if missing:
            raise SchemaError(f"wide columns missing: {', '.join(missing)}")
        hashes, problems = {}, []
        for part in self.columns:
            try:
                hashes[part] = _column_hash(column_of(frame, part), self)
            except SchemaError as error:
                problems.append(f"column {part} {error}")
        if problems:
            raise SchemaError("; ".join(problems))
        if not self.names:
            return np.empty((0, 0), np.uint32)
        return np.stack([self._bucket(name, [hashes[part] for part in parts_of(name)]) for name in self.names])

    def row_buckets(self, row: Mapping[str, Any]) -> list[int]:
        """Buckets of one row given as a mapping of names to values, as :meth:`buckets` gives them."""
        parts, plan, one = self._row_plan
        spell = scalars.written if self.as_written else scalars.text
        try:
            texts = [spell(row[part]) for part in parts]
        except (KeyError, SchemaError):
            raise _wrong(row, parts) from None
        hashes = [MISSING if text is None else one(text) for text in texts]
        return [self._row_bucket(seed, [hashes[place] for place in places]) for seed, places in plan]

    @cached_property
    def _row_plan(self) -> tuple[tuple[str, ...], list[tuple[int, list[int]]], Callable[[str], int]]:
        """All parts, for each column its seed and the places of its parts, and what hashes a text."""
        parts, one = self.columns, hash_of(self.hash)
        return parts, [(one(name), [parts.index(part) for part in parts_of(name)]) for name in self.names], one

    def _row_bucket(self, mixed: int, hashes: Sequence[int]) -> int:
        """:meth:`_bucket` of one row in whole numbers: numpy takes microseconds for each step of a scalar."""
        for value in hashes:
            mixed ^= value
            mixed = (mixed ^ (mixed >> 30)) * _MULTIPLIERS[0] & _ALL_BITS
            mixed = (mixed ^ (mixed >> 27)) * _MULTIPLIERS[1] & _ALL_BITS
            mixed ^= mixed >> 31
        return mixed % self.n_buckets

    def _bucket(self, name: str, hashes: Sequence[U64]) -> NDArray[np.uint32]:
        mixed = np.full(len(hashes[0]), hash_of(self.hash)(name), np.uint64)
        for values in hashes:
            mixed = _mix(mixed ^ values)
        return (mixed % np.uint64(self.n_buckets)).astype(np.uint32)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What says so in the npz of a head."""
        return {
            "n_buckets": np.array([self.n_buckets], np.int64),
            "wide_names": np.frombuffer("\n".join(self.names).encode(), np.uint8),
            "wide_hash": np.frombuffer(self.hash.encode(), np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> WideColumns:
        """Wide columns as :meth:`to_arrays` gave them; heads of the first kind do not say their hash.

        Raises
        ------
        FormatError
            The hash is not known here.
        KeyError, IndexError, ValueError
            Not such arrays.
        """
        text = arrays["wide_names"].tobytes().decode()
        algorithm = arrays["wide_hash"].tobytes().decode() if "wide_hash" in arrays else FIRST
        hash_of(algorithm)
        return cls(tuple(text.split("\n")) if text else (), int(arrays["n_buckets"][0]), algorithm)


def _mix(x: U64) -> U64:
    """Steele et al. 2014's 64-bit finaliser: order matters, so ``a:b`` differs from ``b:a``."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MULTIPLIERS[0])
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MULTIPLIERS[1])
    mixed: U64 = x ^ (x >> np.uint64(31))
    return mixed


def _wrong(row: Mapping[str, Any], parts: Sequence[str]) -> SchemaError:
    """What is wrong with the ids of a row, each by its name."""
    missing = [part for part in parts if part not in row]
    problems = [f"wide columns missing: {', '.join(missing)}"] if missing else []
    for part in parts:
        try:
            scalars.text(row.get(part))
        except SchemaError as error:
            problems.append(f"{part} {error}")
    return SchemaError("; ".join(problems))


def _column_hash(column: Any, wide: WideColumns) -> U64:
    """Hash of every value's text."""
    if isinstance(column, list):
        column = (written if wide.as_written else texts)(column)
    elif isinstance(column, np.ndarray):
        column = from_numpy(column)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    spell = written_of if wide.as_written else texts_of
    return np.concatenate([np.empty(0, np.uint64), *(_chunk_hash(chunk, wide.hash, spell) for chunk in chunks)])


def _chunk_hash(chunk: pa.Array, algorithm: str, spell: Spell) -> U64:
    chunk = simple(chunk)
    if isinstance(chunk, pa.DictionaryArray) and len(chunk.dictionary) > len(
        chunk
    ):  # of a whole file's, for a few rows
        chunk = chunk.dictionary_decode()
    # To encode is slow, but less so than to hash a text twice by the first hash.
    is_encoded = algorithm == BLAKE2B or isinstance(chunk, pa.DictionaryArray)
    return hash_texts(text_dictionary(chunk, spell) if is_encoded else spell(chunk), MISSING, algorithm)
