"""The online head: equal to the textbook, resumed to the last bit, sparse, and the booster at first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbdtlr.codec.npz import from_npz, to_npz
from gbdtlr.errors import DamagedError
from gbdtlr.head import Codes, DenseColumn, DenseColumns, Head, Layout, OnlineHead, Rule, WideColumns
from gbdtlr.head.online.kernels import fobos_distance

METHODS = ("ftrl", "rda", "fobos")
OFFSETS = np.array([0, 3, 7, 9], np.int64)
ANCHOR = np.linspace(-0.4, 0.5, 9)
WIDE = WideColumns(("campaign", "site"), 16)
LAYOUT = Layout(OFFSETS, ANCHOR, WIDE)
DENSE = DenseColumns(
    (DenseColumn("x", (1.0,), (2.0,), anchor=(0.5,)), DenseColumn("v", (0.0, 3.0), (1.0, 0.5), is_list=True)), 7.0
)
WITH_DENSE = Layout(OFFSETS, ANCHOR, WIDE, dense=DENSE)


def samples(n: int, seed: int = 0, dtype: type = np.uint8) -> Codes:
    rng = np.random.default_rng(seed)
    leaves = np.stack([rng.integers(0, size, n) for size in np.diff(OFFSETS)]).astype(dtype)
    buckets = np.minimum(rng.geometric(0.2, (2, n)) - 1, 15).astype(np.uint32)
    margin = 0.8 * (leaves[0] == 1) - 1.2 * (buckets[0] == 2) + 0.9 * (buckets[1] == 0) - 0.5
    label = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.float32)
    return Codes(leaves, buckets, label, rng.choice([0.5, 1.0, 3.0], n), np.arange(n), np.arange(n))


def with_dense(codes: Codes, seed: int) -> Codes:
    values = np.random.default_rng([seed, 1]).choice([0.0, -1.5, 0.3, 2.0], (3, len(codes))).astype(np.float32)
    return replace(codes, dense=values)


def head_of(rule: Rule) -> OnlineHead:
    return OnlineHead(rule, LAYOUT)


class Naive:
    """Distances from the anchor as dictionaries, every coordinate treated at every step, as the papers write it."""

    def __init__(self, rule: Rule, offsets: np.ndarray = OFFSETS, anchor: np.ndarray = ANCHOR) -> None:
        self.rule, self.t = rule, 0
        self.offsets, self.anchor = offsets, anchor
        self.sum: dict[object, float] = {}
        self.squares: dict[object, float] = {}
        self.w: dict[object, float] = {}
        self.seen: dict[object, int] = {}

    def shrink(self, x: float, by: float) -> float:
        return math.copysign(max(abs(x) - by, 0.0), x)

    def weight(self, key: object) -> float:
        rule, l1 = self.rule, 0.0 if key == "bias" else self.rule.l1
        if rule.method == "fobos":
            return self.w.get(key, 0.0)
        times = self.t if rule.method == "rda" else 1
        step = (rule.beta + math.sqrt(self.squares.get(key, 0.0))) / rule.alpha + times * rule.l2
        return -self.shrink(self.sum.get(key, 0.0), times * l1) / step

    def learn(
        self, leaves: list[int], buckets: list[int], label: float, importance: float, values: Sequence[float] = ()
    ) -> float:
        rule = self.rule
        keys: list[object] = [("leaf", self.offsets[t] + leaf) for t, leaf in enumerate(leaves)]
        base = sum(self.anchor[key[1]] for key in keys)
        for j, bucket in enumerate(buckets):
            key = ("wide", j, bucket)
            self.seen[key] = self.seen.get(key, 0) + 1
            if self.seen[key] >= rule.min_occurrences:
                keys.append(key)
        keys.append("bias")
        x: dict[object, float] = {("dense", d): value for d, value in enumerate(values)}
        keys += x
        base += sum(value * DENSE.anchor[d] for d, value in enumerate(values))
        weights = {key: self.weight(key) for key in keys}
        margin = base + sum(x.get(key, 1.0) * weight for key, weight in weights.items())
        residual = importance * (1 / (1 + math.exp(-margin)) - label)
        for key in keys:
            g = residual * x.get(key, 1.0)
            before = math.sqrt(self.squares.get(key, 0.0))
            self.squares[key] = self.squares.get(key, 0.0) + g * g
            after = math.sqrt(self.squares[key])
            pull = (after - before) / rule.alpha * weights[key] if rule.method == "ftrl" else 0.0
            self.sum[key] = self.sum.get(key, 0.0) + g - pull
            if rule.method == "fobos":
                self.w[key] = weights[key] - rule.alpha / (rule.beta + after) * g
        if rule.method == "fobos":
            for key in self.w:
                rate = rule.alpha / (rule.beta + math.sqrt(self.squares[key]))
                l1 = 0.0 if key == "bias" else rule.l1
                self.w[key] = self.shrink(self.w[key], rate * l1) / (1 + rate * rule.l2)
        self.t += 1
        return margin


rules = st.builds(
    Rule,
    method=st.sampled_from(METHODS),
    alpha=st.floats(0.01, 1.0),
    beta=st.floats(0.1, 2.0),
    l1=st.sampled_from([0.0, 1e-3, 0.05]),
    l2=st.sampled_from([0.0, 1e-3, 0.1]),
    min_occurrences=st.integers(1, 4),
)


@settings(max_examples=60, deadline=None)
@given(rule=rules, n=st.integers(1, 60), seed=st.integers(0, 1000))
def test_predictions_and_weights_are_those_of_the_papers(rule: Rule, n: int, seed: int) -> None:
    codes, naive, head = samples(n, seed), Naive(rule), head_of(rule)
    expected = [
        naive.learn(codes.leaves[:, i].tolist(), codes.buckets[:, i].tolist(), float(codes.label[i]), codes.weight[i])
        for i in range(n)
    ]
    assert head.learn_many(codes) == pytest.approx(expected, abs=1e-9)
    learned = head.head()
    assert learned.bias == pytest.approx(naive.weight("bias"), abs=1e-9)
    leaves = [naive.weight(("leaf", c)) for c in range(9)]
    assert learned.leaf_weights == pytest.approx(ANCHOR + leaves, abs=1e-9)
    for j in range(2):
        wide = np.zeros(16)
        wide[learned.layout.buckets[j]] = learned.wide_weights[j]
        admitted = [naive.seen.get(("wide", j, b), 0) >= rule.min_occurrences for b in range(16)]
        expected_wide = [naive.weight(("wide", j, b)) if ok else 0.0 for b, ok in enumerate(admitted)]
        assert wide == pytest.approx(expected_wide, abs=1e-9)
        assert (learned.wide_weights[j] != 0).all()


@settings(max_examples=60, deadline=None)
@given(rule=rules, n=st.integers(1, 140), seed=st.integers(0, 1000), cut=st.integers(0, 140))
def test_dense_numbers_are_learned_as_the_papers_write_it(rule: Rule, n: int, seed: int, cut: int) -> None:
    codes, naive, head = with_dense(samples(n, seed), seed), Naive(rule), OnlineHead(rule, WITH_DENSE)
    expected = [
        naive.learn(
            codes.leaves[:, i].tolist(), codes.buckets[:, i].tolist(), float(codes.label[i]), codes.weight[i],
            codes.dense[:, i].tolist(),
        )
        for i in range(n)
    ]  # fmt: skip
    margins = head.learn_many(codes)
    assert margins == pytest.approx(expected, abs=1e-9)
    found = head.head()
    assert found.dense_weights == pytest.approx(DENSE.anchor + [naive.weight(("dense", d)) for d in range(3)], abs=1e-9)
    assert found.dense == DENSE
    resumed = OnlineHead(rule, WITH_DENSE)
    first = resumed.learn_many(codes.take(np.arange(min(cut, n))))
    resumed = OnlineHead.from_bytes(resumed.to_bytes(), LAYOUT)
    row = np.concatenate([codes.leaves, codes.buckets]).T
    rest = [
        resumed.learn_one(row[i], int(codes.label[i]), codes.weight[i], codes.dense[:, i])
        for i in range(min(cut, n), n)
    ]
    assert np.concatenate([first, rest]).tobytes() == margins.tobytes()
    assert resumed.to_bytes() == head.to_bytes()
    again = Head.from_bytes(found.to_bytes(), LAYOUT)
    assert again.margin(codes).tobytes() == found.margin(codes).tobytes()


def many_trees(n_trees: int, n: int, dtype: type = np.uint8) -> tuple[np.ndarray, np.ndarray, Codes]:
    """Offsets, anchors, and samples whose leaves and ids often come again at once."""
    rng = np.random.default_rng(n_trees)
    sizes = rng.integers(2, 6, n_trees)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    leaves = np.stack([rng.integers(0, size, n) for size in sizes]) if n_trees else np.empty((0, n))
    buckets = np.minimum(rng.geometric(0.4, (2, n)) - 1, 15).astype(np.uint32)
    label = (rng.random(n) < 0.2 + 0.5 * (buckets[0] == 1)).astype(np.float32)
    codes = Codes(leaves.astype(dtype), buckets, label, rng.choice([0.5, 2.0], n), np.arange(n), np.arange(n))
    return offsets, rng.normal(0, 0.1, offsets[-1]), codes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n_trees", "n"), [(0, 70), (8, 64), (13, 150), (24, 145)])
@pytest.mark.parametrize("least", [1, 4])
def test_blocks_of_samples_and_eights_of_trees_change_nothing(method: str, n_trees: int, n: int, least: int) -> None:
    offsets, anchor, codes = many_trees(n_trees, n)
    rule = Rule(method, 0.3, 1.0, 0.01, 0.01, least)
    naive, head = Naive(rule, offsets, anchor), OnlineHead(rule, Layout(offsets, anchor, WIDE))
    expected = [
        naive.learn(codes.leaves[:, i].tolist(), codes.buckets[:, i].tolist(), float(codes.label[i]), codes.weight[i])
        for i in range(n)
    ]
    assert head.learn_many(codes) == pytest.approx(expected, abs=1e-9)
    parts = OnlineHead(rule, Layout(offsets, anchor, WIDE))
    margins = [parts.learn_many(codes.take(np.arange(*cut))) for cut in ((0, 1), (1, 50), (50, n))]
    whole = OnlineHead(rule, Layout(offsets, anchor, WIDE))
    assert whole.learn_many(codes).tobytes() == np.concatenate(margins).tobytes()
    assert whole.to_bytes() == parts.to_bytes()
    wider = OnlineHead(rule, Layout(offsets, anchor, WIDE))
    wider.learn_many(many_trees(n_trees, n, np.uint16)[2])
    assert wider.to_bytes() == whole.to_bytes()


@settings(max_examples=40, deadline=None)
@given(rule=rules, cuts=st.lists(st.integers(0, 80), max_size=3), seed=st.integers(0, 1000))
def test_learning_in_several_runs_equals_learning_in_one(rule: Rule, cuts: list[int], seed: int) -> None:
    codes = samples(80, seed)
    whole = head_of(rule)
    margins = whole.learn_many(codes)
    head, parts = head_of(rule), []
    for start, stop in pairwise([0, *sorted(cuts), 80]):
        head = OnlineHead.from_bytes(head.to_bytes(), LAYOUT)
        parts.append(head.learn_many(codes.take(np.arange(start, stop))))
    assert np.concatenate(parts).tobytes() == margins.tobytes()
    assert head.to_bytes() == whole.to_bytes()
    assert head.head().to_bytes() == whole.head().to_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_one_by_one_equals_many(method: str) -> None:
    rule, codes = Rule(method, 0.1, 1.0, 1e-3, 0.0, 2), samples(50)
    many, one = head_of(rule), head_of(rule)
    margins = many.learn_many(codes)
    row = np.concatenate([codes.leaves, codes.buckets]).T
    each = [one.learn_one(row[i], int(codes.label[i]), codes.weight[i]) for i in range(50)]
    assert each == margins.tolist()
    assert one.to_bytes() == many.to_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_a_head_that_has_learned_nothing_is_the_booster(method: str) -> None:
    head = head_of(Rule(method, 0.1, 1.0, 0.1, 0.1)).head()
    assert head.bias == 0
    assert (head.leaf_weights == ANCHOR).all()
    assert [len(index) for index in head.layout.buckets] == [0, 0]


@pytest.mark.parametrize("method", METHODS)
def test_leaves_stay_at_the_trees_outputs_until_a_sample_says_otherwise(method: str) -> None:
    head = head_of(Rule(method, 0.1, 1.0, 0.0, 0.0))
    head.learn_one([1, 2, 0, 5, 5], 1)
    moved = head.head().leaf_weights - ANCHOR
    assert np.flatnonzero(moved).tolist() == [1, 5, 7]
    assert (np.abs(moved) <= 0.1).all()


def test_l1_of_ftrl_holds_a_leaf_at_its_tree_and_an_id_at_nothing() -> None:
    codes = samples(400)
    sizes = []
    for l1 in (0.0, 2.0, 1e9):
        head = head_of(Rule("ftrl", 0.1, 1.0, l1, 0.0))
        head.learn_many(codes)
        leaves, index, _, bias = head.distances()
        sizes.append((np.count_nonzero(leaves), len(index)))
        assert bias != 0
    assert sizes[0] > sizes[1] > sizes[2] == (0, 0)


def test_the_file_follows_the_ids_that_occurred_and_the_head_the_weights_that_are_not_zero() -> None:
    wide = WideColumns(("campaign",), 2**20)
    rng = np.random.default_rng(1)

    def sizes(n_ids: int, l1: float) -> tuple[int, int]:
        head = OnlineHead(Rule("ftrl", 0.1, 1.0, l1, 0.0), Layout(OFFSETS, ANCHOR, wide))
        codes = samples(4000)
        buckets = (rng.integers(0, n_ids, 4000) * 200).astype(np.uint32)
        head.learn_many(replace(codes, buckets=buckets[None, :]))
        return len(head.to_bytes()), len(head.head().to_bytes())

    few, many, shrunk = sizes(100, 0.0), sizes(4000, 0.0), sizes(4000, 1.5)
    assert few[0] * 5 < many[0]
    assert few[1] * 5 < many[1] < 100_000
    assert shrunk[1] * 3 < many[1]


def test_of_leaves_a_file_holds_those_off_the_trees_outputs() -> None:
    offsets = np.arange(0, 3001, 30, dtype=np.int64)
    anchor = np.random.default_rng(2).normal(size=3000)
    layout = Layout(offsets, anchor)
    online = OnlineHead(Rule("ftrl", 0.1, 1.0, 0.0, 0.0), layout)
    sizes = []
    for leaf in range(30):
        online.learn_one([leaf] * 100, leaf % 2)
        head = online.head()
        data = head.to_bytes()
        again = Head.from_bytes(data, layout)
        assert again.leaf_weights.tobytes() == head.leaf_weights.tobytes()
        sizes.append(len(data))
    assert sizes[0] * 5 < sizes[-1]
    few = head_of(Rule("ftrl", 0.1, 1.0, 0.0, 0.0)).head().to_bytes()
    arrays = dict(from_npz(few))
    for index in ([9], [3, 3], [4, 2]):
        bad = {**arrays, "leaf_index": np.array(index, np.uint32), "leaf_moved": np.zeros(len(index))}
        with pytest.raises(DamagedError, match="out of order"):
            Head.from_bytes(to_npz(bad), LAYOUT)


def test_a_rare_id_is_learned_from_its_nth_sample_on() -> None:
    head = head_of(Rule("ftrl", 0.1, 1.0, 0.0, 0.0, min_occurrences=3))
    for n in range(1, 5):
        head.learn_one([0, 0, 0, 7, n], 1)
        index = head.head().layout.buckets
        assert index[0].tolist() == ([7] if n >= 3 else [])
        assert index[1].tolist() == []


def test_counts_of_ids_stop_before_they_would_start_again() -> None:
    head = head_of(Rule("ftrl", 0.1, 1.0, 0.0, 0.0, min_occurrences=255))
    codes = samples(600)
    head.learn_many(replace(codes, buckets=np.zeros_like(codes.buckets)))
    assert [index.tolist() for index in head.head().layout.buckets] == [[0], [0]]


def test_codes_of_two_bytes_learn_the_same() -> None:
    rule = Rule("ftrl", 0.1, 1.0, 0.01, 0.0)
    small, large = head_of(rule), head_of(rule)
    small.learn_many(samples(100))
    large.learn_many(samples(100, dtype=np.uint16))
    assert small.head().leaf_weights == pytest.approx(large.head().leaf_weights, abs=1e-12)


def test_the_published_head_predicts_what_the_online_head_would() -> None:
    head = head_of(Rule("rda", 0.2, 1.0, 1e-3, 1e-3))
    head.learn_many(samples(200))
    published: Head = head.head()
    codes = samples(1, 9)
    expected = published.margin(codes)
    assert head.learn_many(codes) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_it_learns(method: str) -> None:
    codes = samples(6000)
    head = head_of(Rule(method, 0.3, 1.0, 0.0, 0.0))
    margin = head.learn_many(codes)
    loss = np.logaddexp(0, margin) - codes.label * margin
    assert loss[3000:].mean() < 0.95 * loss[:100].mean()


def test_what_cannot_be_a_sample_is_an_error() -> None:
    head = head_of(Rule("ftrl", 0.1, 1.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="3 leaves and 2 buckets expected"):
        head.learn_one([0, 0, 0], 1)
    with pytest.raises(ValueError, match="expected 0 or 1"):
        head.learn_one([0, 0, 0, 0, 0], 2)
    for outside in ([3, 0, 0, 0, 0], [0, 0, 0, 16, 0], [-1, 0, 0, 0, 0]):
        with pytest.raises(ValueError, match="outside"):
            head.learn_one(outside, 1)
    codes = samples(5)
    with pytest.raises(ValueError, match="3 trees and 2 wide columns"):
        head.learn_many(replace(codes, leaves=codes.leaves[:2]))
    with pytest.raises(ValueError, match="one of ftrl, rda, fobos"):
        head_of(Rule("adam", 0.1, 1.0, 0.0, 0.0))
    assert head.n_learned == 0


GOOD = [2, 3, 1, 15, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "codes",
    [
        [2, 3, -1, 15, 0],
        [2, 3, 1, -1, 0],
        [2, 3, 1, 16, 0],
        [2, 4, 1, 15, 0],
        [2**16, 3, 1, 15, 0],
        [2, 3, 1, 2**32 + 1, 0],
        [2, 3, 1, 2**63, 0],
        [2, 3, 1, 2**70, 0],
        [2, 3, 1, -(2**32) + 1, 0],
        [2.0, 3.0, 1.0, 15.0, 0.0],
        [2, 3, 1, 15, 0.5],
        [2, 3, 1, 15, float("nan")],
        [2, 3, True, 15, 0],
        [2, 3, np.True_, 15, 0],
        [2, 3, 1, 15, None],
        [2, 3, 1, "15", 0],
        np.array(GOOD, np.float64),
        np.array([1, 1, 1, 1, 0], bool),
        np.array([2, 3, 1, 2**32 + 1, 0]),
        np.array([2, 3, 1, 2**64 - 1, 0], np.uint64),
        np.array([2, 3, 1, -1, 0], np.int8),
        np.ma.array(GOOD, mask=[0, 0, 0, 1, 0]),
    ],
    ids=repr,
)
def test_codes_that_would_change_in_the_cast_are_not_learned(method: str, codes: Any) -> None:
    refused(method, codes, 1, 1.0, "whole numbers|outside")


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, -1, -5e-324, 10**400, 1e300, True, "1", None, 1j])
def test_weights_that_no_sample_has_are_not_learned(weight: Any) -> None:
    refused("ftrl", GOOD, 1, weight, "weight is")


@pytest.mark.parametrize("label", [2, -1, 0.5, math.nan, "1", None, 1 + 0j, np.array([1]), [1]], ids=repr)
def test_labels_that_are_no_labels_are_not_learned(label: Any) -> None:
    refused("ftrl", GOOD, label, 1.0, "expected 0 or 1")


def refused(method: str, codes: Any, label: Any, weight: Any, told: str) -> None:
    """The sample is an error, and the head is as it was."""
    head = head_of(Rule(method, 0.1, 1.0, 0.0, 0.0))
    head.learn_many(samples(20))
    before = head.to_bytes()
    with pytest.raises(ValueError, match=told):
        head.learn_one(codes, label, weight)
    assert head.to_bytes() == before


@given(
    codes=st.tuples(*(st.integers(0, n - 1) for n in (3, 4, 2, 16, 16))).map(list),
    spelling=st.sampled_from([list, tuple, *(partial(np.array, dtype=t) for t in ("i1", "u2", ">i4", "i8", "u8"))]),
    label=st.sampled_from([0, 1, False, True, 1.0, np.float32(0), np.int8(1), np.True_]),
    weight=st.floats(0, 1e12) | st.integers(0, 9),
)
def test_a_sample_is_the_same_however_it_is_spelt(codes: list[int], spelling: Any, label: Any, weight: float) -> None:
    rule = Rule("ftrl", 0.1, 1.0, 0.0, 0.0)
    one, other = head_of(rule), head_of(rule)
    margins = one.learn_one(codes, int(label), float(weight)), other.learn_one(spelling(codes), label, weight)
    assert margins[0] == margins[1]
    assert one.to_bytes() == other.to_bytes()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sums", np.array([1.0])),
        ("sums", None),
        ("root", "negative"),
        ("seen", "unsorted"),
        ("seen", "beyond"),
        ("touched", "future"),
        ("method", np.frombuffer(b"adam", np.uint8)),
        ("n_buckets", np.array([2**40])),
        ("rule", np.zeros(3)),
        ("n_learned", np.array([-1])),
    ],
)
def test_damaged_bytes_are_refused(name: str, value: object) -> None:
    head = head_of(Rule("fobos", 0.1, 1.0, 0.0, 0.0))
    head.learn_many(samples(50))
    arrays = dict(from_npz(head.to_bytes()))
    if value is None:
        del arrays[name]
    elif isinstance(value, str):
        array = arrays[name].copy()
        array[-1] = {"negative": -1, "unsorted": 0, "beyond": 32, "future": 51}[value]
        arrays[name] = array
    else:
        arrays[name] = value
    with pytest.raises(DamagedError, match="online head is damaged"):
        OnlineHead.from_bytes(to_npz(arrays), LAYOUT)


def test_nonsense_is_refused() -> None:
    with pytest.raises(DamagedError):
        OnlineHead.from_bytes(b"nonsense", LAYOUT)


def test_fobos_with_an_l2_lost_in_rounding_is_that_without():
    for l2 in (1e-17, 1e-300):
        assert fobos_distance(0.5, 10, 0.02, 0.001, l2) == fobos_distance(0.5, 10, 0.02, 0.001, 0.0)
