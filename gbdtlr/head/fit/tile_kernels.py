"""Tiles in kernels: lines from ids to their rows and back (see ``tiles``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import inline, kernel
from gbdtlr.head.fit.line_kernels import add_lines, fetch_line, put_line

AHEAD = 16
"""Lines that are on their way from memory while one is worked on."""


@kernel()
def place_rows(wide: Any, place: Any, counts: Any, rows: Any) -> None:
    """Rows of each id, one after the other, in rising order within each column; and how many there are.

    Parameters: int32 (n_wide, n), where each id is in ``counts``, int64 (n_ids,), zeros, uint16 (n_wide n,)
    """
    for j in range(wide.shape[0]):
        for i in range(wide.shape[1]):
            counts[place[wide[j, i]]] += 1
    at = np.zeros(len(counts), np.int64)
    for p in range(1, len(counts)):
        at[p] = at[p - 1] + counts[p - 1]
    for j in range(wide.shape[0]):
        for i in range(wide.shape[1]):
            p = place[wide[j, i]]
            rows[at[p]] = i
            at[p] += 1


@kernel()
def sum_rows(first: Any, starts: Any, rows: Any, n_rows: int, values: Any, out: Any) -> None:
    """``out[j] += sum of the values of the rows of own parameter j``."""
    for tile in range(len(first) - 1):
        begin = tile * n_rows
        for j in range(first[tile], first[tile + 1]):
            total = 0.0
            for r in range(starts[j], starts[j + 1]):
                total += values[begin + rows[r]]
            out[j] += total


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
