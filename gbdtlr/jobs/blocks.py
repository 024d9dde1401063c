"""Blocks of lines: what has come of a stream at once, parsed and coded together.

A line is a sample or is refused by itself, as :func:`gbdtlr.jobs.lines.sample_of` says; together is only faster. Where
every line of a block is plain - JSON that needs no second look, labels and weights that are numbers, features that are
numbers and texts - their columns are looked at, and not their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.line import decode
from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError
from gbdtlr.jobs.lines import sample_of
from gbdtlr.model import Model
from gbdtlr.samples import MAX_WEIGHT
from gbdtlr.streams import Piece
from gbdtlr.values.scalars import EXACT

_NOTHING = type(None)
_NUMBERS = frozenset({int, float, bool, _NOTHING})
_TEXTS = frozenset({str, int, bool, _NOTHING})
_WHOLE = frozenset({int, _NOTHING})
_ONE_OR_ZERO = frozenset({0, 1})


@dataclass
class Block:
    """Lines of a stream, and what became of them.

    Attributes
    ----------
    rows : features of each sample
    label, weight : of each sample
    codes : of each sample, int64 (n_trees + n_wide,)
    dense : of each sample, float32 (n_dense,)
    n_blank, n_refused : lines that are no samples
    reason : why the first was refused
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    label: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    codes: list[NDArray[np.int64]] = field(default_factory=list)
    dense: list[NDArray[np.float32]] = field(default_factory=list)
    n_blank: int = 0
    n_refused: int = 0
    reason: str = ""

    @classmethod
    def of(cls, piece: Piece, config: SamplesConfig, model: Model) -> Block:
        """The samples among the lines of a piece, in their order, coded by a model."""
        given = _Given.of(piece)
        there = [i for i, line in enumerate(piece.lines) if line.strip()]
        block = cls(n_blank=len(piece.lines) - len(there), n_refused=len(piece.refused))
        block.reason = " ".join(piece.refused[0].split()) if piece.refused else ""
        if len(there) < len(piece.lines):
            given = given.take(there)
        if there and not block._take_plain(given, config, model):
            block._take_each(given, config, model)
        return block

    def _take_plain(self, given: _Given, config: SamplesConfig, model: Model) -> bool:
        """Take all lines if each of them is a plain sample; take none otherwise."""
        try:
            rows = [decode(line) for line in given.lines]
            if set(map(type, rows)) != {dict}:
                return False
            label = [row[config.label] for row in rows] if given.labels is None else given.labels
            weight = [1.0] * len(rows) if config.weight is None else [row[config.weight] for row in rows]
            if set(map(type, label)) != {int} or not _ONE_OR_ZERO.issuperset(label):
                return False
            if not set(map(type, weight)) <= {int, float} or not all(0 <= each <= MAX_WEIGHT for each in weight):
                return False
            columns = {name: [row.get(name) for row in rows] for name in config.features}
            if not _are_plain(columns, config):
                return False
            self.codes, self.dense = _coded(columns, model)
        except (ValueError, KeyError, OverflowError, RecursionError, SamplesError):
            return False  # which line it is, and why, the other way tells
        self.rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        self.label, self.weight = [*map(float, label)], [*map(float, weight)]
        if given.factors is not None:
            self.weight = [each * factor for each, factor in zip(self.weight, given.factors, strict=True)]
        return True

    def _take_each(self, given: _Given, config: SamplesConfig, model: Model) -> None:
        """Take the lines that are samples, and count the others one by one."""
        for i, line in enumerate(given.lines):
            try:
                row, label, weight = sample_of(line, config, None if given.labels is None else float(given.labels[i]))
            except (SamplesError, ValueError, RecursionError) as error:
                self._refuse(error)
                continue
            self.rows.append(row)
            self.label.append(label)
            self.weight.append(weight if given.factors is None else weight * given.factors[i])
        if not self.rows:
            return
        try:
            columns = {name: [row[name] for row in self.rows] for name in config.features}
            self.codes, self.dense = _coded(columns, model)
        except (SamplesError, ValueError, OverflowError):
            self._code_each(model)

    def _code_each(self, model: Model) -> None:
        rows, self.rows = self.rows, []
        weighed, self.label, self.weight = list(zip(self.label, self.weight, strict=True)), [], []
        for row, (label, weight) in zip(rows, weighed, strict=True):
            try:
                codes, dense = model.encode_row(row), model.head.dense.row_values(row)
            except (SamplesError, ValueError) as error:
                self._refuse(error)
                continue
            self.codes.append(codes)
            self.dense.append(dense)
            self.rows.append(row)
            self.label.append(label)
            self.weight.append(weight)

    def _refuse(self, error: Exception) -> None:
        self.n_refused += 1
        self.reason = self.reason or " ".join(str(error).split())


@dataclass(frozen=True)
class _Given:
    """Lines, with the labels and factors that stand beside them."""

    lines: Sequence[bytes | str]
    labels: Sequence[int] | None
    factors: Sequence[float] | None

    @classmethod
    def of(cls, piece: Piece) -> _Given:
        return cls(piece.lines, piece.labels, piece.factors)

    def take(self, rows: Sequence[int]) -> _Given:
        labels = None if self.labels is None else [self.labels[i] for i in rows]
        factors = None if self.factors is None else [self.factors[i] for i in rows]
        return _Given([self.lines[i] for i in rows], labels, factors)


def _are_plain(columns: dict[str, list[Any]], config: SamplesConfig) -> bool:
    """Whether columns hold nothing but what is taken as it is, and no row is without any feature."""
    numeric, wide = set(config.numeric), set(config.wide_columns)
    dense = {*config.linear} - numeric
    for name, values in columns.items():
        if name in dense:
            if not _are_vectors(values):
                return False
            continue
        kinds = _WHOLE if name in numeric and name in wide else _NUMBERS if name in numeric else _TEXTS
        if not kinds.issuperset(map(type, values)):
            return False
        if kinds is _WHOLE and not all(each is None or -EXACT < each < EXACT for each in values):
            return False
    first, *others = columns.values()
    return not any(
        value is None and all(column[i] is None for column in others) for i, value in enumerate(first)
    )  # a row that says nothing, or lacks all features


def _are_vectors(values: list[Any]) -> bool:
    """Whether a dense column's values are numbers, or lists of nothing but numbers."""
    kinds = set(map(type, values))
    if list not in kinds:
        return kinds <= _NUMBERS
    return kinds <= {list, _NOTHING} and all(value is None or _NUMBERS.issuperset(map(type, value)) for value in values)


def _coded(columns: dict[str, list[Any]], model: Model) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float32]]]:
    codes = model.encode(columns)
    rows = np.concatenate([codes.leaves.astype(np.int64), codes.buckets.astype(np.int64)]).T
    return list(rows), list(np.ascontiguousarray(codes.dense.T))
