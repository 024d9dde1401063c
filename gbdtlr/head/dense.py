"""Dense columns: numbers, and lists of numbers, that go linearly into the head.

A value ``x`` enters as ``z = (x - centre) / scale``, in single precision, and zero where it is missing, so a missing
value is the centre. Centre and scale are constants: they are measured on the samples slow artifacts are made of, and
stay with these. The head's weights belong to ``z``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.documents import Document, Whole, decode, encode
from gbdtlr.codec.npz import checked
from gbdtlr.errors import DamagedError, SchemaError
from gbdtlr.values.frames import column_names, frame_of
from gbdtlr.values.vectors import numbered, row_vector, vectors_of

FORMAT = 1
L2 = 10.0
MOST = 1000.0
"""Scales from the centre beyond which a value counts as so many: one broken number must not undo a fit."""
MOST_VALUES = 65_536
"""Numbers of all dense columns together."""


@dataclass(frozen=True)
class DenseColumn:
    """One column and its constants.

    Attributes
    ----------
    name : of the column
    centre, scale : of each of its numbers, (size,)
    is_list : whether its values are lists, of one number too
    anchor : log-odds for each unit of each number that the head's weights are pulled towards, (size,)
    """

    name: str
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    is_list: bool = False
    anchor: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchor", self.anchor or (0.0,) * self.size)
        if not 0 < self.size == len(self.scale) == len(self.anchor) or (not self.is_list and self.size > 1):
            raise ValueError(f"the constants of the dense column {self.name!r:.60} are not of one size")
        if not np.isfinite([self.centre, self.scale, self.anchor]).all() or min(self.scale) <= 0:
            raise ValueError(f"the constants of the dense column {self.name!r:.60} cannot be")

    @property
    def size(self) -> int:
        """How many numbers each value has."""
        return len(self.centre)

    @classmethod
    def fit(cls, frame: Any, name: str, names: Collection[str], is_list: bool) -> DenseColumn:
        """The column with the constants that the rows of a frame have: mean and standard deviation of each number.

        Raises
        ------
        SchemaError
            Its values are no numbers and no lists of one length.
        """
        values = vectors_of(frame, names, name)
        centre, scale = [], []
        for line in values.T:
            there = line[np.isfinite(line)] if np.isfinite(line).any() else np.zeros(1)
            top = float(np.abs(there).max()) or 1.0  # squares of large numbers would overflow
            mean, std = float((there / top).mean()) * top, float((there / top).std()) * top
            centre.append(mean)
            scale.append(std if std > 1e-9 * max(abs(mean), std) else 1.0)
        return cls(name, tuple(centre), tuple(scale), is_list)

    def anchored(self, anchor: float | Sequence[float]) -> DenseColumn:
        """The same, pulled towards so many log-odds for each unit; one number is that of all.

        Raises
        ------
        SchemaError
            Not as many as a value has.
        """
        of_each = (anchor,) * self.size if isinstance(anchor, (int, float)) else tuple(anchor)
        if len(of_each) != self.size:
            raise SchemaError(f"has {len(of_each)} anchors and {self.size} numbers")
        return replace(self, anchor=tuple(map(float, of_each)))


@dataclass(frozen=True)
class DenseColumns:
    """Dense columns in the order of their parameters.

    Attributes
    ----------
    columns : they
    l2 : how strongly a fit is pulled towards their anchors, in place of the settings' own
    """

    columns: tuple[DenseColumn, ...] = ()
    l2: float = L2

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def n(self) -> int:
        """Numbers of all columns together."""
        return sum(column.size for column in self.columns)

    @cached_property
    def places(self) -> tuple[slice, ...]:
        """Where each column's numbers are among all."""
        stops = np.cumsum([column.size for column in self.columns]).tolist()
        return tuple(slice(stop - each.size, stop) for each, stop in zip(self.columns, stops, strict=True))

    @cached_property
    def anchor(self) -> NDArray[np.float64]:
        """What each weight is pulled towards, (n,)."""
        anchor = np.array([a * s for each in self.columns for a, s in zip(each.anchor, each.scale, strict=True)])
        return anchor.astype(np.float64)

    @cached_property
    def _constants(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        centre = np.array([value for each in self.columns for value in each.centre], np.float64)
        return centre, np.array([value for each in self.columns for value in each.scale], np.float64)

    def same_values(self, other: DenseColumns) -> bool:
        """Whether the other has the same columns and constants, whatever their weights are pulled towards."""
        return _reading(self) == _reading(other)

    def chosen(self, names: Sequence[str]) -> DenseColumns:
        """Those columns, in that order; KeyError where there is none of a name."""
        known = {column.name: column for column in self.columns}
        return replace(self, columns=tuple(known[name] for name in names))

    def values(self, frame: Any) -> NDArray[np.float32]:
        """What every row has, (n, n_rows): centred, scaled, zero where it is missing or infinite.

        Parameters
        ----------
        frame : any that :func:`gbdtlr.values.frames.frame_of` takes

        Raises
        ------
        SchemaError
            Columns missing, or with values that are not their numbers; the message lists them.
        """
        if not self.columns:
            return np.empty((0, 0), np.float32)
        frame = frame_of(frame)
        names = column_names(frame)
        missing = [name for name in self.names if name not in names and not numbered(names, name)]
        problems = [f"dense columns missing: {', '.join(missing)}"] if missing else []
        found = []
        for column in self.columns:
            if column.name in missing:
                continue
            try:
                found.append(vectors_of(frame, names, column.name, column.size))
            except SchemaError as error:
                problems.append(f"column {column.name} {error}")
        if problems:
            raise SchemaError("; ".join(problems))
        return np.ascontiguousarray(self._standardised(np.concatenate(found, axis=1)).T)

    def row_values(self, row: Mapping[str, Any]) -> NDArray[np.float32]:
        """What one row, a mapping of names to values, has, (n,): as :meth:`values` gives it."""
        found, missing, problems = [], [], []
        for column in self.columns:
            try:
                found += row_vector(row, column.name, column.size)
            except KeyError:
                missing.append(column.name)
            except SchemaError as error:
                problems.append(f"{column.name} {error}")
        if missing:
            problems.insert(0, f"dense columns missing: {', '.join(missing)}")
        if problems:
            raise SchemaError("; ".join(problems))
        return self._standardised(np.array(found, np.float64))

    def _standardised(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        centre, scale = self._constants
        with np.errstate(over="ignore", invalid="ignore"):
            z = np.where(np.isfinite(values), (values - centre) / scale, 0.0)
        return np.clip(z, -MOST, MOST).astype(np.float32)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What says so in the npz of a head; nothing where there are none."""
        if not self.columns:
            return {}
        centre, scale = self._constants
        return {
            "dense_names": np.frombuffer("\n".join(self.names).encode(), np.uint8),
            "dense_sizes": np.array([each.size for each in self.columns], np.int64),
            "dense_lists": np.array([each.is_list for each in self.columns], np.uint8),
            "dense_centre": centre,
            "dense_scale": scale,
            "dense_anchor": np.array([value for each in self.columns for value in each.anchor], np.float64),
            "dense_l2": np.array([self.l2]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> DenseColumns:
        """Columns as :meth:`to_arrays` gave them; KeyError, IndexError or ValueError for anything else."""
        if "dense_names" not in arrays:
            return NO_DENSE
        names = arrays["dense_names"].tobytes().decode().split("\n")
        sizes = checked(arrays["dense_sizes"], np.int64, (len(names),)).tolist()
        lists = checked(arrays["dense_lists"], np.uint8, (len(names),)).tolist()
        if min(sizes) < 1 or sum(sizes) > MOST_VALUES or len(set(names)) < len(names):
            raise ValueError("dense columns of no size, or twice")
        numbers = [
            iter(checked(arrays[f"dense_{what}"], np.float64, (sum(sizes),)).tolist())
            for what in ("centre", "scale", "anchor")
        ]
        columns = []
        for name, size, of_lists in zip(names, sizes, lists, strict=True):
            centre, scale, anchor = (tuple(next(each) for _ in range(size)) for each in numbers)
            columns.append(DenseColumn(name, centre, scale, bool(of_lists), anchor))
        l2 = float(arrays["dense_l2"][0])
        if not 0 < l2 < np.inf:
            raise ValueError("no strength of the dense columns")
        return cls(tuple(columns), l2)

    def to_json(self) -> bytes:
        """Names and constants as JSON, without what concerns heads alone."""
        columns = [_Stored(each.name, each.is_list, each.centre, each.scale) for each in self.columns]
        return encode(_Constants(FORMAT, tuple(columns)))

    @classmethod
    def from_json(cls, data: bytes) -> DenseColumns:
        """Columns as :meth:`to_json` gave them, anchored at zero.

        Raises
        ------
        DamagedError, FormatError
            Not such a document; written by a newer gbdtlr.
        """
        what = "the document of dense columns"
        stored = decode(data, _Constants, what, FORMAT)
        try:
            columns = tuple(DenseColumn(each.name, each.centre, each.scale, each.is_list) for each in stored.columns)
        except ValueError as error:
            raise DamagedError(f"{what} is damaged: {error}") from None
        if len({column.name for column in columns}) < len(columns):
            raise DamagedError(f"{what} is damaged: it names a column twice")
        return cls(columns)


NO_DENSE = DenseColumns()


class _Stored(Document, frozen=True):
    name: str
    is_list: bool
    centre: tuple[float, ...]
    scale: tuple[float, ...]


class _Constants(Document, frozen=True):
    format: Whole
    columns: tuple[_Stored, ...]


def _reading(dense: DenseColumns) -> list[tuple[Any, ...]]:
    return [(each.name, each.centre, each.scale, each.is_list) for each in dense.columns]
