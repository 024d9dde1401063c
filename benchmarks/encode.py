"""Rows to leaves: LightGBM's ``pred_leaf``, Treelite's ``predict_leaf`` and XGBoost's ``apply`` beside ``encode``.

Every system gets the same float64 matrix, categories by number, in its own best input format, made beforehand.
XGBoost grows trees of its own, of the same number and size, on the same rows. LightGBM's leaves are compared with
ours before anything is timed. The last case is a fresh process up to its first leaves, with an empty cache of
compiled code and with a full one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Bench, Work, installed
from gbdtlr.trees import FrozenTrees

SHAPES = ((200, 31), (500, 12))
N_FEATURES = 28
N_CATEGORIES = 100
N_TRAINING = 50_000
START = """
import sys
import numpy as np
from gbdtlr.trees import FrozenTrees
trees = FrozenTrees.from_booster_text(open(sys.argv[1]).read())
trees.encode_matrix(np.zeros((1, len(trees.schema.names))))
"""


def run(bench: Bench) -> None:
    n_rows = bench.size(200_000)
    for n_categorical in (0, N_FEATURES // 2):
        matrix, label = rows(max(n_rows, N_TRAINING), n_categorical)
        for n_trees, n_leaves in SHAPES:
            booster = grown(matrix[:N_TRAINING], label[:N_TRAINING], n_categorical, n_trees, n_leaves, bench.n_threads)
            trees = FrozenTrees.from_booster_text(booster.model_to_string())
            share = _check(trees, booster, matrix[:2000])
            case = f"{n_rows} rows, {n_trees} x {n_leaves}, {share:.0%} of splits categorical"
            asked, n_threads = matrix[:n_rows], bench.n_threads
            systems = {
                "gbdtlr": partial(trees.encode_matrix, asked),
                "lightgbm pred_leaf": partial(booster.predict, asked, pred_leaf=True, num_threads=n_threads),
                "treelite predict_leaf": _treelite(booster, asked, n_threads),
                "xgboost apply": _xgboost(matrix, label, n_rows, n_categorical, n_trees, n_leaves, n_threads),
            }
            bench.compare(case, systems, tell=lambda _, leaves: {"bytes": leaves.nbytes})
    cold_start(bench, trees)


def rows(n: int, n_categorical: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """Matrix (n, N_FEATURES), categorical columns last, and labels that every column tells something about."""
    rng = np.random.default_rng(7)
    matrix = rng.normal(size=(n, N_FEATURES))
    numeric = N_FEATURES - n_categorical
    score = matrix[:, :numeric] @ rng.normal(size=numeric) + matrix[:, 0] * matrix[:, 1]
    for column in range(numeric, N_FEATURES):
        category = np.minimum(rng.geometric(0.05, n) - 1, N_CATEGORIES - 1)
        matrix[:, column] = category
        score += 0.5 * rng.normal(size=N_CATEGORIES)[category]  # about half of the splits become categorical
    return matrix, (score + rng.normal(size=n) > 0).astype(np.int8)


def grown(matrix: Any, label: Any, n_categorical: int, n_trees: int, n_leaves: int, n_threads: int) -> Any:
    """LightGBM booster of ``n_trees`` trees of ``n_leaves`` leaves."""
    import lightgbm as lgb

    params = {"objective": "binary", "num_leaves": n_leaves, "verbosity": -1, "num_threads": n_threads, "seed": 1}
    categorical = list(range(N_FEATURES - n_categorical, N_FEATURES))
    return lgb.train(params, lgb.Dataset(matrix, label, categorical_feature=categorical, params=params), n_trees)


def _check(trees: FrozenTrees, booster: Any, matrix: npt.NDArray[np.float64]) -> float:
    """Share of the splits that are categorical, once the leaves have been found equal."""
    if not np.array_equal(trees.encode_matrix(matrix), booster.predict(matrix, pred_leaf=True).T):
        raise SystemExit("encode differs from LightGBM's pred_leaf; its speed is of no interest")
    splits = [line for line in booster.model_to_string().splitlines() if line.startswith("decision_type=")]
    kinds = [int(word) & 1 for line in splits for word in line.partition("=")[2].split()]
    return sum(kinds) / len(kinds)


def _treelite(booster: Any, matrix: npt.NDArray[np.float64], n_threads: int) -> Work | None:
    if not installed("treelite"):
        return None
    import treelite

    model = treelite.frontend.from_lightgbm(booster)
    return lambda: treelite.gtil.predict_leaf(model, matrix, nthread=n_threads)


def _xgboost(
    matrix: Any, label: Any, n_rows: int, n_categorical: int, n_trees: int, n_leaves: int, n_threads: int
) -> Work | None:
    if not installed("xgboost"):
        return None
    import xgboost

    kinds = ["q"] * (N_FEATURES - n_categorical) + ["c"] * n_categorical

    def data(values: Any, **more: Any) -> Any:
        return xgboost.DMatrix(values, feature_types=kinds, enable_categorical=True, nthread=n_threads, **more)

    params = {
        "objective": "binary:logistic", "tree_method": "hist", "grow_policy": "lossguide", "max_leaves": n_leaves,
        "max_depth": 0, "eta": 0.1, "nthread": n_threads,
    }  # fmt: skip
    model = xgboost.train(params, data(matrix[:N_TRAINING], label=label[:N_TRAINING]), n_trees)
    asked = data(matrix[:n_rows])
    return lambda: model.predict(asked, pred_leaf=True)


def cold_start(bench: Bench, trees: FrozenTrees) -> None:
    """Processes that read a booster and encode one row."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "booster.txt")
        with open(path, "wb") as file:
            file.write(trees.to_files()["booster.txt"])

        def start(cache: str) -> Callable[[], Any]:
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
            return lambda: subprocess.run([sys.executable, "-c", START, path], env=environment, check=True)

        def compile_anew() -> None:
            with tempfile.TemporaryDirectory() as empty:
                start(empty)()

        case = "a fresh process to its first leaves"
        systems = {"gbdtlr": start(os.path.join(folder, "cache")), "gbdtlr, compiling": compile_anew}
        bench.compare(case, systems, repeats=min(3, bench.repeats))
