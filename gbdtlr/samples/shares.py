"""Shares: files that are read at one place, one share after the other, a few batches at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from gbdtlr.config import SamplesConfig
from gbdtlr.samples.ahead import in_order_ahead
from gbdtlr.samples.batch import Samples
from gbdtlr.samples.dealing import Share
from gbdtlr.samples.opening import WIDTH, Reading, in_a_bucket, samples_in
from gbdtlr.samples.window import Tally, Window


@dataclass(frozen=True)
class ShareRead:
    """A share of the files: its batches, to be used up before the next share's, and then what was come across."""

    batches: Iterator[Samples]
    readings: Sequence[Reading[Samples]]

    @property
    def tally(self) -> Tally:
        """What the readings came across, but for the number of files."""
        tally = Tally()
        for one in self.readings:
            tally.add(one.tally)
        return tally

    @property
    def seen(self) -> set[str]:
        """Columns that had values."""
        return set().union(*(one.seen for one in self.readings))


def read_shares(
    shares: Sequence[Share], cfg: SamplesConfig, window: Window, batch_rows: int = 65536
) -> Iterator[ShareRead]:
    """Every share's rows of the window in canonical order, in batches, none of them empty; errors as of a reading.

    Files of a bucket are read ahead, of the next shares too.
    """
    dealt = [[samples_in(file, cfg, window, batch_rows) for file in share] for share in shares]
    opened = [(number, one) for number, readings in enumerate(dealt) for one in readings]
    if in_a_bucket(one.file for _, one in opened):
        rows = in_order_ahead([partial(_numbered, *each) for each in opened], WIDTH)
    else:
        rows = (each for one in opened for each in _numbered(*one))
    ahead = _Ahead(rows)
    for number, readings in enumerate(dealt):
        yield ShareRead(gathered(ahead.of(number), batch_rows), readings)


def _numbered(number: int, reading: Reading[Samples]) -> Iterator[tuple[int, Samples]]:
    return ((number, samples) for samples in reading.items())


class _Ahead:
    """Numbered samples in rising order of their numbers, of which the next one is known."""

    def __init__(self, rows: Iterator[tuple[int, Samples]]) -> None:
        self._rows = rows
        self._next: tuple[int, Samples] | None = None
        self._is_begun = False

    def of(self, number: int) -> Iterator[Samples]:
        """Those of that number, once, after those of lower numbers."""
        if not self._is_begun:
            self._is_begun, self._next = True, next(self._rows, None)
        while self._next is not None and self._next[0] == number:
            samples, self._next = self._next[1], None  # no more than one is held here
            yield samples
            self._next = next(self._rows, None)


def gathered(pieces: Iterator[Samples], batch_rows: int) -> Iterator[Samples]:
    """The same rows in fewer pieces: many small files make many small ones, and what follows is faster on large."""
    waiting: list[Samples] = []
    n_waiting = 0
    for samples in pieces:
        waiting.append(samples)
        n_waiting += len(samples)
        if n_waiting > batch_rows // 2:
            yield Samples.concat(waiting)
            waiting, n_waiting = [], 0
    if waiting:
        yield Samples.concat(waiting)
