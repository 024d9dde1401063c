"""The index of outcomes finds what a search of all of them does, in the memory it promises."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.config import OutcomesConfig
from gbdtlr.errors import ConfigError
from gbdtlr.samples.join.outcomes import Gathering, Outcomes
from gbdtlr.samples.join.repeats import Repeats
from gbdtlr.samples.window import NEVER
from gbdtlr.values.hashing import mix


def index(keys: list[int], times: list[int], ones: list[bool], weights: list[float] | None = None) -> Outcomes:
    gathering = Gathering(10**9, AssertionError, weights is not None)
    weight = None if weights is None else np.array(weights, np.float32)
    for low in range(0, len(keys), 5):
        part = slice(low, low + 5)
        gathering.add(
            hashed(keys[part]),
            np.array(times[part], np.int64),
            np.array(ones[part], bool),
            None if weight is None else weight[part],
        )
    return gathering.sorted()[0]


def hashed(keys: list[int]) -> np.ndarray:
    return mix(np.array(keys, np.uint64))


def test_there_may_be_no_more_than_can_be_numbered() -> None:
    with pytest.raises(ConfigError, match="max_outcomes must be below 4294967296, not 4294967296"):
        OutcomesConfig(("x",), "k", "t", timedelta(hours=1), max_outcomes=2**32)


row = st.tuples(st.integers(0, 6), st.integers(-9, 9), st.booleans(), st.floats(0, 9, width=16))


@given(
    st.lists(row, max_size=30),
    st.lists(st.tuples(st.integers(0, 7), st.integers(-9, 9), st.integers(0, 9))),
    st.booleans(),
)
def test_the_first_outcome_in_reach_is_found(rows, asked, weighed):
    keys, times, ones, weights = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
    outcomes = index(keys, times, ones, weights if weighed else None)
    assert len(outcomes) == len({(key, time) for key, time, *_ in rows})
    key, event, wait = map(list, zip(*asked, strict=True)) if asked else ([], [], [])
    event_us, deadline_us = np.array(event, np.int64), np.array(event, np.int64) + np.array(wait, np.int64)
    place = outcomes.find(hashed(key), event_us, deadline_us)
    found = zip(
        outcomes.time_us(place).tolist(), outcomes.is_one(place).tolist(), outcomes.weights(place).tolist(), strict=True
    )
    for (k, at, reach), (time, one, weight) in zip(asked, found, strict=True):
        within = [each for each in rows if each[0] == k and at <= each[1] <= at + reach]
        first = min((each[1] for each in within), default=NEVER)
        same = [each for each in within if each[1] == first]
        assert time == first
        assert one == any(each[2] for each in same)
        if weighed:
            heaviest = max((each[3] for each in same if each[2] == one), default=1.0)
            assert weight == heaviest


@pytest.mark.parametrize("weighed", [False, True])
def test_an_outcome_takes_at_most_20_bytes(weighed):
    n = 100_000
    outcomes = index(list(range(n)), [0] * n, [True] * n, [1.0] * n if weighed else None)
    assert len(outcomes) == n
    assert outcomes.nbytes <= 20 * n


def spread(rng: np.random.Generator, n: int) -> np.ndarray:
    return mix(rng.integers(0, n, n).astype(np.uint64))


def crowded(rng: np.random.Generator, n: int) -> np.ndarray:
    """Keys that somebody chose, so that their first bits tell nothing."""
    return np.concatenate([rng.integers(0, 9, n // 2), 2**62 + rng.integers(0, n, n - n // 2)]).astype(np.uint64)


def both_ends(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice(np.array([0, 1, 2**63, 2**64 - 1], np.uint64), n)


@pytest.mark.parametrize("draw", [spread, crowded, both_ends])
@pytest.mark.parametrize("n", [0, 1, 2, 31, 32, 5000])
@pytest.mark.parametrize("weighed", [False, True])
def test_many_outcomes_are_sorted_and_found_as_one_by_one(
    draw: Callable[[np.random.Generator, int], np.ndarray], n: int, weighed: bool
) -> None:
    rng = np.random.default_rng(n)
    key, time = draw(rng, n), rng.integers(-20, 20, n)
    one, weight = rng.random(n) < 0.5, rng.integers(0, 3, n).astype(np.float32)
    gathering = Gathering(n, AssertionError, weighed)
    for low in range(0, n, 700):
        rows = slice(low, low + 700)
        gathering.add(key[rows], time[rows], one[rows], weight[rows] if weighed else None)
    outcomes, same = gathering.sorted()

    greatest: dict[tuple[int, int], tuple[bool, float]] = {}
    dropped = []
    for k, t, *others in sorted(zip(key.tolist(), time.tolist(), one.tolist(), weight.tolist(), strict=True)):
        dropped += [t] if (k, t) in greatest else []
        greatest[k, t] = (others[0], others[1] if weighed else 1.0)
    every = np.arange(len(outcomes))
    found = zip(outcomes.key.tolist(), outcomes.time_us(every).tolist(), strict=True)
    says = zip(outcomes.is_one(every).tolist(), outcomes.weights(every).tolist(), strict=True)
    assert dict(zip(found, says, strict=True)) == greatest
    assert list(greatest) == list(zip(outcomes.key.tolist(), outcomes.time_us(every).tolist(), strict=True))
    assert sorted(same.tolist()) == sorted(dropped)
    assert outcomes.newest_us == max(time.tolist(), default=None)

    times = defaultdict(list)
    for k, t in greatest:
        times[k].append(t)
    asked, event = np.concatenate([key, draw(rng, 200)]), rng.integers(-25, 25, n + 200)
    place = outcomes.find(asked, event, event + 3)
    for k, at, came in zip(asked.tolist(), event.tolist(), outcomes.time_us(place).tolist(), strict=True):
        first = times[k][bisect_left(times[k], at) :][:1]
        assert came == (first[0] if first and first[0] <= at + 3 else NEVER)


@pytest.mark.parametrize(("weighed", "copies", "most"), [(False, 1, 20), (False, 50, 20), (True, 1, 22)])
def test_an_outcome_takes_at_most_20_bytes_while_it_is_read_and_sorted(weighed: bool, copies: int, most: int) -> None:
    n, step = 2**18 + 2**12, 2**12
    key = [mix(np.arange(low, low + step, dtype=np.uint64) // np.uint64(copies)) for low in range(0, n, step)]
    time, one = np.zeros(step, np.int64), np.ones(step, bool)
    weight = np.ones(step, np.float32) if weighed else None
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        gathering = Gathering(n, AssertionError, weighed)
        for part in key:
            gathering.add(part, time, one, weight)
        assert gathering.n == n
        outcomes, same = gathering.sorted()
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(outcomes) + len(same) == n
    assert outcomes.nbytes <= now - before <= 1.05 * (outcomes.nbytes + same.nbytes)
    assert peak - before <= most * n


def test_gathering_outcomes_takes_little_more_than_holding_them():
    """In a process of its own, as memory is a process's."""
    code = """
import resource, numpy as np
from gbdtlr.samples.join.outcomes import Gathering
from gbdtlr.values.hashing import mix
n, step = 2**21, 2**16
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
number = np.arange(n, dtype=np.uint64)
mix(number[:step])
before = peak()
gathering = Gathering(n, AssertionError, False)
for low in range(0, n, step):
    gathering.add(mix(number[low:low + step]), np.zeros(step, np.int64), np.ones(step, bool), None)
outcomes = gathering.sorted()[0]
assert len(outcomes) == n
print((peak() - before) / n)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 20


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=60), st.integers(1, 9), st.integers(0, 12))
def test_repeats_are_those_of_a_key_shortly_before(rows, size, window):
    rows = sorted(rows)
    repeats, found = Repeats(window), []
    for low in range(0, len(rows), size):
        block = rows[low : low + size]
        found += repeats.among(hashed([key for _, key in block]), np.array([t for t, _ in block], np.int64)).tolist()
    assert found == [any(key == k and at - t <= window for t, k in rows[:i]) for i, (at, key) in enumerate(rows)]
