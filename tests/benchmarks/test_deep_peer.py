"""The Wide & Deep peer: what it reads, that it is absent without PyTorch, and that only what is to move does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import deep_peer
from benchmarks.harness import installed
from benchmarks.served import Stream, play
from gbdtlr.config import Config
from gbdtlr.samples import Samples
from gbdtlr.times import to_us

START, N = datetime(2024, 3, 1, tzinfo=UTC), 3000
CONFIG = Config.from_dict(
    {
        "samples": {
            "path": "-",
            "event_time": "-",
            "label_delay": "1h",
            "numeric": ["x"],
            "categorical": ["kind"],
            "wide": ["a:b", "a"],
        },
        "trees": {"window": "2d", "params": {"num_iterations": 2, "num_leaves": 4}},
    }
)


@pytest.fixture(scope="module")
def stream():
    rng = np.random.default_rng(0)
    event_us = to_us(START) + np.sort(rng.integers(0, 48 * 3_600_000_000, N))
    a, b = rng.integers(0, 5, N), rng.integers(0, 3, N)
    label = (rng.random(N) < np.where(a < 2, 0.7, 0.2)).astype(np.int8)
    x = np.where(rng.random(N) < 0.1, np.nan, rng.normal(size=N))
    kind = pa.array([f"k{k}" for k in b]).dictionary_encode()
    table = pa.table({"x": x, "kind": kind, "a": [f"a{k}" for k in a], "b": [f"b{k}" for k in b]})
    return Stream(CONFIG, Samples(table, label, np.ones(N), event_us, event_us + 3_600_000_000))


def test_each_id_has_a_row_of_its_own_and_crosses_come_last(stream):
    inputs = deep_peer.Inputs.of(stream)
    assert inputs.n_deep == 2
    assert inputs.n_ids == 3 + 5 + 15
    assert [len(np.unique(column)) for column in inputs.ids.T] == [3, 5, 15]
    assert len(np.unique(inputs.ids)) == inputs.n_ids
    assert np.array_equal(np.isnan(inputs.numbers[:, 0]), np.isnan(stream.samples.table["x"].to_numpy()))


def test_it_is_absent_without_torch(monkeypatch):
    monkeypatch.setattr(deep_peer, "installed", lambda _: False)
    assert set(deep_peer.systems(1).values()) == {None}


@pytest.mark.skipif(not installed("torch"), reason="PyTorch is not installed")
def test_only_what_is_to_be_stepped_moves(stream):
    systems = deep_peer.systems(1)
    day = timedelta(days=1)
    margins = play(stream, systems, START + day, START + 2 * day, timedelta(hours=6), 1)
    quarter = len(stream.happened(START + day, START + 1.25 * day))
    stale, *stepped = margins.values()
    for margin in stepped:
        assert np.array_equal(margin[:quarter], stale[:quarter])
        assert not np.allclose(margin[quarter:], stale[quarter:], atol=1e-4)
    for system in systems.values():
        slow = dict(system.slow.at(stream, system.model, START)[0].named_parameters())
        for name, parameter in system.net.named_parameters():
            assert np.array_equal(parameter.detach(), slow[name].detach()) != name.startswith(system.moved)
