"""Keys that are guessed are those that a search finds, however they are spread."""

from __future__ import annotations

import numpy as np
import pytest

from gbdtlr.embeddings import counts
from gbdtlr.embeddings.counts import guessed_in, places_in


@pytest.mark.parametrize("spread", ["even", "low", "clustered", "whole"])
def test_what_is_guessed_is_what_a_search_finds(spread: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(len(spread))
    keys = rng.integers(0, 2**64, 70_000, np.uint64, endpoint=False)
    if spread == "low":
        keys >>= np.uint64(40)
    elif spread == "clustered":
        keys = (keys >> np.uint64(48)) << np.uint64(48) | (keys & np.uint64(3))
    elif spread == "whole":
        keys[:2] = 0, 2**64 - 1
    keys = np.unique(keys)
    wanted = np.concatenate(
        [rng.choice(keys, 500), rng.integers(0, 2**64, 500, np.uint64, endpoint=False), keys[[0, -1]]]
    )
    wanted = np.concatenate([wanted, np.array([0, 1, 2**64 - 1], np.uint64), rng.choice(keys, 50) + np.uint64(1)])
    monkeypatch.setattr(counts, "FEW", 1000)
    n = 1000
    for some in (wanted[:n], wanted[n:], wanted[:0]):
        places, there = guessed_in(keys, some)
        expected, known = places_in(keys, some)
        np.testing.assert_array_equal(there, known)
        np.testing.assert_array_equal(places[known], expected[known])
        assert ((places >= 0) & (places < len(keys))).all()
