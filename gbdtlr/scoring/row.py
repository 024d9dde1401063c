"""The release that serves: what its one-row calls need, built before the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.errors import SchemaError
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.scoring.users import Users
from gbdtlr.values.frames import column_names, frame_of, row_of

MAX_ORDERS = 64
_TWICE = "more than one value has the same name"
_VALUES = frozenset((list, tuple, np.ndarray))
"""Types of which it is known at once that they map no names: to ask the abstract Mapping takes longer than a tree."""

Names = Sequence[str]


class Serving:
    """One release, ready for its first row; immutable to its callers."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.model = release.model
        self.number = release.entry.number
        self.users = Users.of(release)
        schema, head = release.trees.schema, release.head
        self._orders: dict[tuple[str, ...], NDArray[np.intp]] = {}
        alone = not head.wide.names and not head.dense.n
        self._is_numeric = alone and all(feature.vocabulary is None for feature in schema.features)
        # The first call, too, finds everything compiled and built.
        models = [self.model] if self.users.column is None else [self.model, self.users.without]
        for model in models:
            model.row_margin(dict.fromkeys(model.columns))
            model.margin(dict.fromkeys(model.columns, pa.nulls(1)))

    def margin(self, frame: Any) -> NDArray[np.float64]:
        """Log-odds of every row of a frame; with a user's score where that is one of its columns."""
        if self.users.column is None:
            return self.model.margin(frame)
        frame = frame_of(frame)
        return self.users.model_for(column_names(frame)).margin(frame)

    def row_margin(self, row: Any, names: Names | None) -> float:
        """Log-odds of one row; see :meth:`Scorer.score_row`."""
        kind = type(row)
        if kind is dict or names is None or (kind not in _VALUES and isinstance(row, Mapping)):
            named = row if kind is dict else row_of(row)
            if named is not None:
                return self._model_for(named).row_margin(named)
            raise SchemaError("the values of a row have no names: give them as names, columns are found by name")
        names = tuple(names)
        if kind is not np.ndarray and isinstance(row, np.ndarray):
            row = row.ravel().tolist() if isinstance(row, np.ma.MaskedArray) else np.asarray(row)
        is_array = type(row) is np.ndarray
        n_values = row.size if is_array else len(row)
        if n_values != len(names):
            raise SchemaError(f"a row of {len(names)} values expected, one for each name, not of {n_values}")
        if is_array and self._is_numeric and row.dtype.kind in "fiu":
            order = self._orders.get(names)
            if order is None:
                order = self._order_of(names)
            numbers = row.take(order)
            return self.model.values_margin(numbers if numbers.dtype == np.float64 else numbers.astype(np.float64))
        values = row.ravel().tolist() if is_array else row
        of_names = dict(zip(names, values, strict=True))
        if len(of_names) < len(names):
            raise SchemaError(_TWICE)
        return self._model_for(of_names).row_margin(of_names)

    def _model_for(self, row: Mapping[str, Any]) -> Model:
        return self.model if self.users.column is None else self.users.model_for(row)

    def _order_of(self, names: tuple[str, ...]) -> NDArray[np.intp]:
        """Place of each feature of the trees among the names."""
        place = {name: i for i, name in enumerate(names)}
        wanted = self.model.trees.schema.names
        missing = [name for name in wanted if name not in place]
        if missing or len(place) < len(names):
            raise SchemaError(f"no value for {', '.join(missing)}" if missing else _TWICE)
        order = np.array([place[name] for name in wanted], np.intp)
        if len(self._orders) < MAX_ORDERS:  # a caller that never repeats its names must not fill the memory
            self._orders[names] = order
        return order
