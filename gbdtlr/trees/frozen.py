"""Frozen trees: samples to leaves, and the leaves' own outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from gbdtlr.compute import threads
from gbdtlr.errors import DamagedError, SchemaError
from gbdtlr.trees import kernels, row_kernels
from gbdtlr.trees.forest import Forest
from gbdtlr.trees.lanes import BLOCK
from gbdtlr.trees.planes import Planes
from gbdtlr.trees.schema import Feature, Schema
from gbdtlr.trees.walks import walks_of, weighted
from gbdtlr.values.lines import Lines

SLICE = 32 * BLOCK
"""Rows one thread converts and encodes at a time."""

Piece = Callable[[int, int], tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]]
"""``piece(start, stop)``: those rows as the batch kernels take them: a line, where on it each feature's first number
is, and the numbers from row to row."""


class FrozenTrees:
    """Trees that no longer change. Any number of threads may use one object at once.

    Attributes
    ----------
    schema : Schema
    offsets : int64 (n_trees + 1,), first code of each tree: leaf l of tree t is code ``offsets[t] + l``
    leaf_values : float64 (n_codes,); summed over a row's codes they are the booster's raw score, or, of a random
        forest, whose raw score is no log-odds, the log-odds of its prediction
    n_trees, n_codes : int
    code_dtype : uint8 where no tree has more than 256 leaves, else uint16
    """

    def __init__(self, text: str, schema: Schema) -> None:
        """Trees of LightGBM's model text, with the schema of its features.

        Raises
        ------
        TreesError, DamagedError
            As :meth:`Forest.parse`; the text and the schema do not belong together.
        """
        forest = Forest.parse(text)
        self._text = text
        self._forest = forest
        self.schema = schema
        self.offsets = forest.offsets
        self.leaf_values = forest.leaf_value
        self.n_trees = forest.n_trees
        self.n_codes = len(forest.leaf_value)
        self.code_dtype = np.dtype(np.uint8 if np.diff(forest.offsets).max() <= 256 else np.uint16)
        n_features = len(forest.feature_names)
        if n_features != len(schema.features):
            raise DamagedError(f"the booster has {n_features} features and the schema {len(schema.features)}")
        for array in (self.offsets, self.leaf_values):
            array.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenTrees, (self._text, self.schema)  # a copy elsewhere is read only too, without what was looked up

    @property
    def forest(self) -> Forest:
        """Splits and leaves as arrays."""
        return self._forest

    @classmethod
    def from_booster_text(cls, text: str) -> FrozenTrees:
        """Trees of any LightGBM booster (``model_to_string()``); all its features are numbers, categories too."""
        return cls(text, Schema(tuple(Feature(name) for name in Forest.parse(text).feature_names)))

    def to_files(self) -> dict[str, bytes]:
        """The files of a trees version; :meth:`from_files` reads them back."""
        return {"booster.txt": self._text.encode(), "schema.json": self.schema.to_json()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FrozenTrees:
        """Trees as :meth:`to_files` gave them.

        Raises
        ------
        TreesError, DamagedError, FormatError
            Files missing, damaged, or written by a newer gbdtlr.
        """
        for name in ("booster.txt", "schema.json"):
            if name not in files:
                raise DamagedError(f"the trees lack the file {name}")
        try:
            text = files["booster.txt"].decode()
        except UnicodeDecodeError as error:
            raise DamagedError(f"booster.txt is not UTF-8: {error}") from None
        return cls(text, Schema.from_json(files["schema.json"]))

    def encode(self, frame: Any, *, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Leaf of every row in every tree, equal to LightGBM's ``pred_leaf``.

        Parameters
        ----------
        frame : DataFrame, pyarrow Table or dict of columns, (n_rows, any columns); those of the schema are found
            by name
        out : code_dtype (n_trees, n_rows), written in place, rows contiguous

        Returns
        -------
        codes : uint8 or uint16, (n_trees, n_rows)

        Raises
        ------
        SchemaError
            Columns missing or of the wrong type; the message lists them.
        """
        return self._encode(*self._pieces_of_frame(frame), out)

    def encode_matrix(self, matrix: npt.NDArray[Any], *, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """As :meth:`encode`, of a matrix in the training-time encoding, as ``schema.matrix`` gives it.

        Parameters
        ----------
        matrix : (n_rows, n_features), categories by number, missing as NaN
        """
        return self._encode(*self._pieces_of_matrix(matrix), out)

    def margin(self, frame: Any, weights: npt.NDArray[np.float64], bias: float) -> npt.NDArray[np.float64]:
        """``bias + sum_t weights[code of the row in tree t]``, without the codes ever being stored.

        Parameters
        ----------
        frame : as for :meth:`encode`
        weights : float64 (n_codes,)

        Returns
        -------
        margin : float64 (n_rows,), each row's the same whatever rows are beside it

        Raises
        ------
        SchemaError
            Columns missing or of the wrong type; the message lists them.
        """
        return self._margin(*self._pieces_of_frame(frame), weights, bias)

    def margin_matrix(
        self, matrix: npt.NDArray[Any], weights: npt.NDArray[np.float64], bias: float
    ) -> npt.NDArray[np.float64]:
        """As :meth:`margin`, of a matrix in the training-time encoding."""
        return self._margin(*self._pieces_of_matrix(matrix), weights, bias)

    def row_values(self, row: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """One row in the training-time encoding, from named values: float64 (n_features,).

        Raises
        ------
        SchemaError
            Names missing or values of the wrong type; the message lists them.
        """
        return self.schema.row(row)

    def encode_row(self, row: Mapping[str, Any] | npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Leaf of one row in every tree, code_dtype (n_trees,).

        Parameters
        ----------
        row : named values, or (n_features,) in the training-time encoding
        """
        codes = np.empty(self.n_trees, np.int64)
        row_kernels.row_codes(self._row_of(row), self._walks, codes)
        return (codes - self.offsets[:-1]).astype(self.code_dtype)

    def row_margin(
        self, row: Mapping[str, Any] | npt.NDArray[Any], weights: npt.NDArray[np.float64], bias: float
    ) -> float:
        """:meth:`margin` of one row, equal to the last bit and without the cost of a frame.

        Parameters
        ----------
        row : named values, or (n_features,) in the training-time encoding
        weights : float64 (n_codes,)
        """
        return self.row_scorer(weights, bias)(self._row_of(row))

    def row_scorer(self, weights: npt.NDArray[np.float64], bias: float) -> Callable[[npt.NDArray[np.float64]], float]:
        """:meth:`row_margin` for one row after another, with everything made ready before the first.

        Returns
        -------
        margin : function of a row in the training-time encoding, which must be float64 (n_features,), contiguous and
            writeable: it is not looked at, and another type would cost a compilation
        """
        weights, bias = self._weights_of(weights), float(bias)
        if np.isnan(weights).any():
            raise ValueError("weights must be numbers, some are NaN")
        score, walks = row_kernels.row_margin, weighted(self._walks, weights)

        def margin(row: npt.NDArray[np.float64]) -> float:
            return score(row, walks, bias)  # type: ignore[no-any-return]

        return margin

    def _encode(self, n_rows: int, piece: Piece, out: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        codes, flat, tree_stride = self._codes_out(n_rows, out)
        planes = self._planes

        def work(task: int) -> None:
            start, stop = task * SLICE, min(n_rows, (task + 1) * SLICE)
            kernels.encode(*piece(start, stop), stop - start, planes, flat[start:], tree_stride)

        threads.run(-(-n_rows // SLICE), work)
        return codes

    def _margin(
        self, n_rows: int, piece: Piece, weights: npt.NDArray[np.float64], bias: float
    ) -> npt.NDArray[np.float64]:
        margin = np.empty(n_rows, np.float64)
        weights, planes = self._weights_of(weights), self._planes

        def work(task: int) -> None:
            start, stop = task * SLICE, min(n_rows, (task + 1) * SLICE)
            kernels.margin(
                *piece(start, stop), stop - start, planes, self.offsets, weights, float(bias), margin[start:stop]
            )

        threads.run(-(-n_rows // SLICE), work)
        return margin

    def _pieces_of_frame(self, frame: Any) -> tuple[int, Piece]:
        if isinstance(frame, Lines) and self._only_numbers is not None:
            starts = frame.starts_of(self._only_numbers)
            if starts is not None:
                return frame.n_rows, lambda start, _: (frame.numbers[start:], starts, 1)
        n_rows, fills = self.schema.fills(frame)

        def piece(start: int, stop: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]:
            columns = np.empty((len(fills), stop - start))
            for fill, column_out in zip(fills, columns, strict=True):
                fill(start, stop, column_out)
            return _as_line(columns.T)

        return n_rows, piece

    def _pieces_of_matrix(self, matrix: npt.NDArray[Any]) -> tuple[int, Piece]:
        matrix = np.asarray(matrix)
        n_features = len(self.schema.features)
        if matrix.ndim != 2 or matrix.shape[1] != n_features or matrix.dtype.kind not in "fiub":
            raise SchemaError(
                f"a matrix of {n_features} columns of numbers expected, not {matrix.dtype} of shape {matrix.shape}"
            )

        def piece(start: int, stop: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]:
            return _as_line(matrix[start:stop].astype(np.float64, copy=False))

        return len(matrix), piece

    def _row_of(self, row: Mapping[str, Any] | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        if isinstance(row, Mapping):
            return self.schema.row(row)
        values = np.array(row, np.float64)
        if values.shape != (len(self.schema.features),):
            raise SchemaError(f"a row of {len(self.schema.features)} numbers expected, not of shape {values.shape}")
        return values

    def _weights_of(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if weights.shape != (self.n_codes,) or weights.dtype != np.float64 or not weights.flags.c_contiguous:
            raise ValueError(
                f"weights must be {self.n_codes} contiguous float64, not {weights.dtype} of shape {weights.shape}"
            )
        if weights.flags.writeable:  # to numba a type of its own, and each type is a compilation
            weights = weights.view()
            weights.flags.writeable = False
        return weights

    def _codes_out(self, n_rows: int, out: npt.NDArray[Any] | None) -> tuple[npt.NDArray[Any], npt.NDArray[Any], int]:
        """Codes, the same memory as one line, and the steps from tree to tree on it."""
        shape = (self.n_trees, n_rows)
        if out is None:
            out = np.empty(shape, self.code_dtype)
        if out.shape != shape or out.dtype != self.code_dtype or not out.flags.writeable:
            raise ValueError(f"out must be writeable {self.code_dtype} of shape {shape}, not {out.dtype} {out.shape}")
        size = self.code_dtype.itemsize
        if (n_rows > 1 and out.strides[1] != size) or (self.n_trees > 1 and out.strides[0] < n_rows * size):
            raise ValueError("out must have rows next to each other and trees in rising order")
        tree_stride = max(out.strides[0], n_rows * size) // size
        span = (self.n_trees - 1) * tree_stride + n_rows if n_rows else 0
        return out, as_strided(out, (span,), (size,)), tree_stride

    @cached_property
    def _only_numbers(self) -> tuple[str, ...] | None:
        """Names of the features, if all of them are numbers."""
        return self.schema.names if all(feature.vocabulary is None for feature in self.schema.features) else None

    @cached_property
    def _planes(self) -> Planes:
        return Planes.of(self._forest, self.code_dtype)

    @cached_property
    def _walks(self) -> npt.NDArray[np.uint64]:
        return walks_of(self._forest)


def _as_line(matrix: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]:
    """The matrix (n_rows, n_features) as a Piece; the line is read-only."""
    if any(stride <= 0 or stride % 8 for stride in matrix.strides):
        matrix = np.ascontiguousarray(matrix)
    (n_rows, n_features), (row_stride, feature_stride) = matrix.shape, (stride // 8 for stride in matrix.strides)
    span = (n_rows - 1) * row_stride + (n_features - 1) * feature_stride + 1
    starts = feature_stride * np.arange(n_features)
    return as_strided(matrix, (span,), (8,), writeable=False), starts, row_stride
