"""The replay: every strategy over one past period, and what came of it."""

from __future__ import annotations

import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from datetime import datetime
from pathlib import Path

import numpy as np

from gbdtlr import __version__
from gbdtlr.compute.threads import limited
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, NoSamplesError
from gbdtlr.replay.journal import Arrays, Journal, segment_name
from gbdtlr.replay.plan import OURS, Durations, Plan
from gbdtlr.replay.result import ReplayResult, found, of_labels, seconds_of
from gbdtlr.replay.rivals import RIVALS
from gbdtlr.replay.rows import Rows
from gbdtlr.replay.timeline import Cadence
from gbdtlr.replay.two_speed import TwoSpeed
from gbdtlr.samples import at_snapshots
from gbdtlr.times import format_time

Progress = Callable[[int, int, str], None]


def replay(
    config: Config,
    start: datetime,
    end: datetime,
    trees_every: Durations,
    lr_every: Durations,
    strategies: Sequence[str] | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    *,
    others: Mapping[str, Config] | None = None,
    workers: int = 1,
) -> ReplayResult:
    """Run the two jobs over the events of ``[start, end)`` and score each row with what was live when it happened.

    Parameters
    ----------
    config : its store is not touched: the replay has stores of its own
    trees_every, lr_every : the cadence; several values of either give a table of cadences, and the first of each is
        the one the strategies are compared at
    strategies : names out of ``STRATEGIES``; None for all
    out : local folder that keeps finished steps, to continue from; None for one that is thrown away
    progress : ``progress(done, total, text)`` after each step
    others : further configs by name, replayed as two-speed systems of their own
    workers : how many parts of the work run side by side

    Raises
    ------
    ConfigError
        An empty period, an unknown strategy, or ``out`` holds another replay.
    GbdtlrError
        Samples cannot be used, or nothing could be published at ``start``.

    Source
    ------
    He et al. 2014, section 3.
    """
    config = at_snapshots(config)  # every job of the replay reads the same
    others = {name: at_snapshots(other) for name, other in (others or {}).items()}
    plan = Plan.of(config, start, end, trees_every, lr_every, strategies, others)
    with ExitStack() as stack:
        if out is None:  # a part still at work when another failed may be writing there
            out = stack.enter_context(tempfile.TemporaryDirectory("-gbdtlr", ignore_cleanup_errors=True))
        journal = Journal(Path(out))
        journal.open({"start": format_time(start), "end": format_time(end), "gbdtlr": __version__})
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(limited(config.threads))
        return _Run(plan, journal, progress, workers).result()


class _Run:
    def __init__(self, plan: Plan, journal: Journal, progress: Progress | None, workers: int) -> None:
        self._plan = plan
        self._journal = journal
        self._progress = progress
        self._workers = workers
        self._lock = threading.Lock()
        self._done = self._n_kept_by_rivals = 0
        n_steps = {cadence: sum(len(s.steps) for s in plan.segments(cadence)) for cadence in plan.cadences}
        n_rivals = sum(name in RIVALS for name in plan.strategies)
        # What the config says already is not done twice.
        labels = {name: config for name, config in plan.labels.items() if config != plan.config}
        self._further = {**labels, **plan.others}
        self._total = sum(n_steps.values()) + n_steps[plan.main] * (n_rivals + len(self._further))

    def _tick(self, what: str) -> Callable[[str], None]:
        return lambda at: self._advance(1, f"{what} {at}")

    def _advance(self, n_steps: int, text: str) -> None:
        with self._lock:
            self._done += n_steps
            if self._progress is not None:
                self._progress(self._done, self._total, text)

    def _part(self, name: str, config: Config, cadence: Cadence) -> Journal:
        table = config.as_dict()
        told = {key: table[key] for key in table if key not in ("store", "threads")}
        return self._journal.part(name, {"config": told, "cadence": cadence.name})

    def _two_speed(self, name: str, config: Config, cadence: Cadence) -> TwoSpeed:
        plan = self._plan
        main = cadence == plan.main and config is plan.config
        return TwoSpeed(
            config,
            plan.segments(cadence),
            self._part(f"{name}-{cadence.name}", config, cadence),
            plan.delays(cadence.lr_every) if main else [],
            plan.delays(cadence.trees_every) if main else [],
            self._tick(name),
        )

    def _side_by_side(self, work: Sequence[Callable[[], Arrays]]) -> list[Arrays]:
        if self._workers == 1 or len(work) == 1:
            return [each() for each in work]
        import joblib

        # Threads: what takes time (LightGBM, the kernels, LAPACK) lets go of the interpreter, and they share memory.
        parallel = joblib.Parallel(n_jobs=self._workers, backend="threading")
        results: list[Arrays] = parallel(joblib.delayed(copy_context().run)(each) for each in work)
        return results

    def result(self) -> ReplayResult:
        plan = self._plan
        systems = [self._two_speed("two-speed", plan.config, cadence) for cadence in plan.cadences]
        systems += [self._two_speed(name, config, plan.main) for name, config in self._further.items()]
        rivals = [name for name in plan.strategies if name in RIVALS]
        on_its_trees = [self._rival(name, systems[0]) for name in rivals]
        n_kept = sum(system.n_kept for system in systems) + self._n_kept_by_rivals
        if n_kept:  # at once, so that the time the others take is not thought to be that of all
            self._advance(n_kept, "kept")
        arrays = self._side_by_side([system.run for system in systems])
        arrays += self._side_by_side(on_its_trees)
        main = arrays[0]
        rows = Rows(main["event_us"], main["label"], main["weight"])
        if not len(rows):
            raise NoSamplesError(
                f"no labelled rows with an event from {format_time(plan.start)} to {format_time(plan.end)} to judge; "
                "check --start, --end and [samples] path"
            )
        margins = {name: main[name] for name in plan.strategies if name in OURS}
        seconds = seconds_of(systems[0])
        for name, given in zip(rivals, arrays[len(systems) :], strict=True):
            margins[name] = given[name]
            shared = 0.0 if name == "trees-every-update" else seconds["trees-on-schedule"]
            seconds[name] = shared + float(given["seconds"].sum())
        ours = dict.fromkeys(plan.labels, systems[0])
        margins |= dict.fromkeys(plan.labels, main["two-speed"])
        seconds |= dict.fromkeys(plan.labels, seconds["two-speed"])
        for name, system, given in zip(
            self._further, systems[len(plan.cadences) :], arrays[len(plan.cadences) : len(systems)], strict=True
        ):
            if any(not np.array_equal(given[key], main[key]) for key in ("event_us", "label")):
                raise ConfigError(
                    f"the config {name} has other rows than the one it is compared with; its [samples] must give the "
                    "same rows and labels, in the same order"
                )
            margins[name] = given["two-speed"]
            seconds[name] = seconds_of(system)["two-speed"]
            ours[name] = system
        margins = {name: margins[name] for name in (*plan.strategies, *plan.others)}
        told = found(plan, rows, margins, seconds, systems, arrays)
        if plan.labels:
            told["labels"] = of_labels(plan, rows, margins, ours)
        return ReplayResult(rows, margins, told)

    def _rival(self, name: str, system: TwoSpeed) -> Callable[[], Arrays]:
        plan = self._plan
        rival = RIVALS[name](plan.config)
        journal = self._part(f"{name}-{plan.main.name}", plan.config, plan.main)
        timeline = plan.segments(plan.main)
        self._n_kept_by_rivals += sum(len(s.steps) for i, s in enumerate(timeline) if journal.has(segment_name(i)))
        return lambda: rival.run(timeline, system.trees_at, journal, self._tick(name))
