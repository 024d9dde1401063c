"""Frozen: embeddings as a version keeps them, mapped from its files and looked up by item."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.documents import Document, Whole, decode, encode
from gbdtlr.embeddings.content import F16, Groups, Pairs, groups_of
from gbdtlr.embeddings.counts import guessed_in, places_in
from gbdtlr.embeddings.keys import HASH, key_of, keys_of
from gbdtlr.errors import DamagedError, SchemaError
from gbdtlr.values.frames import column_names, column_of, frame_of
from gbdtlr.values.hashing import U64, hash_of

FORMAT = 1
ABOUT, KEYS, VECTORS = "embeddings.json", "keys.npy", "vectors.npy"
GROUPS, STARTS, MEMBERS, MEANS = "groups.npy", "group_starts.npy", "group_items.npy", "group_means.npy"
FILES = (ABOUT, KEYS, VECTORS, GROUPS, STARTS, MEMBERS, MEANS)
Found = tuple[NDArray[np.float32], NDArray[np.bool_]]


class About(Document, frozen=True):
    """What says how the arrays of a version are to be read.

    Attributes
    ----------
    hash : what hashed the items
    item : column that items are of
    content : columns that groups are of
    items, groups, members : how many of each there are
    """

    format: int
    hash: str
    item: str
    content: tuple[str, ...]
    dimensions: Whole
    items: Whole
    groups: Whole
    members: Whole


@dataclass(frozen=True)
class Embeddings:
    """Vectors of items; immutable, and on the disk until they are looked at.

    Attributes
    ----------
    item : column of a row that says which item it is of
    content : columns that an item without a vector is known by, if any
    keys : uint64 (n,), rising
    vectors : float16 (n, dimensions)
    groups : of items by their content
    hash : what hashed the items
    """

    item: str
    content: tuple[str, ...]
    keys: U64
    vectors: F16
    groups: Groups
    hash: str = HASH

    @classmethod
    def of(
        cls,
        keys: U64,
        vectors: NDArray[np.floating],
        item: str,
        content: tuple[str, ...] = (),
        pairs: Pairs | None = None,
    ) -> Embeddings:
        """Embeddings of vectors, (n, dimensions), whose keys rise.

        Parameters
        ----------
        pairs : which items were seen with which content
        """
        with np.errstate(over="ignore"):  # what is too large is infinite, which a guard looks for
            halves = np.ascontiguousarray(vectors, "<f2")
        groups = Groups.of(Pairs.none() if pairs is None else pairs, keys, halves)
        return cls(item, content, keys, halves, groups)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def dimensions(self) -> int:
        """Numbers in each vector."""
        return int(self.vectors.shape[1])

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a row that its vector is found by."""
        return tuple(dict.fromkeys((self.item, *self.content)))

    def vectors_of(self, items: Any, content: Mapping[str, Any] | None = None) -> Found:
        """Vector of every item, or else the mean of those that share its content.

        Parameters
        ----------
        items : (n,), a column of any library, or a list of Python values
        content : columns by name, (n,) each, all of :attr:`content`; None where only items with a vector are asked for

        Returns
        -------
        vectors : float32 (n, dimensions); zeros where there is none
        known : bool (n,), where there is one

        Raises
        ------
        SchemaError
            Content missing, or values that cannot be ids.
        """
        keys, there = keys_of(items, self.hash)
        vectors, known = self._of_keys(keys, there)
        if content is not None and len(self.groups) and not known.all():
            unknown = ~known
            means, has_mean = self._means(content, unknown)
            vectors[unknown], known[unknown] = means, has_mean
        return vectors, known

    def vectors_of_rows(self, rows: Any) -> Found:
        """:meth:`vectors_of` the items of a frame's rows, by their columns; raise SchemaError if one is missing."""
        return self.vectors_of(*self._items_of(rows))

    def places_of_rows(self, rows: Any) -> NDArray[np.int64]:
        """Where the vector of each of a frame's rows is, int64 (n,), for :meth:`vectors_at`; -1 where there is none.

        Raises
        ------
        SchemaError
            A column is missing, or holds what cannot be ids.
        """
        items, content = self._items_of(rows)
        keys, there = keys_of(items, self.hash)
        found, known = guessed_in(self.keys, keys)
        known &= there
        places = np.where(known, found, -1).astype(np.int64)
        if content is not None and len(self.groups) and not known.all():
            unknown = ~known
            groups, of_group = self._groups_of(content, unknown)
            places[unknown] = np.where(of_group, groups + len(self), -1)
        return places

    def vectors_at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors that :meth:`places_of_rows` told the places of, none of them below zero; float32 (n, dimensions)."""
        is_mean = places >= len(self)
        vectors = np.empty((len(places), self.dimensions), np.float32)
        vectors[~is_mean] = self.vectors[places[~is_mean]]
        vectors[is_mean] = self.groups.means[places[is_mean] - len(self)]
        return vectors

    def _items_of(self, rows: Any) -> tuple[Any, dict[str, Any] | None]:
        frame = frame_of(rows)
        there = column_names(frame)
        if missing := [name for name in self.columns if name not in there]:
            raise SchemaError(f"columns of the embeddings missing: {', '.join(missing)}")
        content = {name: column_of(frame, name) for name in self.content}
        return column_of(frame, self.item), content or None

    def vector_of(self, item: Any, content: Mapping[str, Any] | None = None) -> NDArray[np.float32] | None:
        """Vector of one item, float32 (dimensions,), as :meth:`vectors_of` gives it; None if there is none.

        Parameters
        ----------
        content : value of each of its content columns
        """
        key = key_of(item, self.hash)
        if key is not None:
            place = int(np.searchsorted(self.keys, np.uint64(key)))
            if place < len(self) and self.keys[place] == key:
                found: NDArray[np.float32] = self.vectors[place].astype(np.float32)
                return found
        if content is None or not len(self.groups):
            return None
        means, known = self._means({name: [content.get(name)] for name in self.content}, np.ones(1, bool))
        return means[0] if known[0] else None

    def has(self, items: Any) -> NDArray[np.bool_]:
        """Where an item, (n,), has a vector of its own."""
        keys, there = keys_of(items, self.hash)
        return places_in(self.keys, keys)[1] & there

    def _of_keys(self, keys: U64, there: NDArray[np.bool_]) -> Found:
        places, known = guessed_in(self.keys, keys)
        known &= there
        vectors = np.zeros((len(keys), self.dimensions), np.float32)
        vectors[known] = self.vectors[places[known]]
        return vectors, known

    def _means(self, content: Mapping[str, Any], rows: NDArray[np.bool_]) -> Found:
        places, known = self._groups_of(content, rows)
        means = np.zeros((len(places), self.dimensions), np.float32)
        means[known] = self.groups.means[places[known]]
        return means, known

    def _groups_of(
        self, content: Mapping[str, Any], rows: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Group of each of those rows, and whether it is of one."""
        columns = []
        for name in self.content:
            if name not in content:
                raise SchemaError(f"content of the items is missing: {name}")
            try:
                keys, there = keys_of(content[name], self.hash)
            except SchemaError as error:
                raise SchemaError(f"column {name} {error}") from None
            columns.append((keys[rows], there[rows]))
        group, there = groups_of(columns, int(rows.sum()))
        places, known = places_in(self.groups.keys, group)
        return places, known & there

    def without(self, keys: U64) -> Embeddings:
        """The same without the items of these keys, and without what they gave to the means of their groups."""
        dropped, there = places_in(self.keys, keys)
        kept = np.ones(len(self), bool)
        kept[dropped[there]] = False
        vectors = np.ascontiguousarray(self.vectors[kept])
        groups = self.groups.without(kept, vectors)
        return Embeddings(self.item, self.content, self.keys[kept], vectors, groups, self.hash)

    @cached_property
    def is_finite(self) -> bool:
        """Whether all vectors are of finite numbers; reads them all."""
        step = 1 << 20
        return all(bool(np.isfinite(self.vectors[i : i + step]).all()) for i in range(0, len(self), step))

    def check(self) -> None:
        """Read everything; raise DamagedError if no lookup can be trusted."""
        for keys, what in ((self.keys, "items"), (self.groups.keys, "groups")):
            if len(keys) and not (keys[1:] > keys[:-1]).all():
                raise DamagedError(f"the keys of the {what} do not rise")
        if not self.is_finite or not np.isfinite(self.groups.means).all():
            raise DamagedError("vectors that are not finite")
        starts, items = self.groups.starts, self.groups.items
        if not (starts[0] == 0 and starts[-1] == len(items) and (np.diff(starts) > 0).all()):
            raise DamagedError("groups of items that begin nowhere")
        if len(items) and not (items.min() >= 0 and items.max() < len(self)):
            raise DamagedError("groups of items that are not there")

    def to_files(self) -> dict[str, bytes]:
        """Files a version keeps them in, by name: the same vectors give the same bytes."""
        about = About(
            FORMAT,
            self.hash,
            self.item,
            self.content,
            self.dimensions,
            len(self),
            len(self.groups),
            len(self.groups.items),
        )
        arrays = {
            KEYS: (self.keys, "<u8"),
            VECTORS: (self.vectors, "<f2"),
            GROUPS: (self.groups.keys, "<u8"),
            STARTS: (self.groups.starts, "<i8"),
            MEMBERS: (self.groups.items, "<i8"),
            MEANS: (self.groups.means, "<f2"),
        }
        files = {name: _to_npy(np.ascontiguousarray(array, kind)) for name, (array, kind) in arrays.items()}
        return {ABOUT: encode(about), **files}

    @classmethod
    def open(cls, paths: Mapping[str, Path]) -> Embeddings:
        """Embeddings in these files, mapped into memory: of any number of items nothing is read but the headers.

        Raises
        ------
        DamagedError
            Files missing, or not of the arrays that :data:`ABOUT` says.
        FormatError
            Written by a newer gbdtlr.
        """
        if missing := [name for name in FILES if name not in paths]:
            raise DamagedError(f"embeddings have no {', '.join(missing)}")
        try:
            about = decode(paths[ABOUT].read_bytes(), About, str(paths[ABOUT]), newest=FORMAT)
        except OSError as error:
            raise DamagedError(f"{paths[ABOUT]} cannot be read: {error.strerror}") from None
        hash_of(about.hash)
        n, d, m = about.items, about.dimensions, about.groups
        groups = Groups(
            _map(paths[GROUPS], "<u8", (m,)),
            _map(paths[STARTS], "<i8", (m + 1,)),
            _map(paths[MEMBERS], "<i8", (about.members,)),
            _map(paths[MEANS], "<f2", (m, d)),
        )
        keys, vectors = _map(paths[KEYS], "<u8", (n,)), _map(paths[VECTORS], "<f2", (n, d))
        return cls(about.item, about.content, keys, vectors, groups, about.hash)


def _to_npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _map(path: Path, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array in an npy file, read from the disk where it is looked at; DamagedError if it is not such an array."""
    dtype = np.dtype(kind)
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of npy")
            found = np.lib.format.read_array_header_1_0(file)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
            if found != (shape, False, dtype) or size - start != int(np.prod(shape, dtype=object)) * dtype.itemsize:
                raise ValueError(f"{kind} {shape} expected, found {found[2]} {found[0]} in {size} bytes")
            if size == start:  # nothing cannot be mapped
                return np.empty(shape, dtype)
            return np.memmap(file, dtype, "r", start, shape).view(np.ndarray)
    except (OSError, ValueError, SyntaxError, TypeError, EOFError) as error:
        raise DamagedError(f"{path} is damaged: {str(error)[:200]}") from None
