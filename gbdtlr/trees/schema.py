"""What the trees' features are called, what they hold, and how a frame becomes the numbers they were grown on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gbdtlr.codec.documents import Document, Whole, decode
from gbdtlr.errors import DamagedError, SchemaError
from gbdtlr.trees.columns import Fill, fill_categories, fill_numbers
from gbdtlr.trees.plain_row import Codes, PlainRow
from gbdtlr.values import scalars
from gbdtlr.values.arrays import from_texts
from gbdtlr.values.categories import texts
from gbdtlr.values.frames import column_names, column_of, frame_of

FORMAT = 2
"""Vocabularies of format 1 hold texts as they stood, later ones texts in their one spelling."""


@dataclass(frozen=True)
class Feature:
    """One column the trees read: a number, or, where there is a vocabulary, a category.

    Category ``vocabulary[c]`` is the number c to the trees. All values outside share the number
    ``len(vocabulary)``, and missing is NaN.
    """

    name: str
    vocabulary: tuple[str, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Feature, (self.name, self.vocabulary)

    @cached_property
    def codes(self) -> dict[str, float]:
        """Number of each category."""
        return {value: float(code) for code, value in enumerate(self.vocabulary or ())}

    @cached_property
    def values(self) -> pa.Array:
        return from_texts(self.vocabulary or ())


@dataclass(frozen=True)
class Schema:
    """The trees' features, in the order LightGBM knows them by.

    Where ``as_written``, the vocabularies are from before a text had one spelling: ``True`` is another category than
    ``true``, ``7.0`` than ``7``, and the empty text is one. Values mean to these trees what they did when they grew.
    """

    features: tuple[Feature, ...]
    as_written: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Schema, (self.features, self.as_written)  # without how single rows are read

    @classmethod
    def fit(cls, frame: Any, numeric: Sequence[str], categorical: Sequence[str], *, min_category_count: int) -> Schema:
        """Schema of the named columns; values rarer than ``min_category_count`` stay out of the vocabularies.

        Raises
        ------
        SchemaError
            Columns missing or of the wrong type; the message lists them.
        """
        frame = frame_of(frame)
        blank = cls((*(Feature(name) for name in numeric), *(Feature(name, ()) for name in categorical)))
        blank.fills(frame)
        vocabularies = (
            _vocabulary(column_of(frame, feature.name), min_category_count)
            for feature in blank.features[len(numeric) :]
        )
        named = (Feature(name, values) for name, values in zip(categorical, vocabularies, strict=True))
        return cls((*blank.features[: len(numeric)], *named))

    @classmethod
    def of_counts(
        cls,
        numeric: Sequence[str],
        categorical: Sequence[str],
        counts: Mapping[str, Mapping[str, int]],
        *,
        min_category_count: int,
    ) -> Schema:
        """As :meth:`fit`, of rows that were counted by :func:`category_counts`, here and there, and added up."""
        vocabularies = (
            tuple(sorted(text for text, n in counts.get(name, {}).items() if n >= min_category_count))
            for name in categorical
        )
        named = (Feature(name, values) for name, values in zip(categorical, vocabularies, strict=True))
        return cls((*(Feature(name) for name in numeric), *named))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    def fills(self, frame: Any) -> tuple[int, list[Fill]]:
        """Number of rows, and for each feature the function that writes any range of its rows as float64.

        Parameters
        ----------
        frame : any that :func:`gbdtlr.values.frames.frame_of` takes

        Raises
        ------
        SchemaError
            Columns missing, of the wrong type or of different lengths; the message lists them.
        """
        frame = frame_of(frame)
        present = column_names(frame)
        missing = [name for name in self.names if name not in present]
        problems = [f"no column {', '.join(missing)}"] if missing else []
        fills: list[Fill] = []
        lengths: dict[int, str] = {}
        for feature in self.features:
            if feature.name not in present:
                continue
            try:
                column = column_of(frame, feature.name)
                if feature.vocabulary is None:
                    fills.append(fill_numbers(column))
                else:
                    fill = fill_categories(column, feature.values, as_written=self.as_written)
                    fills.append(_named(feature.name, fill))
                lengths.setdefault(len(column), feature.name)
            except SchemaError as error:
                problems.append(f"column {feature.name} {error}")
        if len(lengths) > 1:
            problems.append("lengths differ: " + ", ".join(f"{name} has {n}" for n, name in lengths.items()))
        if problems:
            raise SchemaError("; ".join(problems))
        return next(iter(lengths), 0), fills

    def matrix(self, frame: Any) -> npt.NDArray[np.float64]:
        """The numbers LightGBM sees, (n_rows, n_features) float64: categories by number, missing as NaN."""
        n_rows, fills = self.fills(frame)
        matrix = np.empty((len(fills), n_rows), np.float64)
        for fill, column_out in zip(fills, matrix, strict=True):
            fill(0, n_rows, column_out)
        return matrix.T

    def row(self, values: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """One row of :meth:`matrix` from named values; None and NaN are missing.

        Raises
        ------
        SchemaError
            Names missing or values of the wrong type; the message lists them.
        """
        if type(values) is dict and (plain := self.plain.of_mapping(values)) is not None:
            return plain
        row: list[float] = []
        missing, problems = [], []
        for feature, codes in zip(self.features, self._all_codes, strict=True):
            if feature.name not in values:
                missing.append(feature.name)
                continue
            value = values[feature.name]
            try:
                row.append(scalars.number(value) if codes is None else self._code(value, codes))
            except SchemaError as error:
                problems.append(f"{feature.name} {error}")
        if missing:
            problems.insert(0, f"no value for {', '.join(missing)}")
        if problems:
            raise SchemaError("; ".join(problems))
        return np.array(row, np.float64)

    def _code(self, value: Any, codes: Codes) -> float:
        return codes[scalars.written(value) if self.as_written else scalars.text(value)]

    @cached_property
    def plain(self) -> PlainRow:
        """How rows of plain values are put together."""
        return PlainRow.of(self.names, self._all_codes)

    @cached_property
    def _all_codes(self) -> list[Codes | None]:
        return [None if f.vocabulary is None else Codes(f.codes, self.as_written) for f in self.features]

    def to_json(self) -> bytes:
        """The schema as JSON; equal schemas give equal bytes."""
        features = [
            {"name": f.name, "kind": "numeric"}
            if f.vocabulary is None
            else {"name": f.name, "kind": "categorical", "vocabulary": list(f.vocabulary)}
            for f in self.features
        ]
        return json.dumps(
            {"format": 1 if self.as_written else FORMAT, "features": features}, ensure_ascii=False, indent=1
        ).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Schema:
        """The schema :meth:`to_json` wrote.

        Raises
        ------
        FormatError
            Written by a newer gbdtlr.
        DamagedError
            Not such a schema.
        """
        stored = decode(data, _Stored, "the trees' schema", FORMAT)
        if len({f.name for f in stored.features}) < len(stored.features):
            raise DamagedError("the trees' schema names a feature twice")
        return cls(tuple(Feature(f.name, f.vocabulary) for f in stored.features), as_written=stored.format < 2)


class _StoredFeature(Document, frozen=True):
    name: str
    kind: Literal["numeric", "categorical"]
    vocabulary: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.vocabulary is None) != (self.kind == "numeric"):
            raise ValueError(f"the {self.kind} feature {self.name!r:.60} must have a vocabulary if it has categories")
        if self.vocabulary is not None and len(set(self.vocabulary)) < len(self.vocabulary):
            raise ValueError(f"the vocabulary of {self.name!r:.60} has a text twice")


class _Stored(Document, frozen=True):
    format: Whole
    features: tuple[_StoredFeature, ...]


def _named(name: str, fill: Fill) -> Fill:
    """The fill, whose errors tell the column's name."""

    def named(start: int, stop: int, out: npt.NDArray[np.float64]) -> None:
        try:
            fill(start, stop, out)
        except SchemaError as error:
            raise SchemaError(f"column {name} {error}") from None

    return named


def category_counts(frame: Any, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """How often each text occurs in these columns, without those that are missing."""
    found: dict[str, dict[str, int]] = {}
    for name in names:
        own = found.setdefault(name, {})
        try:
            counts = pc.value_counts(texts(column_of(frame_of(frame), name)))
        except SchemaError as error:
            raise SchemaError(f"column {name} {error}") from None
        for text, n in zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True):
            if text is not None:
                own[text] = own.get(text, 0) + n
    return found


def _vocabulary(column: Any, min_count: int) -> tuple[str, ...]:
    counts = pc.value_counts(texts(column))
    values, n = counts.field("values"), counts.field("counts")
    kept = pc.and_(pc.greater_equal(n, min_count), pc.is_valid(values))
    return tuple(sorted(values.filter(kept).to_pylist()))
