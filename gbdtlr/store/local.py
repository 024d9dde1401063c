"""Local folder: the backend whose writes survive a power cut.

obstore's own local store does not call fsync, so a release could outlive the files it names. Here every object is
written to a temporary file beside its place, synced, put there in one step, and its folders synced up to the root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG

from gbdtlr.errors import Conflict, DamagedError, StoreError, StoreUnavailable
from gbdtlr.store.backend import NotFound, Stat

_MISSING = (errno.ENOENT, errno.ENOTDIR)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_REMEDY = {
    errno.ENOSPC: "the disk is full; free some space (gbdtlr prune helps) and run again",
    errno.EDQUOT: "the disk quota is used up; free some space (gbdtlr prune helps) and run again",
    errno.EROFS: "the disk is mounted read-only; mount it for writing, or use another store",
    errno.EACCES: "permission denied; give this user read and write access to the folder",
    errno.EPERM: "not permitted; give this user read and write access to the folder",
    errno.ENOTDIR: "a part of that path is a file and no folder; name another folder as the store",
    errno.ENOENT: "no folder can be made there; name another one as the store",
    errno.EIO: "the disk reports an input/output error; check the disk",
}


class LocalBackend:
    """Objects as files below the folder ``root``, which is made by the first write."""

    concurrency = 1

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.url = str(root)
        self._anchored = False  # whether the way to the root is known to be durable

    def get(self, key: str, max_size: int) -> bytes:
        try:
            with open(self.root / key, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > max_size:
                    raise DamagedError(f"{self.url}/{key} is {size} bytes, more than the {max_size} expected")
                return file.read(size)
        except OSError as error:
            raise self._translated(error, "read", key) from error

    def put(self, key: str, data: bytes) -> None:
        self._write(key, data, os.replace)

    def put_if_absent(self, key: str, data: bytes) -> None:
        # Unlike rename, a hard link never replaces; unlike O_EXCL, it shows the file whole or not at all.
        self._write(key, data, os.link)

    def head(self, key: str) -> Stat | None:
        try:
            found = os.stat(self.root / key)
        except OSError as error:
            if error.errno in _MISSING:
                return None
            raise self._translated(error, "look at", key) from error
        return _stat(key, found) if S_ISREG(found.st_mode) else None

    def list(self, prefix: str) -> Iterator[Stat]:
        folders = [prefix]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder) as entries:
                    for entry in sorted(entries, key=lambda entry: entry.name):
                        key = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.is_dir():
                            folders.append(key)
                        elif entry.is_file():
                            with contextlib.suppress(FileNotFoundError):  # deleted while we listed
                                yield _stat(key, entry.stat())
            except OSError as error:
                if error.errno not in _MISSING:
                    raise self._translated(error, "list", folder) from error

    def place(self, key: str) -> Path | None:
        return self.root / key

    def delete(self, key: str) -> None:
        try:
            os.unlink(self.root / key)
            _sync((self.root / key).parent)
        except OSError as error:
            if error.errno not in _MISSING:
                raise self._translated(error, "delete", key) from error
        folder = (self.root / key).parent
        while folder != self.root and self.root in folder.parents:
            try:
                os.rmdir(folder)  # only if empty; a writer who comes in between makes it again
            except OSError:
                return
            folder = folder.parent

    def _write(self, key: str, data: bytes, commit: Callable[[Path, Path], None]) -> None:
        target = self.root / key
        temporary = target.parent / f".{target.name}.{secrets.token_hex(8)}.tmp"
        try:
            try:
                descriptor = self._create(temporary)
                try:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[os.write(descriptor, rest) :]
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                commit(temporary, target)
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            self._sync_folders(target.parent)
        except FileExistsError as error:
            raise Conflict(f"{self.url}/{key} exists already") from error
        except OSError as error:
            raise self._translated(error, "write", key) from error

    def _create(self, path: Path) -> int:
        for attempt in range(10):
            try:
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            except FileNotFoundError:
                if attempt == 9:
                    raise
                # Missing, or emptied and removed by a prune between our mkdir and our open.
                path.parent.mkdir(parents=True, exist_ok=True)
        raise AssertionError("unreachable")

    def _sync_folders(self, folder: Path) -> None:
        """Sync a folder and all above it up to the root; the first time, those above the root as well.

        All, whoever made them: a process killed between making a folder and syncing its parent leaves a folder
        that looks safe to the next writer and is not. Syncing a clean folder costs next to nothing.
        """
        _sync(folder)
        while folder != self.root:
            folder = folder.parent
            _sync(folder)
        if not self._anchored:
            for above in self.root.absolute().parents:
                _sync(above)
            self._anchored = True

    def _translated(self, error: OSError, verb: str, key: str) -> StoreError:
        where = f"{self.url}/{key}"
        if verb != "write" and error.errno in _MISSING:
            return NotFound(f"{where} does not exist")
        if error.errno == errno.EISDIR:
            return DamagedError(f"{where} is a folder where a file was expected; remove it")
        if verb == "write" and error.errno in _NO_LINKS and error.filename2 is not None:
            return StoreUnavailable(
                f"cannot write {where}: this file system has no hard links, without which two jobs could both "
                "publish one release; keep the store on another disk or in a bucket"
            )
        remedy = _REMEDY.get(error.errno or 0, error.strerror or str(error))
        return StoreUnavailable(f"cannot {verb} {where}: {remedy}")


def _stat(key: str, found: os.stat_result) -> Stat:
    return Stat(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _sync(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder above the root that we may pass through but not read, or Windows
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot sync folders
            raise
    finally:
        os.close(descriptor)
