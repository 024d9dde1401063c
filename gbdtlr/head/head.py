"""The head: a logistic regression with one weight per code and a bias, valid for exactly one trees version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.npz import checked, from_npz, to_npz
from gbdtlr.errors import DamagedError
from gbdtlr.head import kernels
from gbdtlr.head.wide import WideColumns


@dataclass(frozen=True)
class Head:
    """Weights of a logistic regression on codes: ``margin = bias + sum of the weights of a row's codes``.

    Attributes
    ----------
    bias : log-odds
    leaf_weights : float64 (n_codes,), leaf l of tree t at ``offsets[t] + l``
    wide : names and number of buckets of the wide columns
    wide_index : per wide column, uint32 (n_nonzero,), sorted buckets whose weight is not zero
    wide_weights : per wide column, float64 (n_nonzero,)
    """

    bias: float
    leaf_weights: NDArray[np.float64]
    wide: WideColumns
    wide_index: tuple[NDArray[np.uint32], ...]
    wide_weights: tuple[NDArray[np.float64], ...]

    def margin(self, leaves: NDArray[Any], offsets: NDArray[np.int64], buckets: NDArray[Any]) -> NDArray[np.float64]:
        """Log-odds of coded rows.

        Parameters
        ----------
        leaves : uint8 or uint16 (n_trees, n)
        offsets : int64 (n_trees + 1,)
        buckets : uint32 (n_wide, n)

        Returns
        -------
        margin : float64 (n,)
        """
        out = np.full(leaves.shape[1], self.bias)
        kernels.add_leaf_weights(leaves, offsets, self.leaf_weights, out)
        self.add_wide(buckets, out)
        return out

    def add_wide(self, buckets: NDArray[Any], margin_out: NDArray[np.float64]) -> None:
        """Add the wide columns' weights of each row to its margin."""
        for bucket, index, weight in zip(buckets, self.wide_index, self.wide_weights, strict=True):
            margin_out += lookup(index, weight, bucket)

    def add_row_wide(self, buckets: Sequence[int], margin: float) -> float:
        """Margin of one row with its wide weights added, one after the other as in :meth:`add_wide`."""
        for bucket, index, weight in zip(buckets, self.wide_index, self.wide_weights, strict=True):
            at = int(index.searchsorted(np.uint32(bucket)))
            if at < len(index) and index[at] == bucket:
                margin += float(weight[at])
        return margin

    def is_finite(self) -> bool:
        """Whether every weight is a finite number."""
        arrays = (np.array([self.bias]), self.leaf_weights, *self.wide_weights)
        return all(bool(np.isfinite(array).all()) for array in arrays)

    def to_bytes(self, anchor: NDArray[np.float64] | None = None) -> bytes:
        """The head as an npz without objects; equal heads give equal bytes.

        Parameters
        ----------
        anchor : float64 (n_codes,), the trees' leaf outputs; where few leaves are off them, only those are stored
        """
        moved = None if anchor is None else np.flatnonzero(self.leaf_weights != anchor)
        if moved is not None and 3 * len(moved) < 2 * len(self.leaf_weights):
            leaves: dict[str, NDArray[Any]] = {
                "leaf_index": moved.astype(np.uint32),
                "leaf_moved": self.leaf_weights[moved],
            }
        else:
            leaves = {"leaf_weights": self.leaf_weights}
        arrays: dict[str, NDArray[Any]] = {
            "bias": np.array([self.bias]),
            **leaves,
            "n_buckets": np.array([self.wide.n_buckets], np.int64),
            "wide_names": np.frombuffer("\n".join(self.wide.names).encode(), np.uint8),
        }
        for j, (index, weight) in enumerate(zip(self.wide_index, self.wide_weights, strict=True)):
            arrays[f"wide_index_{j}"], arrays[f"wide_weights_{j}"] = index, weight
        return to_npz(arrays)

    @classmethod
    def from_bytes(cls, data: bytes, n_codes: int, anchor: NDArray[np.float64] | None = None) -> Head:
        """Head as :meth:`to_bytes` gave it, for trees of ``n_codes`` leaves whose outputs are ``anchor``.

        Raises
        ------
        DamagedError
            Not such bytes.
        """
        arrays = from_npz(data)
        try:
            text = arrays["wide_names"].tobytes().decode()
            names = tuple(text.split("\n")) if text else ()
            columns = range(len(names))
            head = cls(
                float(arrays["bias"][0]),
                _leaf_weights(arrays, n_codes, anchor),
                WideColumns(names, int(arrays["n_buckets"][0])),
                tuple(checked(arrays[f"wide_index_{j}"], np.uint32, None) for j in columns),
                tuple(checked(arrays[f"wide_weights_{j}"], np.float64, None) for j in columns),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DamagedError(f"the head's weights are damaged: {error}") from None
        for index, weight in zip(head.wide_index, head.wide_weights, strict=True):
            if len(index) != len(weight) or (np.diff(index.astype(np.int64)) <= 0).any():
                raise DamagedError("the head's weights are damaged: wide buckets out of order")
        if not head.is_finite() or head.wide.n_buckets < 1:
            raise DamagedError("the head's weights are damaged: not all of them are finite")
        return head


def _leaf_weights(
    arrays: Mapping[str, NDArray[Any]], n_codes: int, anchor: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """All leaves' weights; ValueError or KeyError where the arrays do not say them."""
    if "leaf_index" not in arrays:
        return checked(arrays["leaf_weights"], np.float64, (n_codes,))
    if anchor is None or anchor.shape != (n_codes,):
        raise ValueError("it holds what is off the trees' outputs, without those")
    index = checked(arrays["leaf_index"], np.uint32, None)
    if len(index) and (index.max() >= n_codes or (np.diff(index.astype(np.int64)) <= 0).any()):
        raise ValueError("leaves out of order")
    weights = anchor.copy()
    weights[index] = checked(arrays["leaf_moved"], np.float64, index.shape)
    weights.flags.writeable = False
    return weights


def lookup(index: NDArray[Any], weight: NDArray[Any], bucket: NDArray[Any]) -> NDArray[Any]:
    """Weight of each bucket, zero for those not in the sorted ``index``; shape (n, ...) of ``weight``'s rows."""
    if not len(index):
        return np.zeros((len(bucket), *weight.shape[1:]), weight.dtype)
    at = np.minimum(index.searchsorted(bucket), len(index) - 1)
    found = index[at] == bucket
    return np.where(found.reshape(-1, *(1,) * (weight.ndim - 1)), weight[at], weight.dtype.type(0))
