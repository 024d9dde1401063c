"""Compiled loops that make a block of rows' values the bytes of planes (:mod:`gbdtlr.trees.planes`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import always_inline, inline
from gbdtlr.trees.forest import ZERO
from gbdtlr.trees.lanes import BLOCK

U = np.uint64
_NAN, _ZERO = 1, 2


@always_inline
def quantise(values: Any, starts: Any, row_stride: int, start: int, n: int, planes: Any, bytes_out: Any) -> None:
    """Bytes of rows ``start:start + n``, n at most BLOCK, on all planes; what is behind the n may be anything.

    Parameters
    ----------
    values, starts, row_stride : as for ``kernels.encode``
    bytes_out : uint8, lines of BLOCK bytes each
    """
    bins = np.empty(BLOCK, np.uint8)
    odd = np.empty(BLOCK, np.uint8)
    for s in range(planes.searches.shape[0]):
        feature, first_cell, n_cells, first_threshold, n_steps, first_plane, end_plane = planes.searches[s]
        of_rows = values[starts[feature] + start * row_stride :]
        cells = planes.cells[first_cell : first_cell + n_cells]
        thresholds = planes.thresholds[first_threshold:]
        _bins(of_rows, row_stride, n, planes.grids[s, 0], planes.grids[s, 1], cells, thresholds, n_steps, bins)
        missing_types = 0
        for p in range(first_plane, end_plane):
            missing_types |= planes.variants[p] & 3
        if missing_types:
            _find_odd(of_rows, row_stride, n, odd)
        for p in range(first_plane, end_plane):
            missing_type, left = planes.variants[p] & 3, planes.variants[p] >> 2
            code = np.uint8(0) if left else np.uint8(255)
            which = np.uint8(0) if missing_type == 0 else (np.uint8(_NAN) if missing_type == 2 else np.uint8(_ZERO))
            byte = bytes_out[p * BLOCK : (p + 1) * BLOCK]
            if which:
                for i in range(BLOCK):
                    byte[i] = code if odd[i] & which else np.uint8(bins[i] + left)
            else:
                for i in range(BLOCK):
                    byte[i] = bins[i]
    _quantise_categories(values, starts, row_stride, start, n, planes, bytes_out)


@inline
def _bins(
    x: Any, stride: int, n: int, least: float, scale: float, cells: Any, thresholds: Any, n_steps: int, bins_out: Any
) -> None:
    """``bins_out[i]``, how many thresholds are below ``x[i * stride]``; NaN counts as zero.

    The cell of a number, ``(x - least) * scale`` cut to a whole number, never falls as the number rises, rounding
    included. So all thresholds of lower cells are below x, none of higher cells is, and what remains is a
    bisection, without branches, among the at most 2^n_steps - 1 of its own cell.
    """
    last = np.float64(cells.shape[0] - 1)
    if n_steps == 1:
        for i in range(n):
            value = _number(x[U(i * stride)])
            low = U(cells[_cell(value, least, scale, last)])
            bins_out[i] = low + U(thresholds[low] < value)
        return
    half = U(1) << U(n_steps - 1)
    for i in range(n):
        value = _number(x[U(i * stride)])
        low = U(cells[_cell(value, least, scale, last)])
        step = half
        for _ in range(n_steps):
            low = low + step if thresholds[low + step - U(1)] < value else low
            step >>= U(1)
        bins_out[i] = low


@inline
def _number(value: float) -> float:
    return 0.0 if value != value else value


@inline
def _cell(value: float, least: float, scale: float, last: float) -> Any:
    cell = (value - least) * scale
    cell = cell if cell > 0.0 else 0.0  # NaN, from infinity times zero, too
    cell = cell if cell < last else last
    return U(np.int64(cell))


@inline
def _find_odd(x: Any, stride: int, n: int, odd_out: Any) -> None:
    """Which numbers are NaN, and which are zero or NaN, as two bits."""
    for i in range(n):
        value = x[U(i * stride)]
        is_nan = value != value
        is_zero = is_nan | ((value >= -ZERO) & (value <= ZERO))
        odd_out[i] = np.uint8(is_nan) | (np.uint8(is_zero) << 1)


@inline
def _quantise_categories(
    values: Any, starts: Any, row_stride: int, start: int, n: int, planes: Any, bytes_out: Any
) -> None:
    """Group and bit of rows ``start:start + n`` on all categorical planes."""
    for s in range(planes.lookups.shape[0]):
        feature, first_group, n_groups, plane = planes.lookups[s]
        of_rows = values[starts[feature] + start * row_stride :]
        groups = planes.groups[first_group : first_group + n_groups]
        group, bit = bytes_out[plane * BLOCK : (plane + 1) * BLOCK], bytes_out[(plane + 1) * BLOCK :]
        for i in range(n):
            value = of_rows[U(i * row_stride)]
            # LightGBM cuts the fraction off, so -0.9 is category 0; NaN fails the comparison and is in no group.
            known = (value > -1.0) & (value < 8.0 * n_groups)
            category = U(np.int64(value)) if known else U(0)
            group[i] = groups[category >> U(3)] if known else np.uint8(0)
            bit[i] = np.uint8(1) << np.uint8(category & U(7))
