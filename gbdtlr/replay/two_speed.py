"""Two speeds over the past: the real jobs in a real store, and every row scored by the release that was live."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from gbdtlr import jobs
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, GbdtlrError, NoReleaseError, StoreError
from gbdtlr.head import Codes, DenseColumns, WideColumns
from gbdtlr.jobs import JobResult
from gbdtlr.jobs.user_scores import UserScores
from gbdtlr.release import Past, Release
from gbdtlr.replay.journal import Arrays, Journal, segment_name
from gbdtlr.replay.plan import NO_STATES, name_of_age
from gbdtlr.replay.rows import by_event, joined, read_all
from gbdtlr.replay.timeline import Segment
from gbdtlr.replay.users import scores_then, without_user
from gbdtlr.store import Store
from gbdtlr.times import format_time, parse_time, to_us
from gbdtlr.trees import FrozenTrees

Tick = Callable[[str], None]
JOBS: dict[str, Callable[..., JobResult]] = {
    "train-trees": jobs.train_trees,
    "train-embeddings": jobs.train_embeddings,
    "update-lr": jobs.update_lr,
}
WITHOUT, WEIGHT, WEIGHT_DELAYED = "without_user", "user_weight", "user_weight_delayed"
"""Arrays of segments: log-odds without users' scores, what these weigh, and what they did in older releases."""


@dataclass(frozen=True)
class Done:
    """One job that ran.

    Attributes
    ----------
    at : its as_of, ISO 8601
    job : ``train-trees``, ``train-embeddings`` or ``update-lr``
    status : as the job ended, or ``failed``
    reason : why, for people
    release : number of the release that was live afterwards
    seconds : of the whole job
    trees_s, head_s : of it, spent growing trees and fitting heads
    unfinal : share of the fit's weight that was of rows not final
    """

    at: str
    job: str
    status: str
    reason: str
    release: int
    seconds: float
    trees_s: float
    head_s: float
    unfinal: float = 0.0


class TwoSpeed:
    """The jobs over a timeline, in a store of their own below the journal.

    Parameters
    ----------
    delays : how much older the releases are that score the rows once more, to see what age costs
    tick : called after each job that was not kept
    ages : of users' states that score the rows once more, beside those that know all
    """

    def __init__(
        self,
        config: Config,
        segments: Sequence[Segment],
        journal: Journal,
        delays: Sequence[timedelta],
        tree_delays: Sequence[timedelta],
        tick: Tick,
        ages: Sequence[timedelta] = (),
    ) -> None:
        self._config = config.replace(store=str(journal.folder / "store"))
        self._segments = segments
        self._journal = journal
        self._delays = delays
        self._tree_delays = tree_delays
        self._tick = tick
        self._ages = tuple(ages)
        self.store = Store.open(self._config.store)
        self._past = Past(self.store)
        self.done: list[Done] = [Done(**record) for record in journal.lines()]
        self._at_us = [to_us(parse_time(done.at)) for done in self.done]

    def run(self) -> Arrays:
        """Margins of all rows, in order of event time.

        Returns
        -------
        ``two-speed``, ``trees-on-schedule``, ``stale-trees`` : float64 (n,)
        ``event_us``, ``label``, ``weight`` : of the rows
        ``head_age_s``, ``trees_age_s`` : float64 (n,)
        ``delayed`` : float32 (n_delays, n), NaN where there was no release yet; ``delayed_trees`` likewise
        ``no-user-states``, ``user-states-live`` and the like : float64 (n,), where states of some age are asked for
        ``scoring_s`` : float64 (1,), seconds it took beside the jobs
        """
        parts = []
        n_before = 0
        for i, segment in enumerate(self._segments):
            name = segment_name(i)
            arrays = self._journal.load(name)
            if arrays is None:
                for step in segment.steps:
                    for job in step.jobs:
                        self._step(n_before, step.at, job)
                        n_before += 1
                start = time.perf_counter()
                arrays = self._score(segment)
                arrays["scoring_s"] = np.array([time.perf_counter() - start])
                self._journal.save(name, arrays)
            else:
                n_before += segment.n_jobs
            parts.append(arrays)
        return self._with_users(joined(parts))

    @property
    def n_kept(self) -> int:
        """Jobs that the journal says have run."""
        return len(self.done)

    def trees_at(self, moment: datetime) -> FrozenTrees:
        """Trees that were live at ``moment``."""
        release = self._release_at(moment)
        if release is None:
            raise NoReleaseError(f"no trees were live at {format_time(moment)}")
        return release.trees

    def _step(self, number: int, at: datetime, job: str) -> None:
        """Run a job, unless the journal says that it has run."""
        if number >= len(self.done):
            done = self._job(at, job)
            self._journal.append(asdict(done))
            self.done.append(done)
            self._at_us.append(to_us(at))
            self._tick(format_time(at))

    def _job(self, at: datetime, name: str) -> Done:
        spent = {"trees.train": 0.0, "head.fit": 0.0}

        def on_event(name: str, **fields: Any) -> None:
            if name in spent:
                spent[name] += fields["seconds"]

        start, unfinal = time.perf_counter(), 0.0
        try:
            result = JOBS[name](self._config, at, on_event=on_event)
            status, reason = result.status, result.reason
            unfinal = result.metrics.get("unfinal", {}).get("share", 0.0)
        except (ConfigError, StoreError):
            raise
        except GbdtlrError as error:  # cron would go on with what is live
            status, reason = "failed", str(error)
        seconds = time.perf_counter() - start
        live = self.store.live()
        if live is None:
            raise NoReleaseError(
                f"nothing could be published at {format_time(at)}, the start of the replay: {reason}; "
                "begin later, or give [trees] window less time"
            )
        if status in ("unchanged", "superseded") and live.as_of == at and live.why == name:
            status, reason = "published", ""  # by a replay that was killed before it could write that down
        trees_s, head_s = spent["trees.train"], spent["head.fit"]
        return Done(format_time(at), name, status, reason, live.number, seconds, trees_s, head_s, unfinal)

    def _score(self, segment: Segment) -> Arrays:
        """All strategies' margins of a segment's rows; each trees version encodes them once."""
        samples = read_all(self._config.samples, segment.start, segment.end)
        rows = None if samples is None else by_event(samples, segment.start, segment.end)
        if rows is not None and self._config.users.replay:  # scores are added when all is known
            rows = UserScores.blank(self._config, None).on(rows)
        n = 0 if rows is None else len(rows)
        ours = ("two-speed", "trees-on-schedule", "stale-trees", "head_age_s", "trees_age_s")
        out: Arrays = {
            "event_us": np.empty(0, np.int64) if rows is None else rows.event_us,
            "label": np.empty(0, np.int8) if rows is None else rows.label,
            "weight": np.empty(0) if rows is None else rows.weight,
            "delayed": np.full((len(self._delays), n), np.nan, np.float32),
            "delayed_trees": np.full((len(self._tree_delays), n), np.nan, np.float32),
            **{name: np.empty(n) for name in ours},
        }
        if self._has_users:
            out |= {WITHOUT: np.empty(n), WEIGHT: np.empty(n), WEIGHT_DELAYED: np.zeros((len(self._delays), n))}
        if rows is None:
            return out
        codes: dict[tuple[str, WideColumns, DenseColumns], Codes] = {}
        first = self._release_at(self._segments[0].start)
        for step in segment.steps:
            low, high = (int(i) for i in rows.event_us.searchsorted([to_us(step.at), to_us(step.until)]))
            if low == high:
                continue
            part = slice(low, high)

            def coded(release: Release, part: slice = part) -> Codes:
                """Codes of the step's rows on that release's trees."""
                key = release.entry.trees, release.head.wide, release.head.dense
                if key not in codes:
                    codes[key] = release.model.encode(rows)
                return codes[key].take(np.arange(part.start, part.stop))

            live = self._release_at(step.at)
            if live is None or first is None:
                raise NoReleaseError(f"no release was live at {format_time(step.at)}")
            out["two-speed"][part] = live.head.margin(coded(live))
            out["trees-on-schedule"][part] = live.model.bare().head.margin(coded(live))
            out["stale-trees"][part] = first.model.bare().head.margin(coded(first))
            out["head_age_s"][part] = (rows.event_us[part] - to_us(live.head_as_of)) / 1e6
            out["trees_age_s"][part] = (rows.event_us[part] - to_us(live.trees_as_of)) / 1e6
            if self._has_users:
                out[WITHOUT][part], out[WEIGHT][part] = without_user(live, coded(live))
            for k, delay in enumerate(self._delays):
                older = self._release_at(step.at - delay)
                if older is not None:
                    out["delayed"][k, part] = older.head.margin(coded(older))
                    if self._has_users:
                        out[WEIGHT_DELAYED][k, part] = without_user(older, coded(older))[1]
            for k, delay in enumerate(self._tree_delays):
                older = self._release_at(step.at - delay)
                if older is not None:
                    out["delayed_trees"][k, part] = older.model.bare().head.margin(coded(older))
        return out

    @property
    def _has_users(self) -> bool:
        """Whether users' scores are to be worked out."""
        return self._config.users.replay or bool(self._ages)

    def _with_users(self, arrays: Arrays) -> Arrays:
        """The arrays with what users' states add, where nothing was logged, and with what they would at other ages."""
        if not self._has_users or not len(arrays["event_us"]):
            return arrays
        start, end = self._segments[0].start, self._segments[-1].end
        first, last = self._release_at(start), self._release_at(end)
        if first is None or last is None:
            raise NoReleaseError(f"no release was live at {format_time(start)}")
        without, weight, ages = arrays.pop(WITHOUT), arrays.pop(WEIGHT), (timedelta(), *self._ages)
        weight_delayed = arrays.pop(WEIGHT_DELAYED)
        scores = scores_then(self._config, first, last, start, end, arrays["event_us"], without, ages)
        if self._config.users.replay:
            arrays["two-speed"] = without + weight * scores[0]
            arrays["delayed"] = (arrays["delayed"] + weight_delayed * scores[0]).astype(np.float32)
        if self._ages:
            arrays[NO_STATES] = without
            arrays |= {name_of_age(age): without + weight * score for age, score in zip(ages, scores, strict=True)}
        return arrays

    def _release_at(self, moment: datetime) -> Release | None:
        """What was live at ``moment``, if anything."""
        i = bisect_right(self._at_us, to_us(moment)) - 1
        if i < 0:
            return None
        return self._past.release(self.done[i].release)
