"""Kept code: what a kernel was compiled to, on disk, so that a machine or an image compiles it once.

A file holds the code of one kernel, for one combination of types and one CPU. Its name says so, with a stamp of the
sources the code is made of: nothing is looked up in an index, which processes that compile at once could spoil, and
nothing depends on the times of files, which layers of an image may change.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import caching, compiler
from numba.misc import appdirs

from gbdtlr.compute.cpus import Cpu, reached

_caching: Any = caching
_compiler: Any = compiler
_appdirs: Any = appdirs
_settings: Any = numba.config


class Kept(_caching.Cache):  # type: ignore[misc]  # numba has no types
    """Code of one kernel: looked for in each folder that may hold it, kept in the first that can be written."""

    def __init__(self, function: Callable[..., Any], stamp: str) -> None:
        """Code of a function.

        Parameters
        ----------
        stamp : another for each state of the sources that the code is made of
        """
        self._py_func = function
        source = Path(function.__code__.co_filename)
        version = "".join(map(str, sys.version_info[:2])) + getattr(sys, "abiflags", "")
        self._prefix = f"{source.stem}.{function.__qualname__.replace('<locals>', '')}.py{version}."
        self._stamp = _digest(stamp, numba.__version__, llvmlite.__version__)
        self._folders = folders(source)
        self._cache_path: str | None = None  # of the code that is used, once there is any

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for these types, or None."""
        target_context.refresh()
        for name in self._names(*self._index_key(sig, target_context.codegen())):
            for folder in self._folders:
                with contextlib.suppress(Exception):  # not there, or damaged in any way: it is compiled anew
                    data = self._file(folder)._load_data(name)
                    code = _compiler.CompileResult._rebuild(target_context, *data)
                    self._cache_path = str(folder)
                    return code
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code for these types, where there is a place for it: a full disk stops nobody."""
        if data.library.has_dynamic_globals or any(not lifted.can_cache for lifted in data.lifted):
            return
        name = next(self._names(*self._index_key(sig, data.codegen)))
        for folder in self._folders:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                self._file(folder)._save_data(name, data._reduce())
                self._cache_path = str(folder)
                self._remove_stale(folder)
                return

    def flush(self) -> None:
        """Remove all of this kernel's code."""
        for folder in self._folders:
            for file in folder.glob(f"{self._prefix}*.nbc"):
                file.unlink(missing_ok=True)

    def _names(self, types: Any, cpu: Cpu, code: Any) -> Iterator[str]:
        line = self._py_func.__code__.co_firstlineno
        # Whoever names a CPU to numba gets code for that and no other.
        cpus = reached(cpu) if _settings.CPU_NAME is None else [cpu]
        for each in cpus:
            yield f"{self._prefix}{self._stamp}.{_digest(types, each, code, line)}.nbc"

    def _file(self, folder: Path) -> Any:
        return _caching.IndexDataCacheFile(str(folder), self._prefix, self._stamp)

    def _remove_stale(self, folder: Path) -> None:
        for file in folder.glob(f"{self._prefix}*.nbc"):
            if not file.name.startswith(self._prefix + self._stamp):
                file.unlink(missing_ok=True)


def folders(source: Path) -> list[Path]:
    """Folders that may hold the code of a source, the first to be looked in first; none for a source in no file.

    ``NUMBA_CACHE_DIR`` alone if it is set; else beside the package and in the user's cache folder.
    """
    if not source.is_file():
        return []
    place = source.parent.absolute()
    name = f"{place.name}_{hashlib.sha1(str(place).encode()).hexdigest()}"
    if _settings.CACHE_DIR:
        return [Path(_settings.CACHE_DIR).absolute() / name]
    users = Path(_appdirs.AppDirs(appname="numba", appauthor=False).user_cache_dir)
    # Of a user without a home, as containers have, it would be a folder called ~ where he stands.
    return [place / "__pycache__", *([users / name] if users.is_absolute() else [])]


def _digest(*what: Any) -> str:
    return hashlib.blake2b(repr([str(each) for each in what]).encode(), digest_size=8).hexdigest()
