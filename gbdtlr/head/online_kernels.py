"""One sample at a time: predict, then step along the coordinates the sample touches, compiled.

Coordinates are one line: leaves, then the buckets of each wide column, then the bias. Each holds the distance of a
weight from its anchor, never as such but as what the method keeps of the past, so that the weight follows from it::

    method   sums                    root              touched
    FTRL     z  (McMahan 2013)       sqrt(sum g^2)     -
    RDA      sum g                   sqrt(sum g^2)     -
    FOBOS    the distance itself     sqrt(sum g^2)     number of samples learned when it was last brought up to date

Every code is 0 or 1, so the gradient ``g`` is one number per sample. ``t`` counts samples; RDA and FOBOS shrink each
coordinate once per sample, those not touched included: RDA's closed form has it anyway, FOBOS makes up for it when
the coordinate is next looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compiled import inline, kernel
from gbdtlr.head.pair_kernels import PAIRS, put_pairs, take_pairs

SATURATED = 255
BLOCK = 64
"""Samples whose coordinates are laid out together: the codes of one tree lie together, those of a sample do not."""


@inline
def _shrunk(x: Any, by: Any) -> Any:
    """Soft threshold: towards zero by so much, and no further (in a form that LLVM makes vectors of)."""
    return x - min(max(x, -by), by)


@inline
def _total(values: Any, n: int) -> Any:
    """Sum in a fixed order that does not wait for each addition before the next."""
    a = b = c = d = 0.0
    k = 0
    while k + 4 <= n:
        a += values[k]
        b += values[k + 1]
        c += values[k + 2]
        d += values[k + 3]
        k += 4
    while k < n:
        a += values[k]
        k += 1
    return (a + b) + (c + d)


@inline
def _residual(margin: Any, label: Any) -> Any:
    """``sigmoid(margin) - label``, without overflow."""
    e = np.exp(-abs(margin))
    return (1.0 / (1.0 + e) if margin >= 0.0 else e / (1.0 + e)) - label


@inline
def _admitted(counts: Any, bucket: Any, least: Any) -> Any:
    """Count the bucket; whether it has now been seen ``least`` times."""
    seen = counts[bucket]
    if seen < SATURATED:
        seen += 1
        counts[bucket] = seen
    return seen >= least


@inline
def _block(
    leaves: Any,
    offsets: Any,
    anchor: Any,
    buckets: Any,
    first: Any,
    counts: Any,
    state: Any,
    start: Any,
    size: Any,
    at: Any,
    base: Any,
) -> None:
    """Coordinates of samples ``start`` to ``start + size``, a line each, into ``at``, and their anchors' sums.

    Reads on the way what the ids will need: all misses of a block wait for memory together, not one after the other.
    """
    n_trees = leaves.shape[0]
    base[:size] = 0.0
    for t in range(n_trees):
        begin = np.uint32(offsets[t])
        for i in range(size):
            c = begin + np.uint32(leaves[t, start + i])
            at[i, t] = c
            base[i] += anchor[c]
    near = 0.0
    for j in range(buckets.shape[0]):
        bucket_0 = np.uint64(first[j])
        for i in range(size):
            id_ = bucket_0 + np.uint64(buckets[j, start + i])
            at[i, n_trees + j] = id_
            near += state[id_, 0] + counts[id_ - np.uint64(first[0])]
    # Never so, but the compiler cannot know, and so has to read.
    if near == np.inf:
        base[:size] = 0.0


@inline
def _touched(i: Any, leaves: Any, offsets: Any, buckets: Any, first: Any, counts: Any, least: Any, at: Any) -> Any:
    """Coordinates of sample ``i`` into ``at``; buckets seen less than ``least`` times, this one included, are not in.

    Returns how many there are.
    """
    n_trees = leaves.shape[0]
    for t in range(n_trees):
        at[t] = np.uint64(offsets[t]) + np.uint64(leaves[t, i])
    n = n_trees
    for j in range(buckets.shape[0]):
        c = np.uint64(first[j]) + np.uint64(buckets[j, i])
        seen = c - np.uint64(first[0])
        if counts[seen] < SATURATED:
            counts[seen] += 1
        if counts[seen] >= least:
            at[n] = c
            n += 1
    return n


@inline
def fobos_distance(x: Any, steps: Any, rate: Any, l1: Any, l2: Any) -> Any:
    """``steps`` times ``x <- shrink(x, rate l1) / (1 + rate l2)``, in closed form (Duchi and Singer 2009, 5.2)."""
    r = 1.0 / (1.0 + rate * l2)
    if r == 1.0:  # an l2 lost in rounding, too
        return _shrunk(x, steps * rate * l1)
    power = r**steps
    return np.copysign(max(abs(x) * power - rate * l1 * r * (1.0 - power) / (1.0 - r), 0.0), x)


@kernel()
def learn_ftrl(
    leaves: Any,  # uint8 or uint16 (n_trees, n)
    offsets: Any,  # int64 (n_trees + 1,)
    anchor: Any,  # float64 (n_codes,)
    buckets: Any,  # uint32 (n_wide, n)
    first: Any,  # int64 (n_wide + 1,), coordinate of each wide column's bucket 0; of the bias
    counts: Any,  # uint8 (n_wide * n_buckets,), changed
    least: int,
    label: Any,  # float32 (n,)
    weight: Any,  # float64 (n,)
    state: Any,  # float64 (n_coordinates, 2), sums and root, changed
    touched: Any,  # noqa: ARG001 - of FOBOS
    t: int,  # noqa: ARG001 - of RDA and FOBOS
    alpha: float,
    beta: float,
    l1: float,
    l2: float,
    margin_out: Any,  # float64 (n,), log-odds before each sample was learned
) -> None:
    n_trees, n_wide = leaves.shape[0], buckets.shape[0]
    n_most = n_trees + n_wide
    paired = n_trees // PAIRS * PAIRS
    bias, ids = np.uint64(first[n_wide]), np.uint64(first[0])
    at, base = np.empty((BLOCK, n_most), np.uint32), np.empty(BLOCK)
    # A vector's worth longer than needed, so that no loop over them has a rest that goes one by one.
    z, r, w = np.zeros(n_most + PAIRS), np.ones(n_most + PAIRS), np.empty(n_most + PAIRS)
    per_alpha = 1.0 / alpha
    flat = beta * per_alpha + l2
    bias_z, bias_r = state[bias, 0], state[bias, 1]
    for start in range(0, leaves.shape[1], BLOCK):
        size = min(BLOCK, leaves.shape[1] - start)
        _block(leaves, offsets, anchor, buckets, first, counts, state, start, size, at, base)
        for i in range(size):
            row = at[i]
            for k in range(0, paired, PAIRS):
                take_pairs(state, row, k, z, r)
            for k in range(paired, n_trees):
                z[k], r[k] = state[row[k], 0], state[row[k], 1]
            n = n_trees
            for k in range(n_trees, n_most):
                c = np.uint64(row[k])
                if _admitted(counts, c - ids, least):
                    row[n] = c
                    z[n], r[n] = state[c, 0], state[c, 1]
                    n += 1
            n_padded = (n + PAIRS - 1) // PAIRS * PAIRS
            for k in range(n_padded):
                w[k] = _shrunk(z[k], l1) / (flat + per_alpha * r[k])
            bias_w = bias_z / (flat + per_alpha * bias_r)
            margin = base[i] - _total(w, n) - bias_w
            margin_out[start + i] = margin
            g = weight[start + i] * _residual(margin, label[start + i])
            for k in range(n_padded):
                new = np.sqrt(r[k] * r[k] + g * g)
                z[k] += g + per_alpha * (new - r[k]) * w[k]
                r[k] = new
            for k in range(0, paired, PAIRS):
                put_pairs(state, row, k, z, r)
            for k in range(paired, n):
                state[row[k], 0], state[row[k], 1] = z[k], r[k]
            new = np.sqrt(bias_r * bias_r + g * g)
            bias_z += g + per_alpha * (new - bias_r) * bias_w
            bias_r = new
    state[bias, 0], state[bias, 1] = bias_z, bias_r


@kernel()
def learn_rda(
    leaves: Any,
    offsets: Any,
    anchor: Any,
    buckets: Any,
    first: Any,
    counts: Any,
    least: int,
    label: Any,
    weight: Any,
    state: Any,
    touched: Any,  # noqa: ARG001 - of FOBOS
    t: int,
    alpha: float,
    beta: float,
    l1: float,
    l2: float,
    margin_out: Any,
) -> None:
    n_trees, n_wide = leaves.shape[0], buckets.shape[0]
    bias = np.uint64(first[n_wide])
    at = np.empty(n_trees + n_wide, np.uint64)
    z, r, w = np.empty(len(at)), np.empty(len(at)), np.empty(len(at))
    for i in range(leaves.shape[1]):
        n = _touched(i, leaves, offsets, buckets, first, counts, least, at)
        for k in range(n):
            z[k] = state[at[k], 0]
            r[k] = state[at[k], 1]
        for k in range(n):
            w[k] = -_shrunk(z[k], t * l1) / ((beta + r[k]) / alpha + t * l2)
        margin = _total(w, n) - state[bias, 0] / ((beta + state[bias, 1]) / alpha + t * l2)
        for k in range(n_trees):
            margin += anchor[at[k]]
        margin_out[i] = margin
        g = weight[i] * _residual(margin, label[i])
        for k in range(n):
            state[at[k], 0] = z[k] + g
            state[at[k], 1] = np.sqrt(r[k] * r[k] + g * g)
        state[bias, 0] += g
        state[bias, 1] = np.sqrt(state[bias, 1] * state[bias, 1] + g * g)
        t += 1


@kernel()
def learn_fobos(
    leaves: Any,
    offsets: Any,
    anchor: Any,
    buckets: Any,
    first: Any,
    counts: Any,
    least: int,
    label: Any,
    weight: Any,
    state: Any,
    touched: Any,  # int64 (n_coordinates,), changed
    t: int,
    alpha: float,
    beta: float,
    l1: float,
    l2: float,
    margin_out: Any,
) -> None:
    n_trees, n_wide = leaves.shape[0], buckets.shape[0]
    bias = np.uint64(first[n_wide])
    at = np.empty(n_trees + n_wide, np.uint64)
    w = np.empty(len(at))
    for i in range(leaves.shape[1]):
        n = _touched(i, leaves, offsets, buckets, first, counts, least, at)
        for k in range(n):
            c = at[k]
            w[k] = fobos_distance(state[c, 0], t - touched[c], alpha / (beta + state[c, 1]), l1, l2)
        bias_w = fobos_distance(state[bias, 0], t - touched[bias], alpha / (beta + state[bias, 1]), 0.0, l2)
        margin = _total(w, n) + bias_w
        for k in range(n_trees):
            margin += anchor[at[k]]
        margin_out[i] = margin
        g = weight[i] * _residual(margin, label[i])
        for k in range(n):
            c = at[k]
            new = np.sqrt(state[c, 1] * state[c, 1] + g * g)
            # The threshold of this very step is left for when the coordinate is next looked at, by the new rate.
            state[c, 0] = w[k] - alpha / (beta + new) * g
            state[c, 1] = new
            touched[c] = t
        new = np.sqrt(state[bias, 1] * state[bias, 1] + g * g)
        state[bias, 0] = bias_w - alpha / (beta + new) * g
        state[bias, 1] = new
        touched[bias] = t
        t += 1
