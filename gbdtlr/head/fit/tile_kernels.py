"""Tiles in kernels: lines from ids to their rows and back (see ``tiles``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.bits import WORD, bit_of, lowest, ones, word_of
from gbdtlr.compute.compiled import inline, kernel
from gbdtlr.head.fit.line_kernels import add_lines, fetch_line, put_line

AHEAD = 16
"""Lines that are on their way from memory while one is worked on."""


@kernel()
def find_tiles(wide: Any, n_rows: int, met: Any, before: Any, own: Any, first: Any, starts: Any, rows: Any) -> None:
    """Tiles of ``n_rows`` rows: the ids of each in rising order, and for each of these its rows in rising order.

    Parameters: int32 (n_wide, n); uint64 (n_words,), zeros before and after, and int32 (n_words,), for ids below 64
    n_words; as of ``Tiles``, written: int32 (n_wide n,), int64 (n_tiles + 1,), int64 (n_wide n + 1,), uint16
    (n_wide n,), of the first and third as many as there are own ids
    """
    n_wide, n = wide.shape
    place = np.empty(n_wide * n_rows, np.int32)  # of each row's ids among the tile's
    at = np.empty(n_wide * n_rows, np.int64)
    n_own = n_placed = 0
    first[0] = starts[0] = 0
    for tile in range(len(first) - 1):
        lo, hi = tile * n_rows, min(n, (tile + 1) * n_rows)
        for j in range(n_wide):
            for i in range(lo, hi):
                met[word_of(wide[j, i])] |= bit_of(wide[j, i])
        begin = n_own
        for w in range(len(met)):
            left = met[w]
            before[w] = n_own - begin
            while left:
                own[n_own] = WORD * w + np.int64(lowest(left))
                at[n_own - begin] = 0
                left &= left - np.uint64(1)
                n_own += 1
        for j in range(n_wide):
            for i in range(lo, hi):
                w, bit = word_of(wide[j, i]), bit_of(wide[j, i])
                p = before[w] + np.int64(ones(met[w] & (bit - np.uint64(1))))
                place[j * n_rows + i - lo] = p
                at[p] += 1
        for p in range(n_own - begin):
            count = at[p]
            at[p] = n_placed
            n_placed += count
            starts[begin + p + 1] = n_placed
        for j in range(n_wide):
            for i in range(lo, hi):
                p = place[j * n_rows + i - lo]
                rows[at[p]] = i - lo
                at[p] += 1
        for o in range(begin, n_own):
            met[word_of(own[o])] = 0
        first[tile + 1] = n_own


@kernel()
def sum_rows(first: Any, starts: Any, rows: Any, n_rows: int, values: Any, lanes: Any, out: Any) -> None:
    """``out[j, k] = sum of the values (n_columns, n) in column k of the rows of own parameter j``; float32
    (n_own, lanes), zero in lanes that are more than the columns."""
    n_columns, width = len(values), len(lanes)
    m = np.zeros((n_rows, width), np.float32)
    total = np.empty(width)
    for tile in range(len(first) - 1):
        lo = tile * n_rows
        for k in range(n_columns):
            for i in range(min(n_rows, values.shape[1] - lo)):
                m[i, k] = values[k, lo + i]
        for j in range(first[tile], first[tile + 1]):
            if starts[j + 1] - starts[j] == 1:
                put_line(out, np.uint64(j), m, np.uint64(rows[starts[j]]), lanes)
                continue
            for k in range(width):
                total[k] = 0
            for r in range(starts[j], starts[j + 1]):
                row = np.uint64(rows[r])
                for k in range(width):
                    total[k] += m[row, k]
            for k in range(width):
                out[j, k] = total[k]


@inline
def push(own: Any, starts: Any, rows: Any, begin: int, end: int, lines: Any, m: Any, lanes: Any) -> None:
    """``m[i, :] += the lines of the ids of row i``, for the ids ``own[begin:end]`` of a tile."""
    for j in range(begin, end):
        fetch_line(lines, np.uint64(own[min(j + AHEAD, end - 1)]), lanes)
        line = np.uint64(own[j])
        for r in range(starts[j], starts[j + 1]):
            add_lines(m, np.uint64(rows[r]), lines, (line,), lanes)


@inline
def pull(starts: Any, rows: Any, begin: int, end: int, m: Any, out: Any, lanes: Any) -> None:
    """``out[j, :] = sum of the lines of its rows``; the mirror of :func:`push`."""
    for j in range(begin, end):
        line = np.uint64(j)
        put_line(out, line, m, np.uint64(rows[starts[j]]), lanes)
        for r in range(starts[j] + 1, starts[j + 1]):
            add_lines(out, line, m, (np.uint64(rows[r]),), lanes)


@kernel()
def add_own(own: Any, first: Any, lines: Any, low: int, high: int, lanes: Any, out: Any) -> None:
    """``out[own[j], :] += lines[j, :]`` for own parameters from ``low`` up to ``high``, tile after tile."""
    for tile in range(len(first) - 1):
        begin, end = first[tile], first[tile + 1]
        j = begin + np.searchsorted(own[begin:end], low)
        while j < end and own[j] < high:
            fetch_line(out, np.uint64(own[min(j + AHEAD, end - 1)]), lanes)
            add_lines(out, np.uint64(own[j]), lines, (np.uint64(j),), lanes)
            j += 1
