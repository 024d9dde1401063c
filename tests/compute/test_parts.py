"""Parts: functions of one part, mapped in order and summed in a tree that does not know the threads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Chain, Parts
from gbdtlr.compute.sums import TreeSum, added


@pytest.fixture(autouse=True)
def _usual_threads() -> Iterator[None]:
    yield
    threads.set_threads(None)


def moments(values: np.ndarray, shift: float = 0.0) -> tuple[int, np.ndarray, np.ndarray]:
    values = values - shift
    return len(values), np.array([values.sum(), (values**2).sum()]), np.float32([values.sum()])


def scaled(values: np.ndarray, own: float, shift: float) -> np.ndarray:
    return own * values + shift


def drawn(n_parts: int) -> list[np.ndarray]:
    rng = np.random.default_rng(n_parts)
    return [rng.lognormal(0, 5, rng.integers(0, 50)) for _ in range(n_parts)]


@pytest.mark.parametrize("n_parts", [1, 2, 3, 7, 8, 33])
def test_the_sum_is_the_same_to_the_last_bit_whatever_the_threads(n_parts: int) -> None:
    parts = Parts(drawn(n_parts))
    sums = set()
    for n_threads in (1, 2, 5):
        threads.set_threads(n_threads)
        n, two, one = parts.sum(moments, 0.5)
        sums.add((n, two.tobytes(), one.tobytes()))
    assert len(sums) == 1
    values = np.concatenate(drawn(n_parts)) - 0.5
    assert n == len(values)
    assert two == pytest.approx([values.sum(), (values**2).sum()])


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_whichever_comes_first_neighbours_are_added(n: int) -> None:
    def expected(first: int, last: int, size: int) -> Any:
        if size == 1:
            return str(first)
        half = size // 2
        if first + half >= last:
            return expected(first, last, half)
        return f"({expected(first, min(last, first + half), half)} {expected(first + half, last, half)})"

    class Text(str):
        def __add__(self, other: str) -> Text:
            return Text(f"({self!s} {other!s})")

    sums = set()
    for order in permutations(range(n)):
        total: TreeSum[Text] = TreeSum(n)
        for i in order:
            total.add(i, Text(str(i)))
        sums.add(str(total.result()))
    assert sums == {expected(0, n, 8)}


@given(st.integers(0, 9), st.integers(1, 4))
def test_results_are_in_the_order_of_the_parts(n_parts: int, n_threads: int) -> None:
    threads.set_threads(n_threads)
    values = [np.full(3, float(p)) for p in range(n_parts)]
    own = [float(p + 1) for p in range(n_parts)]
    found = Parts(values).map(scaled, 0.25, each=own)
    assert [each.tolist() for each in found] == [[p * (p + 1) + 0.25] * 3 for p in range(n_parts)]
    derived = Parts(values).derive(scaled, 0.25, each=own)
    assert len(derived) == n_parts
    assert [each.tolist() for each in derived] == [each.tolist() for each in found]
    assert derived.sum(len, zero=0) == 3 * n_parts


def test_single_precision_is_added_in_double() -> None:
    parts = [np.float32([1e8]), np.float32([1.0]), np.float32([1.0]), np.float32([1.0])]
    assert Parts(parts).sum(np.copy).tolist() == [1e8 + 3]
    assert added((1, np.float32([2.0])), (3, np.float32([4.0])))[1].dtype == np.float64


def test_no_parts_have_no_sum_but_the_one_given() -> None:
    assert Parts[np.ndarray]().sum(len, zero=0) == 0
    with pytest.raises(ValueError, match="no parts"):
        Parts[np.ndarray]().sum(len)


def test_an_error_in_a_part_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        Parts([1, 2, 0, 3]).sum((6).__floordiv__)


def test_a_chain_is_summed_as_its_first_and_then_its_others() -> None:
    first, others = (Parts(drawn(n)) for n in (3, 8))
    for found, expected in (
        (Chain(first, others).sum(moments, 0.5), added(first.sum(moments, 0.5), others.sum(moments, 0.5))),
        (Chain(Parts(), others).sum(moments, 0.5), others.sum(moments, 0.5)),
    ):
        assert [np.asarray(each).tobytes() for each in found] == [np.asarray(each).tobytes() for each in expected]
    none = Chain(Parts[np.ndarray](), Parts())
    assert none.sum(len, zero=0) == 0
    with pytest.raises(ValueError, match="no parts"):
        none.sum(len)
    with pytest.raises(ValueError, match="chain"):
        Chain(first, others).beside(Chain(others, first))
    own = [float(p) for p in range(11)]
    chained = Chain(first, others).derive(scaled, 2.0, each=own)
    plain = Parts([*first, *others]).derive(scaled, 2.0, each=own)
    assert [each.tolist() for each in chained] == [each.tolist() for each in plain]
