"""Eight numbers at a time: each operation equal to numpy's on the same numbers, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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


@inline
def _each(a, b, c):
    return a + b, a - b, a * b, a / b, -a, min(a, b), max(a, b), square_root(b) * c


@kernel()
def _arithmetic(a, b, c, out):
    x, y = load(a, 1), load(b, 1)
    each = _each(x, y, splat(c))
    for i in range(len(each)):
        store(out[i], 0, each[i])
    sums = x
    sums += y
    return sum_lanes(sums)


@kernel()
def _moved(numbers, places, k, a, b):
    x, y = gather(numbers, places, k)
    store(a, 0, x)
    store(b, 0, y)
    scatter(numbers, places, k, y, x)


@kernel()
def _chosen(own, other, k, place, a, b, same, zeroed):
    store(same, 0, select_equal(own, other, k, load(a, 0), load(b, 0)))
    store(zeroed, 0, zero_at(own, k, place, load(a, 0)))


@kernel()
def _gather_sum(values, places, k):
    prefetch(values, k)
    return gather_sum(values, places, k)


@kernel()
def _turned(leaves, t, i, offsets, places, row):
    transpose(leaves, t, i, offsets, places, row)


def test_arithmetic_goes_number_by_number() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=10), np.abs(rng.normal(size=10))
    out = np.full((8, WIDTH), np.nan)
    x, y = a[1:9], b[1:9]
    summed = _arithmetic(a, b, 0.3, out)
    expected = [x + y, x - y, x * y, x / y, -x, np.minimum(x, y), np.maximum(x, y), np.sqrt(y) * 0.3]
    assert out.tobytes() == np.array(expected).tobytes()
    s = x + y
    four = s[:4] + s[4:]
    assert summed == (four[0] + four[2]) + (four[1] + four[3])


def test_pairs_are_taken_from_their_places_and_put_back_there() -> None:
    numbers = np.arange(60.0)
    places = np.array([0, 4, 58, 2, 40, 42, 30, 8, 6, 12], np.uint32)
    a, b = np.empty(WIDTH), np.empty(WIDTH)
    _moved(numbers, places, 2, a, b)
    own = places[2:].astype(int)
    assert a.tolist() == own.tolist()
    assert b.tolist() == (own + 1).tolist()
    expected = np.arange(60.0)
    expected[own], expected[own + 1] = own + 1, own
    assert numbers.tolist() == expected.tolist()


def test_what_belongs_to_pairs_is_added_up() -> None:
    values = np.random.default_rng(1).normal(size=30)
    places = 2 * np.array([9, 9, 1, 5, 29, 0, 7, 7, 3, 2], np.uint32)
    v = values[places[1:9] // 2]
    assert _gather_sum(values, places, 1) == ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))


def test_numbers_are_chosen_by_place() -> None:
    own = np.array([7, 2, 4, 6, 8, 10, 12, 14, 4], np.uint32)
    other = np.array([7, 2, 0, 6, 0, 10, 0, 0, 4], np.uint32)
    a, b = np.arange(1.0, 9), -np.arange(1.0, 9)
    same, zeroed = np.empty(WIDTH), np.empty(WIDTH)
    _chosen(own, other, 1, np.uint32(4), a, b, same, zeroed)
    assert same.tolist() == np.where(own[1:] == other[1:], a, b).tolist()
    assert zeroed.tolist() == np.where(own[1:] == 4, 0, a).tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_codes_are_turned_into_places(dtype: Any) -> None:
    rng = np.random.default_rng(2)
    leaves = rng.integers(0, 200, (19, 41)).astype(dtype)
    offsets = np.arange(20) * 200
    places = np.zeros((20, 23), np.uint32)
    _turned(leaves, 3, 7, offsets, places, 2)
    expected = np.zeros((20, 23), np.uint32)
    expected[2 : 2 + TRANSPOSED, 3 : 3 + WIDTH] = 2 * (leaves[3:11, 7:23].T + offsets[3:11])
    assert places.tolist() == expected.tolist()
