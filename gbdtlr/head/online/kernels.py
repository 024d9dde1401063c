"""One sample at a time: predict, then step along the coordinates the sample touches, compiled.

Coordinates are one line: leaves, then the buckets of each wide column, then the bias. Each holds the distance of a
weight from its anchor, never as such but as what the method keeps of the past, so that the weight follows from it::

    method   sums                    root              touched
    FTRL     z  (McMahan 2013)       sqrt(sum g^2)     -
    RDA      sum g                   sqrt(sum g^2)     -
    FOBOS    the distance itself     sqrt(sum g^2)     number of samples learned when it was last brought up to date

After the bias there is one more, where nothing is learned: it stands for an id not admitted, and fills up vectors.

Every code is 0 or 1, so the gradient ``g`` is one number per sample. ``t`` counts samples; RDA and FOBOS shrink each
coordinate once per sample, those not touched included: RDA's closed form has it anyway, FOBOS makes up for it when
the coordinate is next looked at.

Dense columns have a state of their own, a coordinate for each number x, whose gradient is ``g x``. Every sample touches
all of them, so of FOBOS each was last brought up to date by the sample before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import inline, kernel
from gbdtlr.head.online.vectors import (
    TRANSPOSED,
    WIDTH,
    gather,
    gather_sum,
    load,
    prefetch,
    scatter,
    select_equal,
    splat,
    square_root,
    store,
    sum_lanes,
    transpose,
    zero_at,
)

SATURATED = 255
BLOCK = 64
"""Samples laid out together: the codes of one tree lie together, those of a sample do not."""


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
def _lay_out(
    leaves: Any,
    offsets: Any,
    buckets: Any,
    first: Any,
    counts: Any,
    least: Any,
    numbers: Any,
    start: Any,
    size: Any,
    places: Any,
) -> None:
    """Where in ``numbers`` the coordinates of samples ``start`` to ``start + size`` begin, a line of ``places`` each.

    Counts the ids; those seen less than ``least`` times, this time included, are at the end, where nothing is learned.
    Has fetched what the ids of the next samples will need: all misses wait for memory together, while these learn.
    """
    n_trees, n = leaves.shape
    in_vectors, transposed = n_trees // WIDTH * WIDTH, size // TRANSPOSED * TRANSPOSED
    for t in range(0, in_vectors, WIDTH):
        for i in range(0, transposed, TRANSPOSED):
            transpose(leaves, t, start + i, offsets, places, i)
    for t in range(n_trees):
        begin = np.uint32(offsets[t])
        for i in range(transposed if t < in_vectors else 0, size):
            places[i, t] = np.uint32(2) * (begin + np.uint32(leaves[t, start + i]))
    ids, nothing = np.uint64(first[0]), np.uint64(len(numbers) - 2)
    for j in range(buckets.shape[0]):
        bucket_0 = np.uint64(first[j]) - ids
        for i in range(size):
            bucket = bucket_0 + np.uint64(buckets[j, start + i])
            seen = counts[bucket]
            seen += np.uint8(seen < SATURATED)
            counts[bucket] = seen
            places[i, n_trees + j] = np.uint64(2) * (ids + bucket) if seen >= least else nothing
        for i in range(start + size, min(start + size + BLOCK, n)):
            bucket = bucket_0 + np.uint64(buckets[j, i])
            prefetch(numbers, np.uint64(2) * (ids + bucket))
            prefetch(counts, bucket)


@inline
def _begun(z: Any, r: Any, w: Any, k: Any, sums: Any, root: Any, threshold: Any, intercept: Any, slope: Any) -> Any:
    """Lay eight coordinates of a sample by until its gradient is known; returns their weights, with the other sign."""
    minus = _shrunk(sums, threshold) / (intercept + slope * root)
    store(z, k, sums)
    store(r, k, root)
    store(w, k, minus)
    return minus


@inline
def _on_a_line(n: Any) -> Any:
    """float64 (n,), not initialised, at the start of a cache line: a vector that lies on two takes twice as long."""
    room = np.empty(n + 7)
    skip = -(np.int64(room.ctypes.data) // 8) % 8
    return room[skip : skip + n]


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
def _begin_dense(dense: Any, i: Any, anchor: Any, state: Any, threshold: Any, per: Any, flat: Any, weights: Any) -> Any:
    """What the dense values of sample ``i`` add to its margin; their distances from the anchor go into ``weights``.

    ``-shrunk(sums) / (per * root + flat)`` is the distance, of FTRL and RDA.
    """
    total = 0.0
    for d in range(dense.shape[0]):
        weights[d] = -_shrunk(state[d, 0], threshold) / (flat + per * state[d, 1])
        total += np.float64(dense[d, i]) * (anchor[d] + weights[d])
    return total


@inline
def fobos_distance(x: Any, steps: Any, rate: Any, l1: Any, l2: Any) -> Any:
    """``steps`` times ``x <- shrink(x, rate l1) / (1 + rate l2)``, in closed form (Duchi and Singer 2009, 5.2)."""
    r = 1.0 / (1.0 + rate * l2)
    if r == 1.0:  # an l2 lost in rounding, too
        return _shrunk(x, steps * rate * l1)
    power = r**steps
    return np.copysign(max(abs(x) * power - rate * l1 * r * (1.0 - power) / (1.0 - r), 0.0), x)


@kernel()
def fobos_distances(x: Any, steps: Any, rate: Any, l1: float, l2: float, out: Any) -> None:
    """``fobos_distance`` of each: float64 (n,), int64 (n,), float64 (n,), two numbers, float64 (n,)."""
    for i in range(len(x)):
        out[i] = fobos_distance(x[i], steps[i], rate[i], l1, l2)


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
    state: Any,  # float64 (n_coordinates + 1, 2), sums and root, changed; the last is where nothing is learned
    touched: Any,  # noqa: ARG001 - of FOBOS
    dense: Any,  # float32 (n_dense, n)
    dense_anchor: Any,  # float64 (n_dense,)
    dense_state: Any,  # float64 (n_dense, 2), sums and root, changed
    t: int,  # noqa: ARG001 - of RDA and FOBOS
    alpha: float,
    beta: float,
    l1: float,
    l2: float,
    margin_out: Any,  # float64 (n,), log-odds before each sample was learned
) -> None:
    n_trees, n_wide, n = leaves.shape[0], buckets.shape[0], leaves.shape[1]
    n_most = n_trees + n_wide
    n_padded, in_vectors = (n_most + WIDTH - 1) // WIDTH * WIDTH, n_trees // WIDTH * WIDTH
    numbers, codes = state.reshape(-1), leaves.reshape(-1)
    bias, nothing = np.uint64(first[n_wide]), np.uint32(len(numbers) - 2)
    places = np.empty((min(n, BLOCK) + 1, n_padded), np.uint32)
    places[:, n_most:] = nothing
    z, r, w = _on_a_line(n_padded), _on_a_line(n_padded), _on_a_line(n_padded)
    per_alpha, flat = 1.0 / alpha, beta / alpha + l2
    threshold, slope, intercept, none = splat(l1), splat(per_alpha), splat(flat), splat(0.0)
    bias_z, bias_r = state[bias, 0], state[bias, 1]
    n_dense, dense_w = dense.shape[0], np.empty(dense.shape[0])
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        _lay_out(leaves, offsets, buckets, first, counts, least, numbers, start, size, places)
        places[size, :n_most] = 0  # of the sample after the last: read, but nothing comes of it
        base, sums = 0.0, none
        for k in range(0, n_padded, WIDTH):
            base += gather_sum(anchor, places[0], k) if k < in_vectors else 0.0
            sums_z, root = gather(numbers, places[0], k)
            sums_z = zero_at(places[0], k, nothing, sums_z)
            sums += _begun(z, r, w, k, sums_z, root, threshold, intercept, slope)
        for i in range(size):
            own, after = places[i], places[i + 1]
            for k in range(in_vectors, n_trees):
                base += anchor[own[k] // 2]
            bias_w = bias_z / (flat + per_alpha * bias_r)
            margin = (base - bias_w) - sum_lanes(sums)
            if n_dense:
                margin += _begin_dense(dense, start + i, dense_anchor, dense_state, l1, per_alpha, flat, dense_w)
            margin_out[start + i] = margin
            g = weight[start + i] * _residual(margin, label[start + i])
            bias_new = np.sqrt(bias_r * bias_r + g * g)
            bias_z += g + per_alpha * (bias_new - bias_r) * bias_w
            bias_r = bias_new
            for d in range(n_dense):
                g_d, root_d = g * np.float64(dense[d, start + i]), dense_state[d, 1]
                new_d = np.sqrt(root_d * root_d + g_d * g_d)
                dense_state[d, 0] += g_d - per_alpha * (new_d - root_d) * dense_w[d]
                dense_state[d, 1] = new_d
            # Of all trees, a share each: the line in which the next block's codes end.
            for tree in range(i * n_trees // BLOCK, (i + 1) * n_trees // BLOCK):
                prefetch(codes, tree * n + start + 2 * BLOCK - 1)
            # One sample's last step and the next one's first are one loop: numbers are read and written while roots and
            # quotients are computed, and none is read that was written just before.
            gradient, square = splat(g), splat(g * g)
            base, sums = 0.0, none
            for k in range(0, n_padded, WIDTH):
                base += gather_sum(anchor, after, k) if k < in_vectors else 0.0
                next_z, next_r = gather(numbers, after, k)
                root = load(r, k)
                new = square_root(root * root + square)
                sums_z = load(z, k) + (gradient + slope * (new - root) * load(w, k))
                scatter(numbers, own, k, sums_z, new)
                # A coordinate of both was read before this sample changed it.
                next_z = select_equal(own, after, k, sums_z, next_z)
                next_r = select_equal(own, after, k, new, next_r)
                if k >= in_vectors:
                    next_z = zero_at(after, k, nothing, next_z)
                sums += _begun(z, r, w, k, next_z, next_r, threshold, intercept, slope)
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
    dense: Any,
    dense_anchor: Any,
    dense_state: Any,
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
    n_dense, dense_w = dense.shape[0], np.empty(dense.shape[0])
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
        if n_dense:
            flat = beta / alpha + t * l2
            margin += _begin_dense(dense, i, dense_anchor, dense_state, t * l1, 1.0 / alpha, flat, dense_w)
        margin_out[i] = margin
        g = weight[i] * _residual(margin, label[i])
        for k in range(n):
            state[at[k], 0] = z[k] + g
            state[at[k], 1] = np.sqrt(r[k] * r[k] + g * g)
        for d in range(n_dense):
            g_d = g * np.float64(dense[d, i])
            dense_state[d, 0] += g_d
            dense_state[d, 1] = np.sqrt(dense_state[d, 1] * dense_state[d, 1] + g_d * g_d)
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
    dense: Any,
    dense_anchor: Any,
    dense_state: Any,
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
    n_dense, dense_w = dense.shape[0], np.empty(dense.shape[0])
    for i in range(leaves.shape[1]):
        n = _touched(i, leaves, offsets, buckets, first, counts, least, at)
        for k in range(n):
            c = at[k]
            w[k] = fobos_distance(state[c, 0], t - touched[c], alpha / (beta + state[c, 1]), l1, l2)
        bias_w = fobos_distance(state[bias, 0], t - touched[bias], alpha / (beta + state[bias, 1]), 0.0, l2)
        margin = _total(w, n) + bias_w
        for k in range(n_trees):
            margin += anchor[at[k]]
        for d in range(n_dense):
            rate = alpha / (beta + dense_state[d, 1])
            dense_w[d] = fobos_distance(dense_state[d, 0], min(t, 1), rate, l1, l2)
            margin += np.float64(dense[d, i]) * (dense_anchor[d] + dense_w[d])
        margin_out[i] = margin
        g = weight[i] * _residual(margin, label[i])
        for k in range(n):
            c = at[k]
            new = np.sqrt(state[c, 1] * state[c, 1] + g * g)
            # The threshold of this very step is left for when the coordinate is next looked at, by the new rate.
            state[c, 0] = w[k] - alpha / (beta + new) * g
            state[c, 1] = new
            touched[c] = t
        for d in range(n_dense):
            g_d = g * np.float64(dense[d, i])
            new = np.sqrt(dense_state[d, 1] * dense_state[d, 1] + g_d * g_d)
            dense_state[d, 0] = dense_w[d] - alpha / (beta + new) * g_d
            dense_state[d, 1] = new
        new = np.sqrt(state[bias, 1] * state[bias, 1] + g * g)
        state[bias, 0] = bias_w - alpha / (beta + new) * g
        state[bias, 1] = new
        touched[bias] = t
        t += 1
