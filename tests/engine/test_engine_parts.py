"""Engines: whoever holds the parts, what comes of them is the same, also where workers die on the way."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from engine_kit import (
    CHECKS,
    Pretended,
    as_bytes,
    batches,
    by_value,
    counting,
    ends,
    failing,
    moments,
    numbers,
    pretended,
    rows,
    shifted,
    together,
)
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.engine import LOCAL
from gbdtlr.engine.crew import Crew, shares_of
from gbdtlr.engine.held import Distributed
from gbdtlr.engine.wire import packed, unpacked
from gbdtlr.errors import EngineError
from gbdtlr.head.codes import Batches, cut


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("workers", [0, 1, 2, 3, 5])
def test_every_engine(check, workers):
    check(pretended(workers) if workers else LOCAL)


def story(engine):
    """A job in small: rows are read, cut, made ready and summed up; all of it as bytes."""
    told = []
    pieces = cut(engine.parts(range(7), batches, ""))
    told.append(pieces.map(as_bytes))
    values = engine.parts(range(7), numbers, 1.0)
    ready = values.derive(shifted, 2.0, each=list(range(7)))
    told += [each.tobytes() for each in ready.sum(moments, 2.0)[1:]]
    told.append(cut(pieces.derive(Batches.of)).map(as_bytes))
    told += [each.tobytes() for each in ready.sum(moments, 3.0)[1:]]
    return told


def n_calls(workers):
    engine = pretended(workers)
    story(engine)
    return engine.crew._cluster.n_calls


@pytest.mark.parametrize(("workers", "step"), [(2, 1), (3, 4)])
def test_a_worker_that_dies_at_any_time_changes_nothing(workers, step):
    expected, n_told = story(LOCAL), 0
    for call in range(0, n_calls(workers), step):
        for dies in range(workers):
            told = []
            assert story(pretended(workers, {call: dies}, told)) == expected, (call, dies)
            assert told in ([("engine.lost", {"host": f"host{dies}", "workers": workers - 1})], [])
            n_told += len(told)
    assert n_told >= workers * (n_calls(workers) // step - workers), "but for the last calls, it was missed"


def test_a_worker_that_dies_while_items_come_changes_nothing():
    expected = [[seed + k for k in range(seed % 4)] for seed in range(9)]
    for call in range(30):
        told = []
        streams = pretended(3, {call: call % 3}, told).stream(range(9), counting, 1)
        assert [list(items) for items in streams] == expected
        assert len(told) <= 1
    assert told or call > 20


def test_two_that_die_one_after_the_other_change_nothing():
    expected = story(LOCAL)
    last = n_calls(4)
    for a, b in [(0, 1), (3, 4), (5, 9), (last // 2, last // 2 + 1), (last - 6, last - 4)]:
        assert story(pretended(4, {a: 1, b: 2})) == expected


def test_when_all_are_lost_the_error_says_what_may_help():
    engine = pretended(2, {3: 0, 5: 1})
    with pytest.raises(EngineError, match=r"all 2 workers are lost.*negative_keep_rate"):
        story(engine)


def test_only_the_lost_shares_are_read_again(tmp_path):
    engine = pretended(4)
    pieces = cut(engine.parts(range(8), batches, str(tmp_path)))
    before = pieces.map(as_bytes)
    engine.crew._cluster.workers[1] = None
    assert pieces.map(as_bytes) == before
    read = [int(line) for line in (tmp_path / "read").read_text().split()]
    assert sorted(read[:8]) == list(range(8))
    assert set(read[8:]) < set(range(8)), "others are at hand"
    assert len(read) == len(read[:8]) + len(set(read[8:])), "each of them once"


def test_what_a_lost_worker_had_of_all_shares_is_made_of_each_once(tmp_path):
    """Rows that were gathered from everywhere: whoever makes them again reads each share once, not once a part."""
    engine = pretended(3)
    values = engine.parts(range(8), batches, str(tmp_path)).derive(by_value, 12)
    cuts = values.map(ends)
    spans = [[(p, own[i], own[i + 1]) for p, own in enumerate(cuts) if own[i] < own[i + 1]] for i in range(12)]
    gathered = values.gather(spans, together)
    before = [each.values.tolist() for each in gathered]
    del values
    engine.crew._cluster.workers[1] = None
    assert [each.values.tolist() for each in gathered] == before
    read = [int(line) for line in (tmp_path / "read").read_text().split()]
    assert sorted(read) == sorted([*range(8), *range(8)])


def test_what_could_not_be_made_is_not_made_again_for_a_lost_worker():
    engine = pretended(3)
    values = engine.parts(range(9), numbers, 1.0)
    before = values.map(len)
    with pytest.raises(KeyError) as error:
        engine.parts(range(9), failing, 4)
    engine.crew._cluster.workers[1] = None
    assert values.map(len) == before
    assert error.tb is not None, "which holds on to the parts that were begun"


def test_rows_that_changed_before_they_were_read_again_are_an_error(tmp_path):
    engine = pretended(2)
    (tmp_path / "n").write_text("3")
    pieces = cut(engine.parts([0, 1], growing, str(tmp_path / "n")))
    (tmp_path / "n").write_text("4")
    engine.crew._cluster.workers[0] = None
    with pytest.raises(EngineError, match="changed before they could be read again: 120 rows where there were 90"):
        pieces.map(len)


def growing(seeds, file):
    for seed in seeds:
        yield Batches.of(rows(seed, 30 * int(Path(file).read_text())))


def test_parts_that_nobody_asks_for_any_more_are_let_go():
    engine = pretended(3)
    values = engine.parts(range(9), numbers, 1.0)
    for _ in range(3):
        values.derive(shifted, 1.0, each=[1.0] * 9).map(len)
    values.map(len)
    for worker in engine.crew._cluster.workers:
        assert len(worker._parts) == len(worker._recipes) == 1


def test_what_is_read_is_let_go_once_it_is_cut():
    engine = pretended(3)
    pieces = cut(engine.parts(range(9), batches, ""))
    pieces.map(len)
    for worker in engine.crew._cluster.workers:
        assert len(worker._parts) == 1
        assert len(worker._recipes) == 2, "how they are read again is remembered"


def test_sums_travel_added_up():
    few, many = (engine_and_parts(n) for n in (16, 256))
    for engine, parts in (few, many):
        before = engine.crew.received
        parts.sum(moments, 2.0)
        engine.last = engine.crew.received - before
    assert many[0].last <= 1.1 * few[0].last


def engine_and_parts(n):
    engine = pretended(2)
    return engine, engine.parts(range(n), numbers, 1.0)


@given(st.integers(0, 3000), st.integers(1, 70))
def test_every_worker_has_about_as_many_parts(n, slots):
    cuts = shares_of(n, slots)
    assert cuts[0] == 0
    assert cuts[-1] == n
    sizes = [b - a for a, b in pairwise(cuts)]
    assert len(sizes) == slots
    assert min(sizes) >= 0
    assert max(sizes) <= 1.26 * n / slots + 1


def test_a_crew_is_called_together_when_it_is_needed_and_once():
    calls = []

    def call_together():
        calls.append(1)
        return Crew(Pretended(2))

    engine = Distributed(call_together)
    engine.close()
    assert not calls
    engine.parts([1], numbers, 1.0)
    engine.parts([1], numbers, 1.0)
    cluster = engine.crew._cluster
    engine.close()
    assert calls == [1]
    assert cluster.closed


def test_the_wire_changes_nothing():
    read_only = np.arange(3.0)
    read_only.flags.writeable = False
    sparse = np.zeros((9000, 4), np.float32)
    sparse[[3, 4000]] = [[1, 2, 3, -0.0], [np.nan, 0, 0, 0]]
    sparse[7] = -0.0
    value = ({"a": sparse, "b": read_only}, [np.arange(4)], None, sparse.astype(np.float64))
    data = packed(value)
    assert len(data) < 2000
    back = unpacked(data)
    assert back[0]["a"].tobytes() == sparse.tobytes()
    assert back[3].tobytes() == value[3].tobytes()
    assert back[3].dtype == np.float64
    assert not back[0]["b"].flags.writeable
    assert back[1][0].flags.writeable
