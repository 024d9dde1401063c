"""Passes of a fit on engines: the same bytes whatever the workers, and what travels does not grow with the rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from engine_kit import pretended

from gbdtlr.engine import LOCAL
from gbdtlr.head import Codes, Layout, Setting, WideColumns
from gbdtlr.head.codes import Batches
from gbdtlr.head.fit import groups, own_lines
from gbdtlr.head.fit.objective import Objective
from gbdtlr.times import to_us

AS_OF = datetime(2024, 5, 1, tzinfo=UTC)
SETTINGS = [Setting(timedelta(hours=h), l2) for h in (2, 24, 96) for l2 in (1.0, 10.0, 100.0)]
N_IDS, N_LEAVES = 300, 9
LAYOUT = Layout(np.array([0, 5, N_LEAVES]), np.linspace(-1, 1, N_LEAVES), WideColumns(("a", "b"), 2**16))


def drawn(seeds, n):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        leaves = np.stack([rng.integers(0, size, n) for size in (5, 4)]).astype(np.uint8)
        buckets = rng.integers(0, N_IDS, (2, n)).astype(np.uint32)
        event_us = to_us(AS_OF) - rng.integers(0, 10**11, n)
        label = (rng.random(n) < 0.3).astype(np.float32)
        yield Batches.of(Codes(leaves, buckets, label, np.ones(n), event_us, event_us))


def of(n_pieces):
    """Where pieces begin, as if they were that small."""
    return lambda n: [n * i // n_pieces for i in range(n_pieces + 1)]


def objective_on(engine, n_pieces, n=400):
    parts = engine.parts(range(5), drawn, n)
    return Objective(parts.regroup(of(n_pieces), joined), LAYOUT, SETTINGS, AS_OF)


def joined(slices):
    from gbdtlr.head.codes import concatenate

    return concatenate([each.view(*rows) for each, *rows in slices])


def story(engine, n_pieces):
    """Values, gradients and the curvature of the wide parameters, as bytes."""
    objective = objective_on(engine, n_pieces)
    told = []
    for seed, lanes in enumerate((range(9), [3], range(9))):
        delta = np.random.default_rng(seed).normal(0, 0.3, (objective.layout.n, len(lanes)))
        told += [each.tobytes() for each in objective.value_and_gradient(delta, lanes)]
    return [*told, objective.curvature().wide.tobytes(), objective.background(2)]


@pytest.mark.parametrize(("n_pieces", "bunch"), [(1, 16), (8, 2), (13, 4), (37, 4)])
def test_a_pass_gives_the_same_bytes_whatever_the_workers(monkeypatch, n_pieces, bunch):
    monkeypatch.setattr(own_lines, "BUNCH", bunch)
    expected = story(LOCAL, n_pieces)
    for workers in (1, 2, 3, 5):
        assert story(pretended(workers), n_pieces) == expected
    assert story(pretended(3, {9: 1, 20: 0}), n_pieces) == expected


def traffic(engine, n_pieces):
    """Bytes to the workers and from them for a pass of eight settings."""
    objective = objective_on(engine, n_pieces, 40 * n_pieces)
    delta = np.ones((objective.layout.n, 8))
    crew = engine.crew
    before = crew.sent, crew.received
    objective.value_and_gradient(delta, range(8))
    return crew.sent - before[0], crew.received - before[1], objective


@pytest.mark.parametrize("workers", [1, 2])
def test_what_travels_in_a_pass_does_not_grow_with_the_rows(monkeypatch, workers):
    monkeypatch.setattr(own_lines, "BUNCH", 4)
    few, many = (traffic(pretended(workers), n_pieces) for n_pieces in (16, 64))
    assert few[2].layout.n == many[2].layout.n
    assert many[:2] == pytest.approx(few[:2], rel=0.02)
    lines = 4 * 8 * many[2].layout.n
    assert many[0] < workers * (lines + 3000)
    assert many[1] < workers * (lines + 3000), "one sum of each worker"


def test_tables_of_leaves_are_laid_out_where_they_are_used(monkeypatch):
    monkeypatch.setattr(groups, "ROWS_PER_PLACE", 1)
    sent, _, objective = traffic(pretended(1), 16)
    assert int(objective._groups.places[-1]) == 20, "both trees are looked up together"
    assert sent < 4 * 8 * objective.layout.n + 2000
