"""Moves: which weights two heads give otherwise, the rows each stands for, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.head import Codes, Head
from gbdtlr.head.in_use import lookup
from gbdtlr.inspect.words import id_in_words
from gbdtlr.model import Model
from gbdtlr.samples import Samples
from gbdtlr.trees import Rules
from gbdtlr.values.categories import texts, written
from gbdtlr.values.crosses import parts_of
from gbdtlr.values.frames import column_of


@dataclass(frozen=True)
class Move:
    """One weight, or several that say the same, before and after.

    Attributes
    ----------
    kind : ``leaf``, ``id``, ``dense`` or ``bias``
    what : in words; or the code of a leaf, whose words are only made if they are told
    before, after : log-odds; of a dense column, what one of its scales adds, and of a list, the standard deviation of
        what it adds
    n_rows : rows it stands for
    rows : which; found when asked for, as those of all leaves would fill the memory
    shift : log-odds it adds to each of them, (n_rows,), where that is not the same for all
    """

    kind: str
    what: str | int
    before: float
    after: float
    n_rows: int
    rows: Callable[[], NDArray[np.int64]]
    shift: NDArray[np.float64] | None = None

    @property
    def size(self) -> float:
        """Log-odds it moves all rows by, whichever way."""
        return abs(self.after - self.before) * self.n_rows if self.shift is None else float(np.abs(self.shift).sum())


def bias_move(old: Head, new: Head, n_rows: int) -> Move:
    """The move of the bias, which stands for every row."""
    return Move("bias", "every row", old.bias, new.bias, n_rows, lambda: np.arange(n_rows))


def leaf_moves(old: Model, new: Model, codes: Codes, rules: Rules) -> list[Move]:
    """Moves of the rules of leaves, each the sum over the leaves that have it."""
    moves: dict[Hashable, Move] = {}
    before, after, offsets = old.head.leaf_weights, new.head.leaf_weights, new.trees.offsets
    for t in range(new.trees.n_trees):
        counts = np.bincount(codes.leaves[t], minlength=int(offsets[t + 1] - offsets[t]))
        for leaf in np.flatnonzero(counts).tolist():
            code = int(offsets[t]) + leaf
            key, rows = rules.key(code), partial(_rows_of_leaf, codes.leaves[t], leaf)
            same = moves.get(key) or Move("leaf", code, 0.0, 0.0, int(counts[leaf]), rows)
            moves[key] = replace(same, before=same.before + float(before[code]), after=same.after + float(after[code]))
    return list(moves.values())


def wide_moves(old: Head, new: Head, old_codes: Codes, codes: Codes, samples: Samples) -> list[Move]:
    """Moves of ids, told by the id most rows of a bucket have; none where the wide columns differ.

    Where only the hash does, an id's weight before is the mean over the rows of its bucket, by what the old head read.
    """
    if not old.wide.same_ids(new.wide):
        return []
    moves = []
    for j, name in enumerate(new.wide.names):
        bucket = codes.buckets[j]
        order = np.argsort(bucket, kind="stable")
        values, starts = np.unique(bucket[order], return_index=True)
        weights = lookup(old.layout.buckets[j], old.wide_weights[j], old_codes.buckets[j])[order]
        before = weights[starts]
        if old.wide.hash != new.wide.hash:
            before = np.add.reduceat(weights, starts) / np.diff(np.append(starts, len(order)))
        after = lookup(new.layout.buckets[j], new.wide_weights[j], values)
        ends = [*starts[1:], len(order)]
        columns = [texts(column_of(samples.table, part)) for part in parts_of(name)]
        for i in np.flatnonzero(before != after):
            rows = order[starts[i] : ends[i]]
            what = id_in_words(name, [_most_common(column, rows) for column in columns])
            moves.append(Move("id", what, float(before[i]), float(after[i]), len(rows), partial(_itself, rows)))
    return moves


def dense_moves(old: Head, new: Head, old_codes: Codes, codes: Codes) -> list[Move]:
    """Moves of the dense columns that both heads have, one for each, lists too."""
    known = dict(zip(old.dense.names, zip(old.dense.columns, old.dense.places, strict=True), strict=True))
    moves = []
    for column, where in zip(new.dense.columns, new.dense.places, strict=True):
        if column.name not in known or known[column.name][0].size != column.size:
            continue
        before, place = known[column.name]
        added = [
            head.dense_weights[at] @ coded.dense[at].astype(np.float64)
            for head, at, coded in ((old, place, old_codes), (new, where, codes))
        ]
        if column.is_list:
            one, other = (float(each.std()) for each in added)
        else:
            unit = column.scale[0] / before.scale[0]
            one, other = float(old.dense_weights[place][0]) * unit, float(new.dense_weights[where][0])
        n, shift = len(codes), added[1] - added[0]
        moves.append(Move("dense", column.name, one, other, n, partial(np.arange, n), shift))
    return moves


def most_common_first(samples: Samples, model: Model) -> dict[str, list[str]]:
    """Values of each categorical feature, the most common first."""
    common = {}
    spell = written if model.trees.schema.as_written else texts
    for feature in model.trees.schema.features:
        if feature.vocabulary is not None:
            counts = spell(column_of(samples.table, feature.name)).value_counts()
            order = np.argsort(-counts.field("counts").to_numpy(zero_copy_only=False), kind="stable")
            values = counts.field("values").to_pylist()
            common[feature.name] = [values[i] for i in order.tolist()]
    return common


def _rows_of_leaf(leaves: NDArray[Any], leaf: int) -> NDArray[np.int64]:
    return np.flatnonzero(leaves == leaf)


def _itself(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows


def _most_common(column: Any, rows: NDArray[np.int64]) -> Any:
    """The id most rows of a bucket have; others that share the bucket are rare by design."""
    counts = column.take(pa.array(rows[:1000])).value_counts()
    best = int(np.argmax(counts.field("counts").to_numpy(zero_copy_only=False)))
    return counts.field("values")[best].as_py()
