"""The ledger: which samples a head has learned, kept in its version and so published with it or not at all.

The manifest has what is of the same size for every window; the counts of its files are a file beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from gbdtlr.codec.documents import Document, Finite, Time, Whole, Word, read, table
from gbdtlr.config import Config, GuardConfig
from gbdtlr.engine import LOCAL, Engine
from gbdtlr.jobs.counting import Counting
from gbdtlr.metrics import Quality
from gbdtlr.release import COUNTS, Release
from gbdtlr.samples import Count, Tally, counts_to_bytes
from gbdtlr.times import format_duration, parse_duration

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
    late : samples that landed in an interval after it had been learned; they wait for the next full fit
    full_as_of : the head's as_of at the last full fit
    learned_since_full, late_since_full : samples learned (after thinning), and late ones, since and with then
    counted : what was found in each file when it was last opened; None for a ledger that kept no counts, or after a
        ``refit``, which needs none
    recent : quality of each head on what it had just learned, about as many samples as a guard needs
    """

    after: datetime | None
    until: datetime
    window: timedelta
    rows: int
    full_as_of: datetime
    learned_since_full: int
    late: int = 0
    late_since_full: int = 0
    counted: Mapping[str, Count] | None = None
    recent: Quality = field(default_factory=Quality)

    @classmethod
    def of(cls, base: Release, config: Config) -> Ledger | None:
        """Ledger of a release's head; None if it kept none, or of another window.

        The counts of its files are read for the methods that go on from them.

        Raises
        ------
        DamagedError, FormatError
        """
        stored = base.head_manifest.get("ledger")
        counts = None if config.head.method == "refit" else base.counts
        ledger = None if stored is None else cls.from_dict(stored, counts)
        return ledger if ledger is not None and ledger.window == config.head.window else None

    @classmethod
    def full(
        cls,
        config: Config,
        until: datetime,
        tally: Tally,
        learned: int,
        counting: Counting,
        engine: Engine = LOCAL,
    ) -> Ledger:
        """Ledger of a fit of the whole window, as ``tally`` counted it, ``learned`` rows after thinning."""
        counted = None if config.head.method == "refit" else counting.counted(tally, engine)[1]
        return cls(None, until, config.head.window, tally.n_mature, until, learned, counted=counted)

    def full_is_due(self, config: Config, as_of: datetime) -> bool:
        """Whether the whole window is to be learned again."""
        if self.counted is None:
            return True
        every = config.head.full_every
        return every is not None and as_of - self.full_as_of >= every

    def counting(self, config: Config, now: datetime) -> Counting:
        """Which files an update after this one has to open."""
        return Counting.of(config, now, self.until, self.counted)

    def next(self, until: datetime, tally: Tally, learned: int, counting: Counting, engine: Engine = LOCAL) -> Ledger:
        """Ledger of an update that learned what became known since this one; parameters as for :meth:`full`.

        Counts the files that have changed a second time, to notice what has landed since.
        """
        late, counted = counting.counted(tally, engine)
        return replace(
            self,
            after=self.until,
            until=until,
            rows=tally.n_mature,
            counted=counted,
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
        """The ledger in JSON's types, without the counts, of which there is one a file."""
        fields = table(replace(self, counted=None))
        del fields["counted"]
        return {**fields, "window": format_duration(self.window), "recent": list(astuple(self.recent))}

    def to_files(self) -> dict[str, bytes]:
        """The file of the head's version that keeps the counts, if there are any."""
        return {} if self.counted is None else {COUNTS: counts_to_bytes(self.counted)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], counted: Mapping[str, Count] | None = None) -> Ledger:
        """Ledger as :meth:`to_dict` gave it, with the counts of its file; ``DamagedError`` for anything else."""
        stored = read(fields, _Stored, "the head's ledger")
        # Heads of the first days kept no counts: the next update begins anew with the whole window. Those after
        # them kept the counts here, until windows of many files made manifests larger than may be.
        if counted is None and stored.counted is not None:
            counted = {path: Count(*each) for path, each in stored.counted.items()}
        return cls(
            stored.after,
            stored.until,
            parse_duration(stored.window),
            stored.rows,
            stored.full_as_of,
            stored.learned_since_full,
            stored.late,
            stored.late_since_full,
            counted,
            Quality(*stored.recent),
        )


class _Stored(Document, frozen=True):
    after: Time | None
    until: Time
    window: str
    rows: Whole
    full_as_of: Time
    learned_since_full: Whole
    late: Whole
    late_since_full: Whole
    recent: tuple[Whole, Finite, Finite, Finite, Finite]
    counted: dict[str, tuple[str, Word, Word, Word | None, Word | None]] | None = None

    def __post_init__(self) -> None:
        parse_duration(self.window)  # or it is no ledger


def _part(quality: Quality, share: float) -> Quality:
    return Quality(
        round(quality.rows * share),
        quality.weight * share,
        quality.positives * share,
        quality.predicted * share,
        quality.loss * share,
    )
