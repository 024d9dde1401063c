"""Bins: where LightGBM cuts each feature, found on some rows, once for all ranks that grow trees together.

On its own LightGBM has each rank find those of some features on that rank's rows alone; where these are a few days
out of many, it cuts by what those days happened to hold.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gbdtlr.compute.threads import n_threads
from gbdtlr.errors import TreesError
from gbdtlr.trees.refusals import reason_of
from gbdtlr.trees.schema import Schema

if TYPE_CHECKING:
    from gbdtlr.samples import Samples

N_ROWS = 200_000
"""Rows that bins are found on, as many as LightGBM takes."""


def bins_of(samples: Samples, schema: Schema, params: Mapping[str, Any]) -> bytes:
    """Bins of these rows, as the bytes of a data set of LightGBM's that has the first row alone.

    Raises
    ------
    SamplesError
        A feature column missing or of the wrong type.
    TreesError
        LightGBM refused the parameters.
    """
    import lightgbm as lgb

    dataset = lgb.Dataset(
        schema.matrix(samples.table),
        samples.label,
        feature_name=booster_names(schema),
        categorical_feature=categorical_of(schema),
        params={"num_threads": n_threads(), **params},
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bins"
        try:
            dataset.construct().subset([0]).construct().save_binary(str(file))
        except (lgb.basic.LightGBMError, ValueError) as error:
            reason = reason_of(error, params)
            raise TreesError(f"LightGBM refused [trees.params] or the samples: {reason}") from None
        return file.read_bytes()


def booster_names(schema: Schema) -> list[str]:
    """The features' names as far as LightGBM's format can carry them."""
    names = [re.sub(r'[\s,:\[\]{}"=]', "_", name) for name in schema.names]
    return names if len(set(names)) == len(names) and all(names) else [f"Column_{i}" for i in range(len(names))]


def categorical_of(schema: Schema) -> list[int]:
    """Places of the features that are categories."""
    return [i for i, feature in enumerate(schema.features) if feature.vocabulary is not None]
