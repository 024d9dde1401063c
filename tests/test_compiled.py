"""Kernels are cached where that can be, and compiled anew where it cannot."""

from __future__ import annotations

from typing import Any

import numba
import pytest

from gbdtlr.compiled import inline, kernel


def test_without_a_place_for_the_cache_a_kernel_still_runs() -> None:
    # Source that is in no file has no place for a cache, as a package in a read-only home has none.
    names: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x\n", names)
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(names["twice"])
    assert kernel()(names["twice"])(21) == 42


def test_a_kernel_with_signatures_takes_only_these() -> None:
    @kernel("float64(float64)")
    def half(x: float) -> float:
        return x / 2

    assert half(1) == 0.5
    with pytest.raises(TypeError):
        half("text")


def test_division_by_zero_is_that_of_ieee_754() -> None:
    @inline
    def ratio(a: float, b: float) -> float:
        return a / b

    assert ratio(1.0, 0.0) == float("inf")
