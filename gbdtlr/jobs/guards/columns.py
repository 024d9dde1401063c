"""Columns: what each held in the rows a job was given, beside what it held in those of the releases before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.documents import Finite, Measure, Whole, Word
from gbdtlr.config import GuardConfig
from gbdtlr.head import DenseColumn, DenseColumns, WideColumns
from gbdtlr.head.dense import NO_DENSE
from gbdtlr.jobs.guards.check import Check
from gbdtlr.trees import Schema
from gbdtlr.values.hashing import FIRST
from gbdtlr.values.vectors import vectors_of

TOP = 8
WIDE, DENSE = "wide", "dense"
UNSEEN = "(unseen)"
RUN = 30
"""Rows in a row that a run needs to count: by chance so many do not fall on one value, were it every other row's."""
SLACK = 2
"""How many times as long as ever before a column must stay as it is to be suspected."""


@dataclass(frozen=True)
class Column:
    """What one column held.

    Attributes
    ----------
    kind : ``numeric``, ``categorical`` or ``wide``, the latter with hash and number of buckets, which are others else;
        ``wide`` alone is of the first hash; or ``dense``, of a list with its constants, by which each is one number
    missing : rows without a value; of a wide column, which has a bucket for them, always 0
    unseen : rows with a category the trees have not learned
    top : the most frequent values with how many rows have them: numbers, categories, or buckets of wide columns
    finite, mean, std : of the finite numbers, how many there are and their moments
    steady_s, absent_s : the longest time in which all values were one, and in which there were none, in seconds
    """

    kind: str
    missing: Whole
    unseen: Whole
    top: tuple[tuple[str | Word | Finite, Whole], ...]
    finite: Whole = 0
    mean: Finite = 0.0
    std: Finite = 0.0
    steady_s: Measure = 0.0
    absent_s: Measure = 0.0

    def plus(self, other: Column) -> Column:
        """Both together; counts of the values that are in the top of neither are lost."""
        counts = dict(self.top)
        for value, n in other.top:
            counts[value] = counts.get(value, 0) + n
        finite = self.finite + other.finite
        mean = (self.finite * self.mean + other.finite * other.mean) / max(finite, 1)
        square = sum(each.finite * (each.std**2 + (each.mean - mean) ** 2) for each in (self, other)) / max(finite, 1)
        return (
            Column(
                self.kind,
                self.missing + other.missing,
                self.unseen + other.unseen,
                tuple(sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:TOP]),
                finite,
                mean,
                float(np.sqrt(square)),
            )
            .with_runs(other)
            .with_runs(self)
        )

    def with_runs(self, other: Column) -> Column:
        """The same column, with the longer of both columns' runs."""
        return replace(self, steady_s=max(self.steady_s, other.steady_s), absent_s=max(self.absent_s, other.absent_s))

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
    first_us, last_us : when most of them happened: all but a twentieth at either end
    """

    rows: Whole = 0
    columns: Mapping[str, Column] = field(default_factory=dict)
    first_us: Word = 0
    last_us: Word = 0

    @classmethod
    def of(
        cls,
        table: Any,
        schema: Schema,
        buckets: NDArray[np.uint32],
        wide: WideColumns,
        event_us: NDArray[np.int64],
        dense: DenseColumns = NO_DENSE,
    ) -> Profile:
        """Profile of a table of samples as trees and head see it.

        Parameters
        ----------
        table : pyarrow.Table, (n, at least the schema's columns)
        schema : of the trees, whose vocabularies tell what is unseen
        buckets : uint32 (n_wide, n), of the wide columns
        event_us : int64 (n,), when the rows happened; the order in which runs are looked for
        dense : the dense columns
        """
        if not len(event_us):
            return cls()
        order = np.argsort(event_us, kind="stable")
        seconds = event_us[order] / 1e6
        columns = {
            feature.name: _column(values[order], feature.vocabulary, seconds)
            for feature, values in zip(schema.features, schema.matrix(table).T, strict=True)
        }
        for name, bucket in zip(wide.names, buckets, strict=True):
            steady_s = _longest_s(bucket[order], seconds)
            columns[f"wide {name}"] = Column(_wide_kind(wide), 0, 0, _top(bucket), steady_s=steady_s)
        for of_dense in dense.columns:
            values = _lengths(of_dense, table)[order]
            columns[f"dense {of_dense.name}"] = _column(values, None, seconds, _dense_kind(of_dense))
        few = len(order) // 20  # a row that comes days late does not make the others old
        return cls(len(order), columns, int(event_us[order[few]]), int(event_us[order[-1 - few]]))

    def plus(self, other: Profile) -> Profile:
        """Both together; columns that only one has are left out."""
        if not self.rows or not other.rows:
            return other if other.rows else self
        shared = (name for name, column in self.columns.items() if other.column_like(name, column) is not None)
        return Profile(
            self.rows + other.rows,
            {name: self.columns[name].plus(other.columns[name]) for name in shared},
            min(self.first_us, other.first_us),
            max(self.last_us, other.last_us),
        )

    def column_like(self, name: str, other: Column) -> Column | None:
        """The column of that name, if there is one whose values can be compared with the other's."""
        column = self.columns.get(name)
        return column if column is not None and column.kind == other.kind else None

    def with_runs(self, other: Profile) -> Profile:
        """The same profile, with the longer of both profiles' runs in each column."""
        known = other.columns
        columns = {name: each.with_runs(known.get(name, each)) for name, each in self.columns.items()}
        return replace(self, columns=columns)

    def checks(self, known: list[Profile], guard: GuardConfig) -> Iterator[Check]:
        """Checks of what may suddenly be wrong with columns, beside any of the ``known`` profiles.

        A share is compared with the largest in any of them, so that what has been so before (a rare outage, a day
        without rain) is not sudden. Nor is what a column has done before for half as long or longer: the hour of the
        day is one number in all rows of ten minutes, and a station that is off at night leaves its columns empty till
        the morning. Features that drift are no fault: that is what updates are for. But a dense column is what another
        model gave, and is centred and scaled by constants: one far from where it was is another model's, or broken.
        """
        span_s = (self.last_us - self.first_us) / 1e6
        for name, column in self.columns.items():
            before = [(same, each.rows) for each in known if each.rows and (same := each.column_like(name, column))]
            if not before or not self.rows:
                continue
            missing, missed = column.missing / self.rows, max(each.missing / n for each, n in before)
            unseen, unknown = column.unseen / self.rows, max(each.unseen / n for each, n in before)
            there = self.rows - column.missing
            steady_s, absent_s = (
                SLACK * max(getattr(each, name) for each, _ in before) for name in ("steady_s", "absent_s")
            )
            for what, share, known_share, usual_s in (
                ("missing", missing, missed, absent_s),
                ("unseen by the trees", unseen, unknown, 0.0),
            ):
                if span_s >= usual_s:
                    risen = (
                        f"column {name} is {what} in {share:.0%} of {self.rows} rows, before in {known_share:.0%}; "
                        f"[guard] missing = {guard.missing:g} allows a rise of {guard.missing:.0%}"
                    )
                    rise = share - known_share
                    yield Check("missing", rise, None, guard.missing, risen if rise > guard.missing else "")
            yield from _drift(name, column, [each for each, _ in before], guard)
            if column.top and column.top[0][1] == there > self.rows / 2 and column.top[0][0] != UNSEEN:
                value = column.top[0][0]
                share = max(each.rows_with(value) / n for each, n in before)
                if span_s >= steady_s:
                    told = "one id" if column.kind.startswith(WIDE) else repr(value)
                    constant = (
                        f"column {name} is {told} in all of {there} rows, before in {share:.0%}; "
                        f"[guard] constant asks for {guard.constant:.0%}"
                    )
                    yield Check("constant", share, guard.constant, None, constant if share < guard.constant else "")


def _drift(name: str, column: Column, before: list[Column], guard: GuardConfig) -> Iterator[Check]:
    """Check of a dense column whose mean is far from where any of these had it."""
    if not column.kind.startswith(DENSE) or not column.finite:
        return
    moves = [(abs(column.mean - each.mean) / each.std, each) for each in before if each.finite and each.std > 0]
    if not moves:
        return
    moved, nearest = min(moves, key=lambda move: move[0])
    told = "has numbers of size" if column.kind != DENSE else "is"
    drifted = (
        f"column {name} {told} {column.mean:.4g} in the mean of {column.finite} rows, before {nearest.mean:.4g}, "
        f"{moved:.3g} standard deviations away; [guard] drift allows {guard.drift:g}"
    )
    yield Check("drift", moved, None, guard.drift, drifted if moved > guard.drift else "")


def _lengths(column: DenseColumn, table: Any) -> NDArray[np.float64]:
    """One number for each row of a dense column: its own, or the size of its list, in scales from the centre."""
    values = vectors_of(table, table.schema.names, column.name, column.size)
    if not column.is_list:
        return values[:, 0]
    z = (values - np.array(column.centre)) / np.array(column.scale)
    absent = np.isnan(z)
    z[absent] = 0.0
    with np.errstate(over="ignore"):
        lengths: NDArray[np.float64] = np.sqrt(np.square(z).mean(axis=1))
    lengths[absent.all(axis=1)] = np.nan
    return lengths


def _dense_kind(column: DenseColumn) -> str:
    if not column.is_list:
        return DENSE
    constants = np.array([column.centre, column.scale]).tobytes()
    return f"{DENSE} {column.size} {hashlib.sha256(constants).hexdigest()[:16]}"


def _wide_kind(wide: WideColumns) -> str:
    return WIDE if wide.hash == FIRST else f"{WIDE} {wide.hash} {wide.n_buckets}"


def _column(
    values: NDArray[np.float64],
    vocabulary: tuple[str, ...] | None,
    seconds: NDArray[np.float64],
    kind: str = "numeric",
) -> Column:
    absent = np.isnan(values)
    there = values[~absent]
    missing = len(values) - len(there)
    steady_s, absent_s = _longest_s(there, seconds[~absent]), _longest_s(absent, seconds, absent)
    if vocabulary is not None:
        names = (*vocabulary, UNSEEN)
        top = tuple((names[int(code)], n) for code, n in _top(there))
        return Column(
            "categorical", missing, int((there == len(vocabulary)).sum()), top, 0, 0.0, 0.0, steady_s, absent_s
        )
    finite = there[np.isfinite(there)]
    if not len(finite):
        return Column(kind, missing, 0, (), 0, 0.0, 0.0, steady_s, absent_s)
    scale = float(np.abs(finite).max()) or 1.0  # squares of large numbers would overflow
    mean, std = float((finite / scale).mean()) * scale, float((finite / scale).std()) * scale
    moments = (mean, std) if np.isfinite(mean) and np.isfinite(std) else (0.0, 0.0)
    return Column(kind, missing, 0, _top(finite), len(finite), *moments, steady_s, absent_s)


def _longest_s(values: NDArray[Any], seconds: NDArray[np.float64], where: NDArray[np.bool_] | None = None) -> float:
    """Longest time from the row before a run of one value to the row after it; only of runs ``where`` is true."""
    if len(values) < RUN:
        return 0.0
    start = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    end = np.append(start[1:], len(values))
    long = end - start >= RUN
    if where is not None:
        long &= where[start]
    lasted = seconds[np.minimum(end, len(values) - 1)] - seconds[np.maximum(start - 1, 0)]
    return float(lasted[long].max(initial=0.0))


def _top(values: NDArray[Any]) -> tuple[tuple[Any, int], ...]:
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:TOP]
    return tuple((found[i].item(), int(counts[i])) for i in order)
