"""Impressions are cut and put in order with the samples that some of them are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.samples import Samples
from gbdtlr.samples.join.impressions import Impressions
from gbdtlr.samples.join.joining import in_batches

row = st.tuples(st.integers(0, 9), st.integers(0, 3), st.booleans(), st.integers(0, 2))


def made(rows: list[tuple[int, int, bool, int]]) -> Impressions:
    """Impressions of event, key, whether it is wanted, and x."""
    event, key, wanted, x = (np.array(column) for column in zip(*rows, strict=True))
    wanted = wanted.astype(bool)
    return Impressions(key.astype(np.uint64), event, event + 5, wanted, samples(event[wanted], x[wanted]))


def samples(event: np.ndarray, x: np.ndarray) -> Samples | None:
    n = len(event)
    if not n:
        return None
    return Samples(pa.table({"x": x.astype(float)}), np.zeros(n, np.int8), np.ones(n), event, event + 5)


def told(impressions: Impressions) -> list[tuple[int, int, bool, float | None]]:
    """Event, key, whether it is wanted, and x of those that are."""
    mine = impressions.samples
    x = [] if mine is None else mine.table["x"].to_pylist()
    values = iter(x)
    rows = zip(impressions.event_us.tolist(), impressions.key.tolist(), impressions.wanted.tolist(), strict=True)
    found = [(event, key, wanted, next(values) if wanted else None) for event, key, wanted in rows]
    assert next(values, None) is None
    assert [event for event, _, wanted, _ in found if wanted] == ([] if mine is None else mine.event_us.tolist())
    assert (impressions.deadline_us == impressions.event_us + 5).all()
    return found


def of(rows: list[tuple[int, int, bool, int]]) -> list[tuple[int, int, bool, float | None]]:
    return [(event, key, wanted, float(x) if wanted else None) for event, key, wanted, x in rows]


@given(st.lists(row, min_size=1, max_size=12), st.booleans(), st.integers(-1, 10), st.integers(0, 11))
def test_they_are_cut_at_a_moment_and_anywhere(rows, ordered, moment, at):
    rows = sorted(rows) if ordered else rows
    every = made(rows)
    early, late = every.before(moment)
    assert told(early) == of([each for each in rows if each[0] < moment])
    assert told(late) == of([each for each in rows if each[0] >= moment])
    assert told(every.slice(at, len(rows))) == of(rows[at:])
    assert sorted(told(Impressions.concat([early, late])), key=str) == sorted(of(rows), key=str)


@given(st.lists(row, min_size=1, max_size=12), st.booleans())
def test_in_order_they_are_the_same_however_they_came(rows, ordered):
    rows = sorted(rows) if ordered else rows
    found = told(made(rows).in_order(["x"]))
    assert [each[:2] for each in found] == sorted(each[:2] for each in rows)
    assert sorted(found, key=str) == sorted(of(rows), key=str)
    if all(wanted for _, _, wanted, _ in rows):
        assert found == told(made(rows[::-1]).in_order(["x"]))


@given(st.lists(st.integers(1, 7), max_size=8), st.integers(1, 9))
def test_batches_are_full_but_the_last(lengths, batch_rows):
    bounds = np.cumsum([0, *lengths])
    parts = [samples(np.arange(a, b), np.arange(a, b)) for a, b in pairwise(bounds)]
    batches = list(in_batches(iter([part for part in parts if part is not None]), batch_rows))
    assert all(len(batch) == batch_rows for batch in batches[:-1])
    assert [x for batch in batches for x in batch.table["x"].to_pylist()] == list(range(bounds[-1]))
    assert not batches or 0 < len(batches[-1]) <= batch_rows
