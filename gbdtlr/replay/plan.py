"""The plan: what a replay is to run, at which cadences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gbdtlr.config import AT_ONCE, UNFINAL, Config
from gbdtlr.errors import ConfigError
from gbdtlr.replay.rivals import RIVALS
from gbdtlr.replay.timeline import Cadence, Segment, segments
from gbdtlr.times import format_duration, format_time

OURS = ("two-speed", "trees-on-schedule", "stale-trees")
STRATEGIES = (*OURS, *RIVALS)
LABELS = (*UNFINAL, AT_ONCE)
"""Two-speed training that waits until labels are final, that weighs rows before, and, which nobody can, that knows
every label as its row happens. For samples whose rows have deadlines."""

NO_STATES = "no-user-states"
"""Two-speed training without what users' states add: as for users that are all new."""

MOST_STEPS = 50_000
"""Moments of a replay at which a job runs; more are a slip of a unit, and would take days before it is seen."""

Durations = timedelta | Sequence[timedelta]


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    config: Config
    start: datetime
    end: datetime
    cadences: tuple[Cadence, ...]
    strategies: tuple[str, ...]
    others: Mapping[str, Config]
    ages: tuple[timedelta, ...] = ()

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
        embeddings_every: timedelta | None = None,
        user_state_ages: Sequence[timedelta] = (),
    ) -> Plan:
        """Plan of the arguments of :func:`replay`; raises ``ConfigError``."""
        every = (*OURS, *LABELS, *RIVALS)
        unknown = [name for name in strategies or () if name not in every]
        if unknown:
            raise ConfigError(f"unknown strategy {', '.join(unknown)}; choose from {', '.join(every)}")
        if not config.samples.has_deadline:
            if asked := [name for name in strategies or () if name in LABELS]:
                raise ConfigError(
                    f"{', '.join(asked)} compare what is done with labels that are not final; [samples] says of none "
                    "until when it may change: write label_window or label_deadline, or join [outcomes]"
                )
            every = STRATEGIES
        taken = [name for name in others if name in (*STRATEGIES, *LABELS) or not name or "/" in name or name[0] == "."]
        if taken:
            raise ConfigError(f"{', '.join(map(repr, taken))} cannot name a further config; rename its file")
        trees, heads = (
            (each,) if isinstance(each, timedelta) else tuple(dict.fromkeys(each)) for each in (trees_every, lr_every)
        )
        cadences = tuple(Cadence(t, h, embeddings_every) for t in trees for h in heads)
        for cadence in cadences:
            check_cadence(cadence, start, end)
        ages = tuple(dict.fromkeys(user_state_ages))
        for each in (config, *others.values()):
            check_users(each, embeddings_every is not None, bool(ages) and each is config)
        if not cadences:
            raise ConfigError("a replay needs at least one cadence of the trees and one of the head")
        chosen = tuple(name for name in every if strategies is None or name in strategies or name == "two-speed")
        return cls(config, start, end, cadences, chosen, others, ages)

    @property
    def users(self) -> list[str]:
        """Names of what users' states of several ages would have given, if that is asked for."""
        return [NO_STATES, *map(name_of_age, (timedelta(), *self.ages))] if self.ages else []

    @property
    def labels(self) -> dict[str, Config]:
        """The configs of those of ``LABELS`` that are compared."""
        return {name: self.config.with_unfinal(name) for name in self.strategies if name in LABELS}

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


def check_cadence(cadence: Cadence, start: datetime, end: datetime) -> None:
    """Nothing, if the jobs of a cadence can run as often as it says over a period; ``ConfigError`` if not."""
    often, shortest = cadence.embeddings_every, min(cadence.trees_every, cadence.lr_every)
    if often is not None and often < shortest:
        raise ConfigError(
            f"--embeddings-every {format_duration(often)} is more often than any other job runs, and vectors are made "
            f"beside these; give it {format_duration(shortest)} or longer"
        )
    if (end - start) / shortest > MOST_STEPS:
        raise ConfigError(
            f"a job every {format_duration(shortest)} from {format_time(start)} to {format_time(end)} is more than "
            f"{MOST_STEPS:,} of them; give --lr-every or --trees-every more time, or a shorter period"
        )


def name_of_age(age: timedelta) -> str:
    """What two-speed training with users' states so old is called."""
    return f"user-states-{format_duration(age) if age else 'live'}"


def check_users(config: Config, has_vectors: bool, has_ages: bool) -> None:
    """Nothing, if users' scores can be worked out where a config, or who asks for states of an age, needs them.

    Raises
    ------
    ConfigError
        There would be no vectors, or it is not said who was shown what, or not all of it is there.
    """
    if (config.users.replay or has_ages) and not has_vectors:
        who = "--user-state-age" if has_ages else "[users] replay"
        raise ConfigError(f"{who} needs vectors of items, which a replay makes as often as --embeddings-every says")
    samples = config.samples
    if has_vectors and samples.item is None:
        raise ConfigError("--embeddings-every needs [samples] item, the column that says which item was shown")
    if has_ages and samples.user is None:
        raise ConfigError("--user-state-age needs [samples] user, the column that says who was shown it")
    if has_ages and samples.negative_keep_rate < 1:
        raise ConfigError("--user-state-age needs every event, and [samples] negative_keep_rate leaves some out")
