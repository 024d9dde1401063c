"""The benchmark of vectors: what is absent is said to be, and candidates are scored as a release would."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import deep_peer, movielens, vectors
from benchmarks.harness import Bench


@pytest.fixture
def bench():
    return Bench("vectors", n_threads=1, repeats=1, scale=1e-4)


def test_candidates_are_scored_by_their_vectors_alone(bench):
    vectors.candidates(bench)
    assert [row["case"].split(" beside")[0] for row in bench.rows] == ["1000 candidates of 1,000 items,"]
    assert 0 < bench.rows[0]["seconds"] < 60
    users = vectors.users_of(1000)
    state = users.new()
    state.weights[:] = np.linspace(-1, 1, vectors.DIMENSIONS).tolist()
    items = np.array([3, 999, 3])
    told = users.margin({"item": items}, state)
    assert told.margin.tolist() == [state.score(users.vector_of(item, None)) for item in items.tolist()]
    assert told.margin[0] == told.margin[2] != told.margin[1]


def test_what_is_not_installed_is_named(bench, monkeypatch):
    monkeypatch.setattr(deep_peer, "installed", lambda _: False)
    monkeypatch.delenv(movielens.PATH, raising=False)
    monkeypatch.setattr(movielens.importlib.util, "find_spec", lambda _: None)
    vectors.films(bench)
    assert bench.rows[0]["absent"]
    absent = {name for name, system in vectors.systems_of(bench).items() if system is None}
    assert absent == {f"wide & deep, {name}" for name in deep_peer.MOVED}
