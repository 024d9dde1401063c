"""Buckets in use: what bits find is what a search finds, and what a dictionary says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbdtlr.head import kernels
from gbdtlr.head.in_use import InUse, lookup

NUMBERS = st.one_of(st.integers(0, 300), st.sampled_from([0, 63, 64, 127, 128, 2**28 - 1, 2**32 - 1]))


@pytest.mark.parametrize(("few", "sparse"), [(0, 2**40), (10**9, 8), (0, 0)], ids=["bits", "few", "sparse"])
@settings(deadline=None)  # the first compiles
@given(known=st.dictionaries(st.integers(0, 700), st.floats(-1, 1), max_size=80), asked=st.lists(NUMBERS))
def test_values_are_looked_up_as_in_a_dictionary(
    few: int, sparse: int, known: dict[int, float], asked: list[int]
) -> None:
    index, values = np.array(sorted(known), np.uint32), np.array([known[each] for each in sorted(known)])
    buckets, place = np.array(asked, np.uint32), {each: i for i, each in enumerate(sorted(known))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gbdtlr.head.in_use.FEW", few)
        patch.setattr("gbdtlr.head.in_use.SPARSE", sparse)
        in_use = InUse(index)
        for _ in range(2):  # the second time with what was made the first
            found = in_use.places(buckets)
            assert (found.tolist(), found.dtype) == ([place.get(each, len(known)) for each in asked], np.int32)
        expected = np.array([known.get(each, 0.0) for each in asked])
        assert lookup(index, values, buckets).tolist() == expected.tolist()
        two = np.stack([values, -values], axis=1)
        assert lookup(index, two, buckets).tolist() == np.stack([expected, 0.0 - expected], axis=1).tolist()


@settings(deadline=None)
@given(n=st.integers(0, 9), at=st.lists(st.integers(0, 9)), width=st.integers(1, 3))
def test_what_is_found_is_added(n: int, at: list[int], width: int) -> None:
    place, values = np.minimum(np.array(at, np.int32), np.int32(n)), np.arange(1.0, n + 1)
    out, lines = np.ones(len(at)), np.ones((len(at), width), np.float32)
    kernels.add_found(place, values, out)
    kernels.add_found_lines(place, np.outer(values, np.arange(width)).astype(np.float32), lines)
    expected = [1 + (each + 1 if each < n else 0) for each in place.tolist()]
    assert out.tolist() == expected
    assert lines.tolist() == [[1 + (each - 1) * k for k in range(width)] for each in expected]
