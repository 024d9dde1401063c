"""Users in a replay: the scores that rows would have had, with states that knew all, and with older ones.

The events of the period are played again, and before them those of a head's window, so that users are not all new at
its start. What a user learns from an event of the period is what is left of it by the release that was live then; of
the events before, by a head that learned one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import Config
from gbdtlr.errors import SamplesError
from gbdtlr.head import Codes
from gbdtlr.jobs.margins_then import margins_then
from gbdtlr.jobs.user_scores import Shown, UserScores, without_users
from gbdtlr.jobs.vectors_then import VectorsThen
from gbdtlr.release import Release
from gbdtlr.release.embedded import REMEMBERED
from gbdtlr.replay.rows import by_event, read_all
from gbdtlr.scoring.users import Users
from gbdtlr.times import to_us
from gbdtlr.users import Rule


def without_user(release: Release, codes: Codes) -> tuple[NDArray[np.float64], float]:
    """Log-odds of rows, (n,), without their users' scores; and what the release's head gives to one unit of these."""
    users, head = Users.of(release), release.head
    if users.column is None:
        return head.margin(codes), users.weight
    dense = codes.dense.copy()
    dense[head.layout.kinds[f"dense {users.column}"].start - head.layout.linear.start] = 0.0
    return head.margin(replace(codes, dense=dense)), users.weight


def scores_then(
    config: Config,
    first: Release,
    last: Release,
    start: datetime,
    end: datetime,
    event_us: NDArray[np.int64],
    margin: NDArray[np.float64],
    ages: Sequence[timedelta],
) -> list[NDArray[np.float64]]:
    """Scores of the rows of ``[start, end)``, with states of each of the ages, float64 (n,) each.

    Parameters
    ----------
    first, last : releases that were live at the start and at the end
    event_us, margin : of these rows, in the order they are judged in: when they happened, and their log-odds as they
        were served, but for the users' scores

    Raises
    ------
    SamplesError
        The rows are not the same any more.
    """
    before = start - config.head.window
    vectors = VectorsThen.of(last.embeddings, before, REMEMBERED)
    scores = UserScores.blank(config, vectors)
    samples = read_all(scores.reading, before, end)
    if vectors is None or samples is None:
        return [np.zeros(len(event_us)) for _ in ages]
    samples = by_event(samples, before, end)
    is_early = samples.event_us < to_us(start)
    if not np.array_equal(samples.event_us[~is_early], event_us):
        raise SamplesError("the samples are no longer what they were when the replay read them; begin anew")
    shown = Shown.of(samples, scores)
    margins = np.empty(len(samples))
    margins[~is_early] = margin
    if is_early.any():
        model = without_users(config, first.slow)
        codes, salt = [model.encode(samples.filter(is_early))], shown.salt[is_early]
        margins[is_early] = margins_then(codes, salt, model.head.layout, config.head)
    found = (shown.scores(margins, vectors, Rule.of(config.users), age) for age in ages)
    return [np.where(shown.counts, score, 0.0)[~is_early] for score in found]
