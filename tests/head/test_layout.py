"""The layout: every parameter is of one kind, and none is lost on the way from one layout to another."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import Problem

from gbdtlr.head import Codes, DenseColumn, DenseColumns, Head, Layout, WideColumns, pieces
from gbdtlr.head.codes import as_other
from gbdtlr.head.layout import distinct

N_BUCKETS = 40

buckets = st.lists(st.integers(0, N_BUCKETS - 1), unique=True).map(lambda found: np.array(sorted(found), np.uint32))


@st.composite
def layouts(draw: st.DrawFn, n_columns: int | None = None) -> Layout:
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    n = draw(st.integers(0, 3)) if n_columns is None else n_columns
    offsets = np.cumsum([0, *sizes])
    wide = WideColumns(tuple(f"w{j}" for j in range(n)), N_BUCKETS)
    found = draw(st.lists(st.integers(1, 3), max_size=2))
    columns = [DenseColumn(f"d{j}", (0.0,) * k, (2.0,) * k, k > 1, (0.25,) * k) for j, k in enumerate(found)]
    layout = Layout(offsets, np.linspace(-1, 1, offsets[-1]), wide, dense=DenseColumns(tuple(columns)))
    return layout.using([draw(buckets) for _ in range(n)])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Layout, Layout]:
    """Two layouts on the same trees and wide columns, with other buckets in use."""
    one = draw(layouts())
    return one, one.using([draw(buckets) for _ in one.buckets])


@given(layouts())
def test_kinds_are_laid_end_to_end_and_cover_every_parameter(layout: Layout) -> None:
    wide, dense = (f"wide {name}" for name in layout.wide.names), [f"dense {name}" for name in layout.dense.names]
    assert list(layout.kinds) == ["leaves", *wide, *dense, "bias"]
    assert np.concatenate([np.arange(layout.n)[where] for where in layout.kinds.values()]).tolist() == [
        *range(layout.n)
    ]
    assert layout.n == layout.n_leaves + sum(map(len, layout.buckets)) + layout.dense.n + 1
    assert (layout.ids.stop, layout.linear.stop) == (layout.linear.start, layout.bias)
    assert [layout.linear.start + at.start for at in layout.dense.places] == [layout.kinds[d].start for d in dense]
    assert [where.stop - where.start for where in layout.columns] == [len(index) for index in layout.buckets]
    assert layout.kinds["bias"] == slice(layout.bias, layout.n)
    assert layout.anchor[layout.leaves].tolist() == layout.leaf_values.tolist()
    assert not layout.anchor[layout.ids].any()
    assert (layout.anchor[layout.linear] == 0.5).all()
    assert layout.anchor[layout.bias] == 0


@given(layouts(), st.sampled_from([(), (3,)]))
def test_what_is_split_joins_again(layout: Layout, tail: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=(layout.n, *tail)).astype(np.float32)
    (leaves, wide, bias), dense = layout.split(values), values[layout.linear]
    assert len(leaves) == layout.n_leaves
    assert [len(each) for each in wide] == [len(index) for index in layout.buckets]
    assert len(dense) == layout.dense.n
    again = layout.join(leaves, wide, bias, dense)
    assert again.dtype == values.dtype
    np.testing.assert_array_equal(again, values)
    if layout.dense.n:
        with pytest.raises(ValueError, match="dense numbers expected"):
            layout.join(leaves, wide, bias)


@given(pairs())
def test_values_keep_their_meaning_in_another_layout(pair: tuple[Layout, Layout]) -> None:
    one, other = pair
    values = np.arange(1.0, one.n + 1)
    n_dense = min(one.dense.n, other.dense.n)
    expected = {("leaf", i): values[i] for i in range(one.n_leaves)} | {"bias": values[-1]}
    expected |= {("dense", i): values[one.linear][i] for i in range(n_dense)}
    for j, (where, index) in enumerate(zip(one.columns, one.buckets, strict=True)):
        expected |= {(j, bucket): value for bucket, value in zip(index.tolist(), values[where], strict=True)}
    carried = one.carried(values, other)
    found = {("leaf", i): carried[i] for i in range(other.n_leaves)} | {"bias": carried[-1]}
    found |= {("dense", i): carried[other.linear][i] for i in range(n_dense)}
    for j, (where, index) in enumerate(zip(other.columns, other.buckets, strict=True)):
        found |= {(j, bucket): value for bucket, value in zip(index.tolist(), carried[where], strict=True)}
    assert len(found) == other.n
    assert all(value == expected.get(key, 0.0) for key, value in found.items())


@given(pairs())
def test_a_layout_lies_in_one_that_has_more(pair: tuple[Layout, Layout]) -> None:
    one, other = pair
    both = one.together_with(other)
    for part in pair:
        places = part.places_in(both)
        assert (np.diff(places) > 0).all()
        values = np.random.default_rng(0).normal(size=part.n)
        laid = np.zeros(both.n)
        laid[places] = values
        np.testing.assert_array_equal(part.carried(values, both), laid)
        np.testing.assert_array_equal(both.carried(laid, part), values)
    used = [set(a.tolist()) | set(b.tolist()) for a, b in zip(one.buckets, other.buckets, strict=True)]
    assert [set(index.tolist()) for index in both.buckets] == used


@given(layouts(), st.integers(0, 2**32 - 1))
def test_only_wide_buckets_are_dropped(layout: Layout, seed: int) -> None:
    dropped = np.random.default_rng(seed).random(layout.n) < 0.5
    smaller, left = layout.without(dropped)
    assert left[layout.leaves].all()
    assert left[layout.bias]
    assert smaller.n == left.sum()
    for where, index, rest in zip(layout.columns, layout.buckets, smaller.buckets, strict=True):
        assert rest.tolist() == index[~dropped[where]].tolist()
    values = np.arange(1.0, layout.n + 1)
    np.testing.assert_array_equal(layout.carried(values, smaller), values[left])


@pytest.mark.parametrize(("n_wide", "n_dense"), [(0, 0), (2, 0), (2, 4)])
def test_the_parameters_of_a_row_are_those_its_codes_say(n_wide: int, n_dense: int) -> None:
    problem = Problem(300, n_wide=n_wide, n_dense=n_dense)
    layout = problem.layout.over(problem.window)
    assert [index.tolist() for index in layout.buckets] == [np.unique(each).tolist() for each in problem.codes.buckets]
    parameters = layout.parameters(problem.codes.leaves, layout.wide_parameters(problem.codes.buckets))
    one_hot = np.zeros((300, layout.n))
    np.add.at(one_hot, (np.arange(300)[:, None], parameters), 1.0)
    one_hot[:, layout.linear] = problem.codes.dense.T
    np.testing.assert_array_equal(one_hot, problem.dense(layout.buckets))
    weights = np.random.default_rng(0).normal(size=layout.n)
    np.testing.assert_allclose(Head(layout, weights).margin(problem.codes), one_hot @ weights, atol=1e-12)


def test_a_bare_head_is_the_trees() -> None:
    problem = Problem(50, n_wide=1)
    head = Head.bare(problem.layout.over(problem.window))
    assert head.leaf_weights.tolist() == problem.anchor.tolist()
    assert head.bias == 0
    assert [len(index) for index in head.layout.buckets] == [0]
    assert head.margin(problem.codes) == pytest.approx(problem.dense()[:, :-1] @ problem.anchor)


@given(n=st.integers(0, 400), cuts=st.lists(st.integers(0, 400), max_size=6), unit=st.booleans())
def test_pieces_do_not_depend_on_how_rows_were_batched(n: int, cuts: list[int], unit: bool) -> None:
    codes = Problem(max(n, 1), n_wide=1).codes.take(np.arange(n))
    values = np.arange(3.0 * n, dtype=np.float32).reshape(3, n)
    codes = replace(codes, beside=1 + np.repeat(codes.buckets, 2, axis=0), dense=values, dense_beside=-values[:2])
    codes = replace(codes, weight=np.ones(n)) if unit else codes
    bounds = sorted({0, n, *(cut for cut in cuts if cut < n)})
    batches = [codes.take(np.arange(a, b)) for a, b in pairwise(bounds)]
    whole, made = list(pieces([codes])), list(pieces(batches))
    assert len(made) == len(whole) == min(n, 8)
    for one, other in zip(made, whole, strict=True):
        for name in Codes.__dataclass_fields__:
            a, b = getattr(one, name), getattr(other, name)
            assert a.flags.c_contiguous
            np.testing.assert_array_equal(a, b)
        assert as_other(one).buckets is one.beside
        assert as_other(one).dense is one.dense_beside
    rows = [piece.event_us for piece in made]
    np.testing.assert_array_equal(np.concatenate([np.empty(0, np.int64), *rows]), codes.event_us)
    again = list(pieces(made))
    assert all(a is b for a, b in zip(again, made, strict=True)), "cut already: nothing is copied"


@pytest.mark.parametrize("table", [0, 10**9], ids=["sort", "table"])
@given(asked=st.lists(st.integers(0, 400)))
def test_distinct_buckets_are_each_there_once_in_rising_order(table: int, asked: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gbdtlr.head.layout.TABLE", table)
        there = distinct(np.array(asked, np.uint32))
        assert (there.tolist(), there.dtype) == (sorted(set(asked)), np.uint32)


def test_there_are_more_pieces_where_there_are_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gbdtlr.head.codes.PIECE_ROWS", 30)
    made = [len(piece) for piece in pieces([Problem(700).codes])]
    assert len(made) == 24
    assert max(made) <= 30
    assert max(made) - min(made) <= 1
