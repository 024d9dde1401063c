"""``@kernel``: numba with the settings every compiled loop of gbdtlr shares, cached on disk where that can be."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numba

Function = Callable[..., Any]
_njit: Any = numba.njit
_settings: Any = numba.config
_PACKAGE = Path(__file__).parent.parent
_IMPORT = re.compile(r"^from (gbdtlr[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


def spare_blas() -> None:
    """Load the rest of numba without scipy's BLAS, which it looks for in vain: no kernel here multiplies matrices.

    That import takes as long as the fit of a head. Afterwards numba cannot compile ``numpy.dot`` in this process, so
    only the command line, whose process is its own, may ask for it.
    """
    blas = "scipy.linalg.cython_blas"
    if blas in sys.modules:
        return
    sys.modules[blas] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        with contextlib.suppress(ImportError):
            import_module("numba.np.arraymath")
    finally:
        del sys.modules[blas]


def kernel() -> Callable[[Function], Function]:
    """Compile a function, to run without the GIL, at its first call, and keep the machine code on disk.

    Callers see to it that arguments keep their types: each new combination costs a compilation. A division by zero
    gives what IEEE 754 says, as in numpy. The code is kept in ``NUMBA_CACHE_DIR``, else beside the package, else in
    the user's cache folder; where none of them can be written, the function is compiled again in each process.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

    def compile_(function: Function) -> Function:
        try:
            compiled: Function = _njit(cache=_has_folder(function), **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            compiled = _njit(**options)(function)
        _stamp(compiled)
        return compiled

    return compile_


def _stamp(compiled: Any) -> None:
    """Make kept code stale when a source that it is made of changes.

    Numba looks at the kernel's own file only, and would go on with constants, functions and tuples of other files as
    they were when it was compiled.
    """
    with contextlib.suppress(AttributeError):  # no cache, or a numba that keeps its stamp elsewhere
        file = compiled._cache._cache_file
        file._source_stamp = (file._source_stamp, _sources(Path(compiled.py_func.__code__.co_filename)))


@cache
def _sources(path: Path) -> str:
    """Hash of a kernel's file and of all files of the package that it takes names from, directly or not."""
    sources: dict[Path, bytes] = {}
    waiting = [Path(__file__), path]
    while waiting:
        path = waiting.pop()
        if path not in sources:
            with contextlib.suppress(OSError):  # of a function that is in no file
                sources[path] = path.read_bytes()
                waiting += _imported(sources[path].decode())
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + sources[path])
    return digest.hexdigest()


def _imported(source: str) -> Iterator[Path]:
    """Files of the package that the imports of a source name."""
    for module, names in _IMPORT.findall(source):
        folder = _PACKAGE.joinpath(*module.split(".")[1:])
        modules = [folder / f"{name}.py" for name in re.findall(r"\w+", names)]
        files = [file for file in modules if file.is_file()]
        own = folder.with_suffix(".py")
        yield from files or [own if own.is_file() else folder / "__init__.py"]


def _has_folder(function: Function) -> bool:
    """False for a user without a home, as containers have: numba would make a folder called ``~`` where it stands."""
    beside = Path(function.__code__.co_filename).parent
    users = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~")
    return bool(_settings.CACHE_DIR) or os.access(beside, os.W_OK) or os.path.isabs(users)


def inline(function: Function) -> Function:
    """Compile a function into the kernels that call it."""
    compiled: Function = _njit(nogil=True, error_model="numpy")(function)
    return compiled
