"""The result of a replay: what each strategy's margins were worth, and what everything cost."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.jobs.versions import versions
from gbdtlr.replay import compare
from gbdtlr.replay.journal import Arrays
from gbdtlr.replay.plan import Plan
from gbdtlr.replay.rows import Rows
from gbdtlr.replay.timeline import Cadence
from gbdtlr.replay.two_speed import TwoSpeed
from gbdtlr.times import format_duration, format_time, to_us

WORTH = 0.0025
"""Share of its NE a cadence must win over the next coarser one to be worth its cost."""

Margins = Mapping[str, NDArray[np.float64]]


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


def found(
    plan: Plan,
    rows: Rows,
    margins: Margins,
    seconds: Mapping[str, float],
    systems: Sequence[TwoSpeed],
    arrays: Sequence[Arrays],
) -> dict[str, Any]:
    """Everything that is told of a replay, in JSON's types.

    Parameters
    ----------
    seconds : strategy to what its training took
    systems : two-speed systems, those of the plan's cadences first
    arrays : what each of them gave
    """
    main, base = arrays[0], margins["two-speed"]
    blocks = compare.Blocks.of(rows)
    cadences = [
        _cadence(plan.cadences[i], systems[i], compare.figures(rows, arrays[i]["two-speed"]))
        for i in range(len(plan.cadences))
    ]
    costs = costs_of([[(done.job, done.seconds) for done in system.done] for system in systems[: len(cadences)]])
    return {
        "rows": len(rows),
        "strategies": _strategies(rows, margins, seconds, blocks),
        "start": format_time(plan.start),
        "end": format_time(plan.end),
        "timezone": plan.config.samples.timezone,
        "trees_every": format_duration(plan.main.trees_every),
        "lr_every": format_duration(plan.main.lr_every),
        "embeddings_every": None if (often := plan.main.embeddings_every) is None else format_duration(often),
        "block": format_duration(timedelta(seconds=round(blocks.length.total_seconds()))),
        "rate": float(rows.weight @ rows.label / rows.weight.sum()) if rows.weight.any() else None,
        "jobs": _ends(systems[0]),
        "cost": _cost(systems[0], main),
        "cadences": cadences,
        "enough": enough(cadences, costs),
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


def of_labels(plan: Plan, rows: Rows, margins: Margins, systems: Mapping[str, TwoSpeed]) -> list[dict[str, Any]]:
    """What is told of waiting, weighing and knowing at once: share of the fits' weight that was not final, in the mean
    of all updates, and calibration in each hour of the day."""
    return [
        {
            "name": name,
            "unfinal": float(np.mean([done.unfinal for done in systems[name].done])),
            "calibration_by_hour": compare.calibration_by_hour(rows, margins[name], plan.config.samples.timezone),
        }
        for name in plan.labels
    ]


def _strategies(
    rows: Rows, margins: Margins, seconds: Mapping[str, float], blocks: compare.Blocks
) -> list[dict[str, Any]]:
    """The figures of each strategy, and how far from two-speed it is."""
    told: list[dict[str, Any]] = []
    for name, margin in margins.items():
        figures = compare.figures(rows, margin)
        row = {"name": name, **figures, "seconds": round(seconds[name], 3)}
        if name != "two-speed" and told and figures["ne"] is not None:
            low, high = blocks.difference(rows, margin, margins["two-speed"]) or (None, None)
            row |= {"difference": figures["ne"] - told[0]["ne"], "low": low, "high": high}
        told.append(row)
    return told


def costs_of(jobs: Sequence[Sequence[tuple[str, float]]]) -> list[float]:
    """What each cadence costs, in seconds: each of its jobs at the median of its kind over all cadences.

    What a single job took tells how busy the machine was, too: of two cadences the one that has fewer jobs of every
    kind is the cheaper one, whatever the clock says.

    Parameters
    ----------
    jobs : of each cadence the name of each job that ran, and its seconds
    """
    spent: dict[str, list[float]] = {}
    for name, seconds in chain.from_iterable(jobs):
        spent.setdefault(name, []).append(seconds)
    usual = {name: float(np.median(seconds)) for name, seconds in spent.items()}
    return [sum(usual[name] for name, _ in each) for each in jobs]


def enough(cadences: Sequence[Mapping[str, Any]], costs: Sequence[float]) -> dict[str, Any] | None:
    """The cheapest cadence that no other betters by more than ``WORTH`` of its NE; None where there is no choice."""
    judged = [(cost, each["ne"], i) for i, (cost, each) in enumerate(zip(costs, cadences, strict=True))]
    judged = [each for each in judged if each[1] is not None]
    if len(judged) < 2:
        return None
    best = min(ne for _, ne, _ in judged)
    return dict(cadences[min(each for each in judged if each[1] * (1 - WORTH) <= best)[-1]])


def _cadence(cadence: Cadence, system: TwoSpeed, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "trees_every": format_duration(cadence.trees_every),
        "lr_every": format_duration(cadence.lr_every),
        **figures,
        "jobs": len(system.done),
        "seconds": round(sum(done.seconds for done in system.done), 3),
    }


def seconds_of(system: TwoSpeed) -> dict[str, float]:
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
        for job in ("train-trees", "train-embeddings", "update-lr")
        for spent in [[done.seconds for done in system.done if done.job == job]]
    }
    return {**cost, "replay": float(arrays["scoring_s"].sum()) / len(system.done)}


def _library_versions(strategies: Sequence[str]) -> dict[str, str]:
    from importlib.metadata import version

    names = ["lightgbm", *(["scikit-learn"] if "plain-gbdt-lr" in strategies else [])]
    return {name: version(name) for name in names}
