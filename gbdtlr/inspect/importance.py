"""Importance: which features the margin depends on."""

from __future__ import annotations

import numpy as np

from gbdtlr.head import Codes
from gbdtlr.head.in_use import lookup
from gbdtlr.model import Model
from gbdtlr.trees import Rules


def importance(model: Model, codes: Codes | None) -> list[tuple[str, float]]:
    """Features by how much of the spread of the margin their trees' splits, ids and dense values carry, largest first.

    A leaf's variance over the rows is shared equally among the splits on its path.
    """
    trees, head = model.trees, model.head
    found: dict[str, float] = {}
    rules = Rules(trees)
    for t in range(trees.n_trees):
        first, last = trees.offsets[t], trees.offsets[t + 1]
        weights = head.leaf_weights[first:last]
        share = np.ones(last - first) if codes is None else np.bincount(codes.leaves[t], minlength=last - first)
        total = share.sum()
        if not total:
            continue
        spread = share / total * (weights - share @ weights / total) ** 2
        for leaf, part in enumerate(spread):
            path = rules.features(int(first) + leaf)
            for name in path:
                found[name] = found.get(name, 0.0) + float(part) / len(path)
    if codes is not None:
        for name, bucket, index, weights in zip(
            head.wide.names, codes.buckets, head.layout.buckets, head.wide_weights, strict=True
        ):
            found[name] = found.get(name, 0.0) + float(np.var(lookup(index, weights, bucket)))
        for column, where in zip(head.dense.columns, head.dense.places, strict=True):
            added = head.dense_weights[where] @ codes.dense[where].astype(np.float64)
            found[column.name] = found.get(column.name, 0.0) + float(np.var(added))
    total_spread = sum(found.values()) or 1.0
    return sorted(((name, part / total_spread) for name, part in found.items()), key=lambda each: (-each[1], each[0]))
