"""A release as one ONNX graph, in onnxruntime: the same margins on every row there can be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from export_kit import SHAPES, frame, released

from gbdtlr.errors import ConfigError, TreesError
from gbdtlr.export import export, graph
from gbdtlr.export.ensemble import rounded_down
from gbdtlr.export.rows import Rows, is_number
from gbdtlr.metrics import sigmoid
from gbdtlr.model import Golden
from gbdtlr.release import Release
from gbdtlr.trees import Feature, FrozenTrees, Schema

Outputs = tuple[npt.NDArray[Any], npt.NDArray[Any]]
ROOT = Path(__file__).parents[2]


def run(folder: Path, inputs: dict[str, npt.NDArray[Any]]) -> Outputs:
    """Margins and probabilities of an exported model."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    assert sorted(inputs) == sorted(each.name for each in session.get_inputs())
    assert [each.shape[1] for each in session.get_inputs()] == [1] * len(inputs)
    margin, probability = session.run(["margin", "probability"], inputs)
    return margin.reshape(-1), probability.reshape(-1)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_graph_gives_the_margins_of_the_pair(shape: str, tmp_path: Path) -> None:
    release = released(**SHAPES[shape])
    export(release, "onnx", tmp_path / "out")
    rows = Rows.random(release.model, 10_000, seed=5)
    assert np.isinf(rows.matrix).any()
    assert np.isnan(rows.matrix).any()
    margins = release.model.head.margin(rows.codes(release.model))
    found, probability = run(tmp_path / "out", graph.feed(release.model, rows, np.float64))
    np.testing.assert_allclose(found, margins, rtol=0, atol=1e-12)
    np.testing.assert_allclose(probability, sigmoid(margins), rtol=0, atol=1e-12)


def test_its_golden_rows_are_what_onnxruntime_gives(tmp_path: Path) -> None:
    release = released()
    export(release, "onnx", tmp_path / "out")
    golden = json.loads((tmp_path / "out" / "golden.json").read_text())
    inputs = {}
    for name, values in golden["inputs"].items():
        kind = np.int64 if name.startswith("bucket:") else np.float64 if name.startswith("x") else object
        inputs[name] = np.array(values, kind).reshape(-1, 1)  # null is NaN
    margin, probability = run(tmp_path / "out", inputs)
    assert len(margin) == 8
    np.testing.assert_allclose(margin, golden["margin"], rtol=0, atol=golden["tolerance"])
    np.testing.assert_allclose(probability, golden["probability"], rtol=0, atol=golden["tolerance"])
    np.testing.assert_array_equal(release.model.margin(release.golden.columns), golden["margin"])


def quoted() -> Callable[[dict[str, Any], dict[str, Any], dict[str, str | None]], int]:
    """What docs/export.md shows to work out a bucket with."""
    (code,) = [
        block
        for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/export.md").read_text("utf-8"), re.M | re.S)
        if "def bucket_of" in block
    ]
    names: dict[str, Any] = {}
    exec(code, names)
    return names["bucket_of"]  # type: ignore[no-any-return]


def test_a_frame_is_scored_by_schema_alone(tmp_path: Path) -> None:
    """What a program without gbdtlr does: texts as they are, ids hashed by what schema.json says."""
    release = released()
    export(release, "onnx", tmp_path / "out")
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    rows = frame(9)
    inputs = {}
    for column in schema["columns"]:
        values = rows.column(column["name"]).to_pylist()
        if column["kind"] == "categorical":
            inputs[column["name"]] = np.array([value or "" for value in values], object).reshape(-1, 1)
        else:
            inputs[column["name"]] = np.array(values, np.float64).reshape(-1, 1)
    wide = schema["wide"]
    assert (wide["hash"], wide["texts"]) == ("splitmix64", "one spelling")
    bucket_of = quoted()
    texts = [{name: None if row[name] is None else str(row[name]) for name in row} for row in rows.to_pylist()]
    for column in wide["columns"]:
        buckets = [bucket_of(wide, column, row) for row in texts]
        inputs[f"bucket:{column['name']}"] = np.array(buckets).reshape(-1, 1)
    margin, _ = run(tmp_path / "out", inputs)
    np.testing.assert_allclose(margin, release.model.margin(rows), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", ["usual", "one spelling of zero", "nothing is ever missing"])
def test_float32_numbers_fall_as_they_do_in_float64(shape: str, tmp_path: Path) -> None:
    release = released(**SHAPES[shape])
    export(release, "onnx", tmp_path / "out", float32=True)
    model = release.model
    rows = Rows.random(model, 10_000, seed=5).rounded(is_number(model.trees))
    margins = model.head.margin(rows.codes(model))
    found, _ = run(tmp_path / "out", graph.feed(model, rows, np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, margins, rtol=0, atol=2e-5)  # a leaf's neighbours are off by about 1


def test_thresholds_rounded_down_part_float32_numbers_alike() -> None:
    rng = np.random.default_rng(0)
    thresholds = np.concatenate([rng.normal(size=2000) * 10.0 ** rng.integers(-44, 44, 2000), [np.inf, -np.inf, 0.0]])
    down = rounded_down(thresholds, np.float32)
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    for x in (near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf)), -near):
        np.testing.assert_array_equal(x <= down, x.astype(np.float64) <= thresholds)
    assert (near > down).any()  # the nearest is not the same


def test_equal_releases_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export(released(), "onnx", tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_the_model_says_where_it_is_from(tmp_path: Path) -> None:
    release = released()
    export(release, "onnx", tmp_path / "out", without_wide=True)
    proto = onnx.load(tmp_path / "out" / "model.onnx")
    assert {each.key: each.value for each in proto.metadata_props}["release"] == "7"
    assert "bucket:shop" not in [each.name for each in proto.graph.input]


def test_columns_that_cannot_be_inputs_are_told(tmp_path: Path) -> None:
    release = with_schema(released(), lambda old: Schema((Feature("margin"), *old.features[1:])))
    with pytest.raises(ConfigError, match="a column named 'margin' cannot be an input"):
        export(release, "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_categories_without_a_vocabulary_are_told(tmp_path: Path) -> None:
    release = with_schema(released(), lambda old: Schema((*old.features[:5], Feature("site"))))
    with pytest.raises(TreesError, match="split site by category, but know no vocabulary"):
        export(release, "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_release_of_before_texts_had_one_spelling(tmp_path: Path) -> None:
    release = with_schema(
        released(wide=()),
        lambda old: Schema(
            (*old.features[:4], Feature("colour", ("7.0", "True", "red")), old.features[5]), as_written=True
        ),
    )
    export(release, "onnx", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "schema.json").read_text())["texts"] == "as written"
    columns = {**frame(3, 6).to_pydict(), "colour": ["7.0", "7", "True", "true", "red", None]}
    inputs = graph.feed(release.model, Rows.of(release.model, columns), np.float64)
    assert inputs["colour"].reshape(-1).tolist() == ["7.0", "7", "True", "true", "red", ""]
    found, _ = run(tmp_path / "out", inputs)
    np.testing.assert_allclose(found, release.model.margin(columns), rtol=0, atol=1e-12)


def with_schema(release: Release, change: Callable[[Schema], Schema]) -> Release:
    """The release with other columns, and without golden rows."""
    text = release.trees.to_files()["booster.txt"].decode()
    trees = FrozenTrees(text, change(release.trees.schema))
    return replace(release, model=replace(release.model, trees=trees), golden_json=Golden([], [], []).to_bytes())
