"""The model: what encodes rows, scores them and is judged by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.errors import SchemaError
from gbdtlr.head import Codes, DenseColumns, Head, Layout, WideColumns
from gbdtlr.head.dense import NO_DENSE
from gbdtlr.metrics import Quality
from gbdtlr.samples import Samples
from gbdtlr.trees import FrozenTrees
from gbdtlr.values.frames import frame_of


@dataclass(frozen=True)
class Model:
    """Frozen trees and a head on their leaves; immutable. It knows of no store and has no name.

    Attributes
    ----------
    trees : the slow part
    head : the fast part, of weights for exactly these trees' leaves
    """

    trees: FrozenTrees
    head: Head

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, (self.trees, self.head)  # without what scores single rows

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that rows are scored by."""
        return tuple(dict.fromkeys((*self.trees.schema.names, *self.head.wide.columns, *self.head.dense.names)))

    @classmethod
    def of(cls, trees: FrozenTrees, wide: WideColumns, dense: DenseColumns = NO_DENSE) -> Model:
        """The trees themselves as a model: their leaves' own outputs, nothing of ``wide`` yet, ``dense``'s anchors."""
        return cls(trees, Head.bare(Layout.of(trees, wide, dense)))

    def bare(self, wide: WideColumns | None = None, dense: DenseColumns | None = None) -> Model:
        """The same slow artifacts under a head that has learned nothing, with other columns if they are given."""
        head = self.head
        return Model.of(self.trees, head.wide if wide is None else wide, head.dense if dense is None else dense)

    def with_head(self, head: Head) -> Model:
        """The same slow artifacts under another head."""
        return replace(self, head=head)

    def encode(self, rows: Any) -> Codes:
        """Codes of rows: leaves of these trees, buckets of this head's wide columns, values of its dense columns.

        Parameters
        ----------
        rows : Samples; or any frame (``values.frames``), (n, any columns), whose codes have weight 1, and label NaN, so
            that nothing can be learned of them or judged by them

        Raises
        ------
        SchemaError
            Columns missing or of the wrong type; the message lists them.
        """
        frame = rows.table if isinstance(rows, Samples) else frame_of(rows)
        head = self.head
        codes = Codes.unlabelled(*_all_read(frame, self.trees.encode, head.wide.buckets, head.dense.values))
        if not isinstance(rows, Samples):
            return codes
        label = rows.label.astype(np.float32)
        return replace(codes, label=label, weight=rows.weight, event_us=rows.event_us, known_us=rows.known_us)

    def encode_row(self, row: Mapping[str, Any]) -> NDArray[np.int64]:
        """Codes of one row: its leaves, then its buckets, int64 (n_trees + n_wide,); its dense values are
        ``head.dense.row_values``."""
        leaves = self.trees.encode_row(row)
        return np.concatenate([leaves.astype(np.int64), np.array(self.head.wide.row_buckets(row), np.int64)])

    def margin(self, frame: Any) -> NDArray[np.float64]:
        """Log-odds of every row of a frame; columns are found by name.

        Raises
        ------
        SchemaError
            Columns missing or of the wrong type; the message lists them.
        """
        frame = frame_of(frame)
        try:
            out = self.trees.margin(frame, self.head.leaf_weights, self.head.bias)
        except SchemaError as error:
            raise _all_problems(error, frame, self.head.wide.buckets, self.head.dense.values) from None
        if self.head.wide.names:
            self.head.add_wide(self.head.wide.buckets(frame), out)
        if self.head.dense.n:
            self.head.add_dense(self.head.dense.values(frame), out)
        return out

    @cached_property
    def values_margin(self) -> Callable[[NDArray[np.float64]], float]:
        """The trees' part of a row's log-odds, from its values as ``trees.row_values`` gives them."""
        return self.trees.row_scorer(self.head.leaf_weights, self.head.bias)

    def row_margin(self, row: Mapping[str, Any]) -> float:
        """Log-odds of one row, a mapping of column names to values; raises as :meth:`margin`."""
        try:
            margin = self.values_margin(self.trees.schema.row(row))
        except SchemaError as error:
            raise _all_problems(error, row, self.head.wide.row_buckets, self.head.dense.row_values) from None
        if self.head.wide.names:
            margin = self.head.add_row_wide(self.head.wide.row_buckets(row), margin)
        if self.head.dense.n:
            margin = self.head.add_row_dense(self.head.dense.row_values(row), margin)
        return margin

    def margins(self, parts: Parts[Codes]) -> NDArray[np.float64]:
        """Log-odds of all rows of coded parts, (n,)."""
        return np.concatenate([np.empty(0), *parts.map(margin_of, self.head)])

    def judge(self, parts: Parts[Codes]) -> Quality:
        """Quality on the labels of coded parts."""
        return parts.sum(quality_of, self.head, zero=Quality())


def _all_read(frame: Any, *readers: Callable[[Any], Any]) -> list[Any]:
    """What each reader makes of a frame, at the same time; where several cannot, the first says so."""
    found: list[Any] = [None] * len(readers)
    errors: dict[int, SchemaError] = {}

    def work(i: int) -> None:
        try:
            found[i] = readers[i](frame)
        except SchemaError as error:
            errors[i] = error

    threads.run(len(readers), work)
    if errors:
        raise errors[min(errors)]
    return found


def margin_of(codes: Codes, head: Head) -> NDArray[np.float64]:
    """Log-odds of a part's rows, (n,)."""
    return head.margin(codes)


def quality_of(codes: Codes, head: Head) -> Quality:
    """Quality of a head on a part's rows."""
    return Quality.of(head.margin(codes), codes.label, codes.weight)


def _all_problems(of_trees: SchemaError, rows: Any, *others: Callable[[Any], Any]) -> SchemaError:
    """The trees' problems with some rows and those of the wide and dense columns: they are mended together."""
    problems = [str(of_trees)]
    for read in others:
        try:
            read(rows)
        except SchemaError as error:
            problems.append(str(error))
    return SchemaError("; ".join(problems))
