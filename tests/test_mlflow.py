"""A release as MLflow's model: logged and loaded by MLflow itself, the same scores, no pickle."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, DamagedError, NoReleaseError
from gbdtlr.mlflow import _load_pyfunc, log_release, save_release
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store
from gbdtlr.store.copying import copy_release


def test_a_copied_release_is_the_only_one_and_live(
    filled: Config, make_samples: Callable[..., pa.Table], tmp_path: Path
) -> None:
    entry = copy_release(Store.open(filled.store), 3, Store.open(str(tmp_path / "one")))
    copied = Store.open(str(tmp_path / "one"))
    assert copied.live() == entry == Store.open(filled.store).entry(3)
    wrong = [finding for finding in copied.check() if finding.problem]
    assert {finding.problem for finding in wrong} == {"missing, though the log goes on to 3; restore it"}  # 1 and 2
    for path in (path for path in (tmp_path / "one").rglob("*") if path.is_file() and path.name != "hint"):
        assert path.read_bytes() == (Path(filled.store) / path.relative_to(tmp_path / "one")).read_bytes()
    rows = make_samples(n=50)
    loaded = _load_pyfunc(str(tmp_path / "one"))
    np.testing.assert_array_equal(loaded.predict(rows), Scorer.open(filled.store, 3).score(rows))
    with pytest.raises(NoReleaseError):
        copy_release(Store.open(filled.store), 9, Store.open(str(tmp_path / "two")))


def test_without_mlflow_it_is_told_what_to_install(filled: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"pip install 'gbdtlr\[mlflow\]'"):
        log_release(filled.store)


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MLflow's runs in a folder."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield
    mlflow.set_tracking_uri(None)


@pytest.mark.slow
@pytest.mark.usefixtures("tracking")
@pytest.mark.filterwarnings("default")  # MLflow's own, of what is to change in it
def test_a_logged_release_scores_as_its_store_does(
    filled: Config, make_samples: Callable[..., pa.Table], tmp_path: Path
) -> None:
    import mlflow

    with mlflow.start_run():
        info = log_release(filled.store, 2, name="clicks")
    shutil.move(filled.store, tmp_path / "moved")  # the model does not need it
    model = mlflow.pyfunc.load_model(info.model_uri)
    rows = make_samples(n=100).to_pandas()
    np.testing.assert_array_equal(model.predict(rows), Scorer.open(tmp_path / "moved", 2).score(rows))
    assert model.metadata.metadata["gbdtlr"]["release"] == 2
    with pytest.raises(Exception, match="no column"):
        model.predict(rows[["x"]])
    path = Path(mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path / "there")))
    files = sorted(file for file in path.rglob("*") if file.is_file())
    assert any(file.name == "booster.txt" for file in files)
    assert [
        file for file in files if file.suffix in (".pkl", ".pickle", ".joblib") or file.read_bytes()[:2] == b"\x80\x04"
    ] == []
    head = next(file for file in files if file.name == "head.npz")
    os.chmod(head, 0o644)
    head.write_bytes(head.read_bytes()[:-1] + b"?")
    with pytest.raises(DamagedError):
        mlflow.pyfunc.load_model(str(path))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_saved_release_needs_no_tracking(
    filled: Config, make_samples: Callable[..., pa.Table], tmp_path: Path
) -> None:
    import mlflow

    save_release(filled.store, tmp_path / "model")
    rows = make_samples(n=20).to_pandas()
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(rows)
    np.testing.assert_array_equal(found, Scorer.open(filled.store).score(rows))
