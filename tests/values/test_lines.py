"""Columns on one line of numbers are a frame like any other."""

from __future__ import annotations

import numpy as np
import pytest

from gbdtlr.values.frames import column_names, column_of, frame_of
from gbdtlr.values.lines import MAX_ORDERS, Lines, Names


def lines() -> Lines:
    return Lines(Names(("a", "b", "c")), np.arange(10.0), np.array([6, 0, 3]), 3)


def test_it_is_a_frame() -> None:
    frame = frame_of(lines())
    assert set(column_names(frame)) == {"a", "b", "c"}
    assert [column_of(frame, name).tolist() for name in frame] == [[6, 7, 8], [0, 1, 2], [3, 4, 5]]
    assert len(frame) == 3
    with pytest.raises(KeyError):
        frame["d"]


def test_starts_are_by_name() -> None:
    starts = lines().starts_of(("c", "a", "c"))
    assert starts is not None
    assert starts.tolist() == [3, 6, 3]
    assert lines().starts_of(("a", "d")) is None


def test_who_never_asks_for_the_same_does_not_fill_the_memory() -> None:
    names = Names(("a", "b"))
    for n in range(3 * MAX_ORDERS):
        assert names.order(("b",) * n).tolist() == [1] * n
    assert len(names._orders) == MAX_ORDERS
