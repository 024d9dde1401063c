"""The head: its margin, its bytes, and what it does with bytes that are not its own."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import AS_OF, Problem

from gbdtlr.codec.npz import from_npz, to_npz
from gbdtlr.errors import DamagedError, FormatError
from gbdtlr.head import (
    Candidates,
    Codes,
    DenseColumn,
    DenseColumns,
    Head,
    Layout,
    Memory,
    OnlineHead,
    Rule,
    Setting,
    WideColumns,
    fit_candidates,
)
from gbdtlr.head.dense import NO_DENSE
from gbdtlr.head.past.incremental import remember

TREES = Layout(np.array([0, 4, 11]), np.linspace(-1.0, 1.0, 11))


DENSE = DenseColumns(
    (DenseColumn("score", (0.5,), (2.0,)), DenseColumn("hidden", (0.0, 1.0), (1.0, 3.0), True, (0.5, 0.0))), 7.0
)


def make_head(n_wide=2, seed=0, dense=NO_DENSE):
    rng = np.random.default_rng(seed)
    index = tuple(np.unique(rng.integers(0, 500, 30)).astype(np.uint32) for _ in range(n_wide))
    layout = Layout.of(TREES, WideColumns(tuple(f"w{j}" for j in range(n_wide)), 500), dense).using(index)
    return Head(layout, rng.normal(size=layout.n))


def test_margin_is_bias_plus_the_weights_of_the_codes():
    head = make_head()
    rng = np.random.default_rng(1)
    leaves = np.stack([rng.integers(0, 4, 50), rng.integers(0, 7, 50)]).astype(np.uint8)
    buckets = rng.integers(0, 500, (2, 50)).astype(np.uint32)
    tables = [
        dict(zip(i.tolist(), w, strict=True)) for i, w in zip(head.layout.buckets, head.wide_weights, strict=True)
    ]
    for i, margin in enumerate(head.margin(Codes.unlabelled(leaves, buckets))):
        wide = [table.get(int(bucket), 0.0) for table, bucket in zip(tables, buckets[:, i], strict=True)]
        leaf = head.leaf_weights[leaves[0, i]] + head.leaf_weights[4 + leaves[1, i]]
        assert margin == pytest.approx(head.bias + leaf + sum(wide), abs=1e-12)


@pytest.mark.parametrize("n_wide", [0, 1, 3])
def test_a_head_survives_its_bytes(n_wide):
    head = make_head(n_wide=n_wide)
    data = head.to_bytes()
    again = Head.from_bytes(data, TREES)
    assert again.to_bytes() == data
    np.testing.assert_array_equal(again.leaf_weights, head.leaf_weights)
    assert again.wide == head.wide


def test_a_head_with_dense_columns_survives_its_bytes_in_a_format_of_its_own():
    head = make_head(dense=DENSE)
    data = head.to_bytes()
    again = Head.from_bytes(data, TREES)
    assert again.to_bytes() == data
    assert again.dense == DENSE
    np.testing.assert_array_equal(again.weights, head.weights)
    arrays = from_npz(data, newest=2)
    assert arrays["format"].tolist() == [2]
    assert from_npz(make_head().to_bytes())["format"].tolist() == [1]
    with pytest.raises(FormatError, match="newer than the 1"):
        from_npz(data, "head.npz", 1)
    for name in arrays.keys() - {"dense_names"}:
        if name.startswith("dense_"):
            with pytest.raises(DamagedError):
                Head.from_bytes(to_npz({**arrays, name: arrays[name][:-1]}, 2), TREES)


def test_what_dense_columns_add_is_the_same_by_rows_and_together():
    head = make_head(dense=DENSE)
    values = np.random.default_rng(3).normal(size=(3, 40)).astype(np.float32)
    leaves, buckets = np.zeros((2, 40), np.uint8), np.full((2, 40), 499, np.uint32)
    margins = head.margin(Codes.unlabelled(leaves, buckets, values))
    without = head.margin(Codes.unlabelled(leaves, buckets, np.zeros_like(values)))
    assert [head.add_row_dense(values[:, i], without[i]) for i in range(40)] == margins.tolist()
    np.testing.assert_allclose(margins - without, values.T.astype(float) @ head.dense_weights, atol=1e-12)


def test_a_head_of_other_trees_is_refused():
    with pytest.raises(DamagedError, match="damaged"):
        Head.from_bytes(make_head().to_bytes(), Layout(np.array([0, 12]), np.zeros(12)))


def test_a_head_that_is_not_finite_is_refused():
    head = make_head()
    broken = Head(head.layout, np.append(head.weights[:-1], np.nan))
    assert not broken.is_finite()
    with pytest.raises(DamagedError, match="finite"):
        Head.from_bytes(broken.to_bytes(), TREES)


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
        head = Head.from_bytes(bad, TREES)
    except (DamagedError, FormatError):
        return
    assert head.is_finite()


@pytest.mark.parametrize("many", [0, 4, 2**20])
def test_candidates_survive_their_bytes(monkeypatch, many):
    monkeypatch.setattr("gbdtlr.head.fit.candidates.MANY", many)
    problem = Problem(300, n_wide=1, n_dense=many % 5)
    one = fit_candidates(problem.window, problem.layout, [Setting(AS_OF - AS_OF.replace(day=1, month=4), 2.0)], AS_OF)
    data = one.to_bytes()
    again = Candidates.from_bytes(data, problem.layout)
    assert again.to_bytes() == data
    assert again.settings == one.settings
    np.testing.assert_array_equal(again.lines[again.layout.columns[0]], one.lines[one.layout.columns[0]])
    with pytest.raises(DamagedError):
        Candidates.from_bytes(data, Layout(np.array([0, 3]), np.zeros(3), problem.layout.wide))
    with pytest.raises(DamagedError, match="wide columns"):
        Candidates.from_bytes(data, Layout.of(problem.layout))
    if problem.layout.dense.n:
        with pytest.raises(DamagedError):
            Candidates.from_bytes(data, Layout.of(problem.layout, problem.layout.wide))
    with pytest.raises(DamagedError):
        Candidates.from_bytes(data[:-20], problem.layout)


def test_taking_all_rows_copies_nothing() -> None:
    leaves, buckets = np.zeros((3, 4), np.uint8), np.zeros((1, 4), np.uint32)
    part = Codes(leaves, buckets, np.zeros(4, np.float32), np.ones(4), *np.zeros((2, 4), np.int64))
    assert part.take(np.ones(4, bool)) is part
    assert len(part.take(np.array([True, False, True, True]))) == 3
    assert len(part.take(np.arange(4))) == 4


@pytest.mark.parametrize("number", [None, 1])
def test_a_head_without_a_format_is_of_the_first(number):
    """As the first versions wrote it."""
    head = make_head()
    arrays = {name: array for name, array in from_npz(head.to_bytes()).items() if name != "format"}
    again = Head.from_bytes(to_npz(arrays, number), TREES)
    assert again.to_bytes() == head.to_bytes()


def test_newer_formats_are_refused_by_name():
    problem = Problem(200, n_wide=1)
    fitted = fit_candidates(problem.window, problem.layout, [Setting(timedelta(hours=6), 3.0)], AS_OF)
    memory = remember(problem.window, fitted, AS_OF)
    online = OnlineHead(Rule("ftrl", 0.1, 1.0, 0.0, 0.0), problem.layout)
    for name, newest, data, read in (
        ("head.npz", 2, make_head().to_bytes(), lambda data: Head.from_bytes(data, TREES)),
        ("candidates.npz", 3, fitted.to_bytes(), lambda data: Candidates.from_bytes(data, problem.layout)),
        ("memory.npz", 1, memory.to_bytes(), lambda data: Memory.from_bytes(data, fitted)),
        ("online.npz", 2, online.to_bytes(), lambda data: OnlineHead.from_bytes(data, problem.layout)),
    ):
        arrays = from_npz(data)
        assert arrays["format"].tolist() == [1]
        assert read(to_npz({key: array for key, array in arrays.items() if key != "format"})) is not None
        told = f"{name} has format {newest + 1}, newer than the {newest} this gbdtlr reads; upgrade"
        with pytest.raises(FormatError, match=told):
            read(to_npz(arrays, newest + 1))
        for bad in (np.array([0]), np.array([1.0]), np.array([1, 1])):
            with pytest.raises(DamagedError, match="format"):
                read(to_npz({**arrays, "format": bad}))
