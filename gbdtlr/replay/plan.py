"""The plan: what a replay is to run, at which cadences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gbdtlr.config import AT_ONCE, UNFINAL, Config
from gbdtlr.errors import ConfigError
from gbdtlr.replay.rivals import RIVALS
from gbdtlr.replay.timeline import Cadence, Segment, segments

OURS = ("two-speed", "trees-on-schedule", "stale-trees")
STRATEGIES = (*OURS, *RIVALS)
LABELS = (*UNFINAL, AT_ONCE)
"""Two-speed training that waits until labels are final, that weighs rows before, and, which nobody can, that knows
every label as its row happens. For samples whose rows have deadlines."""

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
        cadences = tuple(Cadence(t, h) for t in trees for h in heads)
        if not cadences:
            raise ConfigError("a replay needs at least one cadence of the trees and one of the head")
        chosen = tuple(name for name in every if strategies is None or name in strategies or name == "two-speed")
        return cls(config, start, end, cadences, chosen, others)

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
