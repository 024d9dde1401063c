"""The head: a logistic regression on codes and dense columns, valid for exactly one trees version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.npz import checked, from_npz, to_npz
from gbdtlr.errors import DamagedError
from gbdtlr.head import kernels
from gbdtlr.head.codes import Codes
from gbdtlr.head.dense import DenseColumns
from gbdtlr.head.layout import Layout
from gbdtlr.head.wide import WideColumns

FORMAT, FORMAT_OF_DENSE = 1, 2
"""Of heads without dense columns and with them: a gbdtlr that knows none would score wrongly."""


@dataclass(frozen=True, eq=False)
class Head:
    """Weights of a logistic regression: ``margin = bias + sum of the weights of a row's codes + dense . weights``.

    Attributes
    ----------
    layout : which weight is which; wide buckets that are not in use weigh nothing
    weights : float64 (n_params,)
    """

    layout: Layout
    weights: NDArray[np.float64]

    def __post_init__(self) -> None:
        # Writeable or not are two types to a kernel, and each would be compiled.
        weights = self.weights.view()
        weights.flags.writeable = False
        object.__setattr__(self, "weights", weights)

    def __reduce__(self) -> tuple[Any, ...]:
        return Head, (self.layout, self.weights)  # a copy elsewhere is read only too

    @classmethod
    def bare(cls, layout: Layout) -> Head:
        """The trees themselves, as a head."""
        unused = Layout.of(layout, layout.wide, layout.dense)
        return cls(unused, unused.anchor)

    @property
    def wide(self) -> WideColumns:
        """Names and number of buckets of the wide columns."""
        return self.layout.wide

    @property
    def dense(self) -> DenseColumns:
        """Names and constants of the dense columns."""
        return self.layout.dense

    @cached_property
    def bias(self) -> float:
        """Log-odds where all else is zero."""
        return float(self.weights[self.layout.bias])

    @cached_property
    def leaf_weights(self) -> NDArray[np.float64]:
        """float64 (n_leaves,), leaf l of tree t at ``layout.offsets[t] + l``."""
        return self.weights[self.layout.leaves]

    @cached_property
    def wide_weights(self) -> tuple[NDArray[np.float64], ...]:
        """Per wide column, float64 (n_in_use,)."""
        return self.layout.split(self.weights)[1]

    @cached_property
    def dense_weights(self) -> NDArray[np.float64]:
        """Weights of all numbers of the dense columns, centred and scaled, float64 (n_dense,)."""
        return self.weights[self.layout.linear]

    def margin(self, codes: Codes) -> NDArray[np.float64]:
        """Log-odds of coded rows, float64 (n,)."""
        out = np.full(len(codes), self.bias)
        kernels.add_leaf_weights(codes.leaves, self.layout.offsets, self.leaf_weights, out)
        self.add_wide(codes.buckets, out)
        self.add_dense(codes.dense, out)
        return out

    def add_dense(self, values: NDArray[np.float32], margin_out: NDArray[np.float64]) -> None:
        """Add to each row's margin what its dense values, (n_dense, n), weigh: one number after the other."""
        for line, weight in zip(values, self.dense_weights, strict=True):
            margin_out += line.astype(np.float64) * weight

    def add_row_dense(self, values: NDArray[np.float32], margin: float) -> float:
        """Margin of one row with its dense values, (n_dense,), added, as in :meth:`add_dense`."""
        for product in (values.astype(np.float64) * self.dense_weights).tolist():
            margin += product
        return margin

    def add_wide(self, buckets: NDArray[Any], margin_out: NDArray[np.float64]) -> None:
        """Add the wide columns' weights of each row to its margin."""
        for bucket, in_use, weight in zip(buckets, self.layout.in_use, self.wide_weights, strict=True):
            kernels.add_found(in_use.places(bucket), weight, margin_out)

    def add_row_wide(self, buckets: Sequence[int], margin: float) -> float:
        """Margin of one row with its wide weights added, one after the other as in :meth:`add_wide`."""
        for bucket, index, weight in zip(buckets, self.layout.buckets, self.wide_weights, strict=True):
            at = int(index.searchsorted(np.uint32(bucket)))
            if at < len(index) and index[at] == bucket:
                margin += float(weight[at])
        return margin

    def is_finite(self) -> bool:
        """Whether every weight is a finite number."""
        return bool(np.isfinite(self.weights).all())

    def to_bytes(self) -> bytes:
        """The head as an npz without objects; equal heads give equal bytes.

        Where few leaves are off the trees' outputs, only those are in it.
        """
        moved = np.flatnonzero(self.leaf_weights != self.layout.leaf_values)
        if 3 * len(moved) < 2 * len(self.leaf_weights):
            leaves: dict[str, NDArray[Any]] = {
                "leaf_index": moved.astype(np.uint32),
                "leaf_moved": self.leaf_weights[moved],
            }
        else:
            leaves = {"leaf_weights": self.leaf_weights}
        arrays: dict[str, NDArray[Any]] = {
            "bias": np.array([self.bias]),
            **leaves,
            **self.wide.to_arrays(),
            **self.dense.to_arrays(),
        }
        for j, (index, weight) in enumerate(zip(self.layout.buckets, self.wide_weights, strict=True)):
            arrays[f"wide_index_{j}"], arrays[f"wide_weights_{j}"] = index, weight
        if self.dense.n:
            arrays["dense_weights"] = self.dense_weights
        return to_npz(arrays, FORMAT_OF_DENSE if self.dense.n else FORMAT)

    @classmethod
    def from_bytes(cls, data: bytes, trees: Layout) -> Head:
        """Head as :meth:`to_bytes` gave it, on the trees of that layout; wide and dense columns are its own.

        Raises
        ------
        DamagedError, FormatError
            Not such bytes; written by a newer gbdtlr.
        """
        arrays = from_npz(data, "head.npz", FORMAT_OF_DENSE)
        try:
            columns = WideColumns.from_arrays(arrays)
            layout = Layout(
                trees.offsets,
                trees.leaf_values,
                columns,
                tuple(checked(arrays[f"wide_index_{j}"], np.uint32, None) for j in range(len(columns.names))),
                DenseColumns.from_arrays(arrays),
            )
            sizes = [index.shape for index in layout.buckets]
            wide = [checked(arrays[f"wide_weights_{j}"], np.float64, size) for j, size in enumerate(sizes)]
            if any((np.diff(index.astype(np.int64)) <= 0).any() for index in layout.buckets):
                raise ValueError("wide buckets out of order")
            n_dense = layout.dense.n
            dense = checked(arrays["dense_weights"], np.float64, (n_dense,)) if n_dense else np.empty(0)
            leaves = _leaf_weights(arrays, trees.leaf_values)
            head = cls(layout, layout.join(leaves, wide, float(arrays["bias"][0]), dense))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DamagedError(f"the head's weights are damaged: {error}") from None
        if not head.is_finite() or head.wide.n_buckets < 1:
            raise DamagedError("the head's weights are damaged: not all of them are finite")
        return head


def _leaf_weights(arrays: Mapping[str, NDArray[Any]], leaf_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """All leaves' weights; ValueError or KeyError where the arrays do not say them."""
    n_leaves = len(leaf_values)
    if "leaf_index" not in arrays:
        return checked(arrays["leaf_weights"], np.float64, (n_leaves,))
    index = checked(arrays["leaf_index"], np.uint32, None)
    if len(index) and (index.max() >= n_leaves or (np.diff(index.astype(np.int64)) <= 0).any()):
        raise ValueError("leaves out of order")
    weights = leaf_values.copy()
    weights[index] = checked(arrays["leaf_moved"], np.float64, index.shape)
    return weights
