"""The timeline: when which jobs run, and which rows are scored by what they publish."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from gbdtlr.errors import ConfigError
from gbdtlr.times import format_duration


@dataclass(frozen=True)
class Step:
    """The jobs that run at ``at``; what is live then scores events in ``[at, until)``.

    ``trains`` says which of the two it is: ``train-trees``, whose first head is an update too, or ``update-lr``;
    ``embeds`` whether ``train-embeddings`` runs as well.
    """

    at: datetime
    until: datetime
    trains: bool
    embeds: bool = False

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs, one after the other: an update knows the new vectors, and there are none before there are trees."""
        if not self.embeds:
            return ("train-trees",) if self.trains else ("update-lr",)
        return ("train-trees", "train-embeddings") if self.trains else ("train-embeddings", "update-lr")


@dataclass(frozen=True)
class Segment:
    """All steps on the same trees: the training and the updates that follow it."""

    steps: tuple[Step, ...]

    @property
    def n_jobs(self) -> int:
        """How many jobs run."""
        return sum(len(step.jobs) for step in self.steps)

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
    """How often trees are trained and the head is refitted, and embeddings, if they are."""

    trees_every: timedelta
    lr_every: timedelta
    embeddings_every: timedelta | None = None

    @property
    def name(self) -> str:
        """Such as ``1d-3h``, or with embeddings ``1d-3h-7d``."""
        every = self.trees_every, self.lr_every, self.embeddings_every
        return "-".join(format_duration(each) for each in every if each is not None)


def segments(start: datetime, end: datetime, cadence: Cadence) -> list[Segment]:
    """The whole period, cut at each training; where a training and an update coincide, the training does both.

    Embeddings are trained with the first job of the others that is due then, or next.

    Raises
    ------
    ConfigError
        The period is empty.
    """
    if end <= start:
        raise ConfigError(f"--end must be after --start, not {end.isoformat()} against {start.isoformat()}")
    trainings = set(_moments(start, end, cadence.trees_every))
    moments = sorted(trainings.union(_moments(start, end, cadence.lr_every)))
    due = deque([] if cadence.embeddings_every is None else _moments(start, end, cadence.embeddings_every))
    found: list[list[Step]] = []
    for at, until in zip(moments, [*moments[1:], end], strict=True):
        if at in trainings:
            found.append([])
        embeds = False
        while due and due[0] <= at:
            embeds = bool(due.popleft())
        found[-1].append(Step(at, until, at in trainings, embeds))
    return [Segment(tuple(steps)) for steps in found]


def _moments(start: datetime, end: datetime, every: timedelta) -> list[datetime]:
    return [start + k * every for k in range(-(-(end - start) // every))]
