"""Probabilities: a ``Scorer`` beside the ``predict`` of LightGBM, Treelite and XGBoost, in batches and row by row.

All score the same rows, by the same trees, with the trees' own leaf outputs for a head, and must agree before
anything is timed. Only XGBoost, which cannot read LightGBM's trees, grows trees of its own, of the same number and
size, on the same rows. Each system gets the rows in the form it takes: a float64 matrix, where categories are
numbers, or a DataFrame, where they are texts (to LightGBM and XGBoost of type ``category``).

One row at a time is the case of a service. Every call is timed, systems taking turns every ``TURN`` calls; *seconds* is
the median of the calls, and *p99* what one of them in a hundred exceeds. A system that has used ``ENOUGH_S`` seconds
by then is not called again. *cold* is the median of ``N_COLD`` calls that each come after other work, which has left
nothing of the trees in the caches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.encode import N_CATEGORIES, N_FEATURES, N_TRAINING, SHAPES, rows
from benchmarks.harness import OURS, Bench, Work, installed
from gbdtlr.head import Head, Layout, WideColumns
from gbdtlr.metrics import sigmoid
from gbdtlr.model import Golden, Model
from gbdtlr.release import Release, Slow
from gbdtlr.scoring import Scorer
from gbdtlr.store import Entry, Store
from gbdtlr.trees import Feature, FrozenTrees, Schema

N_ROWS = 200_000
N_CALLS, TURN, ENOUGH_S = 20_000, 1000, 5.0
N_COLD, OTHER_WORK = 50, 2**23
WIDE = ("campaign", "user", "campaign:user")
WIDE_BUCKETS, N_WIDE_WEIGHTS = 262_144, 50_000
TOLERANCE = 1e-9
FLOAT32_TOLERANCE = 1e-5  # of peers that add leaf outputs up in single precision
NAMES = tuple(f"x{j:02d}" for j in range(N_FEATURES))
AS_OF = datetime(2024, 5, 2, tzinfo=UTC)

Calls = tuple[Callable[[Any], Any], Sequence[Any]]
"""What scores a row, and rows in the form it takes."""


@dataclass(frozen=True)
class Models:
    """Trees grown by LightGBM on a DataFrame, and what others make of them."""

    booster: Any
    schema: Schema
    matrix: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    n_threads: int

    @cached_property
    def trees(self) -> FrozenTrees:
        """The booster's, frozen."""
        return FrozenTrees(self.booster.model_to_string(), self.schema)

    @cached_property
    def treelite(self) -> Any:
        """Treelite's model of the same trees; None where it is not installed."""
        if not installed("treelite"):
            return None
        import treelite

        return treelite.frontend.from_lightgbm(self.booster)

    @cached_property
    def xgboost(self) -> Any:
        """XGBoost's model of as many trees of the same size; None where it is not installed."""
        if not installed("xgboost"):
            return None
        import xgboost

        params = {
            "objective": "binary:logistic", "tree_method": "hist", "grow_policy": "lossguide", "max_depth": 0,
            "max_leaves": int(np.diff(self.trees.offsets).max()), "eta": 0.1, "nthread": self.n_threads,
        }  # fmt: skip
        data = xgboost.DMatrix(frame_of(self.matrix, self.schema), self.label, enable_categorical=True)
        return xgboost.train(params, data, self.trees.n_trees)


@dataclass(frozen=True)
class Case:
    """Rows to score, float64 (n_rows, N_FEATURES), categories by number, and who scores them."""

    title: str
    models: Models
    matrix: npt.NDArray[np.float64]

    def first(self, n: int) -> Case:
        """The case of its first ``n`` rows."""
        return replace(self, matrix=self.matrix[:n])

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The same rows, categories as texts of type ``category``."""
        return frame_of(self.matrix, self.models.schema)

    @cached_property
    def named(self) -> list[dict[str, Any]]:
        """The same rows as a service has them: names to numbers and texts."""
        features = self.models.schema.features
        return [
            {
                feature.name: value if feature.vocabulary is None else feature.vocabulary[int(value)]
                for feature, value in zip(features, row, strict=True)
            }
            for row in self.matrix.tolist()
        ]


def run(bench: Bench) -> None:
    n_rows = bench.size(N_ROWS)
    for n_categorical in (0, N_FEATURES // 2):
        matrix, label = rows(max(n_rows, N_TRAINING), n_categorical)
        for n_trees, n_leaves in SHAPES:
            models = made(matrix[:N_TRAINING], label[:N_TRAINING], n_categorical, n_trees, n_leaves, bench.n_threads)
            title = f"{n_trees} x {n_leaves}, {n_categorical} of {N_FEATURES} columns categorical"
            case = Case(title, models, matrix[:n_rows])
            check(case)
            batches(bench, case)
            one_row(bench, case, bench.size(N_CALLS))


def made(matrix: Any, label: Any, n_categorical: int, n_trees: int, n_leaves: int, n_threads: int) -> Models:
    """Trees grown by LightGBM; the last columns are categories."""
    import lightgbm as lgb

    numeric = N_FEATURES - n_categorical
    texts = tuple(f"c{code:03d}" for code in range(N_CATEGORIES))
    schema = Schema(tuple(Feature(name, None if j < numeric else texts) for j, name in enumerate(NAMES)))
    params = {"objective": "binary", "num_leaves": n_leaves, "verbosity": -1, "num_threads": n_threads, "seed": 1}
    booster = lgb.train(params, lgb.Dataset(frame_of(matrix, schema), label, params=params), n_trees)
    return Models(booster, schema, matrix, label, n_threads)


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
    layout = Layout.of(trees, WideColumns(wide, WIDE_BUCKETS)).using(index)
    head = Head(layout, layout.join(trees.leaf_values, weights, 0.0))
    version = "20240502T000000Z-00000000"
    entry, slow = Entry(1, AS_OF, version, version, "train-trees"), Slow(version, trees, {}, AS_OF)
    release = Release(entry, slow, Model(trees, head), {}, {}, AS_OF, Golden([], [], []).to_bytes())
    return Scorer(Store.open("memory-only"), release)


def check(case: Case) -> None:
    """Everybody's probabilities are LightGBM's, whatever the rows come in.

    Raises
    ------
    SystemExit
        They are not.
    """
    few, one = case.first(2000), case.first(TURN)
    found: dict[str, Any] = {}
    for kind, systems in (("a matrix", matrix_systems(few)), ("a DataFrame", frame_systems(few))):
        found |= {f"{name} of {kind}": work() for name, work in systems.items() if work is not None}
    for kind, calls in (("values", values_calls(one)), ("names and values", named_calls(one))):
        for name, each in calls.items():
            if each is not None:
                found[f"{name} of {kind}"] = [each[0](row) for row in each[1]]
    expected = case.models.booster.predict(few.matrix)
    for name, probability in found.items():
        flat = np.ravel(probability)
        off = float(np.abs(flat - expected[: len(flat)]).max())
        if not off <= (FLOAT32_TOLERANCE if name.startswith("treelite") else TOLERANCE) and "xgboost" not in name:
            raise SystemExit(f"{name} is off LightGBM by {off:.2g}; its speed is of no interest")


def matrix_systems(case: Case) -> dict[str, Work | None]:
    """Ways to score a float64 matrix."""
    models, matrix = case.models, case.matrix
    trees, xgboost = models.trees, models.xgboost
    systems: dict[str, Work | None] = {
        OURS: lambda: sigmoid(trees.margin_matrix(matrix, trees.leaf_values, 0.0)),
        "lightgbm predict": partial(models.booster.predict, matrix, num_threads=models.n_threads),
        "treelite gtil.predict": None,
        "xgboost inplace_predict": None if xgboost is None else partial(xgboost.inplace_predict, matrix),
    }
    if models.treelite is not None:
        from treelite.gtil import predict

        systems["treelite gtil.predict"] = partial(predict, models.treelite, matrix, nthread=models.n_threads)
    return systems


def frame_systems(case: Case) -> dict[str, Work | None]:
    """Ways to score a DataFrame."""
    models, frame = case.models, case.frame
    xgboost = models.xgboost
    return {
        OURS: partial(scorer_of(models.trees).score, frame),
        "lightgbm predict": partial(models.booster.predict, frame, num_threads=models.n_threads),
        "xgboost inplace_predict": None if xgboost is None else partial(xgboost.inplace_predict, frame),
    }


def values_calls(case: Case) -> dict[str, Calls | None]:
    """Ways to score a row out of its values, in the order of the columns; ours takes categories as texts."""
    models = case.models
    arrays = [row[None, :].copy() for row in case.matrix]
    scorer, xgboost = scorer_of(models.trees), models.xgboost
    is_numeric = all(feature.vocabulary is None for feature in models.schema.features)
    values = [row[0] for row in arrays] if is_numeric else [tuple(row.values()) for row in case.named]
    calls: dict[str, Calls | None] = {
        OURS: (lambda row: scorer.score_row(row, NAMES), values),
        "lightgbm predict": (models.booster.predict, arrays),
        "lightgbm predict, one thread": (partial(models.booster.predict, num_threads=1), arrays),
        "treelite gtil.predict": None,
        "xgboost inplace_predict": None if xgboost is None else (xgboost.inplace_predict, arrays),
    }
    if models.treelite is not None:
        from treelite.gtil import predict

        calls["treelite gtil.predict"] = (lambda row: predict(models.treelite, row, nthread=1), arrays)
    return calls


def named_calls(case: Case) -> dict[str, Calls | None]:
    """Ways to score a row out of a mapping of names to values, or of a DataFrame made of it beforehand."""
    models = case.models
    frames = [case.frame[i : i + 1].copy() for i in range(len(case.frame))]
    return {
        OURS: (scorer_of(models.trees).score_row, case.named),
        "lightgbm predict": (models.booster.predict, frames),
        "lightgbm predict, one thread": (partial(models.booster.predict, num_threads=1), frames),
    }


def batches(bench: Bench, case: Case) -> None:
    """Many rows at once, in rows per second too."""
    n = len(case.matrix)
    for kind, systems in (("matrix", matrix_systems(case)), ("DataFrame", frame_systems(case))):
        begin = len(bench.rows)
        bench.compare(f"{n} rows, {kind}; {case.title}", systems)
        for row in bench.rows[begin:]:
            if row["seconds"] is not None:
                row["rows/s"] = round(n / row["seconds"])


def one_row(bench: Bench, case: Case, n_calls: int) -> None:
    """One row at a time; with wide columns, which no peer has, as well."""
    few = case.first(TURN)
    call_by_call(bench, f"1 row, values; {case.title}", values_calls(few), n_calls)
    named = named_calls(few)
    with_ids = [{**row, "campaign": 1000 + i % 40, "user": f"{7919 * i:010x}"} for i, row in enumerate(few.named)]
    named[f"{OURS}, {len(WIDE)} wide columns"] = (scorer_of(case.models.trees, WIDE).score_row, with_ids)
    call_by_call(bench, f"1 row, names and values; {case.title}", named, n_calls)


def call_by_call(bench: Bench, case: str, systems: Mapping[str, Calls | None], n_calls: int) -> None:
    """A line per system, of the median and the slowest calls, one row after the other; the first of all not counted."""
    for calls in systems.values():
        if calls is not None:
            _turn(*calls)
    taken: dict[str, list[float]] = {name: [] for name, calls in systems.items() if calls is not None}
    for _ in range(-(-n_calls // TURN)):
        for name, seconds in taken.items():
            if (calls := systems[name]) is not None and sum(seconds) < ENOUGH_S:
                seconds += _turn(*calls)
    figures = {name: (float(np.median(each)), float(np.quantile(each, 0.99))) for name, each in taken.items()}
    median, slow = figures[OURS]
    for name in systems:
        if name not in figures:
            bench.add(case, name, None, None, {})
            continue
        p99 = figures[name][1]
        cold = _cold(*calls) if (calls := systems[name]) is not None else None
        more = {"p99": p99, "p99 ratio": round(p99 / slow, 2), "cold": cold, "calls": len(taken[name])}
        bench.add(case, name, taken[name], median, more)


def _turn(call: Callable[[Any], Any], inputs: Sequence[Any]) -> list[float]:
    clock, seconds = time.perf_counter, []
    for row in inputs:
        begin = clock()
        call(row)
        seconds.append(clock() - begin)
    return seconds


def _cold(call: Callable[[Any], Any], inputs: Sequence[Any]) -> float:
    """Median seconds of a call after one that reads 64 MiB."""
    other, seconds = np.ones(OTHER_WORK), []
    for row in inputs[:N_COLD]:
        other.sum()
        seconds += _turn(call, [row])
    return float(np.median(seconds))
