"""Layout: which parameter of a head is which, and what each is pulled towards.

Parameters are one line, a kind of weight after the other::

    | leaves of tree 1 | ... | leaves of tree n | buckets of wide column 1 | ... | dense column 1 | ... | bias |

Of a wide column only the buckets in use have a parameter, in rising order: which they are is the layout's to know. Of
a dense column each number has one; they stand right before the bias, where kernels look for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.head.codes import Codes
from gbdtlr.head.dense import NO_DENSE, DenseColumns
from gbdtlr.head.in_use import InUse
from gbdtlr.head.wide import WideColumns

NO_WIDE = WideColumns((), 2)
TABLE = 16
"""Places of a table of all buckets for each row up to which it pays: to sort the rows takes as long as so many."""

Buckets = tuple[NDArray[np.uint32], ...]
"""Per wide column, uint32 (n_in_use,), sorted"""


class Trees(Protocol):
    """What has leaves: frozen trees, or another layout."""

    @property
    def offsets(self) -> NDArray[np.int64]: ...

    @property
    def leaf_values(self) -> NDArray[np.float64]: ...


@dataclass(frozen=True, eq=False)
class Layout:
    """Parameters of heads on the same trees, wide columns and dense columns.

    Attributes
    ----------
    offsets : int64 (n_trees + 1,), first leaf of each tree, and the number of leaves
    leaf_values : float64 (n_leaves,), the trees' own outputs
    wide : the wide columns
    buckets : per wide column, uint32 (n_in_use,), sorted; none in use where it is empty
    dense : the dense columns
    """

    offsets: NDArray[np.int64]
    leaf_values: NDArray[np.float64]
    wide: WideColumns = NO_WIDE
    buckets: Buckets = ()
    dense: DenseColumns = NO_DENSE

    def __post_init__(self) -> None:
        object.__setattr__(self, "buckets", self.buckets or tuple(np.empty(0, np.uint32) for _ in self.wide.names))
        # Writeable or not are two types to a kernel, and each would be compiled.
        object.__setattr__(self, "offsets", _read_only(self.offsets, np.int64))
        object.__setattr__(self, "leaf_values", _read_only(self.leaf_values, np.float64))

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout, (
            self.offsets,
            self.leaf_values,
            self.wide,
            self.buckets,
            self.dense,
        )  # a copy elsewhere is read only too

    @classmethod
    def of(cls, trees: Trees, wide: WideColumns = NO_WIDE, dense: DenseColumns = NO_DENSE) -> Layout:
        """Layout of heads on these trees, without any wide bucket in use yet."""
        return cls(trees.offsets, trees.leaf_values, wide, dense=dense)

    def using(self, buckets: Sequence[NDArray[np.uint32]]) -> Layout:
        """The same with these buckets of each wide column in use, each sorted."""
        return replace(self, buckets=tuple(buckets))

    def over(self, parts: Parts[Codes]) -> Layout:
        """The same with the buckets in use that occur in coded samples."""
        return self.using(parts.sum(Occurring.of, zero=Occurring(tuple([] for _ in self.wide.names))).buckets)

    def together_with(self, other: Layout) -> Layout:
        """The same with the buckets of both in use."""
        both = zip(self.buckets, other.buckets, strict=True)
        return self.using([np.union1d(own, others).astype(np.uint32) for own, others in both])

    def without(self, dropped: NDArray[np.bool_]) -> tuple[Layout, NDArray[np.bool_]]:
        """The same without the buckets whose parameter is ``dropped``, (n,), and which parameters are left, (n,)."""
        left = np.ones(self.n, bool)
        for where in self.columns:
            left[where] = ~dropped[where]
        buckets = [index[left[where]] for index, where in zip(self.buckets, self.columns, strict=True)]
        return self.using(buckets), left

    @cached_property
    def kinds(self) -> Mapping[str, slice]:
        """Where each kind of weight is: ``leaves``, ``wide NAME``, ``dense NAME``, ``bias``; in this order."""
        dense = self.dense.columns
        sizes = [self.n_leaves, *map(len, self.buckets), *(column.size for column in dense), 1]
        wide = (f"wide {name}" for name in self.wide.names)
        names = ["leaves", *wide, *(f"dense {column.name}" for column in dense), "bias"]
        stops = np.cumsum(sizes).tolist()
        return {name: slice(stop - size, stop) for name, size, stop in zip(names, sizes, stops, strict=True)}

    @cached_property
    def in_use(self) -> tuple[InUse, ...]:
        """The buckets of each wide column, to find some in."""
        return tuple(InUse(index) for index in self.buckets)

    @cached_property
    def n(self) -> int:
        """How many parameters there are."""
        return self.bias + 1

    @property
    def n_trees(self) -> int:
        """How many trees."""
        return len(self.offsets) - 1

    @property
    def n_leaves(self) -> int:
        """Leaves of all trees."""
        return len(self.leaf_values)

    @property
    def leaves(self) -> slice:
        """Where the leaves are."""
        return self.kinds["leaves"]

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        """Where the buckets of each wide column are."""
        return tuple(self.kinds[f"wide {name}"] for name in self.wide.names)

    @cached_property
    def ids(self) -> slice:
        """Where the buckets of all wide columns are."""
        return slice(self.n_leaves, self.linear.start)

    @cached_property
    def linear(self) -> slice:
        """Where the numbers of all dense columns are."""
        return slice(self.bias - self.dense.n, self.bias)

    @cached_property
    def bias(self) -> int:
        """Where the bias is."""
        return self.kinds["bias"].start  # type: ignore[no-any-return]  # a slice may be of anything

    @cached_property
    def anchor(self) -> NDArray[np.float64]:
        """What each parameter is pulled towards, float64 (n,): leaves to the trees' outputs, dense columns to their
        anchors, all others to zero."""
        anchor = np.zeros(self.n)
        anchor[self.leaves] = self.leaf_values
        anchor[self.linear] = self.dense.anchor
        return _read_only(anchor, np.float64)

    def split(self, values: NDArray[Any]) -> tuple[NDArray[Any], tuple[NDArray[Any], ...], NDArray[Any]]:
        """Views of values (n, ...): those of leaves, of each wide column's buckets, and of the bias, (...); those of
        dense columns are at ``linear``."""
        return values[self.leaves], tuple(values[where] for where in self.columns), values[self.bias]

    def join(
        self, leaves: NDArray[Any], wide: Sequence[NDArray[Any]], bias: Any, dense: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """The values that :meth:`split` splits into these, with those of the dense columns, of which there may be none.

        Raises
        ------
        ValueError
            There are dense columns, and not as many values of theirs.
        """
        if (0 if dense is None else len(dense)) != self.dense.n:
            raise ValueError(f"values of {self.dense.n} dense numbers expected")
        last = np.asarray(bias, leaves.dtype)[None]
        return np.concatenate([leaves, *wide, *([] if dense is None else [dense]), last])

    def places_in(self, other: Layout) -> NDArray[np.intp]:
        """Where each of these parameters is in a layout that has them all and maybe more, (n,)."""
        wide = [
            where.start + index.searchsorted(own)
            for where, index, own in zip(other.columns, other.buckets, self.buckets, strict=True)
        ]
        dense = np.arange(other.linear.start, other.bias)
        return self.join(np.arange(self.n_leaves), wide, other.bias, dense).astype(np.intp)

    def carried(self, values: NDArray[Any], other: Layout) -> NDArray[Any]:
        """Values (n, ...) of these parameters as those of another layout, (n of it, ...): zero where it has more."""
        leaves, wide, bias = self.split(values)
        carried = [
            in_use.lookup(value, buckets)
            for in_use, value, buckets in zip(self.in_use, wide, other.buckets, strict=True)
        ]
        return other.join(leaves, carried, bias, values[self.linear])

    def wide_parameters(self, buckets: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Parameter of each row's wide buckets, (n_wide, n), all of which are in use; int32 (n_wide, n)."""
        out = np.empty(buckets.shape, np.int32)
        for j, (where, in_use) in enumerate(zip(self.columns, self.in_use, strict=True)):
            np.add(in_use.places(buckets[j]), where.start, out=out[j])
        return out

    def parameters(self, leaves: NDArray[Any], wide: NDArray[np.int32]) -> NDArray[np.int32]:
        """The parameters whose weight is added to a row's margin as it is, int32 (m, n_trees + n_wide + 1): of its
        leaves, of its wide parameters, which are given, and the bias."""
        bias = np.full((leaves.shape[1], 1), self.bias)
        return np.concatenate([leaves.T + self.offsets[:-1], wide.T, bias], axis=1).astype(np.int32)


@dataclass(frozen=True)
class Occurring:
    """The buckets that occur in some rows, of each wide column; in pieces until somebody asks, or they travel."""

    pieces: tuple[list[NDArray[np.uint32]], ...]

    @classmethod
    def of(cls, codes: Codes) -> Occurring:
        """Those of a part's rows."""
        return cls(tuple([distinct(column)] for column in codes.buckets))

    def __add__(self, other: Occurring) -> Occurring:
        return Occurring(tuple(own + others for own, others in zip(self.pieces, other.pieces, strict=True)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Occurring, (tuple([each] for each in self.buckets),)

    @property
    def buckets(self) -> Buckets:
        """Each once, in rising order."""
        none = np.empty(0, np.uint32)
        return tuple(distinct(np.concatenate([none, *column])) for column in self.pieces)


def distinct(buckets: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Each bucket once, in rising order."""
    size = int(buckets.max(initial=0)) + 1
    if size > TABLE * len(buckets):
        return np.unique(buckets)
    there = np.zeros(size, bool)
    there[buckets] = True
    return np.flatnonzero(there).astype(np.uint32)


def _read_only(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view
