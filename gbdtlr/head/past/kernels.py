"""Products of the design matrix X, never built: with thin matrices, a gather and the scatter that mirrors it, and X'X.

Parameters of wide buckets below zero are passed over: those X does not have.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import kernel


@kernel()
def project(leaves: Any, offsets: Any, wide: Any, thin: Any, out: Any) -> None:
    """``out[i] = sum of the lines of thin of row i's parameters``, float32 (n, r); the last parameter is the bias.

    Parameters: uint8 or uint16 (n_trees, n); int64 (n_trees + 1,); int32 (n_wide, n); float32 (n_params, r).
    """
    last = thin.shape[0] - 1
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


@kernel()
def scatter(leaves: Any, offsets: Any, wide: Any, values: Any, out: Any) -> None:
    """``out[c] += values[i]`` for every parameter c of row i, float32 (n_params, r)."""
    last = out.shape[0] - 1
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


@kernel()
def add_gram(leaves: Any, offsets: Any, wide: Any, weight: Any, out: Any) -> None:
    """``out[a, b] += weight[i]`` for every two parameters b <= a of row i, float64 (n_params, n_params)."""
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
        codes[n] = np.uint64(out.shape[0] - 1)
        for a in range(n + 1):
            line = out[codes[a]]
            for b in range(a + 1):
                line[codes[b]] += weight[i]
