"""Timeline: which release of a store was live at a moment of the past."""

from __future__ import annotations

import numpy as np

from gbdtlr.errors import GbdtlrError, StoreUnavailable
from gbdtlr.store import Entry, Store
from gbdtlr.times import to_us


class Timeline:
    """The log read backwards from its live release, no further than it is asked about.

    A release counts as live from its ``as_of`` until that of the next one, rollbacks among them. Read from a candidate,
    candidates count as what the rows of their time were tried with, and the live release where none stood.
    """

    def __init__(self, store: Store, live: Entry) -> None:
        self._store = store
        self._entries: dict[int, Entry | None] = {live.number: live}
        self._live = live
        self._tried = live.kind == "candidate"

    def at(self, moment_us: int) -> Entry | None:
        """What was live at a moment, microseconds since 1970 UTC; None before the log, or where it cannot be read.

        Takes the logarithm of how many releases there were since, in requests.
        """
        high, step = self._live.number + 1, 1
        while (low := high - step) > 0 and not self._by(low, moment_us):
            high, step = low, step * 2
        low = max(low, 0)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._by(middle, moment_us) else (low, middle)
        return self.entry(low)

    def entry(self, number: int) -> Entry | None:
        """The release that was live after the entry of that number; None where there is none that can be read."""
        if number not in self._entries:
            entry = self._read(number)
            if entry is not None:
                live = (entry.candidate if self._tried else None) or entry.live_number
                if live != number:
                    entry = self._entries[live] if live in self._entries else self._read(live)
                    self._entries[live] = entry
            self._entries[number] = entry
        return self._entries[number]

    def between(self, first_us: int, last_us: int, most: int) -> list[Entry]:
        """Releases that were live from one moment to another, oldest first: all, or ``most`` of them evenly spread."""
        first, last = self.at(first_us), self.at(last_us)
        if last is None:
            return []
        low = 1 if first is None else min(first.number, last.number)
        numbers = np.unique(np.linspace(low, last.number, min(most, last.number - low + 1)).astype(int))
        entries = {each.number: each for number in numbers if (each := self.entry(int(number))) is not None}
        return sorted(entries.values(), key=lambda each: (each.as_of, each.number))

    def _by(self, number: int, moment_us: int) -> bool:
        entry = self.entry(number)
        return entry is not None and to_us(entry.as_of) <= moment_us

    def _read(self, number: int) -> Entry | None:
        if number < 1:
            return None
        try:
            return self._store.entry(number)
        except StoreUnavailable:
            raise
        except GbdtlrError:
            return None
