"""Counting: which files an update has to open, by what each held when it was last opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gbdtlr.config import Config, SamplesConfig
from gbdtlr.engine import LOCAL, Engine
from gbdtlr.samples import Count, File, Share, Tally, deal, files_of, known_in
from gbdtlr.times import MOMENT, from_us, to_us


@dataclass(frozen=True)
class Counting:
    """Which files an update has to open, and what their counts become.

    A file that is as it was, and holds no label that has become known since, has nothing to learn and nothing late.

    Attributes
    ----------
    changed : the files to open, as they were listed
    gone : paths of files that are no longer listed
    counts : of the update before; empty before a fit of the whole window
    start, then, now : the window's begin, the update before, this update
    """

    changed: Mapping[str, tuple[File, str]]
    gone: frozenset[str]
    counts: Mapping[str, Count]
    samples: SamplesConfig
    start: datetime
    then: datetime
    now: datetime

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
        if config.head.method == "refit":
            return cls({}, frozenset(), {}, config.samples, now - config.head.window, now, now)
        then = now if then is None else then
        counts = {} if counts is None else counts
        start = then - config.head.window
        listed = {file.path: (file, file.stamp()) for file in files_of(config.samples, start, now + MOMENT)}
        changed = {path: each for path, each in listed.items() if _is_new(counts.get(path), each[1], to_us(now))}
        gone = frozenset(counts.keys() - listed.keys())
        return cls(changed, gone, counts, config.samples, start, then, now)

    def counted(self, tally: Tally, engine: Engine = LOCAL) -> tuple[int, dict[str, Count]]:
        """Samples that have landed in what had been learned before, and the counts to go on from.

        Samples that moved from file to file are not late, so what files have lost makes up for what others have won,
        but for files that are gone because they were older than the window.

        Parameters
        ----------
        tally : what was learned out of each file
        engine : where the files are opened
        """
        start_us, late = to_us(self.start), 0
        counts = {path: count for path, count in self.counts.items() if path not in self.gone}
        for path in self.gone:
            last_us = self.counts[path].last_us
            late -= self.counts[path].known if last_us is not None and last_us >= start_us else 0
        shares = deal([file for file, _ in self.changed.values()])
        since = {path: each.since_us for path, each in self.counts.items() if path in self.changed}
        looked = engine.parts(shares, count_shares, self.samples, since, start_us, self.then, self.now)
        opened = (each for share in looked for each in share)
        for (path, (_, stamp)), (known, found) in zip(self.changed.items(), opened, strict=True):
            before = self.counts.get(path)
            since_us = since.get(path, start_us)
            late += known - (0 if before is None else before.known)
            learned = tally.mature.get(path, 0)
            # At a fit of the whole window, what is known by then is what was learned.
            known = learned if self.then == self.now else known + learned
            counts[path] = Count(stamp, since_us, known, found.next_known_us, found.last_us)
        return max(0, late), counts


def count_shares(
    shares: Sequence[Share],
    cfg: SamplesConfig,
    since: Mapping[str, int],
    start_us: int,
    then: datetime,
    now: datetime,
) -> Iterator[list[tuple[int, Tally]]]:
    """What :func:`known_in` says of each file of each share, from the moment ``since`` by its path or ``start_us``."""
    for share in shares:
        yield [known_in(cfg, file, from_us(since.get(file.path, start_us)), then, now) for file in share]


def _is_new(count: Count | None, stamp: str, now_us: int) -> bool:
    if count is None or not stamp or count.stamp != stamp:
        return True
    return count.waits_us is not None and count.waits_us <= now_us
