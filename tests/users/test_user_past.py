"""The scores that users had: what the client gives, event by event, whatever order they come in."""

from __future__ import annotations

import base64
from datetime import timedelta
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_clients import client

from gbdtlr.users import Events, Rule, State, pack, quantised
from gbdtlr.users.past import NEVER

TAG = b"tag"
RULES = (Rule(), Rule(alpha=0.2, l2=0.05), Rule("mean", 0.3))


def by_the_client(
    events: Events, vectors: NDArray[np.float64], rule: Rule, age_us: int, module: ModuleType
) -> list[float]:
    """Each event with a client that has learned what was known before it, from a new state on."""
    packed = [module.vector(base64.b64encode(pack(*each)).decode()) for each in zip(*quantised(vectors), strict=True)]
    states: dict[int, str] = {}
    out = []
    for i in range(len(events)):
        known = np.flatnonzero((events.user == events.user[i]) & (events.taught_us < events.event_us[i] - age_us))
        order = sorted(known, key=lambda e: (events.taught_us[e], events.event_us[e], events.salt[e]))
        text = states.setdefault(0, State.new(rule, TAG, vectors.shape[1]).to_text())
        user = module.User(text, rule.alpha, rule.l2)
        for e in order:
            if events.vector[e] >= 0:
                user.learn(packed[events.vector[e]], int(events.label[e]), float(events.margin[e]))
        out.append(user.score(packed[events.vector[i]]) if events.vector[i] >= 0 else 0.0)
    return out


def events_of(seed: int, n: int, n_users: int, spread: int, delay: int) -> Events:
    rng = np.random.default_rng(seed)
    event_us = rng.integers(0, spread, n)
    taught_us = event_us + rng.integers(0, delay + 1, n)
    taught_us[rng.random(n) < 0.1] = NEVER
    return Events(
        rng.integers(0, n_users, n).astype(np.uint64),
        rng.integers(-1, 6, n),
        event_us,
        taught_us,
        rng.integers(0, 2, n).astype(np.int8),
        rng.normal(-1, 1.5, n),
        rng.permutation(n).astype(np.uint64),
    )


@given(
    st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 4), st.sampled_from([3, 20, 200]),
    st.sampled_from([0, 5, 60]), st.sampled_from(RULES), st.sampled_from([0, 7]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_each_score_is_the_client_s(
    seed: int, n: int, n_users: int, spread: int, delay: int, rule: Rule, age_us: int
) -> None:
    events = events_of(seed, n, n_users, spread, delay)
    vectors = np.random.default_rng(seed).normal(size=(6, 5))
    vectors[3] = 0.0  # an item without anything
    found = events.scores(vectors, rule, timedelta(microseconds=age_us))
    expected = by_the_client(events, vectors, rule, age_us, client())
    assert found == pytest.approx(expected, abs=1e-12)
    order = np.random.default_rng(seed + 1).permutation(n)
    shuffled = Events(*(getattr(events, name)[order] for name in events.__dataclass_fields__))
    assert np.array_equal(shuffled.scores(vectors, rule, timedelta(microseconds=age_us)), found[order])


def test_rows_of_one_instant_know_nothing_of_each_other() -> None:
    n = 4
    same = Events(
        np.zeros(n, np.uint64), np.zeros(n, np.int64), np.array([0, 5, 5, 6]), np.array([5, 5, 5, 6]),
        np.ones(n, np.int8), np.zeros(n), np.arange(n, dtype=np.uint64),
    )  # fmt: skip
    first, at_five, again, after = same.scores(np.ones((1, 2)), Rule()).tolist()
    assert first == at_five == again == 0.0  # what became known at that very moment is not known before it
    assert after > 0.0
