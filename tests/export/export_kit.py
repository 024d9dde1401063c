"""What the tests of exports share: releases with every kind of split and id, made without a store."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "trees"))
from trees_kit import grow, training_rows

from gbdtlr.head import Head, Layout, WideColumns
from gbdtlr.model import Golden, Model
from gbdtlr.release import Release, Slow
from gbdtlr.store import Entry
from gbdtlr.trees import Feature, FrozenTrees, Schema

AS_OF = datetime(2024, 3, 4, tzinfo=UTC)
WIDE = ("shop", "colour:shop")
TREES, HEAD = "20240303T000000Z-00000001", "20240304T000000Z-00000002"

SHAPES: dict[str, dict[str, Any]] = {
    "usual": {},
    "many buckets": {"n_buckets": 2**24},
    "no ids": {"wide": ()},
    "one spelling of zero": {"zero_as_missing": True},
    "nothing is ever missing": {"use_missing": False},
    "random forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
    "a tree of one leaf": {"min_gain_to_split": 60.0},
    "only one leaf": {"min_gain_to_split": 1e9},
}
"""Releases that graphs and texts are written of in different ways."""


def frame(seed: int, n: int = 200) -> pa.Table:
    """Rows as users give them: gaps, unseen categories, ids."""
    rng = np.random.default_rng(seed)
    matrix, _ = training_rows(seed, n, (3, 90))
    colours = np.array(["red", "green", "blue", "mauve"])[rng.integers(0, 4, n)]
    return pa.table(
        {
            **{f"x{i}": pa.array(matrix[:, i], mask=rng.random(n) < 0.1) for i in range(4)},
            "colour": pa.array(colours, mask=rng.random(n) < 0.1),
            "site": pa.array([f"s{c:02.0f}" for c in matrix[:, 5]]),
            "shop": pa.array(rng.integers(0, 60, n), mask=rng.random(n) < 0.1),
        }
    )


def released(
    wide: tuple[str, ...] = WIDE, n_buckets: int = 64, seed: int = 0, n_trees: int = 8, **params: Any
) -> Release:
    """A release of trees grown with ``params``, whose head is off their leaf values, with golden rows."""
    rng = np.random.default_rng(seed)
    matrix, label = training_rows(seed, 1500, (3, 90), missing=0.1)
    label[np.isnan(matrix[:, 0])] = 1  # what is missing is parted from what is not, by an infinite threshold
    booster = grow(matrix, label, n_trees, (4, 5), **{"num_leaves": 12, **params})
    numbers = (Feature(f"x{i}") for i in range(4))
    sites = tuple(f"s{i:02}" for i in range(90))
    schema = Schema((*numbers, Feature("colour", ("blue", "green", "red")), Feature("site", sites)))
    trees = FrozenTrees(booster.model_to_string(), schema)
    columns = WideColumns(wide, n_buckets)
    layout = Layout.of(trees, columns)
    if wide:
        layout = layout.using([np.unique(own) for own in columns.buckets(frame(seed + 1))])
    model = Model(trees, Head(layout, layout.anchor + rng.normal(size=layout.n)))
    golden = Golden.of(frame(seed + 2), model)
    entry = Entry(number=7, as_of=AS_OF, trees=TREES, head=HEAD, why="update-lr")
    return Release(entry, Slow(TREES, trees, {}, AS_OF), model, {}, {}, AS_OF, golden.to_bytes())
