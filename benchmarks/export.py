"""Exported models in onnxruntime: our graph, of float64 and of float32, beside the one onnxmltools makes.

Every system is asked the same rows, whose numbers float32 holds exactly, so that none is off for having read
others. A row is off where its margin is not LightGBM's up to what sums of float32 may be rounded by. Amounts are
whole numbers of seven and eight digits, as of money in cents, where a float32 lies on every one or every other of
them and nearly every threshold, halfway between two, is none. Flights are the bundled ones, categories by number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Bench, Work, installed
from gbdtlr.config import Config
from gbdtlr.export import graph
from gbdtlr.export.rows import UNSEEN, Rows
from gbdtlr.head import WideColumns
from gbdtlr.model import Model
from gbdtlr.samples import read
from gbdtlr.times import parse_time
from gbdtlr.trees import FrozenTrees, train

N_TRAINING = 50_000
NONE = WideColumns((), 2)
Matrix = npt.NDArray[np.float64]


def run(bench: Bench) -> None:
    n = bench.size(20_000)
    for case, (trees, matrix) in (("amounts", amounts(n)), ("flights", flights(n))):
        model = Model.of(trees, NONE)
        expected = trees.margin_matrix(matrix, trees.leaf_values, 0.0)
        systems: dict[str, Work | None] = {
            "gbdtlr": _ours(model, matrix, np.float64),
            "gbdtlr float32": _ours(model, matrix, np.float32),
            "onnxmltools": _onnxmltools(trees, matrix),
        }
        bench.compare(f"{n} rows, {case}", systems, tell=_teller(expected))


def amounts(n: int) -> tuple[FrozenTrees, Matrix]:
    """Trees on amounts that float32 holds, many of them next to each other, and rows of the same kind."""
    import lightgbm as lgb

    rng = np.random.default_rng(3)
    near = rng.integers(2**23, 2**23 + 200, (N_TRAINING + n, 3))
    far = rng.integers(2**24, 2**24 + 400, (N_TRAINING + n, 3)) // 2 * 2
    matrix = np.column_stack([near, far]).astype(np.float32).astype(np.float64)
    score = np.sin(near % 7).sum(axis=1) + np.cos(far % 22).sum(axis=1)
    label = score + rng.normal(size=len(score)) > np.median(score)
    settings = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "num_threads": 1, "seed": 1}
    data = lgb.Dataset(matrix[:N_TRAINING], label[:N_TRAINING], params=settings)
    booster = lgb.train(settings, data, 50)
    return FrozenTrees.from_booster_text(booster.model_to_string()), matrix[N_TRAINING:]


def flights(n: int) -> tuple[FrozenTrees, Matrix]:
    """Trees on four weeks of the bundled flights, and those of the days after, their numbers rounded to float32."""
    config = Config.load("configs/flights.toml")
    start, as_of, end = (parse_time(day, "America/New_York") for day in ("2013-01-18", "2013-02-15", "2013-03-31"))
    trees = train(read(config.samples, start, as_of, as_of), config.trees, config.samples, threads=1)
    later = read(config.samples, as_of, end, end)
    matrix = trees.schema.matrix(later.table).astype(np.float32).astype(np.float64)
    return trees, matrix[:n]


def _ours(model: Model, matrix: Matrix, dtype: type[np.floating[Any]]) -> Work:
    schema = model.trees.schema
    categories = [i for i, feature in enumerate(schema.features) if feature.vocabulary is not None]
    texts = []
    for i in categories:
        words = (*(schema.features[i].vocabulary or ()), UNSEEN, "")
        codes = np.where(np.isnan(matrix[:, i]), len(words) - 1, matrix[:, i]).astype(int)
        texts.append([words[code] for code in codes.tolist()])
    feed = graph.feed(model, Rows(matrix, tuple(texts), np.empty((0, len(matrix)), np.uint32)), dtype)
    return _session(graph.build(model, dtype, {}), "margin", feed)


def _onnxmltools(trees: FrozenTrees, matrix: Matrix) -> Work | None:
    if not installed("onnxmltools"):
        return None
    import lightgbm as lgb
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = lgb.Booster(model_str=trees.to_files()["booster.txt"].decode())
    booster.params["objective"] = "binary"
    kinds = [("rows", FloatTensorType([None, matrix.shape[1]]))]
    proto = convert_lightgbm(booster, initial_types=kinds, zipmap=False)
    ask = _session(proto.SerializeToString(), proto.graph.output[1].name, {"rows": matrix.astype(np.float32)})

    def margins() -> Matrix:
        probability = np.asarray(ask(), np.float64)[:, 1]
        return np.log(probability / (1 - probability))

    return margins


def _session(data: bytes, output: str, feed: dict[str, Any]) -> Work:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda: session.run([output], feed)[0]


def _teller(expected: Matrix) -> Callable[[str, Any], dict[str, Any]]:
    def tell(system: str, margins: Any) -> dict[str, Any]:
        off = np.abs(np.asarray(margins, np.float64).reshape(-1) - expected)
        tolerance = 1e-12 if system == "gbdtlr" else 1e-4
        return {"rows off": int((off > tolerance).sum()), "worst": float(off.max())}

    return tell
