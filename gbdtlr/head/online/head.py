"""The online head: learned one sample at a time, predicted before it is learned, and sparse.

What is learned of each code is its distance from the anchor: of a leaf, from the trees' own output; of a wide bucket,
from zero; of a dense number, from its column's anchor. A head that has learned nothing is therefore exactly the
booster, and stays so wherever no gradient has pulled; L1 pulls a leaf back to what its tree says, and an id to nothing.
Only what is not at its anchor is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.npz import checked, from_npz, to_npz
from gbdtlr.errors import DamagedError
from gbdtlr.head.codes import Codes
from gbdtlr.head.dense import DenseColumns
from gbdtlr.head.head import Head
from gbdtlr.head.layout import Layout
from gbdtlr.head.online import kernels
from gbdtlr.head.wide import WideColumns
from gbdtlr.metrics import MAX_WEIGHT

FORMAT, FORMAT_OF_DENSE = 1, 2
_KERNELS = {"ftrl": kernels.learn_ftrl, "rda": kernels.learn_rda, "fobos": kernels.learn_fobos}


@dataclass(frozen=True)
class Rule:
    """How one sample moves the weights.

    Attributes
    ----------
    method : ``ftrl``, ``rda`` or ``fobos``
    alpha, beta : the rate of a coordinate is ``alpha / (beta + sqrt(sum of its squared gradients))``
    l1, l2 : strength of the regularisation; of FTRL in all (McMahan et al. 2013), of the others per sample
    min_occurrences : a wide bucket is learned from the sample on in which it occurs for the so many-th time
    """

    method: str
    alpha: float
    beta: float
    l1: float
    l2: float
    min_occurrences: int = 1


class OnlineHead:
    """A head that learns sample by sample; learning in two runs equals learning in one, to the last bit.

    Source
    ------
    McMahan et al. 2013, algorithm 1 (FTRL-Proximal) and section 5.1 (admission of rare ids by counts); Xiao 2010,
    algorithm 1 with the enhanced ℓ1 left out (RDA); Duchi and Singer 2009 (FOBOS). All with per-coordinate rates.
    """

    def __init__(self, rule: Rule, layout: Layout) -> None:
        """Head that has learned nothing: exactly the booster.

        Parameters
        ----------
        rule : how it learns
        layout : of heads on these trees and columns; every bucket has a coordinate, whichever are in use
        """
        if rule.method not in _KERNELS:
            raise ValueError(f"no such method: {rule.method!r}; one of {', '.join(_KERNELS)} expected")
        self.rule = rule
        self.n_learned = 0
        self._layout = Layout.of(layout, layout.wide, layout.dense)
        wide, n_wide = layout.wide, len(layout.wide.names)
        self._first = layout.n_leaves + wide.n_buckets * np.arange(n_wide + 1, dtype=np.int64)
        n = int(self._first[-1]) + 1
        if n >= 2**31:
            raise ValueError(f"{n_wide} wide columns of {wide.n_buckets} buckets are more than can be told apart")
        # Zeros cost memory only where something is written; whole pages of buckets never are. One more than there are
        # coordinates: where nothing is learned.
        self._state = np.zeros((n + 1, 2))
        self._state[n] = 0.0, 1.0
        self._touched = np.zeros(n if rule.method == "fobos" else 0, np.int64)
        self._counts = np.zeros(n_wide * wide.n_buckets, np.uint8)
        self._dense = np.zeros((layout.dense.n, 2))

    @property
    def layout(self) -> Layout:
        """Of heads on these trees and wide columns, of which no bucket is in use."""
        return self._layout

    @property
    def wide(self) -> WideColumns:
        """The wide columns."""
        return self._layout.wide

    @property
    def dense(self) -> DenseColumns:
        """The dense columns."""
        return self._layout.dense

    def learn_many(self, codes: Codes) -> NDArray[np.float64]:
        """Learn samples in their order; return what was predicted for each before it was learned.

        Parameters
        ----------
        codes : samples on this head's trees, wide and dense columns

        Returns
        -------
        margin : float64 (n,), log-odds
        """
        if len(codes.leaves) != self._layout.n_trees or len(codes.buckets) != len(self.wide.names):
            raise ValueError(
                f"codes of {self._layout.n_trees} trees and {len(self.wide.names)} wide columns expected, "
                f"not of {len(codes.leaves)} and {len(codes.buckets)}"
            )
        if len(codes.dense) != self.dense.n:
            raise ValueError(f"codes with {self.dense.n} dense numbers expected, not {len(codes.dense)}")
        return self._learn(codes.leaves, codes.buckets, codes.dense, codes.label, codes.weight)

    def learn_one(
        self, codes: Sequence[int] | NDArray[Any], label: int, weight: float = 1.0, dense: Sequence[float] = ()
    ) -> float:
        """Learn one sample; return the log-odds predicted for it before it was learned.

        Parameters
        ----------
        codes : (n_trees + n_wide,), leaf in each tree, then bucket in each wide column; whole numbers
        label : 0 or 1, in any type of number or truth value
        weight : how much it counts, from 0 to MAX_WEIGHT
        dense : (n_dense,), values of the dense columns, centred and scaled

        Raises
        ------
        ValueError
            None of these, or a code outside of its tree or of the wide buckets; nothing was learned.
        """
        n_trees = self._layout.n_trees
        row = self._checked_codes(codes)
        if not isinstance(label, Real | np.bool_) or label not in (0, 1):
            raise ValueError(f"label is {label!r}, expected 0 or 1")
        if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 <= weight <= MAX_WEIGHT:
            raise ValueError(f"weight is {weight!r}, expected a number from 0 to {MAX_WEIGHT:g}")
        leaves = row[:n_trees].astype(np.uint16).reshape(-1, 1)
        buckets = row[n_trees:].astype(np.uint32).reshape(-1, 1)
        values = np.asarray(dense, np.float32).reshape(-1, 1)
        if len(values) != self.dense.n or not np.isfinite(values).all():
            raise ValueError(f"{self.dense.n} finite dense numbers expected")
        margin = self._learn(leaves, buckets, values, np.array([label], np.float32), np.array([weight], np.float64))
        return float(margin[0])

    def _checked_codes(self, codes: Sequence[int] | NDArray[Any]) -> NDArray[Any]:
        """The codes as they came, once they are known to survive the cast to the types of leaves and buckets."""
        n_trees, n_wide = self._layout.n_trees, len(self.wide.names)
        row = np.asarray(codes)
        if row.shape != (n_trees + n_wide,):
            raise ValueError(f"{n_trees} leaves and {n_wide} buckets expected, not codes of shape {row.shape}")
        # A list of whole numbers among which is a truth value makes an array of whole numbers.
        told = row[:1] if isinstance(codes, np.ndarray) else codes
        if row.dtype.kind not in "iu" or np.ma.is_masked(codes) or any(isinstance(c, bool | np.bool_) for c in told):
            raise ValueError("codes must be whole numbers, none of them missing; encode rows with these trees")
        sizes = np.concatenate([np.diff(self._layout.offsets), np.full(n_wide, self.wide.n_buckets, np.int64)])
        if (row < 0).any() or (row >= sizes).any():
            raise ValueError("a code lies outside of its tree or of the wide buckets; encode rows with these trees")
        return row

    def _learn(
        self,
        leaves: NDArray[Any],
        buckets: NDArray[np.uint32],
        dense: NDArray[np.float32],
        label: NDArray[np.float32],
        weight: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        rule = self.rule
        margin = np.empty(len(label))
        _KERNELS[rule.method](
            np.ascontiguousarray(leaves),
            self._layout.offsets,
            self._layout.leaf_values,
            np.ascontiguousarray(buckets),
            self._first,
            self._counts,
            rule.min_occurrences,
            np.ascontiguousarray(label),
            np.ascontiguousarray(weight),
            self._state,
            self._touched,
            np.ascontiguousarray(dense),
            self.dense.anchor,
            self._dense,
            self.n_learned,
            rule.alpha,
            rule.beta,
            rule.l1,
            rule.l2,
            margin,
        )
        self.n_learned += len(label)
        return margin

    def distances(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], float]:
        """Distance of every weight from its anchor, as it is now.

        Returns
        -------
        leaves, index, wide, bias : float64 (n_codes,); int64 (n_nonzero,), coordinates of wide buckets counted through
            all columns, in rising order; float64 (n_nonzero,); log-odds
        """
        n_codes, bias = self._layout.n_leaves, self._first[-1]
        seen = np.flatnonzero(self._counts) + n_codes
        leaves = self._distance(np.arange(n_codes), self.rule.l1)
        wide = self._distance(seen, self.rule.l1)
        kept = wide != 0
        return leaves, seen[kept] - n_codes, wide[kept], float(self._distance(np.array([bias]), 0.0)[0])

    def dense_distances(self) -> NDArray[np.float64]:
        """Distance of each dense number's weight from its anchor, as it is now, float64 (n_dense,)."""
        steps = np.full(self.dense.n, min(self.n_learned, 1), np.int64)
        return self._distance_of(self._dense, steps, self.rule.l1)

    def _distance(self, at: NDArray[np.intp], l1: float) -> NDArray[np.float64]:
        steps = self.n_learned - self._touched[at] if len(self._touched) else np.zeros(len(at), np.int64)
        return self._distance_of(self._state[at], steps, l1)

    def _distance_of(self, state: NDArray[np.float64], steps: NDArray[np.int64], l1: float) -> NDArray[np.float64]:
        """Distances of coordinates, (n, 2), that FOBOS brought up to date so many steps ago, (n,)."""
        rule, t = self.rule, self.n_learned
        sums, root = np.ascontiguousarray(state.T)
        if rule.method == "fobos":
            rate = rule.alpha / (rule.beta + root)
            distance = np.empty(len(state))
            kernels.fobos_distances(sums, steps, rate, l1, rule.l2, distance)
            return distance
        times = 1 if rule.method == "ftrl" else t
        shrunk = np.copysign(np.maximum(np.abs(sums) - times * l1, 0.0), sums)
        with np.errstate(invalid="ignore"):  # 0 / 0 of a coordinate nothing has touched, without beta
            distance = -shrunk / ((rule.beta + root) / rule.alpha + times * rule.l2)
        return np.where(shrunk == 0, 0.0, distance)

    def head(self) -> Head:
        """The head as it is now, to score with: weights that are not zero, and nothing else."""
        leaves, index, wide, bias = self.distances()
        column, bucket = np.divmod(index, self.wide.n_buckets)
        layout = self._layout.using([bucket[column == j].astype(np.uint32) for j in range(len(self.wide.names))])
        dense = self.dense.anchor + self.dense_distances()
        return Head(layout, layout.join(layout.leaf_values + leaves, [wide], bias, dense))

    def to_bytes(self) -> bytes:
        """All it needs to go on learning as an npz; of wide buckets, those that ever occurred."""
        n_codes = self._layout.n_leaves
        seen = np.flatnonzero(self._counts)
        at = np.concatenate([np.arange(n_codes), seen + n_codes, self._first[-1:]])
        rule = self.rule
        dense = {"dense_sums": self._dense[:, 0], "dense_root": self._dense[:, 1]} if self.dense.n else {}
        return to_npz(
            {
                "method": np.frombuffer(rule.method.encode(), np.uint8),
                "rule": np.array([rule.alpha, rule.beta, rule.l1, rule.l2]),
                "min_occurrences": np.array([rule.min_occurrences], np.int64),
                **self.wide.to_arrays(),
                **self.dense.to_arrays(),
                **dense,
                "n_learned": np.array([self.n_learned], np.int64),
                "seen": seen.astype(np.int64),
                "counts": self._counts[seen],
                "sums": self._state[at, 0],
                "root": self._state[at, 1],
                "touched": self._touched[at] if len(self._touched) else self._touched,
            },
            FORMAT_OF_DENSE if self.dense.n else FORMAT,
        )

    @classmethod
    def from_bytes(cls, data: bytes, trees: Layout) -> OnlineHead:
        """Head as :meth:`to_bytes` gave it, on the trees of that layout; wide and dense columns are its own.

        Raises
        ------
        DamagedError, FormatError
            Not such bytes; written by a newer gbdtlr.
        """
        arrays, n_leaves = from_npz(data, "online.npz", FORMAT_OF_DENSE), trees.n_leaves
        try:
            alpha, beta, l1, l2 = (float(value) for value in checked(arrays["rule"], np.float64, (4,)))
            wide = WideColumns.from_arrays(arrays)
            method = arrays["method"].tobytes().decode()
            rule = Rule(method, alpha, beta, l1, l2, int(arrays["min_occurrences"][0]))
            if not 1 <= wide.n_buckets <= 2**28:
                raise ValueError(f"{wide.n_buckets} wide buckets")
            head = cls(rule, Layout.of(trees, wide, DenseColumns.from_arrays(arrays)))
            head.n_learned = int(arrays["n_learned"][0])
            seen = checked(arrays["seen"], np.int64, None)
            if len(seen) and (seen[0] < 0 or seen[-1] >= len(head._counts) or (np.diff(seen) <= 0).any()):
                raise ValueError("wide buckets out of order")
            n = n_leaves + len(seen) + 1
            at = np.concatenate([np.arange(n_leaves), seen + n_leaves, head._first[-1:]])
            head._counts[seen] = checked(arrays["counts"], np.uint8, (len(seen),))
            head._state[at, 0] = checked(arrays["sums"], np.float64, (n,))
            head._state[at, 1] = checked(arrays["root"], np.float64, (n,))
            for j, name in enumerate(("dense_sums", "dense_root") if head.dense.n else ()):
                head._dense[:, j] = checked(arrays[name], np.float64, (head.dense.n,))
            if not (np.isfinite(head._dense).all() and (head._dense[:, 1] >= 0).all()):
                raise ValueError("not all of its dense numbers can be")
            touched = checked(arrays["touched"], np.int64, (n if len(head._touched) else 0,))
            if len(touched):
                head._touched[at] = touched
            if not (np.isfinite(arrays["sums"]).all() and (arrays["root"] >= 0).all() and head.n_learned >= 0):
                raise ValueError("not all of its numbers can be")
            if len(touched) and not (touched.min() >= 0 and touched.max() <= head.n_learned):
                raise ValueError("it has samples from the future")
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"the online head is damaged: {error}") from None
        return head
