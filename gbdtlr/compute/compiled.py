"""``@kernel``: numba with the settings every compiled loop of gbdtlr shares, cached on disk where that can be."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
from numpy.typing import NDArray

from gbdtlr.compute.kept import Kept

Function = Callable[..., Any]
KERNELS: list[Any] = []
"""All kernels of the modules that are loaded, as numba's dispatchers."""
_njit: Any = numba.njit
_PACKAGE = Path(__file__).parent.parent
_IMPORT = re.compile(r"^from (gbdtlr[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


def spare_blas() -> None:
    """Load the rest of numba without scipy's BLAS, which it looks for: no kernel here multiplies matrices.

    That import takes as long as the fit of a head. It is only put off: code that does multiply finds BLAS then.
    """
    blas = "scipy.linalg.cython_blas"
    # Another thread could be importing it just now.
    if blas in sys.modules or "numba.np.arraymath" in sys.modules or threading.active_count() > 1:
        return
    sys.modules[blas] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        with contextlib.suppress(ImportError):
            arraymath: Any = import_module("numba.np.arraymath")
            arraymath._HAVE_BLAS = find_spec("scipy") is not None
    finally:
        del sys.modules[blas]


def kernel() -> Callable[[Function], Function]:
    """Compile a function, to run without the GIL, at its first call, and keep the machine code on disk.

    Callers see to it that arguments keep their types: each new combination costs a compilation. A division by zero
    gives what IEEE 754 says, as in numpy. Where the code is kept, see :mod:`gbdtlr.compute.kept`; where there is no
    place for it, the function is compiled again in each process.
    """

    def compile_(function: Function) -> Function:
        compiled: Any = _njit(nogil=True, error_model="numpy")(function)
        compiled._cache = Kept(function, _sources(Path(function.__code__.co_filename)))
        KERNELS.append(compiled)
        return compiled  # type: ignore[no-any-return]

    return compile_


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


def inline(function: Function) -> Function:
    """Compile a function into the kernels that call it."""
    compiled: Function = _njit(nogil=True, error_model="numpy")(function)
    return compiled


def always_inline(function: Function) -> Function:
    """As :func:`inline`, of any size: LLVM would call a large one, and to hand over many arrays takes its time."""
    compiled: Function = _njit(nogil=True, error_model="numpy", forceinline=True)(function)
    return compiled


def read_only(values: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written, to numba a type of its own: what is only read has it, wherever it came from."""
    values = values.view()
    values.flags.writeable = False
    return values


spare_blas()
