"""The ledger: which samples a head has learned, kept in its manifest and so published with it or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from gbdtlr.config import Config, GuardConfig
from gbdtlr.errors import ConfigError, DamagedError
from gbdtlr.metrics import Quality
from gbdtlr.samples import Tally, read_batches
from gbdtlr.times import format_duration, format_time, parse_duration, parse_time, to_us

MOMENT = timedelta(microseconds=1)
ENOUGH_POSITIVES = 50


@dataclass(frozen=True)
class Ledger:
    """What one update learned, and what is known of the updates since the last fit of a whole window.

    Every update but a full one learns exactly the samples whose label became known in ``(after, until]``, so that
    one chain of heads learns each sample once.

    Attributes
    ----------
    after : None for a full fit, which learns all samples of its window known by ``until``
    until : the head's as_of
    window : how far back events were looked for
    rows : samples that became known in the interval, before negatives were thinned
    files : how many of them were in each file
    known : samples with an event in ``[until - window, until]`` that were known by ``until``, learned or not
    late : samples that landed in an interval after it had been learned; they wait for the next full fit
    full_as_of : the head's as_of at the last full fit
    learned_since_full, late_since_full : samples learned (after thinning), and late ones, since and with then
    recent : quality of each head on what it had just learned, about as many samples as a guard needs
    """

    after: datetime | None
    until: datetime
    window: timedelta
    rows: int
    files: Mapping[str, int]
    known: int
    full_as_of: datetime
    learned_since_full: int
    late: int = 0
    late_since_full: int = 0
    recent: Quality = field(default_factory=Quality)

    @classmethod
    def full(cls, config: Config, until: datetime, tally: Tally, learned: int) -> Ledger:
        """Ledger of a fit of the whole window, as ``tally`` counted it, ``learned`` rows after thinning."""
        n = tally.n_mature
        return cls(None, until, config.head.window, n, _files(tally), n, until, learned)

    def full_is_due(self, config: Config, as_of: datetime) -> bool:
        """Whether the whole window is to be learned again."""
        every = config.head.full_every
        return every is not None and as_of - self.full_as_of >= every

    def next(self, config: Config, until: datetime, tally: Tally, learned: int) -> Ledger:
        """Ledger of an update that learned what became known since this one; parameters as for :meth:`full`.

        Counts what is known in the window by now a second time, to notice what has landed since.
        """
        known_then, known_now = _count(config, self.until, until)
        late = max(0, known_then - self.known)
        return replace(
            self,
            after=self.until,
            until=until,
            rows=tally.n_mature,
            files=_files(tally),
            known=known_now,
            late=late,
            learned_since_full=self.learned_since_full + learned,
            late_since_full=self.late_since_full + late,
        )

    def streamed(self, until: datetime, rows: int) -> Ledger:
        """Ledger of samples that came one by one and were in no file."""
        return replace(
            self,
            after=self.until,
            until=until,
            rows=rows,
            files={},
            late=0,
            learned_since_full=self.learned_since_full + rows,
        )

    def judged(self, fresh: Quality, guard: GuardConfig) -> Ledger:
        """Ledger with the quality on the newest samples; of the older, as many stay as a judgement needs."""
        old = self.recent
        if fresh.rows >= guard.min_samples and fresh.positives >= ENOUGH_POSITIVES:
            return replace(self, recent=fresh)
        share = max(guard.min_samples / max(old.rows, 1), ENOUGH_POSITIVES / max(old.positives, 1.0))
        return replace(self, recent=fresh + _part(old, min(1.0, share)))

    def to_dict(self) -> dict[str, Any]:
        """The ledger in JSON's types."""
        recent = self.recent
        return {
            "after": None if self.after is None else format_time(self.after),
            "until": format_time(self.until),
            "window": format_duration(self.window),
            "rows": self.rows,
            "files": dict(self.files),
            "known": self.known,
            "late": self.late,
            "full_as_of": format_time(self.full_as_of),
            "learned_since_full": self.learned_since_full,
            "late_since_full": self.late_since_full,
            "recent": [recent.rows, recent.weight, recent.positives, recent.predicted, recent.loss],
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Ledger:
        """Ledger as :meth:`to_dict` gave it; ``DamagedError`` for anything else."""
        try:
            rows, *sums = table["recent"]
            weight, positives, predicted, loss = (float(each) for each in sums)
            return cls(
                None if table["after"] is None else parse_time(table["after"]),
                parse_time(table["until"]),
                parse_duration(table["window"]),
                int(table["rows"]),
                {str(path): int(n) for path, n in table["files"].items()},
                int(table["known"]),
                parse_time(table["full_as_of"]),
                int(table["learned_since_full"]),
                int(table["late"]),
                int(table["late_since_full"]),
                Quality(int(rows), weight, positives, predicted, loss),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise DamagedError(f"the head's ledger is damaged: {error}") from None


def _files(tally: Tally) -> dict[str, int]:
    return {path: n for path, n in tally.mature.items() if n}


def _part(quality: Quality, share: float) -> Quality:
    return Quality(
        round(quality.rows * share),
        quality.weight * share,
        quality.positives * share,
        quality.predicted * share,
        quality.loss * share,
    )


def _count(config: Config, then: datetime, now: datetime) -> tuple[int, int]:
    """Samples of the windows up to ``then`` and up to ``now`` that were known by those moments."""
    # One feature is read along, as any; thinning would hide rows.
    samples = replace(config.samples, negative_keep_rate=1.0, wide=(), **_one_feature(config))
    window = config.head.window
    then_us, start_us = to_us(then), to_us(now - window)
    known_then = known_now = 0
    for batch in read_batches(samples, then - window, now + MOMENT, now):
        known_then += int(((batch.event_us <= then_us) & (batch.known_us <= then_us)).sum())
        known_now += int((batch.event_us >= start_us).sum())
    return known_then, known_now


def _one_feature(config: Config) -> dict[str, Any]:
    if config.samples.categorical:
        return {"numeric": (), "categorical": config.samples.categorical[:1]}
    return {"numeric": config.samples.numeric[:1], "categorical": ()}
