"""One peer fits one problem in a process of its own:

    python -m benchmarks.fit_peers PEER FOLDER L2 THREADS CAP_S

Reads ``problem.npz`` of the folder, brings the rows into the peer's best format, lets it compile and warm up on a few
rows, fits, and writes ``PEER.npz``: weights, seconds of the fit alone, iterations. A process of its own can be stopped
when it takes too long, and its memory is its own.

All minimise ``sum log loss + l2 / 2 |w|^2`` over one weight per leaf and a constant column, from zero. Tolerances are
the loosest, of powers of ten, at which the peer came within a relative 1e-5 of the optimum in both cases of 200,000
rows.
"""

from __future__ import annotations

import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import installed

Array = NDArray[Any]
WARM_ROWS = 500
MAX_ITERATIONS = 2000


@dataclass(frozen=True)
class Rows:
    """Leaves of all rows, uint8 (n_trees, n), their labels, and the first code of each tree."""

    leaves: Array
    label: Array
    offsets: Array

    def head(self) -> Rows:
        """The first rows, enough to compile on."""
        return Rows(self.leaves[:, :WARM_ROWS], self.label[:WARM_ROWS], self.offsets)

    def csr(self, dtype: Any) -> Any:
        """One-hot leaves and a constant column, scipy CSR (n, n_codes + 1)."""
        from scipy.sparse import csr_matrix

        n_trees, n = self.leaves.shape
        columns = np.empty((n, n_trees + 1), np.int32)
        columns[:, :-1] = self.leaves.T + self.offsets[:-1].astype(np.int32)
        columns[:, -1] = self.offsets[-1]
        starts = np.arange(0, columns.size + 1, n_trees + 1, dtype=np.int32)
        return csr_matrix((np.ones(columns.size, dtype), columns.ravel(), starts), (n, int(self.offsets[-1]) + 1))


Fit = Callable[[Any, Array, float, int], tuple[Array, int]]  # data, label, l2, threads -> weights, iterations


@dataclass(frozen=True)
class Peer:
    """A fit under its name, the library it needs, and what it wants its rows as."""

    library: str
    data: Callable[[Rows], Any]
    fit: Fit


def _csr64(rows: Rows) -> Any:
    return rows.csr(np.float64)


def _csr32(rows: Rows) -> Any:
    return rows.csr(np.float32)


def _csc64(rows: Rows) -> Any:
    return rows.csr(np.float64).tocsc()


def _sklearn(solver: str, tolerance: float) -> Fit:
    def fit(data: Any, label: Array, l2: float, n_threads: int) -> tuple[Array, int]:  # noqa: ARG001 - Fit's
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=1 / l2, fit_intercept=False, solver=solver, tol=tolerance, max_iter=MAX_ITERATIONS, random_state=0
        ).fit(data, label)
        return model.coef_[0], int(model.n_iter_[0])

    return fit


def _snapml(data: Any, label: Array, l2: float, n_threads: int) -> tuple[Array, int]:
    from snapml import LogisticRegression

    model = LogisticRegression(
        regularizer=l2, max_iter=MAX_ITERATIONS, tol=1e-3, n_jobs=n_threads, fit_intercept=False, random_state=0
    ).fit(data, label)
    return np.ravel(model.coef_), int(model.n_iter_)


def _categoricals(rows: Rows) -> Any:
    import pandas as pd
    import tabmat

    sizes = np.diff(rows.offsets)
    trees = [
        tabmat.CategoricalMatrix(pd.Categorical.from_codes(leaves.astype(np.int32), categories=np.arange(size)))
        for leaves, size in zip(rows.leaves, sizes, strict=True)
    ]
    return tabmat.SplitMatrix([*trees, tabmat.DenseMatrix(np.ones((rows.leaves.shape[1], 1)))])


def _glum(data: Any, label: Array, l2: float, n_threads: int) -> tuple[Array, int]:  # noqa: ARG001 - Fit's
    from glum import GeneralizedLinearRegressor

    model = GeneralizedLinearRegressor(
        family="binomial",
        alpha=l2 / len(label),
        l1_ratio=0,
        fit_intercept=False,
        solver="irls-ls",
        gradient_tol=1e-4,
        max_iter=100,
    ).fit(data, label)
    return model.coef_, int(model.n_iter_)


def _skglm(data: Any, label: Array, l2: float, n_threads: int) -> tuple[Array, int]:  # noqa: ARG001 - Fit's
    from skglm.datafits import Logistic
    from skglm.penalties import L2
    from skglm.solvers import LBFGS

    signs = np.where(label > 0, 1.0, -1.0)
    solver = LBFGS(max_iter=MAX_ITERATIONS, tol=1e-5)
    weights, path, _ = solver.solve(data, signs, Logistic(), L2(l2 / len(label)))
    return weights, len(path)


PEERS = {
    "scikit-learn lbfgs": Peer("sklearn", _csr64, _sklearn("lbfgs", 1e-5)),
    "scikit-learn newton-cg": Peer("sklearn", _csr64, _sklearn("newton-cg", 1e-5)),
    "scikit-learn newton-cholesky": Peer("sklearn", _csr64, _sklearn("newton-cholesky", 1e-3)),
    "scikit-learn liblinear": Peer("sklearn", _csr64, _sklearn("liblinear", 1e-3)),
    "scikit-learn saga": Peer("sklearn", _csr32, _sklearn("saga", 1e-3)),
    "Snap ML": Peer("snapml", _csr32, _snapml),
    "glum": Peer("glum", _categoricals, _glum),
    "skglm lbfgs": Peer("skglm", _csc64, _skglm),
}


def here(name: str) -> bool:
    """Whether the peer is installed."""
    return installed(PEERS[name].library)


def main(name: str, folder: Path, l2: float, n_threads: int, cap_s: float) -> None:
    """Fit and write what came of it; a fit of more than ``cap_s`` seconds ends the process."""
    from threadpoolctl import threadpool_limits

    peer = PEERS[name]
    with np.load(folder / "problem.npz") as arrays:
        rows = Rows(arrays["leaves"], arrays["label"], arrays["offsets"])
    with threadpool_limits(n_threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not to have converged is told by the gap
        few = rows.head()
        peer.fit(peer.data(few), few.label, l2, n_threads)
        data = peer.data(rows)
        signal.setitimer(signal.ITIMER_REAL, cap_s)
        begin = time.perf_counter()
        weights, passes = peer.fit(data, rows.label, l2, n_threads)
        seconds = time.perf_counter() - begin
        signal.setitimer(signal.ITIMER_REAL, 0)
    np.savez(folder / f"{name}.npz", weights=weights, seconds=seconds, passes=passes)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
