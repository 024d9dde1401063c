"""Places: the files of a version on this machine's own disk, to be mapped into memory rather than read.

In a local store they are where they were written. From a bucket each is fetched once, its hash checked, into
``GBDTLR_CACHE_DIR`` or the user's cache folder; where nothing can be written there, into a temporary folder that goes
with the process. A file in its place is taken by its size alone: :meth:`Store.check` is what reads every byte.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gbdtlr.errors import DamagedError, StoreUnavailable
from gbdtlr.store import versions
from gbdtlr.store.backend import Backend
from gbdtlr.store.manifest import VersionId

CACHE = "GBDTLR_CACHE_DIR"
KEPT = 3
"""Versions of one store that stay in the cache: those used last."""


def places(backend: Backend, version: VersionId, document: Mapping[str, Any]) -> dict[str, Path]:
    """Path of each file of a version by its name.

    Parameters
    ----------
    document : the version's manifest

    Raises
    ------
    DamagedError
        Files missing, of another size, or fetched with another hash than the manifest says.
    StoreUnavailable
        The store does not answer, or there is no room for what is fetched.
    """
    promises = document["files"]
    local = {name: backend.place(f"{version.folder}/{name}") for name in promises}
    found = {name: path for name, path in local.items() if path is not None}
    if len(found) < len(local):
        return _fetched(backend, version, document)
    for name, path in found.items():
        _check(path, promises[name]["size"], f"{backend.url}/{version.folder}/{name}")
    return found


def _check(path: Path, size: int, where: str) -> None:
    try:
        there = path.stat().st_size
    except OSError as error:
        raise DamagedError(f"{where} is missing, though its manifest lists it ({error.strerror})") from error
    if there != size:
        raise DamagedError(f"{where} is damaged: it has {there} bytes, its manifest says {size}")


def _fetched(backend: Backend, version: VersionId, document: Mapping[str, Any]) -> dict[str, Path]:
    """The files in the cache, fetched where they are not there yet."""
    store = _cache_root() / hashlib.sha256(backend.url.encode()).hexdigest()[:16]
    folder = store / version.kind / version.name
    found = {}
    try:
        for name, promise in document["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != promise["size"]:
                _fetch(backend, version, document, name, path)
            found[name] = path
        os.utime(folder)
        _tidy(folder.parent)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot keep {version} in {folder}: {error.strerror or error}; free some space, or set {CACHE} to a "
            "folder that can be written"
        ) from error
    return found


def _fetch(backend: Backend, version: VersionId, document: Mapping[str, Any], name: str, path: Path) -> None:
    """Put one file where it belongs, whole or not at all, whoever else fetches it at the same time."""
    data = versions.fetch(backend, version, document, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _tidy(kind: Path) -> None:
    """Remove all but the versions used last; what a process has mapped stays with it until it lets go."""
    with contextlib.suppress(OSError):  # others tidy up as well
        folders = sorted(kind.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for folder in folders[KEPT:]:
            shutil.rmtree(folder, ignore_errors=True)


def _cache_root() -> Path:
    told = os.environ.get(CACHE)
    if told:
        return Path(told).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    root = (Path(base) if base else Path("~/.cache").expanduser()) / "gbdtlr"
    with contextlib.suppress(OSError):
        if root.is_absolute():  # of a user without a home it is not
            root.mkdir(parents=True, exist_ok=True)
            if os.access(root, os.W_OK):
                return root
    return _temporary()


@cache
def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gbdtlr-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
