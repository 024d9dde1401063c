"""Vectors of pairs beside the whole matrix, and the same bytes however rows are cut, ordered and shared out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from embeddings_kit import events, pmi_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.embeddings import Counts, Events, pmi, spectrum, train
from gbdtlr.errors import SamplesError


@pytest.mark.parametrize("dimensions", [2, 5, 40])
def test_vectors_are_the_best_of_the_whole_matrix(dimensions: int) -> None:
    these = events()
    items, whole = pmi_of(these, 5)
    trained = train(Parts([these]), dimensions, 5)
    together = whole.any(axis=1)
    assert trained.keys.tolist() == [item for item, known in zip(items, together, strict=True) if known]
    assert trained.n_alone == (~together).sum()
    assert trained.n_rare == len(set(these.item.tolist())) - len(items)
    values, vectors = np.linalg.eigh(whole[np.ix_(together, together)])
    best = np.argsort(-values)[:dimensions]
    kept = np.maximum(values[best], 0)
    expected = (vectors[:, best] * kept) @ vectors[:, best].T
    found = trained.vectors @ trained.vectors.T
    scale = np.trace(expected) / np.trace(found)
    np.testing.assert_allclose(found * scale, expected, atol=1e-6)
    assert np.mean((trained.vectors**2).sum(axis=1)) == pytest.approx(1)
    assert trained.vectors.shape == (together.sum(), dimensions)


def test_the_largest_entry_of_each_column_is_above_zero() -> None:
    vectors = train(Parts([events()]), 6, 3).vectors
    assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(6)] > 0).all()


@given(
    cuts=st.lists(st.integers(0, 400), max_size=4),
    seed=st.integers(0, 5),
    n_threads=st.sampled_from([1, 3]),
    shard=st.sampled_from([37, 1 << 16]),
)
@settings(max_examples=15, deadline=None)
def test_parts_cut_anyhow_give_the_same_bytes(cuts: list[int], seed: int, n_threads: int, shard: int) -> None:
    whole = events(seed=1)
    expected = train(Parts([whole]), 4, 3)
    shuffled = whole.take(np.random.default_rng(seed).permutation(len(whole)))
    bounds = [0, *sorted(cuts), len(whole)]
    parts = [shuffled.take(np.arange(a, b)) for a, b in pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch, threads.limited(n_threads):
        patch.setattr(pmi, "SHARD", shard)
        found = train(Parts(parts), 4, 3)
    assert found.keys.tobytes() == expected.keys.tobytes()
    assert found.vectors.tobytes() == expected.vectors.tobytes()


def test_threads_share_the_blocks_of_a_larger_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pmi, "BLOCK", 64)
    these, found = Parts([events(20_000, 900, 600)]), []
    for n in (1, 4):
        with threads.limited(n):
            found.append(train(these, 8, 3).vectors.tobytes())
    assert found[0] == found[1]


def test_items_of_one_taste_lie_together() -> None:
    trained = train(Parts([events(4000, 200)]), 4, 5)
    half = trained.keys > 104729 * 15
    cosine = trained.vectors @ trained.vectors.T
    lengths = np.sqrt(np.diag(cosine))
    cosine /= np.outer(lengths, lengths)
    assert cosine[half][:, half].mean() > 0.5 > 0.1 > cosine[half][:, ~half].mean()


def test_of_many_items_the_most_frequent_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pmi, "MOST_ITEMS", 10)
    these = events()
    trained = train(Parts([these]), 3, 1)
    often = Counts.of(these.item)
    tenth = np.sort(often.n)[::-1][9]
    assert trained.n_beyond == len(often) - 10
    assert len(trained.keys) <= 10
    assert (often.n[np.isin(often.keys, trained.keys)] >= tenth).all()


def test_a_user_of_thousands_counts_for_no_more_than_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 500
    one = Events(np.zeros(n, np.uint64), np.arange(1, n + 1, dtype=np.uint64), np.arange(n, dtype=np.int64))
    pairs = pmi.pairs_of(one, one.item)
    assert len(pairs) == sum(min(pmi.NEXT, n - 1 - i) for i in range(n))
    assert set(pairs.n.tolist()) == {1}
    again = Events.concat([one, one])
    assert pmi.pairs_of(again, one.item).n.tolist() == pairs.n.tolist()
    monkeypatch.setattr(pmi, "NEXT", 1)
    assert len(pmi.pairs_of(one, one.item)) == n - 1


@pytest.mark.parametrize("n", [0, 1, 3])
def test_without_pairs_there_are_no_vectors(n: int) -> None:
    alone = Events(np.arange(n, dtype=np.uint64), np.ones(n, np.uint64), np.zeros(n, np.int64))
    with pytest.raises(SamplesError, match=r"no user took two of these .* give \[embeddings\] window more time"):
        train(Parts([alone] if n else []), 4, 1)


def test_counts_add_up() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 9, 50).astype(np.uint64)
    total = Counts.none()
    for part in np.array_split(keys, 7):
        total = total + Counts.of(part)
    expected = Counts.of(keys)
    assert (total.keys.tolist(), total.n.tolist()) == (expected.keys.tolist(), expected.n.tolist())


def test_a_matrix_of_low_rank_is_found_whatever_the_block() -> None:
    rng = np.random.default_rng(3)
    half = rng.normal(size=(90, 3))
    whole = half @ half.T
    rows = [
        spectrum.Rows(
            start, np.arange(0, 90 * (end - start) + 1, 90), np.tile(np.arange(90), end - start),
            whole[start:end].ravel(), 90,
        )
        for start, end in ((0, 40), (40, 41), (41, 90))
    ]  # fmt: skip
    found = spectrum.factors(Parts(rows), np.arange(90, dtype=np.uint64), 6)
    np.testing.assert_allclose(found @ found.T, whole, atol=1e-8)
    assert not found[:, 3:].any() or np.abs(found[:, 3:]).max() < 1e-4
