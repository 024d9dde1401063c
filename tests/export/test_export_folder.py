"""The folder of an export: whole or not there, written only when the target runtime agrees; the command."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pytest
from export_kit import released

from gbdtlr.cli import main
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, MismatchError
from gbdtlr.export import FORMATS, export, folder
from gbdtlr.export.rows import Rows
from gbdtlr.head import DenseColumns, Head, Layout
from gbdtlr.head.dense import DenseColumn
from gbdtlr.model import Golden
from gbdtlr.scoring import Scorer


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("which", ["golden", "random"])
def test_nothing_is_written_where_the_runtime_gives_something_else(
    kind: str, which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"lightgbm": "_lightgbm", "onnx": "_onnx"}[kind]
    make: Any = getattr(folder, name)

    def off_by_a_little(*args: Any) -> Any:
        target = make(*args)

        def margins(rows: Rows) -> Any:
            found = target.margins(rows)
            if (len(rows) < 100) == (which == "golden"):
                found[3] += 1e-9
            return found

        return replace(target, margins=margins)

    monkeypatch.setattr(folder, name, off_by_a_little)
    with pytest.raises(MismatchError, match=r"other margins for 1 of .* rows; nothing was written"):
        export(released(), kind, tmp_path / "out", without_wide=True)
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_that_gives_no_number_does_not_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "raw_score", lambda _text, matrix: np.full(len(matrix), np.nan))
    with pytest.raises(MismatchError):
        export(released(wide=()), "lightgbm", tmp_path / "out")


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    release = released(wide=())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for name in ("full", "full/notes.txt"):
        with pytest.raises(ConfigError, match="is there already; name a folder that is not, or an empty one"):
            export(release, "lightgbm", tmp_path / name)
    (tmp_path / "empty").mkdir()
    export(release, "lightgbm", tmp_path / "empty")
    export(release, "lightgbm", tmp_path / "new" / "deeper")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "new"]
    with pytest.raises(ConfigError, match="cannot write"):
        export(release, "lightgbm", tmp_path / "full" / "notes.txt" / "below")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        if self.name == "schema.json":
            raise OSError(28, "No space left on device")
        return len(data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        export(released(wide=()), "lightgbm", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_schema_says_what_a_reader_needs(tmp_path: Path) -> None:
    export(released(), "onnx", tmp_path / "out")
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    assert (schema["format"], schema["target"], schema["release"], schema["float32"]) == (1, "onnx", 7, False)
    assert schema["head_as_of"] == "2024-03-04T00:00:00Z"
    assert [column["name"] for column in schema["columns"]] == ["x0", "x1", "x2", "x3", "colour", "site"]
    assert schema["columns"][4]["vocabulary"] == ["blue", "green", "red"]
    assert schema["columns"][4]["unseen"] == 3
    assert [column["of"] for column in schema["wide"]["columns"]] == [["shop"], ["colour", "shop"]]
    for name, expected in schema["sha256"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == expected
    assert sorted([*schema["sha256"], "schema.json"]) == sorted(path.name for path in (tmp_path / "out").iterdir())


def test_a_release_without_golden_rows_is_asked_random_ones(tmp_path: Path) -> None:
    release = replace(released(), golden_json=Golden([], [], []).to_bytes())
    assert export(release, "onnx", tmp_path / "out").rows == 1000
    assert json.loads((tmp_path / "out" / "golden.json").read_text())["rows"] == []


@pytest.mark.parametrize("kind", FORMATS)
def test_dense_columns_are_told_and_nothing_is_written(kind: str, tmp_path: Path) -> None:
    release = released(wide=())
    dense = DenseColumns((DenseColumn("age", (0.0,), (1.0,)),))
    head = Head.bare(Layout.of(release.trees, dense=dense))
    with pytest.raises(ConfigError, match=r"dense columns \(age\) are not exported"):
        export(replace(release, model=release.model.with_head(head)), kind, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_and_a_missing_library_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="'pmml' is not known; write lightgbm or onnx"):
        export(released(), "pmml", tmp_path / "out")
    for library in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ConfigError, match=r"needs the extra onnx .*pip install 'gbdtlr\[onnx\]'"):
            export(released(), "onnx", tmp_path / "out")
        monkeypatch.undo()


def test_random_rows_fall_into_every_leaf_and_half_of_the_buckets() -> None:
    model = released().model
    rows = Rows.random(model, 1000, seed=0)
    codes = rows.codes(model)
    assert np.isinf(model.trees.forest.threshold).any()
    reached = sum(len(np.unique(leaves)) for leaves in codes.leaves)
    assert reached > 0.9 * model.trees.n_codes
    for used, own in zip(model.head.layout.buckets, codes.buckets, strict=True):
        assert np.isin(own, used).mean() > 0.5
        assert not np.isin(own, used).all()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_command_exports_a_release_of_a_store(
    kind: str, filled: Config, make_samples: Callable[..., pa.Table], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    more = ["--without-wide"] if kind == "lightgbm" else []
    args = ["export", "--store", filled.store, "--format", kind, "--release", "2", "-o", str(out), "--json", *more]
    assert main(args) == 0
    result = json.loads(capsys.readouterr().out)
    assert {key: result[key] for key in ("release", "format", "output")} == {
        "release": 2,
        "format": kind,
        "output": str(out),
    }
    assert sorted(result["files"]) == sorted(path.name for path in out.iterdir())
    assert result["worst"] <= 1e-12
    loaded = Scorer.open(filled.store, 2).loaded
    if kind == "lightgbm":
        trees, head = loaded.model.trees, loaded.model.head
        rows = make_samples(n=50)
        found = lgb.Booster(model_file=str(out / "model.txt")).predict(trees.schema.matrix(rows), raw_score=True)
        np.testing.assert_allclose(found, trees.margin(rows, head.leaf_weights, head.bias), rtol=0, atol=1e-12)
    assert main(args) == 2  # it is there now
    assert "is there already" in capsys.readouterr().err
    assert main(["export", "--store", filled.store, "--format", "lightgbm", "-o", str(tmp_path / "ids")]) == 2
    assert "add --without-wide" in capsys.readouterr().err
    assert not (tmp_path / "ids").exists()
