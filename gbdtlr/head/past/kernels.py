"""Products of the design matrix X, never built: with thin matrices, a gather and the scatter that mirrors it, and X'X.

Parameters of wide buckets below zero are passed over: those X does not have. Those of dense columns stand before the
last one, the bias's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import kernel


@kernel()
def project(leaves: Any, offsets: Any, wide: Any, dense: Any, thin: Any, out: Any) -> None:
    """``out[i] = row i of X times thin``, float32 (n, r).

    Parameters: uint8 or uint16 (n_trees, n); int64 (n_trees + 1,); int32 (n_wide, n); float32 (n_dense, n);
    float32 (n_params, r).
    """
    last = thin.shape[0] - 1
    linear = last - dense.shape[0]
    for i in range(leaves.shape[1]):
        for k in range(thin.shape[1]):
            out[i, k] = thin[last, k]
        for t in range(leaves.shape[0]):
            c = np.uint64(offsets[t]) + np.uint64(leaves[t, i])
            for k in range(thin.shape[1]):
                out[i, k] += thin[c, k]
        for j in range(wide.shape[0]):
            if wide[j, i] >= 0:
                c = np.uint64(wide[j, i])
                for k in range(thin.shape[1]):
                    out[i, k] += thin[c, k]
        for d in range(dense.shape[0]):
            for k in range(thin.shape[1]):
                out[i, k] += dense[d, i] * thin[linear + d, k]


@kernel()
def scatter(leaves: Any, offsets: Any, wide: Any, dense: Any, values: Any, out: Any) -> None:
    """``out += X' values``, float32 (n_params, r)."""
    last = out.shape[0] - 1
    linear = last - dense.shape[0]
    for i in range(leaves.shape[1]):
        for k in range(out.shape[1]):
            out[last, k] += values[i, k]
        for t in range(leaves.shape[0]):
            c = np.uint64(offsets[t]) + np.uint64(leaves[t, i])
            for k in range(out.shape[1]):
                out[c, k] += values[i, k]
        for j in range(wide.shape[0]):
            if wide[j, i] >= 0:
                c = np.uint64(wide[j, i])
                for k in range(out.shape[1]):
                    out[c, k] += values[i, k]
        for d in range(dense.shape[0]):
            for k in range(out.shape[1]):
                out[linear + d, k] += dense[d, i] * values[i, k]


@kernel()
def add_gram(leaves: Any, offsets: Any, wide: Any, dense: Any, weight: Any, out: Any) -> None:
    """``out[a, b] += weight[i] X[i, a] X[i, b]`` for every two parameters b <= a, float64 (n_params, n_params)."""
    n_dense = dense.shape[0]
    last = np.uint64(out.shape[0] - 1)
    linear = last - np.uint64(n_dense)
    codes = np.empty(leaves.shape[0] + wide.shape[0] + 1, np.uint64)
    for i in range(leaves.shape[1]):
        n = 0
        for t in range(leaves.shape[0]):
            codes[n] = np.uint64(offsets[t]) + np.uint64(leaves[t, i])
            n += 1
        for j in range(wide.shape[0]):
            if wide[j, i] >= 0:
                codes[n] = np.uint64(wide[j, i])
                n += 1
        codes[n] = last
        for a in range(n + 1):
            line = out[codes[a]]
            for b in range(a + 1):
                line[codes[b]] += weight[i]
        for d in range(n_dense):
            line = out[linear + np.uint64(d)]
            product = np.float64(weight[i]) * np.float64(dense[d, i])
            for b in range(n):
                line[codes[b]] += product
            for e in range(d + 1):
                line[linear + np.uint64(e)] += product * np.float64(dense[e, i])
            out[last, linear + np.uint64(d)] += product
