"""What one would write without gbdtlr: ``python -m benchmarks.update_peers refit|lr BOOSTER FRESH OUT THREADS``.

Each reads the file of fresh rows, fits, and writes what a service would load.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pyarrow.parquet as pq

from benchmarks.fit_peers import Rows

C = 0.01
MAX_ITERATIONS = 100


def refit(booster: lgb.Booster, fresh: Path, out: Path, n_threads: int) -> None:
    """``Booster.refit``: new leaf outputs, tree after tree."""
    frame = pq.read_table(fresh, columns=[*booster.feature_name(), "label"]).to_pandas()
    label = frame.pop("label").to_numpy()
    booster.refit(frame, label, num_threads=n_threads).save_model(out)


def lr(booster: lgb.Booster, fresh: Path, out: Path, n_threads: int) -> None:
    """Leaf indices, one-hot, scikit-learn's logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    frame = pq.read_table(fresh, columns=[*booster.feature_name(), "label"]).to_pandas()
    label = frame.pop("label").to_numpy()
    leaves = booster.predict(frame, pred_leaf=True, num_threads=n_threads).T.astype(np.uint8)
    sizes = [info["num_leaves"] for info in booster.dump_model()["tree_info"]]
    design = Rows(leaves, label, np.concatenate([[0], np.cumsum(sizes)])).csr(np.float32)
    with threadpool_limits(n_threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged by then is what people live with
        model = LogisticRegression(C=C, max_iter=MAX_ITERATIONS, fit_intercept=False).fit(design, label)
    out.write_text(json.dumps(model.coef_[0].tolist()))


if __name__ == "__main__":
    what, booster_file, fresh_file, out_file, threads = sys.argv[1:]
    {"refit": refit, "lr": lr}[what](
        lgb.Booster(model_file=booster_file), Path(fresh_file), Path(out_file), int(threads)
    )
