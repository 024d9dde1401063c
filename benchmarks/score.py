"""Probabilities: a ``Scorer`` beside the ``predict`` of LightGBM, Treelite and XGBoost, in batches and row by row.

All score the same rows, by the same trees, with the trees' own leaf outputs for a head, and must agree before
anything is timed. Only XGBoost, which cannot read LightGBM's trees, grows trees of its own, of the same number and
size, on the same rows. Each system gets the rows in the form it takes: a float64 matrix, where categories are
numbers, or a DataFrame, where they are texts (to LightGBM and XGBoost of type ``category``).

One row at a time is the case of a service. Every call is timed, systems taking turns every ``TURN`` calls; *seconds* is
the median of the calls, and *p99* what one of them in a hundred exceeds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.encode import N_FEATURES, N_TRAINING, SHAPES, rows
from benchmarks.harness import OURS, Bench, Work, installed
from gbdtlr.head import Head, WideColumns
from gbdtlr.metrics import sigmoid
from gbdtlr.release import Release
from gbdtlr.scoring import Scorer
from gbdtlr.store import Entry, Store
from gbdtlr.trees import Feature, FrozenTrees, Schema

N_ROWS = 200_000
N_CALLS, TURN = 5_000, 100
WIDE = ("campaign", "user", "campaign:user")
WIDE_BUCKETS, N_WIDE_WEIGHTS = 262_144, 50_000
TOLERANCE = 1e-9
FLOAT32_TOLERANCE = 1e-5  # of peers that add leaf outputs up in single precision
NAMES = tuple(f"x{j:02d}" for j in range(N_FEATURES))
AS_OF = datetime(2024, 5, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """Trees, and the rows they score."""

    title: str
    booster: Any
    schema: Schema
    matrix: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    n_rows: int
    n_threads: int

    @cached_property
    def trees(self) -> FrozenTrees:
        """The booster's, frozen."""
        return FrozenTrees(self.booster.model_to_string(), self.schema)

    @cached_property
    def asked(self) -> npt.NDArray[np.float64]:
        """Rows to score, categories by number, float64 (n_rows, N_FEATURES)."""
        return self.matrix[: self.n_rows]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The same rows, categories as texts of type ``category``."""
        return frame_of(self.asked, self.schema)

    @property
    def is_numeric(self) -> bool:
        """Whether no column is a category."""
        return all(feature.vocabulary is None for feature in self.schema.features)

    def named(self, i: int) -> dict[str, Any]:
        """Row ``i`` as a service has it: names to numbers and texts."""
        return {
            feature.name: value if feature.vocabulary is None else feature.vocabulary[int(value)]
            for feature, value in zip(self.schema.features, self.asked[i].tolist(), strict=True)
        }

    @cached_property
    def xgboost(self) -> Any:
        """XGBoost's model of the same number and size of trees; None where it is not installed."""
        if not installed("xgboost"):
            return None
        import xgboost

        data = xgboost.DMatrix(
            frame_of(self.matrix[:N_TRAINING], self.schema), self.label[:N_TRAINING], enable_categorical=True
        )
        trees = self.trees
        params = {
            "objective": "binary:logistic", "tree_method": "hist", "grow_policy": "lossguide", "max_depth": 0,
            "max_leaves": int(np.diff(trees.offsets).max()), "eta": 0.1, "nthread": self.n_threads,
        }  # fmt: skip
        return xgboost.train(params, data, trees.n_trees)

    @cached_property
    def treelite(self) -> Any:
        """Treelite's model of the same trees; None where it is not installed."""
        if not installed("treelite"):
            return None
        import treelite

        return treelite.frontend.from_lightgbm(self.booster)


def run(bench: Bench) -> None:
    for n_categorical in (0, N_FEATURES // 2):
        matrix, label = rows(max(bench.size(N_ROWS), N_TRAINING), n_categorical)
        for n_trees, n_leaves in SHAPES:
            case = made(matrix, label, n_categorical, n_trees, n_leaves, bench.size(N_ROWS), bench.n_threads)
            check(case)
            batches(bench, case)
            one_row(bench, case, bench.size(N_CALLS))


def made(
    matrix: npt.NDArray[np.float64], label: npt.NDArray[np.int8], n_categorical: int, n_trees: int, n_leaves: int,
    n_rows: int, n_threads: int,
) -> Case:  # fmt: skip
    """Trees grown by LightGBM on the first rows of a DataFrame; the last columns are categories."""
    import lightgbm as lgb

    numeric = N_FEATURES - n_categorical
    categories = int(matrix[:, numeric:].max(initial=0)) + 1
    texts = tuple(f"c{code:03d}" for code in range(categories))
    schema = Schema(tuple(Feature(name, None if j < numeric else texts) for j, name in enumerate(NAMES)))
    params = {"objective": "binary", "num_leaves": n_leaves, "verbosity": -1, "num_threads": n_threads, "seed": 1}
    data = lgb.Dataset(frame_of(matrix[:N_TRAINING], schema), label[:N_TRAINING], params=params)
    title = f"{n_trees} x {n_leaves}, {n_categorical} of {N_FEATURES} columns categorical"
    return Case(title, lgb.train(params, data, n_trees), schema, matrix, label, n_rows, n_threads)


def frame_of(matrix: npt.NDArray[np.float64], schema: Schema) -> pd.DataFrame:
    """The matrix as a DataFrame, category numbers as the schema's texts, of type ``category``."""
    columns: dict[str, Any] = {}
    for feature, values in zip(schema.features, matrix.T, strict=True):
        if feature.vocabulary is None:
            columns[feature.name] = np.ascontiguousarray(values)
        else:
            columns[feature.name] = pd.Categorical.from_codes(values.astype(np.int32), list(feature.vocabulary))
    return pd.DataFrame(columns)


def scorer_of(trees: FrozenTrees, wide: tuple[str, ...] = ()) -> Scorer:
    """Scorer with the trees' own leaf outputs for a head, and weights for ids if there are any."""
    rng = np.random.default_rng(3)
    n = N_WIDE_WEIGHTS
    index = tuple(np.sort(rng.choice(WIDE_BUCKETS, n, replace=False)).astype(np.uint32) for _ in wide)
    weights = tuple(rng.normal(size=n) for _ in wide)
    head = Head(0.0, trees.leaf_values, WideColumns(wide, WIDE_BUCKETS), index, weights)
    version = "20240502T000000Z-00000000"
    release = Release(Entry(1, AS_OF, version, version, "train-trees"), trees, head, {}, AS_OF, AS_OF, {}, {})
    return Scorer(Store.open("memory-only"), release)


def check(case: Case) -> None:
    """Everybody's probabilities are LightGBM's, whatever the rows come in.

    Raises
    ------
    SystemExit
        They are not.
    """
    few = replace(case, n_rows=min(2000, case.n_rows))
    expected = case.booster.predict(few.asked)
    row = 7
    kinds = {
        "a matrix": (matrix_systems(few), expected),
        "a DataFrame": (frame_systems(few), expected),
        "one row's values": (values_systems(few, row), expected[row]),
        "one row's names and values": (named_systems(few, row), expected[row]),
    }
    for kind, (systems, wanted) in kinds.items():
        for name, work in systems.items():
            if work is None or name.startswith("xgboost"):
                continue
            off = float(np.abs(np.ravel(work()) - wanted).max())
            if not off <= (FLOAT32_TOLERANCE if name.startswith("treelite") else TOLERANCE):
                raise SystemExit(f"{name} of {kind} is off LightGBM by {off:.2g}; its speed is of no interest")


def matrix_systems(case: Case) -> dict[str, Work | None]:
    """Ways to score a float64 matrix."""
    trees, matrix, n_threads = case.trees, case.asked, case.n_threads
    systems: dict[str, Work | None] = {
        OURS: lambda: sigmoid(trees.margin_matrix(matrix, trees.leaf_values, 0.0)),
        "lightgbm predict": partial(case.booster.predict, matrix, num_threads=n_threads),
        "treelite gtil.predict": _treelite(case, matrix, n_threads),
        "xgboost predict": None,
    }
    if case.xgboost is not None:
        import xgboost

        kinds = ["q" if feature.vocabulary is None else "c" for feature in case.schema.features]
        data = xgboost.DMatrix(
            matrix, feature_names=list(NAMES), feature_types=kinds, enable_categorical=True, nthread=n_threads
        )
        systems["xgboost predict"] = partial(case.xgboost.predict, data)
    return systems


def frame_systems(case: Case) -> dict[str, Work | None]:
    """Ways to score a DataFrame."""
    model = case.xgboost
    return {
        OURS: partial(scorer_of(case.trees).score, case.frame),
        "lightgbm predict": partial(case.booster.predict, case.frame, num_threads=case.n_threads),
        "xgboost inplace_predict": None if model is None else partial(model.inplace_predict, case.frame),
    }


def values_systems(case: Case, i: int) -> dict[str, Work | None]:
    """Ways to score row ``i`` out of its values, in the order of the columns; ours takes categories as texts."""
    row = case.asked[i : i + 1].copy()
    values: Any = row[0] if case.is_numeric else tuple(case.named(i).values())
    model = case.xgboost
    return {
        OURS: partial(scorer_of(case.trees).score_row, values, NAMES),
        "lightgbm predict": partial(case.booster.predict, row),
        "lightgbm predict, one thread": partial(case.booster.predict, row, num_threads=1),
        "treelite gtil.predict": _treelite(case, row, 1),
        "xgboost inplace_predict": None if model is None else partial(model.inplace_predict, case.frame[i : i + 1]),
    }


def named_systems(case: Case, i: int) -> dict[str, Work | None]:
    """Ways to score row ``i`` out of a mapping of names to values, or of a DataFrame made of it beforehand."""
    named, frame = case.named(i), case.frame[i : i + 1].copy()
    return {
        OURS: partial(scorer_of(case.trees).score_row, named),
        "lightgbm predict": partial(case.booster.predict, frame),
        "lightgbm predict, one thread": partial(case.booster.predict, frame, num_threads=1),
    }


def _treelite(case: Case, matrix: npt.NDArray[np.float64], n_threads: int) -> Work | None:
    if case.treelite is None:
        return None
    import treelite

    return partial(treelite.gtil.predict, case.treelite, matrix, nthread=n_threads)


def batches(bench: Bench, case: Case) -> None:
    """Many rows at once, in rows per second too."""
    for kind, systems in (("matrix", matrix_systems(case)), ("DataFrame", frame_systems(case))):
        begin = len(bench.rows)
        bench.compare(f"{case.n_rows} rows, {kind}; {case.title}", systems)
        for row in bench.rows[begin:]:
            if row["seconds"] is not None:
                row["rows/s"] = round(case.n_rows / row["seconds"])


def one_row(bench: Bench, case: Case, n_calls: int) -> None:
    """One row at a time; with wide columns, which no peer has, as well."""
    call_by_call(bench, f"1 row, values; {case.title}", values_systems(case, 7), n_calls)
    named = named_systems(case, 7)
    ids = {"campaign": 1234, "user": "a3f9c2d07b"}
    named[f"{OURS}, {len(WIDE)} wide columns"] = partial(
        scorer_of(case.trees, WIDE).score_row, {**case.named(7), **ids}
    )
    call_by_call(bench, f"1 row, names and values; {case.title}", named, n_calls)


def call_by_call(bench: Bench, case: str, systems: Mapping[str, Work | None], n_calls: int) -> None:
    """A line per system, of the median and the slowest of ``n_calls`` calls; the first turn is not counted."""
    taken: dict[str, list[float]] = {name: [] for name, work in systems.items() if work is not None}
    for _ in range(1 + -(-n_calls // TURN)):
        for name, seconds in taken.items():
            seconds += _turn(systems[name])
    figures = {name: _quantiles(seconds[TURN:]) for name, seconds in taken.items()}
    for name in systems:
        if name not in figures:
            bench.add(case, name, None, None, {})
            continue
        ours, (_, p99) = figures[OURS], figures[name]
        bench.add(case, name, taken[name][TURN:], ours[0], {"p99": p99, "p99 ratio": round(p99 / ours[1], 2)})


def _turn(work: Any) -> list[float]:
    clock, seconds = time.perf_counter, []
    for _ in range(TURN):
        begin = clock()
        work()
        seconds.append(clock() - begin)
    return seconds


def _quantiles(seconds: list[float]) -> tuple[float, float]:
    return float(np.median(seconds)), float(np.quantile(seconds, 0.99))
