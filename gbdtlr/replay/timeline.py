"""The timeline: when which job runs, and which rows are scored by what it publishes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gbdtlr.errors import ConfigError
from gbdtlr.times import format_duration


@dataclass(frozen=True)
class Step:
    """One run of a job at ``at``; what is live then scores events in ``[at, until)``.

    ``trains`` says which of the two it is: ``train-trees``, whose first head is an update too, or ``update-lr``.
    """

    at: datetime
    until: datetime
    trains: bool


@dataclass(frozen=True)
class Segment:
    """All steps on the same trees: the training and the updates that follow it."""

    steps: tuple[Step, ...]

    @property
    def start(self) -> datetime:
        """First event time that is scored."""
        return self.steps[0].at

    @property
    def end(self) -> datetime:
        """End of the event times that are scored, not part of them."""
        return self.steps[-1].until


@dataclass(frozen=True)
class Cadence:
    """How often trees are trained and the head is refitted."""

    trees_every: timedelta
    lr_every: timedelta

    @property
    def name(self) -> str:
        """Such as ``1d-3h``."""
        return f"{format_duration(self.trees_every)}-{format_duration(self.lr_every)}"


def segments(start: datetime, end: datetime, cadence: Cadence) -> list[Segment]:
    """The whole period, cut at each training; where a training and an update coincide, the training does both.

    Raises
    ------
    ConfigError
        The period is empty.
    """
    if end <= start:
        raise ConfigError(f"--end must be after --start, not {end.isoformat()} against {start.isoformat()}")
    trainings = set(_moments(start, end, cadence.trees_every))
    moments = sorted(trainings.union(_moments(start, end, cadence.lr_every)))
    found: list[list[Step]] = []
    for at, until in zip(moments, [*moments[1:], end], strict=True):
        if at in trainings:
            found.append([])
        found[-1].append(Step(at, until, at in trainings))
    return [Segment(tuple(steps)) for steps in found]


def _moments(start: datetime, end: datetime, every: timedelta) -> list[datetime]:
    return [start + k * every for k in range(-(-(end - start) // every))]
