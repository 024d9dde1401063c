"""MLflow: a release as a model of MLflow's, without pickle.

The model's data is a store that holds the one release. MLflow imports this module to load it (``loader_module``), so
that every byte is checked and the golden rows are replayed wherever it is loaded.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gbdtlr
from gbdtlr.errors import ConfigError
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store
from gbdtlr.store.copying import copy_release


class PyFunc:
    """What ``mlflow.pyfunc.load_model`` wraps: a release that scores."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> NDArray[np.float64]:  # noqa: ARG002 - MLflow's signature
        """Probability of every row of a frame, float64 (n,); columns are found by name."""
        return self.scorer.score(model_input)


def log_release(
    store: str | os.PathLike[str] | Store, release: int | None = None, *, name: str = "model", **options: Any
) -> Any:
    """Log a release as a pyfunc model to MLflow's run that is active, or to a new one.

    Parameters
    ----------
    store : path or URL, or a store that is open
    release : its number; the live one if not given
    name : the model's in MLflow
    options : further ones of ``mlflow.pyfunc.log_model``, such as ``registered_model_name`` or ``signature``

    Returns
    -------
    info : MLflow's ``ModelInfo``, whose ``model_uri`` it is loaded by

    Raises
    ------
    ConfigError
        MLflow is not installed.
    StoreError, MismatchError
        No such release, or one that cannot be trusted here; nothing was logged.
    """
    return _written("log_model", store, release, name=name, **options)


def save_release(
    store: str | os.PathLike[str] | Store, path: str | os.PathLike[str], release: int | None = None, **options: Any
) -> None:
    """Write a release as a pyfunc model to a folder, without a tracking server; otherwise as :func:`log_release`."""
    _written("save_model", store, release, path=os.fspath(path), **options)


def _load_pyfunc(path: str) -> PyFunc:
    """What MLflow calls with the model's data; raises as ``Scorer.open``."""
    store = Store.open(path)
    return PyFunc(Scorer.open(store, store.newest()))  # the only one, be it a candidate


def _written(how: str, store: str | os.PathLike[str] | Store, release: int | None, **options: Any) -> Any:
    try:
        from mlflow import pyfunc
    except ImportError as error:
        raise ConfigError(f"MLflow needs the extra mlflow ({error}): pip install 'gbdtlr[mlflow]'") from None
    loaded = Scorer.open(store, release)  # which replays the golden rows: what cannot be served is not logged
    entry = loaded.loaded.entry
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "store")  # MLflow names the data in its model by this
        copy_release(loaded.store, entry.number, Store.open(data))
        about = {"release": entry.number, "trees": entry.trees, "head": entry.head}
        about |= {} if entry.embeddings is None else {"embeddings": entry.embeddings}
        given = {
            "pip_requirements": [f"gbdtlr=={gbdtlr.__version__}"],
            **options,
            "metadata": {"gbdtlr": about, **(options.get("metadata") or {})},
        }
        return getattr(pyfunc, how)(loader_module="gbdtlr.mlflow", data_path=data, **given)
