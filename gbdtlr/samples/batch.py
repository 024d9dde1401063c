"""Samples: mature rows in memory, features in a table and what is known about them in arrays beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from gbdtlr.errors import SamplesError
from gbdtlr.samples.formats.columns import to_text_dictionary
from gbdtlr.samples.formats.lists import alike
from gbdtlr.values.arrays import from_numpy
from gbdtlr.values.numbers import is_number
from gbdtlr.values.vectors import is_list

ONE_CLASS = "check the label column, or [outcomes], or give the window more time"
"""What to do where labels are all of one class."""


@dataclass(frozen=True)
class Samples:
    """Mature rows in canonical order: files by path, rows as they stand in the file.

    Attributes
    ----------
    table : pyarrow.Table, (n, features of the config), in the types of
        :func:`gbdtlr.samples.formats.columns.feature_column`
    label : int8, (n,), 0 or 1
    weight : float64, (n,), from 0 to MAX_WEIGHT; ones where no weight is configured
    event_us : int64, (n,), microseconds since 1970 UTC
    known_us : int64, (n,), when the label became known; never before ``event_us``
    outcome_us : int64, (n,), when the outcome came, NEVER where none did, of rows that have a deadline, which is their
        ``known_us``; None of others
    """

    table: pa.Table
    label: npt.NDArray[np.int8]
    weight: npt.NDArray[np.float64]
    event_us: npt.NDArray[np.int64]
    known_us: npt.NDArray[np.int64]
    outcome_us: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, indices: npt.NDArray[np.integer]) -> Samples:
        """Rows at ``indices``, in their order."""
        return Samples(
            self.table.take(from_numpy(indices)),
            self.label[indices],
            self.weight[indices],
            self.event_us[indices],
            self.known_us[indices],
            None if self.outcome_us is None else self.outcome_us[indices],
        )

    def slice(self, start: int, stop: int) -> Samples:
        """Rows from ``start`` up to ``stop``, without copying them."""
        rows = slice(start, stop)
        return Samples(
            self.table.slice(start, stop - start),
            self.label[rows],
            self.weight[rows],
            self.event_us[rows],
            self.known_us[rows],
            None if self.outcome_us is None else self.outcome_us[rows],
        )

    def filter(self, mask: npt.NDArray[np.bool_]) -> Samples:
        """Rows where ``mask``, (n,), is true."""
        if mask.all():
            return self
        return Samples(
            self.table.filter(from_numpy(mask)),
            self.label[mask],
            self.weight[mask],
            self.event_us[mask],
            self.known_us[mask],
            None if self.outcome_us is None else self.outcome_us[mask],
        )

    def by_maturity(self) -> Samples:
        """The same rows in the order in which their labels became known; ties keep their order."""
        return self.take(np.argsort(self.known_us, kind="stable"))

    @staticmethod
    def concat(parts: Sequence[Samples]) -> Samples:
        """All rows of ``parts``, one after the other; at least one part."""
        if len(parts) == 1:
            return parts[0]
        outcomes = [part.outcome_us for part in parts if part.outcome_us is not None]
        return Samples(
            concat_tables([part.table for part in parts]),
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.event_us for part in parts]),
            np.concatenate([part.known_us for part in parts]),
            np.concatenate(outcomes) if outcomes else None,
        )


def concat_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of the same column names end to end; a column whose type differs takes one that holds them all.

    Whole numbers stay exact, as ids must, and other numbers widen; beside texts or truth values they become texts.
    """
    first = tables[0].schema
    if all(table.schema.equals(first) for table in tables):
        return pa.concat_tables(tables)
    columns = []
    for name in first.names:
        chunks = [chunk for table in tables for chunk in table.column(name).chunks]
        types = {table.schema.field(name).type for table in tables}
        if len(types) > 1:
            chunks = alike(chunks, types, name) if any(map(is_list, types)) else _alike(chunks, types)
        columns.append(pa.chunked_array(chunks, chunks[0].type if chunks else first.field(name).type))
    return pa.table(columns, names=first.names)


def _alike(chunks: list[pa.Array], types: set[pa.DataType]) -> list[pa.Array]:
    if not all(is_number(kind) and not pt.is_boolean(kind) and not pt.is_dictionary(kind) for kind in types):
        return [to_text_dictionary(chunk) for chunk in chunks]
    if any(pt.is_floating(kind) for kind in types):
        return [chunk.cast(pa.float64(), safe=False) for chunk in chunks]
    try:
        return [chunk.cast(pa.int64()) for chunk in chunks]
    except pa.ArrowInvalid:
        return [chunk.cast(pa.decimal128(38, 0)) for chunk in chunks]


def require_both_classes(
    samples: Samples,
    rows: npt.NDArray[Any] | slice = slice(None),
    which: str = "samples",
    remedy: str = ONE_CLASS,
) -> None:
    """Nothing, if both labels occur with a weight above zero.

    Parameters
    ----------
    rows : indices or mask of those that count
    which : what they are called
    remedy : what to do otherwise

    Raises
    ------
    SamplesError
        Only one of the labels occurs; nothing can be learned from that.
    """
    counted = samples.weight[rows] > 0
    n_positive = int(np.count_nonzero(samples.label[rows][counted]))
    check_both_classes(n_positive, int(np.count_nonzero(counted)) - n_positive, which, remedy)


def check_both_classes(n_positive: int, n_negative: int, which: str, remedy: str = ONE_CLASS) -> None:
    """As :func:`require_both_classes`, of so many rows with a weight above zero."""
    if n_positive and n_negative:
        return
    only = "none with a weight above zero" if not n_positive and not n_negative else "only one class"
    raise SamplesError(f"{n_positive} positive and {n_negative} negative {which}: {only}, expected both; {remedy}")
