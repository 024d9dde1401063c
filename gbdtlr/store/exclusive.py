"""Put-if-absent, proved: a service or file system that only seems to have it is found out before it is relied on.

All agreement between jobs rests on it. Some services take the header that asks for it and write over what is there,
some refuse every request that has it, and some file systems have no links.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator

from gbdtlr.errors import Conflict, DamagedError, StoreError, StoreUnavailable
from gbdtlr.store.backend import Backend, Denied, NotFound
from gbdtlr.store.entry import key_of
from gbdtlr.store.manifest import MAX_JSON

_REFUSED = re.compile(r"status code: (?:4\d\d|501)\b")
"""Of answers to a write, those that would be the same the next time; obstore has tried again after all others."""
_REMEDY = (
    "without it two jobs could both publish one release, so nothing was trained or published; keep the store in a "
    "bucket of a service that obeys it, or on a disk"
)


def ensure_put_if_absent(backend: Backend) -> None:
    """Pass only if :meth:`Backend.put_if_absent` leaves what is there as it is.

    It takes two small requests: the first release's own bytes are read, and offered again under its name. Prune keeps
    that name and no job writes it again, and a service that takes them has written what was there. Before the first
    release, and to be sure where they were taken, it takes a few more, on an object made for it and removed again;
    where nothing may be removed, it stays for a prune that may.

    Raises
    ------
    StoreUnavailable
        What is there is written over, put-if-absent is not known, or nothing can be written at all.
    """
    first = key_of(1)
    try:
        data = backend.get(first, MAX_JSON)
    except (NotFound, DamagedError):  # nothing is published, or that was lost by accident
        pass
    else:
        if _is_kept(backend, first, data):
            return
    # Twice, as a prune might have removed the object before it was offered again.
    for _ in range(2):
        with _made(backend) as key:
            if _is_kept(backend, key, b""):
                return
    raise StoreUnavailable(
        f"{backend.url}: what is there is written over, as put-if-absent (If-None-Match: *) is ignored; {_REMEDY}"
    )


def _is_kept(backend: Backend, key: str, data: bytes) -> bool:
    """Whether an object that is there refuses to be written over."""
    try:
        _ask(backend, key, data)
    except Conflict:
        return True
    except Denied:  # what nobody may write over is safe; whether anything else may be written, the job will see
        return True
    return False


@contextlib.contextmanager
def _made(backend: Backend) -> Iterator[str]:
    """Key of an object made with put-if-absent, which is gone afterwards."""
    key = _new_key()
    try:
        for _ in range(3):
            try:
                _ask(backend, key, b"")
            except Conflict:
                if backend.head(key) is None:
                    continue  # S3 answers so when others write at once
            break  # also if what is there is ours, of a try whose answer was lost
        else:
            raise StoreUnavailable(
                f"{backend.url}: put-if-absent (If-None-Match: *) of a new name is refused as if it were there; "
                + _REMEDY
            )
        yield key
    finally:
        with contextlib.suppress(StoreError):
            backend.delete(key)


def _ask(backend: Backend, key: str, data: bytes) -> None:
    """Put if absent; where that is refused though a plain write is not, say what is missing."""
    try:
        backend.put_if_absent(key, data)
    except (Conflict, Denied):
        raise
    except StoreError as error:
        if not _REFUSED.search(str(error.__cause__)):
            raise
        plain = _new_key()
        backend.put(plain, b"")
        with contextlib.suppress(StoreError):
            backend.delete(plain)
        raise StoreUnavailable(
            f"{backend.url}: plain writes are taken, but put-if-absent (If-None-Match: *) is not known; {_REMEDY} "
            f"({error})"
        ) from error


def _new_key() -> str:
    """A temporary name, which prune removes."""
    return f"releases/.probe.{secrets.token_hex(8)}.tmp"
