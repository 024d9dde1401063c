"""Objects of a bucket as files: listed, and read in the ranges that are asked for."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from gbdtlr.buckets.clouds import open_bucket
from gbdtlr.buckets.unanswered import Unanswered
from gbdtlr.buckets.urls import Place, place_of
from gbdtlr.errors import ConfigError
from gbdtlr.times import to_us

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

PART = 16 << 20
"""Most bytes of one request, so that the time limit holds for a part and not for the whole."""
_AHEAD = 4 << 20  # read at once where bytes are asked for in their order
_TAIL = 64 << 10  # of a parquet file, where it says what it holds
_TOLD = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR_HOST", "GBDTLR_STORE_TIMEOUT", "HOME")
_OPEN: dict[tuple[object, ...], ObjectStore] = {}

Span = tuple[int, int]
"""First byte and the one after the last."""


@dataclass(frozen=True)
class Found:
    """An object of a listing: its key, its size in bytes and when it was written, microseconds since 1970."""

    key: str
    size: int
    modified_us: int


def find(url: str) -> Found | None:
    """The object at ``url``, or None if there is no such object.

    Raises
    ------
    OSError
        The bucket does not answer, or does not let this user look.
    ConfigError
        Credentials or settings in the environment that cannot be right.
    """
    place = place_of(url)
    if not place.key:
        return None
    try:
        return _found(obstore.head(_bucket(place), place.key))
    except FileNotFoundError:
        return None
    except BaseError as error:
        raise os_error(error) from error


def below(url: str) -> Iterator[Found]:
    """Objects in the folder that ``url`` names, and in those in it; none where there is no such folder or bucket.

    Raises
    ------
    OSError
        The bucket does not answer, or does not let this user list it.
    """
    place = place_of(url)
    try:
        for batch in obstore.list(_bucket(place), place.key or None):
            yield from map(_found, batch)
    except FileNotFoundError:
        return
    except BaseError as error:
        if any(words in str(error) for words in NO_BUCKET):
            return
        raise os_error(error) from error


def open_object(url: str) -> ObjectFile:
    """The object at ``url``, to be read from.

    Raises
    ------
    OSError
        There is none, or it cannot be read.
    """
    found = find(url)
    if found is None:
        raise FileNotFoundError(f"there is no object {url}")
    return ObjectFile(_bucket(place_of(url)), found.key, found.size)


class ObjectFile(io.RawIOBase):
    """An object as a file that can be read and sought in.

    What is asked for in order is read some megabytes at a time. Where it is known what will be asked for, as of the
    columns of a parquet file, :meth:`plan` has each group's ranges fetched together.
    """

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        super().__init__()
        self._store, self._key, self._size = store, key, size
        self._at = 0
        self._kept: list[tuple[int, memoryview]] = []
        self._groups: list[list[Span]] = []

    def plan(self, groups: Sequence[Sequence[Span]]) -> None:
        """Say which ranges are needed together: the first byte of a group asked for fetches all of it."""
        self._groups = [list(group) for group in groups]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        """Bytes of the object."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1) -> memoryview:
        """The next ``size`` bytes, all if it is below zero; fewer only at the end."""
        start = min(self._at, self._size)
        stop = self._size if size is None or size < 0 else min(start + size, self._size)
        data = self._bytes(start, stop)
        self._at += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # io has buffers of any kind; Arrow gives these
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _bytes(self, start: int, stop: int) -> memoryview:
        if start == stop:
            return memoryview(b"")
        for first, data in self._kept:
            if first <= start and stop <= first + len(data):
                return data[start - first : stop - first]
        group = next((group for group in self._groups if any(a <= start < b for a, b in group)), None)
        self._kept = self._fetched(group or [self._around(start, stop)])
        for first, data in self._kept:
            if first <= start and stop <= first + len(data):
                return data[start - first : stop - first]
        return self._fetched([(start, stop)])[0][1]  # what was planned ends too early

    def _around(self, start: int, stop: int) -> Span:
        """What is fetched where nothing is planned: some bytes on, or some before where the end is asked for."""
        if stop == self._size:
            return max(0, min(start, stop - _TAIL)), stop
        return start, min(self._size, max(stop, start + _AHEAD))

    def _fetched(self, spans: Sequence[Span]) -> list[tuple[int, memoryview]]:
        cut = [(first, min(first + PART, stop)) for start, stop in spans for first in range(start, stop, PART)]
        try:
            answers = obstore.get_ranges(
                self._store, self._key, starts=[first for first, _ in cut], ends=[stop for _, stop in cut]
            )
        except BaseError as error:
            raise os_error(error) from error
        parts = {first: memoryview(answer) for (first, _), answer in zip(cut, answers, strict=True)}
        return [(start, _joined([parts[first] for first in range(start, stop, PART)])) for start, stop in spans]


def os_error(error: BaseException) -> OSError:
    """What Python calls an error of obstore's, in the words that are for people."""
    words = words_of(error) or type(error).__name__
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return PermissionError(words)
    return FileNotFoundError(words) if isinstance(error, FileNotFoundError) else Unanswered(words)


def words_of(error: BaseException) -> str:
    """The first lines of an error of obstore's; pages of its own innards follow them after an empty one."""
    return " ".join(str(error).partition("\n\n")[0].split())[:500]


NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist", "container does not exist")


def _found(meta: ObjectMeta) -> Found:
    return Found(meta["path"], meta["size"], to_us(meta["last_modified"]))


def _joined(parts: list[memoryview]) -> memoryview:
    return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def _bucket(place: Place) -> ObjectStore:
    """The bucket, opened once for what the environment says of it."""
    told = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(_TOLD)))
    opened = (place.kind, place.bucket, place.account, told)
    if opened not in _OPEN:
        try:
            _OPEN[opened] = open_bucket(place.kind, place.bucket, None, place.account)
        except BaseError as error:
            raise ConfigError(f"cannot use {place.kind}://{place.bucket}: {words_of(error)}") from error
    return _OPEN[opened]
