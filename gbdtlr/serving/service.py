"""The service behind all protocols: rows to probabilities, by one release, with what is wrong by column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.metrics import row_sigmoid
from gbdtlr.scoring import Scored, Scorer
from gbdtlr.serving.answer import Refusal
from gbdtlr.serving.arrow import Rows
from gbdtlr.serving.columns import MAX_TOLD, UNREADABLE, Columns, Problems
from gbdtlr.serving.forms import kind_of

FEW_ROWS = 8
"""Rows up to which each is scored by itself: arrays cost more than they spare."""
_WRONG = "columns are missing, unknown or of the wrong type"


class Service:
    """Scores what clients send with a Scorer; every result is by one whole release, and checked against its columns.

    ``refuse_unknown`` of each method: whether columns that the release does not read are an error.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._columns = Columns(scorer.loaded)

    @property
    def columns(self) -> Columns:
        """Those of the release that scores now."""
        known = self._columns
        if known.release is not self.scorer.loaded:
            known = self._columns = Columns(self.scorer.loaded)
        return known

    def row(self, row: Any, refuse_unknown: bool) -> Scored:
        """Probability of one row, a mapping of names to values.

        Raises
        ------
        Refusal
        """
        while True:
            columns = self.columns
            if type(row) is not dict:
                hint = '; send {"rows": [...]}' if type(row) is list else ""
                raise Refusal(422, f"a row is an object of names and values, not {kind_of(row)}{hint}")
            if refuse_unknown and not row.keys() <= columns.names:
                raise refused(columns, {**columns.unknown(row), **columns.of_row(row)})
            try:
                scored = self.scorer.score_row_with_release(row)
            except UNREADABLE as error:
                raise refused(columns, columns.of_row(row), error) from None
            if scored.release == columns.number:  # else another has come between the two
                return scored

    def plain_row(self, body: bytes) -> Scored | None:
        """Probability of one row in JSON that has exactly the release's columns; None of another, for :meth:`row`."""
        columns = self.columns
        if columns.json_rows is None:
            return None
        margin = columns.json_rows.margin(body)
        return None if margin is None else Scored(row_sigmoid(margin), columns.number)

    def rows(self, rows: Sequence[Any], refuse_unknown: bool) -> Scored:
        """Probabilities, float64 (n,), of rows that are mappings; each the same as alone.

        Raises
        ------
        Refusal
            The problems say in which row they were met first.
        """
        for i, row in enumerate(rows):
            if type(row) is not dict:
                raise Refusal(422, f"a row is an object of names and values; row {i} is {kind_of(row)}")

        def score(columns: Columns) -> Scored:
            names = columns.names
            if refuse_unknown and not all(row.keys() <= names for row in rows):
                raise refused(columns, in_rows(rows, lambda row: {**columns.unknown(row), **columns.of_row(row)}))
            if len(rows) > FEW_ROWS and all(row.keys() >= names for row in rows):
                return self._lists(columns, {name: [row[name] for row in rows] for name in names}, rows)
            return self._one_by_one(columns, rows)

        return self._by_one_release(score)

    def lists(self, frame: Mapping[str, Sequence[Any]], refuse_unknown: bool) -> Scored:
        """Probabilities, float64 (n,), of named columns of values; each row the same as alone.

        Raises
        ------
        Refusal
        """
        odd = [name for name, values in frame.items() if type(values) is not list]
        if odd:
            problems = {name: f"is {kind_of(frame[name])}, a list expected" for name in odd[:MAX_TOLD]}
            raise Refusal(422, _WRONG, problems)
        lengths = {name: len(values) for name, values in frame.items()}
        if len({*lengths.values()}) > 1:
            told = {name: f"has {n} values" for name, n in [*lengths.items()][:MAX_TOLD]}
            raise Refusal(422, "columns differ in length", told)

        def score(columns: Columns) -> Scored:
            problems = columns.missing(frame)
            if refuse_unknown:
                problems |= columns.unknown(frame)
            if problems:
                raise refused(columns, {**problems, **columns.of_frame(frame)})
            return self._lists(columns, {name: frame[name] for name in columns.names}, None)

        return self._by_one_release(score)

    def table(self, rows: Rows, refuse_unknown: bool) -> Scored:
        """Probabilities, float64 (n,), of rows that came as Arrow or CSV.

        Raises
        ------
        Refusal
        """
        sent = rows.sent

        def score(columns: Columns) -> Scored:
            is_right = columns.names <= sent.known and not sent.twice
            if not is_right or (refuse_unknown and sent.known != columns.names):
                problems = columns.missing(sent.known)
                problems |= dict.fromkeys(sorted(sent.twice & columns.names), "is there more than once")
                if refuse_unknown:
                    problems |= columns.unknown(sent.known)
                if problems:
                    raise refused(columns, problems)
            if not rows.n_rows:
                return Scored(np.zeros(0), columns.number)
            frame = rows.columns(columns.names)
            try:
                return self.scorer.score_with_release(frame)
            except UNREADABLE as error:
                raise refused(columns, columns.of_frame(frame), error) from None

        return self._by_one_release(score)

    def _by_one_release(self, score: Callable[[Columns], Scored]) -> Scored:
        """The result of the release whose columns were looked at, and of no other."""
        while True:
            columns = self.columns
            scored = score(columns)
            if scored.release == columns.number:
                return scored

    def _lists(
        self, columns: Columns, frame: dict[str, Sequence[Any]], rows: Sequence[Mapping[str, Any]] | None
    ) -> Scored:
        """Scored as arrays where that means the same as row by row; else so, and so too to say which row is wrong."""
        n_rows = len(next(iter(frame.values())))
        if not n_rows:
            return Scored(np.zeros(0), columns.number)
        if n_rows > FEW_ROWS and all(name in columns.numeric or of_one_kind(values) for name, values in frame.items()):
            try:
                return self.scorer.score_with_release(frame)
            except UNREADABLE:
                pass
        if rows is None:
            rows = [dict(zip(frame, values, strict=True)) for values in zip(*frame.values(), strict=True)]
        return self._one_by_one(columns, rows)

    def _one_by_one(self, columns: Columns, rows: Sequence[Mapping[str, Any]]) -> Scored:
        probability: NDArray[np.float64] = np.empty(len(rows))
        release = columns.number
        for i, row in enumerate(rows):
            try:
                scored = self.scorer.score_row_with_release(row)
            except UNREADABLE as error:
                raise refused(columns, in_rows(rows[i:], columns.of_row, i), error) from None
            if scored.release != release:
                return Scored(probability, scored.release)  # begun anew by the caller
            probability[i] = scored.probability
        return Scored(probability, release)


def of_one_kind(values: Sequence[Any]) -> bool:
    """Whether values that are no numbers mean the same in a column as one by one."""
    return len({*map(type, values)} - {type(None)}) < 2


def in_rows(
    rows: Sequence[Mapping[str, Any]], problems_of: Callable[[Mapping[str, Any]], Problems], start: int = 0
) -> Problems:
    """The problems of the first row that has any."""
    for i, row in enumerate(rows):
        if problems := problems_of(row):
            return {name: f"in row {start + i}: {problem}" for name, problem in problems.items()}
    return {}


def refused(columns: Columns, problems: Problems, error: Exception | None = None) -> Refusal:
    """The refusal that tells of columns, or else of what was raised."""
    detail = _WRONG if problems or error is None else str(error)
    return Refusal(422, detail, problems, columns.number)
