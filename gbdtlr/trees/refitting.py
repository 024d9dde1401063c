"""Refitting: LightGBM's own way to follow fresh samples, kept to compare with."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gbdtlr.trees.forest import Forest
from gbdtlr.trees.frozen import FrozenTrees


def refit(
    trees: FrozenTrees,
    matrix: npt.NDArray[np.float64],
    label: npt.NDArray[np.int8],
    weight: npt.NDArray[np.float64],
    decays: Sequence[float],
) -> list[npt.NDArray[np.float64]]:
    """Leaf outputs after ``Booster.refit`` with each decay: float64 (n_codes,), for the same leaves.

    Parameters
    ----------
    matrix : (n_rows, n_features), as ``schema.matrix`` gives it
    label, weight : (n_rows,)
    decays : shares of the old outputs that stay, 0 to 1
    """
    import lightgbm as lgb

    with tempfile.TemporaryDirectory() as folder:  # with a text in memory, LightGBM before 4.7 loses the parameters
        path = Path(folder, "booster.txt")
        path.write_bytes(trees.to_files()["booster.txt"])
        booster = lgb.Booster(model_file=path)
    booster.params.pop("categorical_feature", None)  # leaves are there already, and some versions warn of it
    refitted = (
        booster.refit(matrix, label, decay_rate=decay, weight=weight, dataset_params={"verbosity": -1})
        for decay in decays
    )
    return [Forest.parse(each.model_to_string()).leaf_value for each in refitted]
