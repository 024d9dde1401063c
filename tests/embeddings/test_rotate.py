"""Rotation: it undoes any turn, keeps all products, and leaves what did not change as it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from gbdtlr.compute import threads
from gbdtlr.embeddings import mean_cosine, rotate, rotated_onto, shared


def turn_of(d: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def test_a_turn_is_undone() -> None:
    before = np.random.default_rng(1).normal(size=(50, 6))
    turned = before @ turn_of(6)
    np.testing.assert_allclose(rotated_onto(turned, turned[10:40], before[10:40]), before, atol=1e-12)


def test_it_is_the_best_rotation_and_keeps_products() -> None:
    rng = np.random.default_rng(2)
    before, own = rng.normal(size=(2, 30, 4))
    whole = rng.normal(size=(70, 4))
    found = rotated_onto(whole, own, before)
    np.testing.assert_allclose(found, whole @ orthogonal_procrustes(own, before)[0], atol=1e-12)
    np.testing.assert_allclose(found @ found.T, whole @ whole.T, atol=1e-12)


def test_what_did_not_change_keeps_its_bytes() -> None:
    same = np.random.default_rng(3).normal(size=(40, 5))
    noisy = same + np.random.default_rng(4).normal(0, 1e-9, same.shape)
    assert rotated_onto(same, same, noisy).tobytes() == same.tobytes()
    assert rotated_onto(same, same[:0], noisy[:0]).tobytes() == same.tobytes()


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate, "BLOCK", 16)
    before, own = np.random.default_rng(5).normal(size=(2, 100, 3))
    found = []
    for n in (1, 3):
        with threads.limited(n):
            found.append(rotated_onto(own, own, before).tobytes())
    assert found[0] == found[1]


def test_shared_items() -> None:
    keys, before = np.array([1, 3, 4, 9], np.uint64), np.array([0, 3, 9], np.uint64)
    own, theirs = shared(keys, before)
    assert (own.tolist(), theirs.tolist()) == ([1, 3], [1, 2])
    assert [len(each) for each in shared(keys, before[:0])] == [0, 0]


def test_mean_cosine() -> None:
    own = np.array([[2.0, 0], [0, 1], [1, 1], [0, 0]])
    before = np.array([[1.0, 0], [0, -1], [1, 0], [1, 1]])
    cosines = [1, -1, 0.5**0.5]
    assert mean_cosine(own, before, np.zeros(4)) == pytest.approx(np.mean(cosines))
    assert mean_cosine(own, before, np.array([3, 1, 0, 5])) == pytest.approx(0.5)
    assert mean_cosine(own[3:], before[3:], np.ones(1)) is None
