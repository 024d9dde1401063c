"""The release log: ``releases/00000042.json``, one immutable entry a release, numbered without gaps.

Whoever writes number N with put-if-absent wins it; that is the only agreement between jobs. The newest entry, found by
asking which numbers exist, is the live release, or says which is; and which candidate stands, and whether a hold does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gbdtlr.errors import Conflict, DamagedError, FormatError, NoReleaseError, StoreError, StoreUnavailable
from gbdtlr.store import versions
from gbdtlr.store.backend import Backend, NotFound, each
from gbdtlr.store.entry import MAX_NUMBER, PAIRS, Entry, dump, following, key_of, load, make
from gbdtlr.store.manifest import MAX_JSON

HINT = "releases/hint"
_HINT_SIZE = 16
_LOOK_BACK = 16
"""Entries that cannot be read, one after the other, before whatever stood before them is given up."""


@dataclass(frozen=True)
class Standing:
    """Where the log stands.

    Attributes
    ----------
    newest : its newest entry
    live : the live release, which is that entry unless that leaves another
    """

    newest: Entry
    live: Entry

    @property
    def candidate(self) -> int | None:
        """Number of the candidate, if one stands."""
        return self.newest.candidate

    @property
    def held(self) -> int | None:
        """Number of the hold, if one stands."""
        return self.newest.held


class ReleaseLog:
    """The entries below ``releases/`` of a backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._seen = 0

    def standing(self, at_least: int = 0) -> Standing | None:
        """The newest entry and the live release, or None if nothing is published, in a few requests however long the
        log is: one more where they are not the same.

        The search starts from ``releases/hint``, a number each writer leaves behind after its entry, or from
        ``at_least`` where the caller knows a release. That is no "latest" that could disagree with the
        log: only where to start looking. The answer is always an entry N that exists whose successor does not;
        as entries are never deleted and have no gaps, there is one such N. A hint that is lost, garbage, behind or
        ahead costs some requests more, the logarithm of how far it is off.

        Raises
        ------
        DamagedError, FormatError
            The newest entry, or the live one, cannot be read; no older one is taken in its stead.
        """
        newest = self._newest_entry(at_least)
        if newest is None:
            return None
        self._seen = newest.number
        live = newest if newest.kind == "release" else self.entry(newest.live_number)
        if live.kind != "release":
            where = f"{self._backend.url}/{key_of(newest.number)}"
            raise DamagedError(f"{where} is damaged: release {live.number}, which it says is live, is a {live.kind}")
        return Standing(newest, live)

    def _newest_entry(self, at_least: int) -> Entry | None:
        # A caller knows a release, and maybe not what was written since without going live.
        start = max(at_least, self._seen) if 0 < at_least < MAX_NUMBER else self._hint()
        if self._exists(start + 1):
            number = self._last_from(start + 1)
        else:
            with contextlib.suppress(NotFound):
                return self._read(start)
            number = self._last_below(start)
        return self.entry(number) if number else None

    def newest(self) -> int:
        """Number of the newest entry, 0 if there is none, without reading any entry; as :meth:`standing`."""
        start = self._hint()
        if self._exists(start + 1):
            return self._last_from(start + 1)
        return start if self._exists(start) else self._last_below(start)

    def _last_from(self, low: int) -> int:
        """Newest entry, given one that exists: double the distance until the end is enclosed, then halve."""
        step = 1
        while self._exists(low + step):
            low, step = low + step, step * 2
        return self._between(low, low + step)

    def _last_below(self, high: int) -> int:
        """Newest entry, given a number that does not exist, 0 if there is none."""
        step = 1
        while (low := max(high - step, 0)) and not self._exists(low):
            high, step = low, step * 2
        return self._between(low, high)

    def _between(self, low: int, high: int) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._exists(middle) else (low, middle)
        return low

    def entry(self, number: int) -> Entry:
        """Entry of that number.

        Raises
        ------
        NoReleaseError
            No such release; the message says which is the newest.
        DamagedError, FormatError
            The entry cannot be read.
        """
        try:
            return self._read(number)
        except NotFound as error:
            newest = self.newest()
            raise NoReleaseError(
                f"no release {number}; the newest is {newest}"
                if newest
                else "nothing is published yet; run gbdtlr train-trees first"
            ) from error

    def _read(self, number: int) -> Entry:
        if not 0 < number <= MAX_NUMBER:
            raise NotFound(f"no number of a release: {number}")
        key = key_of(number)
        where = f"{self._backend.url}/{key}"
        try:
            return load(self._backend.get(key, MAX_JSON), number, where)
        except DamagedError as error:
            remedy = "restore that file from a backup, or make an older release live: gbdtlr rollback N"
            raise DamagedError(f"{error}; {remedy}") from error

    def entries(self, last: int | None = None) -> list[Entry]:
        """The newest ``last`` entries, or all, newest last."""
        newest = self.newest()
        first = 1 if last is None else max(1, newest - last + 1)
        return each(self._backend, self.entry, range(first, newest + 1))

    def append(self, values: Entry | Mapping[str, Any], number: int) -> Entry:
        """Publish: when this has returned, the release is in the log for ever, and no other has its number.

        Parameters
        ----------
        values : an Entry or its attributes by name
        number : one more than the newest that the caller based its decision on

        Raises
        ------
        Conflict
            Somebody else wrote that number first: look at the log again and decide again.
        StoreError
            The versions are not in the store, the release before is not in the log, or values are wrong.
        """
        entry = make(values, number)
        entry = following(entry, self._before(number))
        for version in entry.versions if entry.kind in PAIRS else ():
            try:
                versions.ensure_whole(self._backend, version, renew=entry.stands_against_jobs)
            except DamagedError as error:
                raise StoreError(f"release {number} cannot be written: {error}") from error
        self._create(key_of(number), dump(entry))
        self._seen = number
        with contextlib.suppress(StoreError):  # only a hint; the release stands without it
            self._backend.put(HINT, str(number).encode())
        return entry

    def _before(self, number: int) -> Entry | None:
        """The entry before that number, or the newest that can be read of the few before it; None where there is none.

        A rollback is the cure for a newest entry that cannot be read, and must not depend on it.
        """
        for before in range(number - 1, max(0, number - 1 - _LOOK_BACK), -1):
            try:
                return self._read(before)
            except NotFound as error:
                raise StoreError(f"release {number} cannot be written before release {before}") from error
            except (DamagedError, FormatError):
                continue
        return None

    def _create(self, key: str, data: bytes) -> None:
        for _ in range(3):
            try:
                return self._backend.put_if_absent(key, data)
            except (Conflict, StoreUnavailable) as error:
                # What is there is ours if a try of ours arrived and only the answer was lost.
                try:
                    if self._backend.get(key, MAX_JSON) == data:
                        return None
                except NotFound:
                    if isinstance(error, Conflict):
                        continue  # S3 also answers so when two writers met and both were sent away
                except StoreError:
                    pass
                raise
        raise StoreUnavailable(f"{self._backend.url}/{key} could not be written: others were always writing it")

    def _exists(self, number: int) -> bool:
        return 0 < number <= MAX_NUMBER and self._backend.head(key_of(number)) is not None

    def _hint(self) -> int:
        try:
            text = self._backend.get(HINT, _HINT_SIZE)
        except (NotFound, DamagedError):
            return 0
        return int(text) if text.isdigit() and int(text) < MAX_NUMBER else 0
