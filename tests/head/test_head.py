"""The head: its margin, its bytes, and what it does with bytes that are not its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import AS_OF, Problem

from gbdtlr.errors import DamagedError
from gbdtlr.head import Candidates, Codes, Head, Setting, WideColumns, fit


def make_head(n_codes=11, n_wide=2, seed=0):
    rng = np.random.default_rng(seed)
    index = tuple(np.unique(rng.integers(0, 500, 30)).astype(np.uint32) for _ in range(n_wide))
    return Head(
        float(rng.normal()),
        rng.normal(size=n_codes),
        WideColumns(tuple(f"w{j}" for j in range(n_wide)), 500),
        index,
        tuple(rng.normal(size=len(each)) for each in index),
    )


def test_margin_is_bias_plus_the_weights_of_the_codes():
    head = make_head()
    offsets = np.array([0, 4, 11])
    rng = np.random.default_rng(1)
    leaves = np.stack([rng.integers(0, 4, 50), rng.integers(0, 7, 50)]).astype(np.uint8)
    buckets = rng.integers(0, 500, (2, 50)).astype(np.uint32)
    tables = [dict(zip(i.tolist(), w, strict=True)) for i, w in zip(head.wide_index, head.wide_weights, strict=True)]
    for i, margin in enumerate(head.margin(leaves, offsets, buckets)):
        wide = [table.get(int(bucket), 0.0) for table, bucket in zip(tables, buckets[:, i], strict=True)]
        leaf = head.leaf_weights[leaves[0, i]] + head.leaf_weights[4 + leaves[1, i]]
        assert margin == pytest.approx(head.bias + leaf + sum(wide), abs=1e-12)


@pytest.mark.parametrize("n_wide", [0, 1, 3])
def test_a_head_survives_its_bytes(n_wide):
    head = make_head(n_wide=n_wide)
    data = head.to_bytes()
    again = Head.from_bytes(data, 11)
    assert again.to_bytes() == data
    np.testing.assert_array_equal(again.leaf_weights, head.leaf_weights)
    assert again.wide == head.wide


def test_a_head_of_other_trees_is_refused():
    with pytest.raises(DamagedError, match="damaged"):
        Head.from_bytes(make_head().to_bytes(), 12)


def test_a_head_that_is_not_finite_is_refused():
    head = make_head()
    broken = Head(np.nan, head.leaf_weights, head.wide, head.wide_index, head.wide_weights)
    assert not broken.is_finite()
    with pytest.raises(DamagedError, match="finite"):
        Head.from_bytes(broken.to_bytes(), 11)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_bytes_are_refused_or_harmless(data):
    good = make_head().to_bytes()
    how = data.draw(st.sampled_from(["flip", "cut", "noise"]))
    if how == "flip":
        at = data.draw(st.integers(0, len(good) - 1))
        bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    elif how == "cut":
        bad = good[: data.draw(st.integers(0, len(good) - 1))]
    else:
        bad = data.draw(st.binary(max_size=300))
    try:
        head = Head.from_bytes(bad, 11)
    except DamagedError:
        return
    assert head.is_finite()


@pytest.mark.parametrize("many", [0, 2**20])
def test_candidates_survive_their_bytes(monkeypatch, many):
    monkeypatch.setattr("gbdtlr.head.candidates.MANY", many)
    problem = Problem(300, n_wide=1)
    one = fit(
        problem.window, problem.offsets, problem.anchor, [Setting(AS_OF - AS_OF.replace(day=1, month=4), 2.0)], AS_OF
    )
    data = one.to_bytes()
    again = Candidates.from_bytes(data, len(problem.anchor))
    assert again.to_bytes() == data
    assert again.settings == one.settings
    np.testing.assert_array_equal(again.wide[0], one.wide[0])
    with pytest.raises(DamagedError):
        Candidates.from_bytes(data, 3)
    with pytest.raises(DamagedError):
        Candidates.from_bytes(data[:-20], len(problem.anchor))


def test_taking_all_rows_copies_nothing() -> None:
    leaves, buckets = np.zeros((3, 4), np.uint8), np.zeros((1, 4), np.uint32)
    part = Codes(leaves, buckets, np.zeros(4, np.float32), np.ones(4), *np.zeros((2, 4), np.int64))
    assert part.take(np.ones(4, bool)) is part
    assert len(part.take(np.array([True, False, True, True]))) == 3
    assert len(part.take(np.arange(4))) == 4
