"""The release log: ``releases/00000042.json``, one immutable entry a release, numbered without gaps.

Whoever writes number N with put-if-absent wins it; that is the only agreement between jobs. The live release is
the entry with the highest number, found by asking which numbers exist.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from gbdtlr.errors import Conflict, DamagedError, NoReleaseError, StoreError, StoreUnavailable
from gbdtlr.store import versions
from gbdtlr.store.backend import Backend, NotFound, each
from gbdtlr.store.entry import MAX_NUMBER, Entry, dump, key_of, load, make
from gbdtlr.store.manifest import MAX_JSON

HINT = "releases/hint"
_HINT_SIZE = 16


class ReleaseLog:
    """The entries below ``releases/`` of a backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def live(self, at_least: int = 0) -> Entry | None:
        """Newest entry, or None if nothing is published, in a few requests however long the log is.

        The search starts from ``releases/hint``, a number each writer leaves behind after its entry, or from
        ``at_least`` where the caller knows a release. That is no "latest" that could disagree with the
        log: only where to start looking. The answer is always an entry N that exists whose successor does not;
        as entries are never deleted and have no gaps, there is one such N. A hint that is lost, garbage, behind or
        ahead costs some requests more, the logarithm of how far it is off.

        Raises
        ------
        DamagedError, FormatError
            The newest entry cannot be read; no older one is taken in its stead.
        """
        start = at_least if 0 < at_least < MAX_NUMBER else self._hint()
        if self._exists(start + 1):
            number = self._last_from(start + 1)
        else:
            with contextlib.suppress(NotFound):
                return self._read(start)
            number = self._last_below(start)
        return self.entry(number) if number else None

    def newest(self) -> int:
        """Number of the newest entry, 0 if there is none, without reading any entry; as :meth:`live`."""
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
        if number > 1 and not self._exists(number - 1):
            raise StoreError(f"release {number} cannot be written before release {number - 1}")
        for version in entry.versions:
            try:
                versions.ensure_whole(self._backend, version, renew=entry.rolled_back_to is not None)
            except DamagedError as error:
                raise StoreError(f"release {number} cannot be written: {error}") from error
        self._create(key_of(number), dump(entry))
        with contextlib.suppress(StoreError):  # only a hint; the release stands without it
            self._backend.put(HINT, str(number).encode())
        return entry

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
