"""The replay: every strategy over one past period, and what came of it."""

from __future__ import annotations

import platform
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr import __version__
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, NoSamplesError
from gbdtlr.jobs.learning import versions
from gbdtlr.replay import compare
from gbdtlr.replay.journal import Arrays, Journal, segment_name
from gbdtlr.replay.rivals import RIVALS
from gbdtlr.replay.rows import Rows
from gbdtlr.replay.timeline import Cadence, Segment, segments
from gbdtlr.replay.two_speed import TwoSpeed
from gbdtlr.times import format_duration, format_time, to_us

OURS = ("two-speed", "trees-on-schedule", "stale-trees")
STRATEGIES = (*OURS, *RIVALS)
WORTH = 0.0025
"""Share of its NE a cadence must win over the next coarser one to be worth its cost."""

Progress = Callable[[int, int, str], None]
Durations = timedelta | Sequence[timedelta]


@dataclass(frozen=True)
class ReplayResult:
    """What a replay found.

    Attributes
    ----------
    rows : what was judged
    margins : strategy to margins of the rows, float64 (n,)
    found : everything that is told of it, in JSON's types
    """

    rows: Rows
    margins: Mapping[str, NDArray[np.float64]]
    found: dict[str, Any] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """``rows`` and ``strategies``, each with ``name ne log_loss calibration auc seconds`` and, against two-speed,
        ``difference`` of NE with its 95% interval ``low`` to ``high``; then what the report draws."""
        return self.found


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
    plan = Plan.of(config, start, end, trees_every, lr_every, strategies, others or {})
    with ExitStack() as stack:
        if out is None:  # a part still at work when another failed may be writing there
            out = stack.enter_context(tempfile.TemporaryDirectory("-gbdtlr", ignore_cleanup_errors=True))
        journal = Journal(Path(out))
        journal.open({"start": format_time(start), "end": format_time(end), "gbdtlr": __version__})
        stack.enter_context(warnings.catch_warnings())
        return _Run(plan, journal, progress, workers).result()


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    config: Config
    start: datetime
    end: datetime
    cadences: tuple[Cadence, ...]
    strategies: tuple[str, ...]
    others: Mapping[str, Config]

    @classmethod
    def of(
        cls,
        config: Config,
        start: datetime,
        end: datetime,
        trees_every: Durations,
        lr_every: Durations,
        strategies: Sequence[str] | None,
        others: Mapping[str, Config],
    ) -> Plan:
        """Plan of the arguments of :func:`replay`; raises ``ConfigError``."""
        unknown = [name for name in strategies or () if name not in STRATEGIES]
        if unknown:
            raise ConfigError(f"unknown strategy {', '.join(unknown)}; choose from {', '.join(STRATEGIES)}")
        taken = [name for name in others if name in STRATEGIES or not name or "/" in name or name.startswith(".")]
        if taken:
            raise ConfigError(f"{', '.join(map(repr, taken))} cannot name a further config; rename its file")
        trees, heads = (
            (each,) if isinstance(each, timedelta) else tuple(dict.fromkeys(each)) for each in (trees_every, lr_every)
        )
        cadences = tuple(Cadence(t, h) for t in trees for h in heads)
        if not cadences:
            raise ConfigError("a replay needs at least one cadence of the trees and one of the head")
        chosen = tuple(name for name in STRATEGIES if strategies is None or name in strategies or name == "two-speed")
        return cls(config, start, end, cadences, chosen, others)

    @property
    def main(self) -> Cadence:
        """The cadence at which strategies are compared."""
        return self.cadences[0]

    def segments(self, cadence: Cadence) -> list[Segment]:
        """The period under that cadence."""
        return segments(self.start, self.end, cadence)

    def delays(self, every: timedelta) -> list[timedelta]:
        """Ages to try: doubling, as long as two thirds of the period can be scored with the oldest."""
        most = (self.end - self.start) / 3
        return [every * 2**k for k in range(8) if every * 2**k <= most]


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
        self._total = sum(n_steps.values()) + n_steps[plan.main] * (n_rivals + len(plan.others))

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
        results: list[Arrays] = parallel(joblib.delayed(each)() for each in work)
        return results

    def result(self) -> ReplayResult:
        plan = self._plan
        systems = [self._two_speed("two-speed", plan.config, cadence) for cadence in plan.cadences]
        systems += [self._two_speed(name, config, plan.main) for name, config in plan.others.items()]
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
        seconds = _seconds(systems[0])
        for name, found in zip(rivals, arrays[len(systems) :], strict=True):
            margins[name] = found[name]
            shared = 0.0 if name == "trees-every-update" else seconds["trees-on-schedule"]
            seconds[name] = shared + float(found["seconds"].sum())
        margins = {name: margins[name] for name in plan.strategies}
        for name, system, found in zip(
            plan.others, systems[len(plan.cadences) :], arrays[len(plan.cadences) : len(systems)], strict=True
        ):
            if any(not np.array_equal(found[key], main[key]) for key in ("event_us", "label")):
                raise ConfigError(
                    f"the config {name} has other rows than the one it is compared with; its [samples] must give the "
                    "same rows and labels, in the same order"
                )
            margins[name] = found["two-speed"]
            seconds[name] = _seconds(system)["two-speed"]
        found = self._found(rows, margins, seconds, systems, arrays)
        return ReplayResult(rows, margins, found)

    def _rival(self, name: str, system: TwoSpeed) -> Callable[[], Arrays]:
        plan = self._plan
        rival = RIVALS[name](plan.config)
        journal = self._part(f"{name}-{plan.main.name}", plan.config, plan.main)
        timeline = plan.segments(plan.main)
        self._n_kept_by_rivals += sum(len(s.steps) for i, s in enumerate(timeline) if journal.has(segment_name(i)))
        return lambda: rival.run(timeline, system.trees_at, journal, self._tick(name))

    def _found(
        self,
        rows: Rows,
        margins: Mapping[str, NDArray[np.float64]],
        seconds: Mapping[str, float],
        systems: Sequence[TwoSpeed],
        arrays: Sequence[Arrays],
    ) -> dict[str, Any]:
        plan, main, base = self._plan, arrays[0], margins["two-speed"]
        blocks = compare.Blocks.of(rows)
        told: list[dict[str, Any]] = []
        for name, margin in margins.items():
            figures = compare.figures(rows, margin)
            row = {"name": name, **figures, "seconds": round(seconds[name], 3)}
            if name != "two-speed" and told and figures["ne"] is not None:
                low, high = blocks.difference(rows, margin, base) or (None, None)
                row |= {"difference": figures["ne"] - told[0]["ne"], "low": low, "high": high}
            told.append(row)
        cadences = [
            _cadence(plan.cadences[i], systems[i], compare.figures(rows, arrays[i]["two-speed"]))
            for i in range(len(plan.cadences))
        ]
        return {
            "rows": len(rows),
            "strategies": told,
            "start": format_time(plan.start),
            "end": format_time(plan.end),
            "timezone": plan.config.samples.timezone,
            "trees_every": format_duration(plan.main.trees_every),
            "lr_every": format_duration(plan.main.lr_every),
            "block": format_duration(timedelta(seconds=round(blocks.length.total_seconds()))),
            "rate": float(rows.weight @ rows.label / rows.weight.sum()) if rows.weight.any() else None,
            "jobs": _ends(systems[0]),
            "cost": _cost(systems[0], main),
            "cadences": cadences,
            "enough": enough(cadences),
            "worth": WORTH,
            "freshness": {
                "release": compare.freshness(
                    rows, base, main["head_age_s"], main["delayed"], plan.delays(plan.main.lr_every)
                ),
                "trees": compare.freshness(
                    rows,
                    main["trees-on-schedule"],
                    main["trees_age_s"],
                    main["delayed_trees"],
                    plan.delays(plan.main.trees_every),
                ),
            },
            "over_time": compare.over_time(rows, dict(margins), to_us(plan.start), to_us(plan.end)),
            "reliability": {name: compare.reliability(rows, margin) for name, margin in margins.items()},
            "config": plan.config.as_dict(),
            "others": {name: config.as_dict() for name, config in plan.others.items()},
            "versions": {**versions(), **_library_versions(plan.strategies), "platform": platform.platform()},
        }


def enough(cadences: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The cheapest cadence that no other betters by more than ``WORTH`` of its NE; None where there is no choice."""
    judged = [each for each in cadences if each["ne"] is not None]
    if len(judged) < 2:
        return None
    best = min(each["ne"] for each in judged)
    near = [each for each in judged if each["ne"] * (1 - WORTH) <= best]
    return dict(min(near, key=lambda each: (each["seconds"], each["ne"])))


def _cadence(cadence: Cadence, system: TwoSpeed, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "trees_every": format_duration(cadence.trees_every),
        "lr_every": format_duration(cadence.lr_every),
        **figures,
        "jobs": len(system.done),
        "seconds": round(sum(done.seconds for done in system.done), 3),
    }


def _seconds(system: TwoSpeed) -> dict[str, float]:
    """Seconds each of our strategies spent in training."""
    trees = [done.trees_s for done in system.done if done.job == "train-trees"]
    return {
        "two-speed": sum(trees) + sum(done.head_s for done in system.done),
        "trees-on-schedule": sum(trees),
        "stale-trees": trees[0],
    }


def _ends(system: TwoSpeed) -> dict[str, Any]:
    """How many jobs ended how, and the reasons of those that kept the old release."""
    ends = [done.status for done in system.done]
    kept = [done for done in system.done if done.status in ("refused", "failed")]
    return {
        **{status: ends.count(status) for status in ("published", "unchanged", "superseded", "refused", "failed")},
        "kept": [{"at": d.at, "job": d.job, "status": d.status, "reason": d.reason} for d in kept[:100]],
    }


def _cost(system: TwoSpeed, arrays: Arrays) -> dict[str, Any]:
    """Mean seconds of the bare jobs, and what the replay adds to each."""
    cost: dict[str, Any] = {
        job: float(np.mean(spent)) if spent else None
        for job in ("train-trees", "update-lr")
        for spent in [[done.seconds for done in system.done if done.job == job]]
    }
    return {**cost, "replay": float(arrays["scoring_s"].sum()) / len(system.done)}


def _library_versions(strategies: Sequence[str]) -> dict[str, str]:
    from importlib.metadata import version

    names = ["lightgbm", *(["scikit-learn"] if "plain-gbdt-lr" in strategies else [])]
    return {name: version(name) for name in names}
