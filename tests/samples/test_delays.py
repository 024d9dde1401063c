"""Delays of outcomes: each counted once, however updates cut the time; what they reach is a distribution."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples_kit import DAY

from gbdtlr.codec.documents import read, table
from gbdtlr.errors import DamagedError
from gbdtlr.samples import Delays, Samples, share_of
from gbdtlr.samples.delays import BINS, ENOUGH
from gbdtlr.samples.finality import NEVER
from gbdtlr.times import from_us, to_us

HALF_LIFE = timedelta(hours=5)
shares = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def final(delays: list[float], ends: list[int]) -> Samples:
    """Rows of an hour each, final so many minutes after DAY, their outcomes by share of it; above 1 there is none."""
    known = to_us(DAY) + 60_000_000 * np.array(ends, np.int64)
    event, share = known - 3_600_000_000, np.array(delays)
    outcome = np.where(share <= 1, event + (share * 3_600_000_000).astype(np.int64), NEVER)
    label = (share <= 1).astype(np.int8)
    return Samples(pa.table({"x": share}), label, np.ones(len(known)), event, known, outcome)


@given(st.lists(st.tuples(st.floats(0, 1.2), st.integers(1, 600)), min_size=1, max_size=40), st.integers(1, 599))
def test_they_do_not_depend_on_how_updates_cut_the_time(rows: list[tuple[float, int]], cut: int) -> None:
    samples = final([share for share, _ in rows], [end for _, end in rows])
    middle, end = DAY + timedelta(minutes=cut), DAY + timedelta(minutes=600)
    at_once = Delays.none("1h", end).plus(samples, HALF_LIFE)
    by_then = samples.known_us <= to_us(middle)
    first = Delays.none("1h", middle).plus(samples.filter(by_then), HALF_LIFE)
    both = first.faded(end, HALF_LIFE).plus(samples.filter(~by_then), HALF_LIFE)
    np.testing.assert_allclose(both.outcomes, at_once.outcomes, rtol=1e-12)
    age = (to_us(end) - samples.known_us) / 1e6 / HALF_LIFE.total_seconds()
    assert at_once.outcomes.sum() == pytest.approx((samples.label * 2.0**-age).sum())


@given(shares, st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_what_they_reach_is_a_distribution(came: list[float], at: list[float]) -> None:
    delays = Delays.none("1h", DAY + timedelta(hours=1)).plus(final(came, [60] * len(came)), HALF_LIFE)
    reached = delays.reached(np.array([0.0, *sorted(at), 1.0]))
    assert (reached[0], reached[-1]) == (0.0, 1.0)
    assert (np.diff(reached) >= 0).all()


def test_they_reach_what_came_to_a_bin() -> None:
    """Of 20,000 delays of any shape, the part that came by a share is told to within one in a hundred."""
    rng = np.random.default_rng(0)
    at = np.linspace(0.001, 1, 200)
    for came in (rng.random(20_000), rng.beta(0.3, 6, 20_000), np.minimum(rng.exponential(0.003, 20_000), 1)):
        delays = Delays.none("1h", DAY).plus(final(came.tolist(), [0] * len(came)), HALF_LIFE)
        assert np.abs(delays.reached(at) - (came[:, None] <= at).mean(axis=0)).max() < 0.01


@given(st.floats(0, 300))
def test_enough_is_counted_as_it_fades(n: float) -> None:
    assert Delays("1h", DAY, np.full(BINS, n / BINS)).are_enough == (np.full(BINS, n / BINS).sum() >= ENOUGH)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12), st.integers(0, 10**9))
def test_a_share_is_one(event: int, after: int, length: int) -> None:
    (share,) = share_of(*(np.array([each]) for each in (event + after, event, event + length)))
    assert 0 <= share <= 1
    assert share == pytest.approx(min(after / max(length, 1), 1))


def test_a_manifest_keeps_them() -> None:
    delays = Delays.none("1h", from_us(to_us(DAY) + 1)).plus(final([0.1, 0.5], [0, 0]), HALF_LIFE)
    again = read(table(delays), Delays, "them")
    assert (again.of, again.as_of) == (delays.of, delays.as_of)
    assert again.outcomes.tolist() == delays.outcomes.tolist()
    for outcomes in ([1.0] * (BINS - 1), [-1.0] * BINS, [[1.0] * BINS]):
        with pytest.raises(DamagedError):
            read({**table(delays), "outcomes": outcomes}, Delays, "them")
