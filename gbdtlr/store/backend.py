"""The backend: the six things a store asks of whatever keeps its bytes.

A key is a relative path with ``/`` between its parts. Every backend raises only :class:`NotFound` and the
:class:`~gbdtlr.errors.StoreError` tree, and passes the one conformance suite in ``tests/store``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from gbdtlr.errors import StoreError, StoreUnavailable

A = TypeVar("A")
B = TypeVar("B")


class NotFound(StoreError):
    """No object has that key; never leaves the store, whose layers say what the absence means."""


class Denied(StoreUnavailable):
    """The credentials do not allow it."""


@dataclass(frozen=True)
class Stat:
    """What is known of an object without reading it: its key, size in bytes and time of last writing (UTC)."""

    key: str
    size: int
    modified: datetime


class Backend(Protocol):
    """Where bytes are kept. A reader never sees a partly written object; what has returned is durable.

    Attributes
    ----------
    url : how people write where the bytes are; for messages
    concurrency : how many requests are worth having under way at once
    """

    url: str
    concurrency: int

    def get(self, key: str, max_size: int) -> bytes:
        """Whole object; :class:`NotFound` if there is none, ``DamagedError`` if larger than ``max_size`` bytes."""

    def put(self, key: str, data: bytes) -> None:
        """Write the object, replacing what was there in one step."""

    def put_if_absent(self, key: str, data: bytes) -> None:
        """Write the object unless one is there, in which case ``Conflict``: of many writers one wins."""

    def head(self, key: str) -> Stat | None:
        """Size and time of an object, or None if there is none."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """Every object below the folder ``prefix`` (all for the empty string), temporary files included."""

    def place(self, key: str) -> Path | None:
        """Where the object is on this machine's disk, whether it is there or not; None if that is elsewhere."""

    def delete(self, key: str) -> None:
        """Remove the object; removing what is not there is no error."""


_TEMPORARY = re.compile(r"(?:.*/)?\.[^/]*\.tmp")


def is_temporary(key: str) -> bool:
    """Whether the key is that of a write under way or killed: no part of any version or log."""
    return _TEMPORARY.fullmatch(key) is not None


def each(backend: Backend, ask: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """``[ask(item) for item in items]``, as many at once as the backend is worth; the first error is raised."""
    items = list(items)
    if backend.concurrency < 2 or len(items) < 2:
        return [ask(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(backend.concurrency, len(items))) as pool:
        try:
            return list(pool.map(ask, items))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
