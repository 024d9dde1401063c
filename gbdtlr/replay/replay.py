"""The replay: every strategy over one past period, and what came of it."""

from __future__ import annotations

import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from datetime import datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from gbdtlr import __version__
from gbdtlr.compute.threads import limited
from gbdtlr.config import Config
from gbdtlr.engine import LOCAL, Engine
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
SYSTEMS = "systems"


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
    engine: Engine = LOCAL,
    embeddings_every: timedelta | None = None,
    user_state_ages: Sequence[timedelta] = (),
) -> ReplayResult:
    """Run the jobs over the events of ``[start, end)`` and score each row with what was live when it happened.

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
    engine : where else than here these parts run, each as on one machine; ``out`` must be a folder that is seen there
    embeddings_every : how often vectors of items are made, with the job that is due then, or next; None for never
    user_state_ages : how old users' states are that score all rows once more, beside states that know all and none

    Raises
    ------
    ConfigError
        An empty period, an unknown strategy, states of users without vectors of items, or ``out`` holds another replay.
    GbdtlrError
        Samples cannot be used, or nothing could be published at ``start``.

    Source
    ------
    He et al. 2014, section 3.
    """
    config = _alone(at_snapshots(config))  # every job of the replay reads the same
    others = {name: _alone(at_snapshots(other)) for name, other in (others or {}).items()}
    plan = Plan.of(config, start, end, trees_every, lr_every, strategies, others, embeddings_every, user_state_ages)
    with ExitStack() as stack:
        if out is None:  # a part still at work when another failed may be writing there
            out = stack.enter_context(tempfile.TemporaryDirectory("-gbdtlr", ignore_cleanup_errors=True))
        journal = Journal(Path(out))
        journal.open({"start": format_time(start), "end": format_time(end), "gbdtlr": __version__})
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(limited(config.threads))
        return _Run(plan, journal, progress, workers, engine).result()


def _alone(config: Config) -> Config:
    """The config of a job that is done at one place: it is the replay's parts that are spread."""
    return config.replace(engine="local", workers=None)


class _Run:
    def __init__(
        self, plan: Plan, journal: Journal, progress: Progress | None = None, workers: int = 1, engine: Engine = LOCAL
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._progress = progress
        self._workers = workers
        self._engine = engine
        self._lock = threading.Lock()
        self._done = 0
        n_jobs = {cadence: sum(s.n_jobs for s in plan.segments(cadence)) for cadence in plan.cadences}
        n_steps = sum(len(s.steps) for s in plan.segments(plan.main))
        n_rivals = sum(name in RIVALS for name in plan.strategies)
        # What the config says already is not done twice.
        labels = {name: config for name, config in plan.labels.items() if config != plan.config}
        self._further = {**labels, **plan.others}
        self._total = sum(n_jobs.values()) + n_steps * n_rivals + n_jobs[plan.main] * len(self._further)

    def _tick(self, what: str) -> Callable[[str], None]:
        return lambda at: self._advance(1, f"{what} {at}")

    def _advance(self, n_steps: int, text: str) -> None:
        with self._lock:
            self._done += n_steps
            if self._progress is not None:
                self._progress(self._done, self._total, text)

    def _part(self, name: str, config: Config, cadence: Cadence, has_states: bool = False) -> Journal:
        table = config.as_dict()
        told = {key: table[key] for key in table if key not in ("store", "threads")}
        states = {"user_states": True} if has_states else {}
        return self._journal.part(name, {"config": told, "cadence": cadence.name, **states})

    def _two_speed(self, name: str, config: Config, cadence: Cadence) -> TwoSpeed:
        plan = self._plan
        main = cadence == plan.main and config is plan.config
        return TwoSpeed(
            config,
            plan.segments(cadence),
            self._part(f"{name}-{cadence.name}", config, cadence, bool(plan.ages) and main),
            plan.delays(cadence.lr_every) if main else [],
            plan.delays(cadence.trees_every) if main else [],
            self._tick(name),
            plan.ages if main else (),
        )

    def _spread(self, which: str, kept: Sequence[int]) -> list[Arrays]:
        """What :meth:`part` gives elsewhere, of which so many steps were kept; the others are told in order."""
        given = []
        streams = self._engine.stream(range(len(kept)), part_of_replay, which, self._plan, str(self._journal.folder))
        for left, items in zip(kept, streams, strict=True):
            for item in items:
                if not isinstance(item, str):
                    given.append(item)
                elif left:
                    left -= 1
                else:
                    self._advance(1, item)
        return given

    def _side_by_side(self, work: Sequence[Callable[[], Arrays]]) -> list[Arrays]:
        if self._workers == 1 or len(work) == 1:
            return [each() for each in work]
        import joblib

        # Threads: what takes time (LightGBM, the kernels, LAPACK) lets go of the interpreter, and they share memory.
        parallel = joblib.Parallel(n_jobs=self._workers, backend="threading")
        results: list[Arrays] = parallel(joblib.delayed(copy_context().run)(each) for each in work)
        return results

    @property
    def rivals(self) -> list[str]:
        """Names of the strategies beside ours."""
        return [name for name in self._plan.strategies if name in RIVALS]

    @property
    def _named(self) -> list[tuple[str, Config, Cadence]]:
        """The two-speed systems: of each cadence, then of the other configs."""
        plan = self._plan
        own = [("two-speed", plan.config, cadence) for cadence in plan.cadences]
        return own + [(name, config, plan.main) for name, config in self._further.items()]

    def part(self, which: str, number: int) -> tuple[int, Callable[[], Arrays]]:
        """How many steps of a system, or of a rival on the trees of the first, were kept; and what does the others."""
        if which == SYSTEMS:
            system = self._two_speed(*self._named[number])
            return system.n_kept, system.run
        name = self.rivals[number]
        return self._kept_by(name), self._rival(name, self._two_speed(*self._named[0]))

    def result(self) -> ReplayResult:
        plan, rivals = self._plan, self.rivals
        systems = [self._two_speed(*each) for each in self._named]
        kept, kept_by_rivals = [system.n_kept for system in systems], [self._kept_by(name) for name in rivals]
        if n_kept := sum(kept) + sum(kept_by_rivals):
            self._advance(n_kept, "kept")  # at once, so that the time the others take is not thought to be that of all
        if self._engine is LOCAL:
            arrays = self._side_by_side([system.run for system in systems])
            arrays += self._side_by_side([self._rival(name, systems[0]) for name in rivals])
        else:
            arrays = [*self._spread(SYSTEMS, kept), *self._spread("rivals", kept_by_rivals)]
            systems = [self._two_speed(*each) for each in self._named]  # with the steps that were done
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
        margins |= {name: main[name] for name in plan.users}
        seconds |= dict.fromkeys(plan.users, seconds["two-speed"])
        margins = {name: margins[name] for name in (*plan.strategies, *plan.users, *plan.others)}
        told = found(plan, rows, margins, seconds, systems, arrays)
        if plan.labels:
            told["labels"] = of_labels(plan, rows, margins, ours)
        return ReplayResult(rows, margins, told)

    def _rival(self, name: str, system: TwoSpeed) -> Callable[[], Arrays]:
        plan = self._plan
        rival, journal = RIVALS[name](plan.config), self._journal_of(name)
        return lambda: rival.run(plan.segments(plan.main), system.trees_at, journal, self._tick(name))

    def _journal_of(self, rival: str) -> Journal:
        return self._part(f"{rival}-{self._plan.main.name}", self._plan.config, self._plan.main)

    def _kept_by(self, rival: str) -> int:
        """Steps of a rival that the journal says have run."""
        timeline, journal = self._plan.segments(self._plan.main), self._journal_of(rival)
        return sum(len(s.steps) for i, s in enumerate(timeline) if journal.has(segment_name(i)))


def part_of_replay(number: int, which: str, plan: Plan, folder: str) -> Iterator[str | Arrays]:
    """A part of a replay elsewhere: a text for each of its steps, as it is done or was kept, and at last what it gives.

    Raises
    ------
    ConfigError
        The folder of the replay is not seen here.
    """
    if not Path(folder).is_dir():
        raise ConfigError(f"--out must be a folder that all machines of the cluster see, and {folder} is none")
    told: SimpleQueue[str | None] = SimpleQueue()
    n_kept, run = _Run(plan, Journal(Path(folder)), lambda _done, _total, text: told.put(text)).part(which, number)
    given: list[Arrays | BaseException] = []

    def work() -> None:
        try:
            given.append(run())
        except BaseException as error:
            given.append(error)
        told.put(None)

    yield from ["kept"] * n_kept
    thread = threading.Thread(target=work, name="gbdtlr-replay", daemon=True)
    thread.start()
    yield from iter(told.get, None)
    thread.join()
    (result,) = given
    if isinstance(result, BaseException):
        raise result
    yield result
