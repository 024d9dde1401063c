"""Counting: which files an update has to open, by what each held when it was last opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gbdtlr.config import Config, SamplesConfig
from gbdtlr.engine import LOCAL, Engine
from gbdtlr.samples import (
    Count,
    File,
    Known,
    Outcomes,
    Share,
    Tally,
    deal,
    files_of,
    first_events,
    known_in,
    outcome_files,
    outcomes_in,
    reach_of,
)
from gbdtlr.times import MOMENT, from_us, to_us

_OUTCOMES = "./outcomes/"
"""What stands before the path of a file of outcomes among the counts; no path of samples begins so."""


@dataclass(frozen=True)
class Counting:
    """Which files an update has to open, and what their counts become.

    A file that is as it was, and holds no label that has become known since, has nothing to learn and nothing late.
    Where outcomes give the labels, one that reaches into the time of outcome files that are not as they were is opened
    all the same, for labels that changed after they were learned; and one that holds impressions which those to be
    learned may repeat.

    Attributes
    ----------
    changed : the files to open, as they were listed
    gone : paths of files that are no longer listed
    counts : of the update before; empty before a fit of the whole window
    start, then, now : the window's begin, the update before, this update
    outcomes : stamps of the files of outcomes, by their path
    """

    changed: Mapping[str, tuple[File, str]]
    gone: frozenset[str]
    counts: Mapping[str, Count]
    samples: SamplesConfig
    start: datetime
    then: datetime
    now: datetime
    outcomes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, config: Config, now: datetime, then: datetime | None = None, counts: Mapping[str, Count] | None = None
    ) -> Counting:
        """Counting of an update after the one of ``then``, or of a fit of the whole window; nothing is opened yet.

        A ``refit`` opens everything every time and counts nothing.

        Parameters
        ----------
        counts : of the update before
        """
        samples = config.samples
        if config.head.method == "refit":
            return cls({}, frozenset(), {}, samples, now - config.head.window, now, now)
        then = now if then is None else then
        counts = {} if counts is None else counts
        start = then - config.head.window
        # An impression to be learned may repeat one that happened a window earlier.
        near = then - reach_of(samples)
        listed = {file.path: (file, file.stamp()) for file in files_of(samples, min(start, near), now + MOMENT)}
        outcomes: dict[str, str] = {}
        moved_us = None
        if samples.outcomes is not None:
            outcomes, moved_us = _outcome_stamps(samples, start, now, counts)
            moved_us = to_us(near) if moved_us is None else min(to_us(near), moved_us)
        changed = {path: each for path, each in listed.items() if _is_new(counts.get(path), each[1], now, moved_us)}
        gone = frozenset(path for path in counts if path not in listed and not path.startswith(_OUTCOMES))
        return cls(changed, gone, counts, samples, start, then, now, outcomes)

    def counted(self, tally: Tally, engine: Engine = LOCAL) -> tuple[int, dict[str, Count]]:
        """Samples that have landed in what had been learned before, and the counts to go on from.

        Samples that moved from file to file are not late, so what files have lost makes up for what others have won,
        but for files that are gone because they were older than the window. A label that an outcome has changed since
        it was learned is late as well.

        Parameters
        ----------
        tally : what was learned out of each file
        engine : where the files are opened
        """
        start_us, late, relabelled = to_us(self.start), 0, 0
        counts = {
            path: count
            for path, count in self.counts.items()
            if path not in self.gone and not path.startswith(_OUTCOMES)
        }
        counts.update({path: Count(stamp, start_us, 0, None, None) for path, stamp in self.outcomes.items()})
        for path in self.gone:
            last_us = self.counts[path].last_us
            late -= self.counts[path].known if last_us is not None and last_us >= start_us else 0
        since = {path: each.since_us for path, each in self.counts.items() if path in self.changed}
        opened = self._opened(since, start_us, engine)
        for (path, (_, stamp)), found in zip(self.changed.items(), opened, strict=True):
            before = self.counts.get(path)
            since_us = since.get(path, start_us)
            late += found.known - (0 if before is None else before.known)
            if found.positives is not None and before is not None and before.positives is not None:
                relabelled += abs(found.positives - before.positives) if before.stamp == stamp else 0
            learned = tally.mature.get(path, 0)
            # At a fit of the whole window, what is known by then is what was learned.
            known = learned if self.then == self.now else found.known + learned
            counts[path] = Count(
                stamp, since_us, known, found.tally.next_known_us, found.tally.last_us, found.positives_now
            )
        return max(0, late) + relabelled, counts

    def _opened(self, since: Mapping[str, int], start_us: int, engine: Engine) -> Iterator[Known]:
        """What each changed file holds, from the moment ``since`` by its path or ``start_us``, in their order."""
        files, moments = [file for file, _ in self.changed.values()], (start_us, self.then, self.now)
        looked = engine.parts(deal(files), count_shares, self.samples, since, *moments, self._outcomes())
        return (each for share in looked for each in share)

    def _outcomes(self) -> Outcomes | None:
        """Outcomes of the changed files' impressions; None where labels stand in the files."""
        if self.samples.outcomes is None:
            return None
        since = [count.since_us for path in self.changed if (count := self.counts.get(path)) is not None]
        first_us = min([to_us(self.start), *since])
        firsts = first_events(self.samples, [file for file, _ in self.changed.values()], first_us)
        return outcomes_in(self.samples, max(first_us, min(firsts, default=first_us)), self.now)


def count_shares(
    shares: Sequence[Share],
    cfg: SamplesConfig,
    since: Mapping[str, int],
    start_us: int,
    then: datetime,
    now: datetime,
    joined: Outcomes | None = None,
) -> Iterator[list[Known]]:
    """What :func:`known_in` says of each file of each share, from the moment ``since`` by its path or ``start_us``."""
    for share in shares:
        yield [known_in(cfg, file, from_us(since.get(file.path, start_us)), then, now, joined) for file in share]


def _outcome_stamps(
    samples: SamplesConfig, start: datetime, now: datetime, counts: Mapping[str, Count]
) -> tuple[dict[str, str], int | None]:
    """Stamps of the files of outcomes, and the first impression that those which are not as they were may change."""
    stamps: dict[str, str] = {}
    moved: list[int] = []
    for file, first_us in outcome_files(samples, to_us(start), to_us(now) + 1):
        path, stamp = f"{_OUTCOMES}{file.path}", file.stamp()
        stamps[path] = stamp
        before = counts.get(path)
        if before is None or not stamp or before.stamp != stamp:
            moved.append(to_us(start) if first_us is None else first_us)
    return stamps, min(moved) - _window_us(samples) if moved else None


def _window_us(samples: SamplesConfig) -> int:
    length = samples.outcomes.window if samples.outcomes is not None else timedelta()
    return length // timedelta(microseconds=1)


def _is_new(count: Count | None, stamp: str, now: datetime, moved_us: int | None) -> bool:
    """Whether a file has something new, or events from ``moved_us`` on."""
    if count is None or not stamp or count.stamp != stamp:
        return True
    if moved_us is not None and count.last_us is not None and count.last_us >= moved_us:
        return True
    return count.waits_us is not None and count.waits_us <= to_us(now)
