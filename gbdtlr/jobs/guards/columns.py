"""Columns: what each held in the rows a job was given, beside what it held in those of the releases before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import GuardConfig
from gbdtlr.head import WideColumns
from gbdtlr.trees import Schema

TOP = 8
UNSEEN = "(unseen)"
AS_LONG = 1.25
"""How much longer than ever before one value may last; where rows are rare, runs end some time before their hour."""


@dataclass(frozen=True)
class Column:
    """What one column held.

    Attributes
    ----------
    kind : ``numeric``, ``categorical`` or ``wide``
    missing : rows without a value; of a wide column, which has a bucket for them, always 0
    unseen : rows with a category the trees have not learned
    top : the most frequent values with how many rows have them: numbers, categories, or buckets of wide columns
    finite, mean, std : of the finite numbers, how many there are and their moments
    run_s : the longest time it kept one value, from event to event; an hour for the hour of the day
    """

    kind: str
    missing: int
    unseen: int
    top: tuple[tuple[Any, int], ...]
    finite: int = 0
    mean: float = 0.0
    std: float = 0.0
    run_s: float = 0.0

    def plus(self, other: Column) -> Column:
        """Both together; counts of the values that are in the top of neither are lost, and runs over both."""
        counts = dict(self.top)
        for value, n in other.top:
            counts[value] = counts.get(value, 0) + n
        finite = self.finite + other.finite
        mean = (self.finite * self.mean + other.finite * other.mean) / max(finite, 1)
        square = sum(each.finite * (each.std**2 + (each.mean - mean) ** 2) for each in (self, other)) / max(finite, 1)
        return Column(
            self.kind,
            self.missing + other.missing,
            self.unseen + other.unseen,
            tuple(sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:TOP]),
            finite,
            mean,
            float(np.sqrt(square)),
            max(self.run_s, other.run_s),
        )

    def rows_with(self, value: Any) -> int:
        """How many rows have the value, as far as it is known."""
        return next((n for known, n in self.top if known == value), 0)


@dataclass(frozen=True)
class Profile:
    """What the columns held in a number of rows.

    Attributes
    ----------
    rows : how many
    columns : by name; crosses of wide columns too
    """

    rows: int = 0
    columns: Mapping[str, Column] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        table: Any,
        schema: Schema,
        buckets: NDArray[np.uint32],
        wide: WideColumns,
        event_us: NDArray[np.int64],
    ) -> Profile:
        """Profile of a table of samples as trees and head see it.

        Parameters
        ----------
        table : pyarrow.Table, (n, at least the schema's columns)
        schema : of the trees, whose vocabularies tell what is unseen
        buckets : uint32 (n_wide, n), of the wide columns
        event_us : int64 (n,)
        """
        matrix = schema.matrix(table)
        in_time = np.argsort(event_us, kind="stable")
        columns = {
            feature.name: replace(_column(values, feature.vocabulary), run_s=_run_s(values[in_time], event_us[in_time]))
            for feature, values in zip(schema.features, matrix.T, strict=True)
        }
        for name, bucket in zip(wide.names, buckets, strict=True):
            run_s = _run_s(bucket[in_time].astype(np.float64), event_us[in_time])
            columns[f"wide {name}"] = Column("wide", 0, 0, _top(bucket), run_s=run_s)
        return cls(len(matrix), columns)

    def plus(self, other: Profile) -> Profile:
        """Both together; columns that only one has are left out."""
        if not self.rows or not other.rows:
            return other if other.rows else self
        shared = (name for name in self.columns if name in other.columns)
        return Profile(self.rows + other.rows, {name: self.columns[name].plus(other.columns[name]) for name in shared})

    def to_dict(self) -> dict[str, Any]:
        """The profile in JSON's types."""
        names = ("kind", "missing", "unseen", "finite", "mean", "std", "run_s")
        columns = {
            name: {**{key: getattr(column, key) for key in names}, "top": [list(pair) for pair in column.top]}
            for name, column in self.columns.items()
        }
        return {"rows": self.rows, "columns": columns}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Profile:
        """Profile as :meth:`to_dict` gave it."""
        columns = {
            name: Column(**{**column, "top": tuple((value, n) for value, n in column["top"])})
            for name, column in table["columns"].items()
        }
        return cls(table["rows"], columns)

    def objections(self, known: list[Profile], guard: GuardConfig) -> Iterator[str]:
        """What is suddenly wrong with columns, each with its numbers, beside any of the ``known`` profiles.

        A share is compared with the largest in any of them, so that what has been so before (a rare outage, a day
        without rain) is not sudden. Nor is one value for as long as there has been one value before: the hour of the
        day is the same in all rows of an hour. Numbers that drift are no fault: that is what updates are for.
        """
        for name, column in self.columns.items():
            before = [(each.columns[name], each.rows) for each in known if each.rows and name in each.columns]
            if not before or not self.rows:
                continue
            missing, missed = column.missing / self.rows, max(each.missing / n for each, n in before)
            unseen, unknown = column.unseen / self.rows, max(each.unseen / n for each, n in before)
            there = self.rows - column.missing
            for what, share, known_share in (("missing", missing, missed), ("unseen by the trees", unseen, unknown)):
                if share - known_share > guard.missing:
                    yield (
                        f"column {name} is {what} in {share:.0%} of {self.rows} rows, before in {known_share:.0%}; "
                        f"[guard] missing = {guard.missing:g} allows a rise of {guard.missing:.0%}"
                    )
            if column.top and column.top[0][1] == there > self.rows / 2 and column.top[0][0] != UNSEEN:
                value = column.top[0][0]
                share = max(each.rows_with(value) / n for each, n in before)
                if share < guard.constant and column.run_s > AS_LONG * max(each.run_s for each, _ in before):
                    told = "one id" if column.kind == "wide" else repr(value)
                    yield (
                        f"column {name} is {told} in all of {there} rows, before in {share:.0%}; "
                        f"[guard] constant asks for {guard.constant:.0%}"
                    )


def _column(values: NDArray[np.float64], vocabulary: tuple[str, ...] | None) -> Column:
    there = values[~np.isnan(values)]
    missing = len(values) - len(there)
    if vocabulary is not None:
        names = (*vocabulary, UNSEEN)
        top = tuple((names[int(code)], n) for code, n in _top(there))
        return Column("categorical", missing, int((there == len(vocabulary)).sum()), top)
    finite = there[np.isfinite(there)]
    if not len(finite):
        return Column("numeric", missing, 0, ())
    scale = float(np.abs(finite).max()) or 1.0  # squares of large numbers would overflow
    mean, std = float((finite / scale).mean()) * scale, float((finite / scale).std()) * scale
    moments = (mean, std) if np.isfinite(mean) and np.isfinite(std) else (0.0, 0.0)
    return Column("numeric", missing, 0, _top(finite), len(finite), *moments)


def _run_s(values: NDArray[np.float64], event_us: NDArray[np.int64]) -> float:
    """Longest time from the first to the last row of equal values in a row, both (n,) in order of time."""
    there = ~np.isnan(values)
    values, event_us = values[there], event_us[there]
    if not len(values):
        return 0.0
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    ends = np.r_[starts[1:], len(values)] - 1
    return float((event_us[ends] - event_us[starts]).max()) / 1e6


def _top(values: NDArray[Any]) -> tuple[tuple[Any, int], ...]:
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:TOP]
    return tuple((found[i].item(), int(counts[i])) for i in order)
