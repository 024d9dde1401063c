"""Loss and gradient of many candidate heads in one pass over the codes.

Layout, for one code shared by all candidates ("lanes")::

    delta[code] = | lane 0 | lane 1 | ... | lane 7 |      float32, half a cache line

so the margin of a row is a sum of such lines, and its gradient scatters the residuals of all lanes back into the same
lines: one for each group of trees (see ``groups``), each wide column, and the bias. The lines of dense columns stand
before the bias's, and are multiplied by the rows' values on both ways. Deltas are the distance from the anchor: the
anchor's own margin is computed once, in float64, and handed in as ``base``, which keeps float32 sums small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gbdtlr.compute.compiled import inline, kernel
from gbdtlr.head.fit.group_kernels import find_places_of
from gbdtlr.head.fit.line_kernels import add_lines, add_product_to_lines, add_products, add_to_lines
from gbdtlr.head.fit.tile_kernels import pull, push

TILE, PART = 2048, 256
"""Rows that are gathered and scattered in one go, and of these, rows whose residuals are worked out in one go."""
LANES = 8
"""Of a line."""
LN2 = np.float32(0.6931471805599453)


@kernel()
def add_gram(codes: Any, weights: Any, gram: Any) -> None:
    """``gram[i, j] += sum of weights[c] over the codes c that rows i and j share``, j <= i; codes (n_codes, m)."""
    for i in range(gram.shape[0]):
        row = gram[i]
        for c in range(codes.shape[0]):
            column = codes[c]
            code = column[i]
            weight = weights[code]
            for j in range(i + 1):
                row[j] += weight if column[j] == code else np.float32(0.0)


@kernel()
def gather_rows(codes: Any, values: Any, out: Any) -> None:
    """``out[i] = sum of values[codes[i, c]]`` over c."""
    for i in range(codes.shape[0]):
        total = values.dtype.type(0)
        for c in range(codes.shape[1]):
            total += values[codes[i, c]]
        out[i] = total


@kernel()
def scatter_rows(codes: Any, values: Any, out: Any) -> None:
    """``out[codes[i, c]] += values[i]``."""
    for i in range(codes.shape[0]):
        for c in range(codes.shape[1]):
            out[codes[i, c]] += values[i]


@njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _residuals(m: Any, s: Any, y: Any, power: Any, n: int) -> None:
    """Margins and weights to ``s (sigmoid(m) - y)`` and ``s log loss``, in place, to a few float32 ulp.

    Polynomials instead of ``exp`` and ``log1p``, which LLVM cannot vectorise.
    """
    for i in range(n):
        a = min(abs(m[i]), np.float32(87.0)) / LN2
        power[i] = (np.int32(127) - np.int32(a)) << np.int32(23)
    two_to = power.view(np.float32)
    for i in range(n):
        z = m[i]
        a = min(abs(z), np.float32(87.0)) / LN2
        f = (np.float32(np.int32(a)) - a) * LN2  # exp(-|z|) = 2^-int(a) exp(f), f in (-ln 2, 0]
        e = np.float32(1.0 / 5040.0)
        e = e * f + np.float32(1.0 / 720.0)
        e = e * f + np.float32(1.0 / 120.0)
        e = e * f + np.float32(1.0 / 24.0)
        e = e * f + np.float32(1.0 / 6.0)
        e = e * f + np.float32(0.5)
        e = e * f + np.float32(1.0)
        e = (e * f + np.float32(1.0)) * two_to[i]
        q = e / (np.float32(2.0) + e)  # log1p(e) = 2 artanh(q), a series in q <= 1/3
        q2 = q * q
        g = np.float32(1.0 / 13.0)
        g = g * q2 + np.float32(1.0 / 11.0)
        g = g * q2 + np.float32(1.0 / 9.0)
        g = g * q2 + np.float32(1.0 / 7.0)
        g = g * q2 + np.float32(1.0 / 5.0)
        g = g * q2 + np.float32(1.0 / 3.0)
        log1p = np.float32(2.0) * q * (g * q2 + np.float32(1.0))
        p = np.float32(1.0) / (np.float32(1.0) + e)
        p = p if z >= np.float32(0.0) else np.float32(1.0) - p
        m[i] = s[i] * (p - y[i])
        s[i] *= log1p + max(z, np.float32(0.0)) - y[i] * z


@inline
def _gather(
    place: Any, begin: int, first: Any, table: Any, wide: Any, start: int, n: int, delta: Any, m: Any, lanes: Any
) -> None:
    """``m[i, :] += sum of the lines of row start + i``, whose places are ``place[:, begin + i]``, for n rows."""
    # Four groups at a time: a row's line of m stays in registers for four additions.
    fours = len(place) // 4 * 4
    for g in range(0, fours, 4):
        f0, f1, f2, f3 = first[g], first[g + 1], first[g + 2], first[g + 3]
        for i in range(n):
            at = np.uint64(begin + i)
            c0, c1 = f0 + np.uint64(place[g, at]), f1 + np.uint64(place[g + 1, at])
            c2, c3 = f2 + np.uint64(place[g + 2, at]), f3 + np.uint64(place[g + 3, at])
            add_lines(m, np.uint64(i), table, (c0, c1, c2, c3), lanes)
    for g in range(fours, len(place)):
        for i in range(n):
            add_lines(m, np.uint64(i), table, (first[g] + np.uint64(place[g, np.uint64(begin + i)]),), lanes)
    for j in range(wide.shape[0]):
        for i in range(n):
            add_lines(m, np.uint64(i), delta, (np.uint64(wide[j, start + i]),), lanes)


@inline
def _multiply(dense: Any, start: int, n: int, lines: Any, begin: Any, m: Any, lanes: Any) -> None:
    """``m[i, :] += dense[d, start + i] * lines[begin + d, :]`` for n rows."""
    fours = dense.shape[0] // 4 * 4
    for d in range(0, fours, 4):
        at = begin + np.uint64(d)
        js = (at, at + np.uint64(1), at + np.uint64(2), at + np.uint64(3))
        a, b, c, e = dense[d], dense[d + 1], dense[d + 2], dense[d + 3]
        for i in range(n):
            row = start + i
            add_products(m, np.uint64(i), lines, js, (a[row], b[row], c[row], e[row]), lanes)
    for d in range(fours, dense.shape[0]):
        at, a = begin + np.uint64(d), dense[d]
        for i in range(n):
            add_products(m, np.uint64(i), lines, (at,), (a[start + i],), lanes)


@inline
def _multiply_back(dense: Any, start: int, n: int, m: Any, grad: Any, begin: Any, lanes: Any) -> None:
    """``grad[begin + d, :] += dense[d, start + i] * m[i, :]``; the mirror of :func:`_multiply`."""
    fours = dense.shape[0] // 4 * 4
    for d in range(0, fours, 4):
        at = begin + np.uint64(d)
        js = (at, at + np.uint64(1), at + np.uint64(2), at + np.uint64(3))
        a, b, c, e = dense[d], dense[d + 1], dense[d + 2], dense[d + 3]
        for i in range(n):
            row = start + i
            add_product_to_lines(grad, js, m, np.uint64(i), (a[row], b[row], c[row], e[row]), lanes)
    for d in range(fours, dense.shape[0]):
        at, a = begin + np.uint64(d), dense[d]
        for i in range(n):
            add_product_to_lines(grad, (at,), m, np.uint64(i), (a[start + i],), lanes)


@inline
def _scatter(
    place: Any, begin: int, first: Any, wide: Any, start: int, n: int, m: Any, table: Any, grad: Any, lanes: Any
) -> None:
    """Add line ``m[i, :]`` to those of row start + i, the bias's too; the mirror of :func:`_gather`."""
    last = np.uint64(grad.shape[0] - 1)
    for i in range(n):
        add_to_lines(grad, (last,), m, np.uint64(i), lanes)
    fours = len(place) // 4 * 4
    for g in range(0, fours, 4):
        f0, f1, f2, f3 = first[g], first[g + 1], first[g + 2], first[g + 3]
        for i in range(n):
            at = np.uint64(begin + i)
            c0, c1 = f0 + np.uint64(place[g, at]), f1 + np.uint64(place[g + 1, at])
            c2, c3 = f2 + np.uint64(place[g + 2, at]), f3 + np.uint64(place[g + 3, at])
            add_to_lines(table, (c0, c1, c2, c3), m, np.uint64(i), lanes)
    for g in range(fours, len(place)):
        for i in range(n):
            add_to_lines(table, (first[g] + np.uint64(place[g, np.uint64(begin + i)]),), m, np.uint64(i), lanes)
    for j in range(wide.shape[0]):
        for i in range(n):
            add_to_lines(grad, (np.uint64(wide[j, start + i]),), m, np.uint64(i), lanes)


@kernel()
def add_lane_margins(
    leaves: Any,
    offsets: Any,
    first_tree: Any,
    places: Any,
    table: Any,
    dense: Any,
    lines: Any,  # float32 (n_dense, lanes), of the dense columns
    lanes: Any,
    out: Any,
) -> None:
    """``out[i, :] += sum of the lines of row i's places``, and of its dense values times theirs, float32 (n, lanes);
    other arguments as below."""
    first = places.astype(np.uint64)
    place = np.empty((len(places) - 1, TILE), np.uint16)
    no_wide = np.empty((0, 0), np.int32)
    for start in range(0, leaves.shape[1], TILE):
        n = min(TILE, leaves.shape[1] - start)
        find_places_of(leaves, offsets, first_tree, start, n, place)
        _gather(place, 0, first, table, no_wide, start, n, table, out[start : start + n], lanes)
        _multiply(dense, start, n, lines, np.uint64(0), out[start : start + n], lanes)


@kernel()
def loss_and_gradient(
    leaves: Any,  # uint8 or uint16 (n_trees, n)
    offsets: Any,  # int64 (n_trees + 1,)
    first_tree: Any,  # int64 (n_groups + 1,)
    places: Any,  # int64 (n_groups + 1,)
    own: Any,  # of ``Tiles``, as the four below
    first_own: Any,
    starts: Any,
    rows: Any,
    n_rows: int,
    dense: Any,  # float32 (n_dense, n)
    base: Any,  # float32 (n,), anchor's margin
    label: Any,  # float32 (n,)
    weight: Any,  # float32 (n_half_lives, n)
    half_of_lane: Any,  # tuple of int64: its length, known when compiled, is the number of lanes
    last: Any,  # float32 (n_dense + 1, lanes), of the dense columns and the bias
    table: Any,  # float32 (n_places, lanes), the leaves' lines spread
    lines: Any,  # float32 (n_wide_params, lanes)
    grad_table: Any,  # float32 (n_places, lanes), added to: the leaves' gradient, to be folded
    grad_last: Any,  # float32 (n_dense + 1, lanes), added to: that of the dense columns and the bias
    grad_own: Any,  # float32 (n_own, lanes), written: that of the tiles' own wide parameters
    loss: Any,  # float64 (lanes,), added to
) -> None:
    lanes = len(half_of_lane)
    m = np.empty((n_rows, lanes), np.float32)  # margin, then residual
    s = np.empty((PART, lanes), np.float32)  # weight, then loss
    y = np.empty((PART, lanes), np.float32)
    power = np.empty((PART, lanes), np.int32)
    total = np.empty((1, lanes), np.float32)
    place = np.empty((len(places) - 1, TILE), np.uint16)
    no_wide = np.empty((0, 0), np.int32)
    first = places.astype(np.uint64)
    for tile in range(len(first_own) - 1):
        lo, hi = tile * n_rows, min(len(base), (tile + 1) * n_rows)
        for i in range(hi - lo):
            for k in range(lanes):
                m[i, k] = base[lo + i] + last[dense.shape[0], k]
        push(own, starts, rows, first_own[tile], first_own[tile + 1], lines, m, half_of_lane)
        for start in range(lo, hi, TILE):
            n = min(TILE, hi - start)
            mine = m[start - lo : start - lo + n]
            find_places_of(leaves, offsets, first_tree, start, n, place)
            _gather(place, 0, first, table, no_wide, start, n, table, mine, half_of_lane)
            _multiply(dense, start, n, last, np.uint64(0), mine, half_of_lane)
            for begin in range(0, n, PART):
                n_part = min(PART, n - begin)
                for i in range(n_part):
                    for k in range(lanes):
                        s[i, k] = weight[half_of_lane[k], start + begin + i]
                        y[i, k] = label[start + begin + i]
                margins = mine[begin : begin + n_part].reshape(-1)
                _residuals(margins, s.reshape(-1), y.reshape(-1), power.reshape(-1), n_part * lanes)
                total[:] = 0
                for i in range(n_part):
                    add_to_lines(total, (np.uint64(0),), s, np.uint64(i), half_of_lane)
                for k in range(lanes):
                    loss[k] += total[0, k]
            _scatter(place, 0, first, no_wide, start, n, mine, grad_table, grad_last, half_of_lane)
            _multiply_back(dense, start, n, mine, grad_last, np.uint64(0), half_of_lane)
        pull(starts, rows, first_own[tile], first_own[tile + 1], m, grad_own, half_of_lane)


@kernel()
def curvature_times(
    place: Any,  # uint16 (n_groups, n), in the table of each group
    places: Any,  # int64 (n_groups + 1,)
    wide: Any,  # int32 (n_wide, n)
    dense: Any,  # float32 (n_dense, n)
    strength: Any,  # float32 (n_strengths, n), second derivative of each row's loss in its margin
    strength_of_lane: Any,  # tuple of int64, as long as there are lanes
    vectors: Any,  # float32 (n_params, lanes)
    table: Any,  # float32 (n_places, lanes), vectors spread
    lo: int,
    hi: int,
    out_table: Any,  # float32 (n_places, lanes), added to, to be folded
    out: Any,  # float32 (n_params, lanes), added to
) -> None:
    """``out += X' diag(strength) X vectors`` of each lane, X the rows ``lo:hi`` of the design matrix."""
    lanes = len(strength_of_lane)
    m = np.empty((TILE, lanes), np.float32)
    last = np.uint64(vectors.shape[0] - 1)
    linear = last - np.uint64(dense.shape[0])
    first = places.astype(np.uint64)
    for start in range(lo, hi, TILE):
        n = min(TILE, hi - start)
        for i in range(n):
            for k in range(lanes):
                m[i, k] = vectors[last, k]
        _gather(place, start, first, table, wide, start, n, vectors, m, strength_of_lane)
        _multiply(dense, start, n, vectors, linear, m, strength_of_lane)
        for i in range(n):
            for k in range(lanes):
                m[i, k] *= strength[strength_of_lane[k], start + i]
        _scatter(place, start, first, wide, start, n, m, out_table, out, strength_of_lane)
        _multiply_back(dense, start, n, m, out, linear, strength_of_lane)
