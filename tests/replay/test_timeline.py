"""The timeline covers the period without gaps, and trains when it is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.errors import ConfigError
from gbdtlr.replay.plan import check_cadence
from gbdtlr.replay.timeline import Cadence, segments

START = datetime(2020, 1, 1, tzinfo=UTC)
minutes = st.integers(1, 5000).map(lambda n: timedelta(minutes=n))


@given(minutes, minutes, minutes)
def test_steps_cover_the_period_and_segments_begin_with_a_training(
    length: timedelta, trees_every: timedelta, lr_every: timedelta
) -> None:
    found = segments(START, START + length, Cadence(trees_every, lr_every))
    steps = [step for segment in found for step in segment.steps]
    assert (steps[0].at, steps[-1].until) == (START, START + length)
    assert all(a.until == b.at for a, b in pairwise(steps))
    assert all(step.at < step.until for step in steps)
    for segment in found:
        assert [step.trains for step in segment.steps] == [True, *[False] * (len(segment.steps) - 1)]
        assert (segment.start - START) % trees_every == timedelta(0)
    for step in steps:
        assert not (step.at - START) % lr_every or step.trains
    assert len(found) == -(-length // trees_every)


def test_a_training_and_an_update_at_once_are_one_step() -> None:
    hour = timedelta(hours=1)
    (first, second) = segments(START, START + 12 * hour, Cadence(6 * hour, 3 * hour))
    assert [step.at.hour for step in first.steps] == [0, 3]
    assert [step.at.hour for step in second.steps] == [6, 9]


@pytest.mark.parametrize(
    ("cadence", "told"),
    [
        (
            Cadence(timedelta(1), timedelta(hours=3), timedelta(seconds=1)),
            "--embeddings-every 1s .* give it 3h or longer",
        ),
        (Cadence(timedelta(hours=1), timedelta(1), timedelta(minutes=59)), "give it 1h or longer"),
        (Cadence(timedelta(1), timedelta(seconds=1)), "a job every 1s from 2020-01-01.* is more than 50,000"),
        (Cadence(timedelta(seconds=2), timedelta(1)), "a job every 2s from 2020-01-01.* is more than 50,000"),
    ],
)
def test_a_cadence_that_no_job_can_keep_is_refused(cadence: Cadence, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_cadence(cadence, START, START + timedelta(days=7))


@pytest.mark.parametrize("embeddings", [None, timedelta(hours=3), timedelta(days=2)])
def test_one_that_they_can_keep_is_not(embeddings: timedelta | None) -> None:
    check_cadence(Cadence(timedelta(1), timedelta(hours=3), embeddings), START, START + timedelta(days=365))


def test_an_empty_period() -> None:
    with pytest.raises(ConfigError, match="end must be after"):
        segments(START, START, Cadence(timedelta(1), timedelta(1)))


def test_embeddings_are_trained_with_the_job_that_is_due_then_or_next() -> None:
    hour = timedelta(hours=1)
    cadence = Cadence(12 * hour, 4 * hour, 6 * hour)
    steps = [step for segment in segments(START, START + 24 * hour, cadence) for step in segment.steps]
    assert {step.at.hour: step.jobs for step in steps} == {
        0: ("train-trees", "train-embeddings"),
        4: ("update-lr",),
        8: ("train-embeddings", "update-lr"),  # due at 6
        12: ("train-trees", "train-embeddings"),
        16: ("update-lr",),
        20: ("train-embeddings", "update-lr"),
    }
    assert cadence.name == "12h-4h-6h"
    assert [segment.n_jobs for segment in segments(START, START + 24 * hour, cadence)] == [5, 5]
