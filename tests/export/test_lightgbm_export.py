"""A release as one LightGBM model: opened by LightGBM's package, its C library and Treelite."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pytest
import treelite
from export_kit import SHAPES, frame, released

from gbdtlr.errors import ConfigError
from gbdtlr.export import export
from gbdtlr.export.folder import _without_wide
from gbdtlr.export.rows import Rows
from gbdtlr.release import Release
from gbdtlr.trees.forest import ZERO

Matrix = npt.NDArray[np.float64]
SINGLE = {name: shape for name, shape in SHAPES.items() if "n_buckets" not in shape}


def by_c_library(path: str, matrix: Matrix) -> Matrix:
    """Raw scores by LightGBM's C API, as a service in C++, Go or Java calls it."""
    library = ctypes.CDLL(lgb.basic._LIB._name)
    booster, n_trees = ctypes.c_void_p(), ctypes.c_int()
    assert library.LGBM_BoosterCreateFromModelfile(path.encode(), ctypes.byref(n_trees), ctypes.byref(booster)) == 0
    scores, n_scores = np.empty(len(matrix)), ctypes.c_int64()
    matrix = np.ascontiguousarray(matrix)
    code = library.LGBM_BoosterPredictForMat(
        booster,
        matrix.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int(1),  # float64
        ctypes.c_int32(matrix.shape[0]),
        ctypes.c_int32(matrix.shape[1]),
        ctypes.c_int(1),  # row by row
        ctypes.c_int(1),  # raw scores
        ctypes.c_int(0),
        ctypes.c_int(-1),
        b"num_threads=1",
        ctypes.byref(n_scores),
        scores.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
    )
    assert (code, n_scores.value) == (0, len(matrix))
    library.LGBM_BoosterFree(booster)
    return scores


def asked(release: Release, n: int) -> tuple[Matrix, Matrix]:
    """Rows as numbers, and the margins of the pair without its ids."""
    model = _without_wide(release.model)
    rows = Rows.random(model, n, seed=5)
    return rows.matrix, model.head.margin(rows.codes(model))


@pytest.mark.parametrize("shape", SINGLE)
def test_one_model_gives_the_margins_of_the_pair(shape: str, tmp_path: Path) -> None:
    release = released(**SINGLE[shape])
    written = export(release, "lightgbm", tmp_path / "out", without_wide=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*written.files]
    file = str(tmp_path / "out" / "model.txt")
    matrix, margins = asked(release, 2000)
    booster = lgb.Booster(model_file=file)
    np.testing.assert_allclose(booster.predict(matrix, raw_score=True), margins, rtol=0, atol=1e-12)
    np.testing.assert_allclose(booster.predict(matrix), 1 / (1 + np.exp(-margins)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(by_c_library(file, matrix), margins, rtol=0, atol=1e-12)
    if shape != "one spelling of zero":  # Treelite refuses zero_as_missing
        model = treelite.frontend.load_lightgbm_model(file)
        plain = ~((np.abs(matrix) > 0) & (np.abs(matrix) <= ZERO)).any(axis=1)  # to it, these are not zero
        assert plain.mean() > 0.5
        found = treelite.gtil.predict(model, matrix[plain], nthread=1, pred_margin=True).reshape(-1)
        np.testing.assert_allclose(found, margins[plain], rtol=0, atol=1e-12)


def test_inner_nodes_are_means_of_their_leaves(tmp_path: Path) -> None:
    release = released()
    export(release, "lightgbm", tmp_path / "out", without_wide=True)

    def mean(node: dict[str, Any]) -> tuple[float, int]:
        if "leaf_value" in node:
            return node["leaf_value"], node.get("leaf_count", 0)
        (left, n_left), (right, n_right) = mean(node["left_child"]), mean(node["right_child"])
        assert node["internal_value"] == pytest.approx((left * n_left + right * n_right) / (n_left + n_right), abs=1e-5)
        return node["internal_value"], n_left + n_right

    for tree in lgb.Booster(model_file=str(tmp_path / "out" / "model.txt")).dump_model()["tree_info"]:
        mean(tree["tree_structure"])


def test_its_golden_rows_are_what_lightgbm_gives(tmp_path: Path) -> None:
    release = released(wide=())
    written = export(release, "lightgbm", tmp_path / "out")
    golden = json.loads((tmp_path / "out" / "golden.json").read_text())
    assert len(golden["rows"]) == 8
    assert (written.release, written.rows) == (7, 8 + 1000)
    assert written.worst <= 1e-12
    booster = lgb.Booster(model_file=str(tmp_path / "out" / "model.txt"))
    matrix = np.array(golden["inputs"], np.float64)  # null is NaN
    np.testing.assert_allclose(booster.predict(matrix, raw_score=True), golden["margin"], atol=golden["tolerance"])
    np.testing.assert_allclose(booster.predict(matrix), golden["probability"], atol=golden["tolerance"])
    np.testing.assert_array_equal(release.model.margin(release.golden.columns), golden["margin"])


def test_ids_are_refused_or_left_out(tmp_path: Path) -> None:
    release = released()
    with pytest.raises(ConfigError, match="no place for the ids of shop, colour:shop: add --without-wide"):
        export(release, "lightgbm", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    export(release, "lightgbm", tmp_path / "out", without_wide=True)
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    assert (schema["wide"], schema["left_out"]) == (None, ["shop", "colour:shop"])
    with pytest.raises(ConfigError, match="float32 is of the format onnx"):
        export(release, "lightgbm", tmp_path / "other", without_wide=True, float32=True)


def test_a_frame_is_scored_by_schema_alone(tmp_path: Path) -> None:
    """What a program without gbdtlr does: numbers as they are, categories by their place."""
    release = released(wide=())
    export(release, "lightgbm", tmp_path / "out")
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    rows = frame(9)
    columns = []
    for column in schema["columns"]:
        values = rows.column(column["name"]).to_pylist()
        if column["kind"] == "categorical":
            place = {text: float(i) for i, text in enumerate(column["vocabulary"])}
            values = [None if value is None else place.get(value, column["unseen"]) for value in values]
        columns.append(np.array(values, np.float64))
    found = lgb.Booster(model_file=str(tmp_path / "out" / "model.txt")).predict(
        np.column_stack(columns), raw_score=True
    )
    np.testing.assert_allclose(found, release.model.margin(rows), rtol=0, atol=1e-12)
