"""Object stores: the only door to obstore, whose exceptions do not leave this file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import MemoryStore

from gbdtlr.buckets.clouds import open_bucket
from gbdtlr.buckets.objects import NO_BUCKET, PART, words_of
from gbdtlr.buckets.urls import place_of
from gbdtlr.errors import ConfigError, Conflict, DamagedError, StoreError, StoreUnavailable
from gbdtlr.store.backend import Denied, NotFound, Stat

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_NO_CREDENTIALS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "token request")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or run: gcloud auth application-default login",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING",
}
_MEMORY: dict[str, MemoryStore] = {}
_MEMORY_LOCK = threading.Lock()


class ObjectBackend:
    """Objects in a bucket, or in this process's memory, through obstore."""

    concurrency = 16

    def __init__(self, url: str, store: ObjectStore) -> None:
        self.url = url
        self._store = store

    def get(self, key: str, max_size: int) -> bytes:
        try:
            result = obstore.get(self._store, key)
            size = result.meta["size"]
            if size <= min(max_size, PART):
                return bytes(result.bytes())
            if size <= max_size:
                del result  # closes the answer, whose body nobody has asked for yet
                return b"".join(
                    bytes(obstore.get_range(self._store, key, start=start, end=min(start + PART, size)))
                    for start in range(0, size, PART)
                )
        except Exception as error:
            raise self._translated(error, "read", key) from error
        raise DamagedError(f"{self.url}/{key} is {size} bytes, more than the {max_size} expected")

    def put(self, key: str, data: bytes) -> None:
        try:
            obstore.put(self._store, key, data, mode="overwrite", chunk_size=PART, max_concurrency=4)
        except Exception as error:
            raise self._translated(error, "write", key) from error

    def put_if_absent(self, key: str, data: bytes) -> None:
        try:
            obstore.put(self._store, key, data, mode="create")
        except Exception as error:
            raise self._translated(error, "write", key) from error

    def head(self, key: str) -> Stat | None:
        try:
            meta = obstore.head(self._store, key)
        except Exception as error:
            translated = self._translated(error, "look at", key)
            if isinstance(translated, NotFound):
                return None
            raise translated from error
        return Stat(key, meta["size"], meta["last_modified"])

    def list(self, prefix: str) -> Iterator[Stat]:
        try:
            for batch in obstore.list(self._store, prefix or None):
                for meta in batch:
                    yield Stat(meta["path"], meta["size"], meta["last_modified"])
        except Exception as error:
            raise self._translated(error, "list", prefix) from error

    def place(self, key: str) -> Path | None:  # noqa: ARG002 - of no object
        return None

    def delete(self, key: str) -> None:
        try:
            obstore.delete(self._store, key)
        except Exception as error:
            translated = self._translated(error, "delete", key)
            if not isinstance(translated, NotFound):
                raise translated from error

    def _translated(self, error: Exception, verb: str, key: str) -> StoreError:
        if isinstance(error, StoreError):
            return error
        said = words_of(error)
        where = f"{self.url}/{key}"
        if any(words in said for words in NO_BUCKET):
            return StoreUnavailable(
                f"cannot {verb} {where}: there is no such bucket; create it or mend the store's URL"
            )
        if isinstance(error, FileNotFoundError):
            return NotFound(f"{where} does not exist")
        if isinstance(error, AlreadyExistsError | PreconditionError):
            return Conflict(f"{where} exists already")
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return Denied(
                f"cannot {verb} {where}: permission denied; check the credentials, which must allow to list, "
                f"read, write and delete objects there ({said})"
            )
        if any(words in said for words in _NO_CREDENTIALS):
            return StoreUnavailable(
                f"cannot {verb} {where}: no credentials in the environment, and the machine has none to give; set "
                f"{_CREDENTIALS.get(self.url.partition('://')[0], 'them')} ({said})"
            )
        if isinstance(error, NotSupportedError):
            return StoreUnavailable(
                f"cannot {verb} {where}: the service does not know put-if-absent, without which two jobs could "
                f"both publish one release; use one that does ({said})"
            )
        return StoreUnavailable(f"cannot {verb} {where}: {said or type(error).__name__}")


def open_objects(kind: str, url: str) -> ObjectBackend:
    """Backend of a URL whose scheme is ``memory`` or one of a bucket.

    Raises
    ------
    ConfigError
        No bucket in it, a path that is none, or credentials that cannot be right.
    """
    rest = url.partition("://")[2].rstrip("/")
    if kind == "memory":
        with _MEMORY_LOCK:
            return ObjectBackend(f"memory://{rest}", _MEMORY.setdefault(rest, MemoryStore()))
    bucket, _, prefix = rest.partition("/")
    if not bucket or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise ConfigError(f"{url!r} names no place in a bucket; write {kind}://bucket/prefix")
    try:
        place = place_of(url)
        return ObjectBackend(f"{kind}://{rest}", open_bucket(place.kind, place.bucket, prefix or None, place.account))
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"cannot use {url!r}: {words_of(error)}") from error
