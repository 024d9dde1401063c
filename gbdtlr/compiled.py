"""``@kernel``: numba with the settings every compiled loop of gbdtlr shares, cached on disk where that can be."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numba

Function = Callable[..., Any]
_njit: Any = numba.njit


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


def kernel(*signatures: Any) -> Callable[[Function], Function]:
    """Compile a function, to run without the GIL, at its first call, and keep the machine code on disk.

    With ``signatures`` it is compiled, or loaded, at once, and for these only. Without, callers see to it that
    arguments keep their types: each new combination costs a compilation. A division by zero gives what
    IEEE 754 says, as in numpy. Without a writable cache (neither the package's folder nor the user's) the
    function is compiled again in each process.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    kinds: list[Any] = [list(signatures)] if signatures else []

    def compile_(function: Function) -> Function:
        try:
            compiled: Function = _njit(*kinds, cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            compiled = _njit(*kinds, **options)(function)
        return compiled

    return compile_


def inline(function: Function) -> Function:
    """Compile a function into the kernels that call it."""
    compiled: Function = _njit(nogil=True, error_model="numpy")(function)
    return compiled
