"""Columns: which of a frame's are numbers, categories and ids, and the frame as the table that is learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from gbdtlr.errors import SchemaError
from gbdtlr.values.arrays import from_numpy, is_string, with_nulls
from gbdtlr.values.categories import texts, whole_array
from gbdtlr.values.crosses import columns_of
from gbdtlr.values.frames import column_of, frame_of
from gbdtlr.values.numbers import numbers

FROM_DTYPE = "from_dtype"


@dataclass(frozen=True)
class Columns:
    """What the columns of a frame are taken for.

    Attributes
    ----------
    names : all columns, in the frame's order
    numeric, categorical : features of the trees
    wide : ids and crosses of the head
    """

    names: tuple[str, ...]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    wide: tuple[str, ...]

    @classmethod
    def of(cls, frame: Mapping[str, Any], categorical: Any, wide: Sequence[str]) -> Columns:
        """Columns of a frame as :func:`named` gives it.

        Parameters
        ----------
        categorical : ``from_dtype``, texts and categories; or the names of the categories, all others being numbers
        wide : ids, which the trees do not read, and crosses such as ``a:b``, whose columns they still do

        Raises
        ------
        SchemaError
            Names of columns that are not there.
        """
        names, ids = tuple(frame), set(wide)
        listed = () if isinstance(categorical, str) or categorical is None else tuple(map(str, categorical))
        gone = sorted({*listed, *columns_of(wide)} - set(names))
        if gone:
            raise SchemaError(f"no column {', '.join(gone)}")
        if isinstance(categorical, str):
            if categorical != FROM_DTYPE:
                raise SchemaError(f"categorical_features is {categorical!r}; write {FROM_DTYPE!r} or a list of names")
            listed = tuple(name for name in names if name not in ids and _is_category(frame[name]))
        features = [name for name in names if name not in ids]
        chosen = tuple(name for name in features if name in listed)
        return cls(names, tuple(name for name in features if name not in chosen), chosen, tuple(wide))

    def table(self, frame: Mapping[str, Any]) -> pa.Table:
        """The columns that are learned from, each in one type; raise SchemaError for values that cannot be that."""
        parts = set(columns_of(self.wide))
        columns, problems = {}, []
        for name in dict.fromkeys((*self.numeric, *self.categorical, *columns_of(self.wide))):
            try:
                columns[name] = _column(frame[name], name in self.numeric, name in parts)
            except SchemaError as error:
                problems.append(f"column {name} {error}")
        if problems:
            raise SchemaError("; ".join(problems))
        return pa.table(columns)


def is_frame(X: Any) -> bool:
    """Whether it has columns with names, so that they are found by these."""
    if isinstance(X, (Mapping, pa.Table, pa.RecordBatch)) or hasattr(X, "__arrow_c_stream__"):
        return True
    if isinstance(X, np.ndarray):
        return X.dtype.names is not None
    return hasattr(X, "columns") and hasattr(X, "__getitem__")


def named(X: Any) -> dict[str, Any]:
    """Columns of a frame by name, each as ``values.columns.plain`` gives it; whole numbers are names, too.

    Raises
    ------
    SchemaError
        Two columns of one name, or something that is not a column.
    """
    frame = frame_of(X)
    if isinstance(frame, Mapping):
        keys = list(frame)
    elif isinstance(frame, (pa.Table, pa.RecordBatch)):
        keys = frame.schema.names
    else:
        keys = list(frame.dtype.names if isinstance(frame, np.ndarray) else frame.columns)
    names = list(map(str, keys))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SchemaError(f"column {', '.join(twice)} is there more than once")
    return {name: column_of(frame, key) for name, key in zip(names, keys, strict=True)}


def of_matrix(matrix: NDArray[Any], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Columns of a matrix, (n, n_columns), under these names."""
    return {name: matrix[:, i] for i, name in enumerate(names)}


def _is_category(column: Any) -> bool:
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        return bool(pt.is_dictionary(column.type) or is_string(column.type))
    return isinstance(column, list) and any(isinstance(value, str) for value in column)


def _column(column: Any, is_number: bool, is_id: bool) -> Any:
    if not is_number:
        return texts(column)
    if is_id:
        return whole_array(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    values = numbers(column)
    return with_nulls(from_numpy(values), np.isnan(values))
