"""Eight numbers at a time: each operation equal to numpy's on the same numbers, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gbdtlr.compute.compiled import inline, kernel
from gbdtlr.head.online.vectors import (
    EIGHT,
    TURNED,
    eight,
    load,
    put,
    soon,
    square_root,
    store,
    sum_of,
    take,
    total,
    turn,
    where_same,
    zero_at,
)


@inline
def _each(a, b, c):
    return a + b, a - b, a * b, a / b, -a, min(a, b), max(a, b), square_root(b) * c


@kernel()
def _arithmetic(a, b, c, out):
    x, y = load(a, 1), load(b, 1)
    each = _each(x, y, eight(c))
    for i in range(len(each)):
        store(out[i], 0, each[i])
    sums = x
    sums += y
    return total(sums)


@kernel()
def _moved(numbers, places, k, a, b):
    x, y = take(numbers, places, k)
    store(a, 0, x)
    store(b, 0, y)
    put(numbers, places, k, y, x)


@kernel()
def _chosen(mine, other, k, place, a, b, same, zeroed):
    store(same, 0, where_same(mine, other, k, load(a, 0), load(b, 0)))
    store(zeroed, 0, zero_at(mine, k, place, load(a, 0)))


@kernel()
def _sum_of(values, places, k):
    soon(values, k)
    return sum_of(values, places, k)


@kernel()
def _turned(leaves, t, i, offsets, places, row):
    turn(leaves, t, i, offsets, places, row)


def test_arithmetic_goes_number_by_number() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=10), np.abs(rng.normal(size=10))
    out = np.full((8, EIGHT), np.nan)
    x, y = a[1:9], b[1:9]
    found = _arithmetic(a, b, 0.3, out)
    expected = [x + y, x - y, x * y, x / y, -x, np.minimum(x, y), np.maximum(x, y), np.sqrt(y) * 0.3]
    assert out.tobytes() == np.array(expected).tobytes()
    s = x + y
    four = s[:4] + s[4:]
    assert found == (four[0] + four[2]) + (four[1] + four[3])


def test_pairs_are_taken_from_their_places_and_put_back_there() -> None:
    numbers = np.arange(60.0)
    places = np.array([0, 4, 58, 2, 40, 42, 30, 8, 6, 12], np.uint32)
    a, b = np.empty(EIGHT), np.empty(EIGHT)
    _moved(numbers, places, 2, a, b)
    mine = places[2:].astype(int)
    assert a.tolist() == mine.tolist()
    assert b.tolist() == (mine + 1).tolist()
    expected = np.arange(60.0)
    expected[mine], expected[mine + 1] = mine + 1, mine
    assert numbers.tolist() == expected.tolist()


def test_what_belongs_to_pairs_is_added_up() -> None:
    values = np.random.default_rng(1).normal(size=30)
    places = 2 * np.array([9, 9, 1, 5, 29, 0, 7, 7, 3, 2], np.uint32)
    v = values[places[1:9] // 2]
    assert _sum_of(values, places, 1) == ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))


def test_numbers_are_chosen_by_place() -> None:
    mine = np.array([7, 2, 4, 6, 8, 10, 12, 14, 4], np.uint32)
    other = np.array([7, 2, 0, 6, 0, 10, 0, 0, 4], np.uint32)
    a, b = np.arange(1.0, 9), -np.arange(1.0, 9)
    same, zeroed = np.empty(EIGHT), np.empty(EIGHT)
    _chosen(mine, other, 1, np.uint32(4), a, b, same, zeroed)
    assert same.tolist() == np.where(mine[1:] == other[1:], a, b).tolist()
    assert zeroed.tolist() == np.where(mine[1:] == 4, 0, a).tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_codes_are_turned_into_places(dtype: Any) -> None:
    rng = np.random.default_rng(2)
    leaves = rng.integers(0, 200, (19, 41)).astype(dtype)
    offsets = np.arange(20) * 200
    places = np.zeros((20, 23), np.uint32)
    _turned(leaves, 3, 7, offsets, places, 2)
    expected = np.zeros((20, 23), np.uint32)
    expected[2 : 2 + TURNED, 3 : 3 + EIGHT] = 2 * (leaves[3:11, 7:23].T + offsets[3:11])
    assert places.tolist() == expected.tolist()
