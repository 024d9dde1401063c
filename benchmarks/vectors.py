"""What vectors of items and users' own scores are worth, and what they cost; beside a Wide & Deep network.

On the click stream with tastes (``clicktastes``) and on MovieLens where it is there (``movielens``): trees and vectors
are made every day, heads fitted every few hours, and each row is scored by what was live when it happened. What is
compared shares trees, vectors, codes and rows. *NE - first* is how far the normalised entropy is from that of the
product without vectors, with a 95% interval over hours as blocks; the seconds are CPU seconds of one update of the
head, or of the network's steps; *event us* are CPU microseconds of one row's way through its user's state, looked up,
scored and learned.

- *without vectors*: trees, ids of user and item
- *mean*: a user's score is of the decayed mean of what they clicked
- *regression*: of their own regression, that takes in a row as soon as its label is known (*live*), or so much later
- *wide & deep*: a network that reads the same columns, trained daily, stale or stepped at every update
- *true probabilities*: where the stream knows them, what nobody can beat

The last cases are the cost: what 1 to 32 dense columns add to a fit, and a user's score of a thousand candidates of ten
million items.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks import clickstream, deep_peer, fit, movielens
from benchmarks.harness import Bench
from benchmarks.heads import Blend
from benchmarks.served import DAY, HOUR, Stream, System, apart, between, ne_of, play
from benchmarks.user_scores import ItemVectors, UserScores
from gbdtlr.config import Config
from gbdtlr.embeddings import Embeddings, keys_of
from gbdtlr.scoring.users import Users
from gbdtlr.times import from_us
from gbdtlr.users import Rule, tag_of

CLICK_ROWS, CLICK_DAYS, CLICK_FROM, CLICK_JUDGED = 400_000, 8, 3, 5
MOST_OF = 0.9
"""Share of all ratings by which the judged days end: of MovieLens-1M the last tenth takes two years."""
N_ITEMS, N_CANDIDATES, DIMENSIONS = 10_000_000, 1000, 16


def run(bench: Bench) -> None:
    bench.measured = "CPU seconds of one update; NE of what was served"
    with tempfile.TemporaryDirectory() as name:
        clicks(bench, Path(name))
    films(bench)
    fit.with_dense(bench, fit.problem(bench.size(fit.N_ROWS), fit.DENSE_TREES, fit.N_LEAVES, bench.n_threads))
    candidates(bench)


def systems_of(bench: Bench) -> dict[str, System | None]:
    """What is compared; None where it is not installed."""
    vectors = ItemVectors()
    return {
        "without vectors": Blend(),
        "mean": UserScores(rule=Rule("mean", 0.1), vectors=vectors),
        "regression, live": UserScores(vectors=vectors),
        "regression, 1 h old": UserScores(vectors=vectors, lag=HOUR),
        "regression, 1 day old": UserScores(vectors=vectors, lag=DAY),
        **deep_peer.systems(bench.n_threads),
    }


def clicks(bench: Bench, folder: Path) -> None:
    """The click stream with tastes: days 4 and 5 teach the states, the days after are judged."""
    clickstream.write(folder, bench.size(CLICK_ROWS), CLICK_DAYS, 1, tastes=True)
    config = Config.load("configs/tastes.toml")
    samples = dataclasses.replace(config.samples, path=(str(folder),), wide=(*config.samples.wide, "user"))
    config = config.replace(samples=samples)
    start, end = (clickstream.START + days * DAY for days in (CLICK_FROM, CLICK_DAYS))
    rows = between(config, clickstream.START, end)
    truth = pq.read_table(folder, columns=["ts", "true_probability"]).sort_by("ts")["true_probability"].to_numpy()
    compare(
        bench,
        "click stream with tastes",
        Stream(config, rows),
        (start, clickstream.START + CLICK_JUDGED * DAY, end),
        6 * HOUR,
        np.log(truth / (1 - truth)),
    )


def films(bench: Bench) -> None:
    """MovieLens, where it is there; the last fortnight, or 8 weeks of the smaller one, before ratings get rare."""
    found = movielens.Ratings.found()
    if found is None:
        bench.add("MovieLens", "ratings", None, None, {})
        return
    samples = movielens.samples_of(found)
    large = len(samples) > 500_000
    end = (
        from_us(int(samples.event_us[int(MOST_OF * (len(samples) - 1))]))
        if large
        else from_us(int(samples.event_us[-1]) + 1)
    )
    judged, warm, every = (14 * DAY, 14 * DAY, 12 * HOUR) if large else (56 * DAY, 14 * DAY, DAY)
    start = end - judged - warm
    compare(
        bench,
        found.name,
        Stream(movielens.config_of(samples), samples),
        (start, end - judged, end),
        every,
    )


def compare(
    bench: Bench,
    case: str,
    stream: Stream,
    times: tuple[Any, Any, Any],
    every: timedelta,
    truth: np.ndarray[Any, Any] | None = None,
) -> None:
    """A line per system.

    Parameters
    ----------
    times : when systems begin, from when on they are judged, and the end
    truth : log-odds of the true probabilities
    """
    systems = systems_of(bench)
    present = {name: system for name, system in systems.items() if system is not None}
    start, judged, end = times
    margins = play(stream, present, start, end, every, bench.n_threads)
    rows = stream.happened(judged, end)
    margins = {name: margin[-len(rows) :] for name, margin in margins.items()}
    if truth is not None:
        margins["true probabilities"] = truth[rows]
    samples, case = stream.samples.take(rows), f"{case}, {len(rows):,} rows"
    first = margins["without vectors"]
    for name in [*systems, *(name for name in margins if name not in systems)]:
        if name not in margins:
            bench.add(case, name, None, None, {})
            continue
        more = {"NE": ne_of(samples, margins[name]), "NE - first": apart(samples, margins[name], first)}
        system = systems.get(name)
        if isinstance(system, UserScores):
            more |= {"weight": f"{system.weights[-1]:.2f}", "event us": f"{1e6 * system.event_s / system.n_events:.1f}"}
        bench.add(case, name, [] if system is None else system.seconds[1:], None, more)


def candidates(bench: Bench) -> None:
    """What a user's state adds to the scoring of a thousand candidates, of ever more items."""
    for n in sorted({bench.size(N_ITEMS // 100), bench.size(N_ITEMS)}):
        users, rng = users_of(n), np.random.default_rng(0)
        state = users.new()
        state.weights[:] = rng.normal(size=DIMENSIONS).tolist()
        frames = iter([{"item": rng.integers(0, n, N_CANDIDATES)} for _ in range(10 * bench.repeats + 1)])
        bench.compare(
            f"{N_CANDIDATES} candidates of {n:,} items, beside the trees",
            {"user state": lambda: users.margin(next(frames), state)},  # noqa: B023 - run at once
            ours="user state",
            repeats=10 * bench.repeats,
            clock=time.process_time,
        )


class NoTrees:
    """A model that says the same of every row at no cost."""

    head = None

    def margin(self, frame: Any) -> Any:
        """Log-odds of every row, zero."""
        return np.zeros(len(frame["item"]))


def users_of(n: int) -> Users:
    """A release of nothing but vectors of so many items."""
    keys = np.sort(keys_of(np.arange(n))[0])
    some = np.random.default_rng(0).normal(size=(1000, DIMENSIONS)).astype(np.float16)
    embeddings = Embeddings.of(keys, np.resize(some, (n, DIMENSIONS)), "item")
    model: Any = NoTrees()
    return Users(1, model, None, Rule(), (tag_of("vectors"),), SimpleNamespace(vectors=embeddings))
