"""Compiling beforehand: kernels for this machine, or for those an image will run on, kept where they are looked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gbdtlr
from gbdtlr.compute.cpus import environment
from gbdtlr.errors import GbdtlrError

REHEARSAL = "gbdtlr.operate.rehearsal"


def compile_kernels(cpu: str, on_step: Callable[[int, int, str], object]) -> dict[str, Any]:
    """Have every kernel compiled and kept, for every combination of types that the commands use.

    Parameters
    ----------
    cpu : ``host``, or one of ``compute.cpus.LEVELS``
    on_step : called now and then: how many steps are done, how many there are, and with what

    Returns
    -------
    ``cpu``; ``kernels`` and their ``versions``, one for each combination of types, of which ``compiled`` had not been
    kept before; ``folder``, the one they are all in

    Raises
    ------
    ConfigError
        Not a CPU of this machine's kind.
    GbdtlrError
        There is no place to keep them, or compiling failed.
    """
    # Numba is told of a CPU when it is loaded, and this process may have it already.
    told = {**os.environ, **environment(cpu), "PYTHONPATH": _search_path()}
    last: dict[str, Any] = {}
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-m", REHEARSAL]
        with subprocess.Popen(command, env=told, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if not line.startswith("{"):  # a library's
                    continue
                last = json.loads(line)
                if "done" in last:
                    on_step(last["done"], last["total"], last["text"])
        if child.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines() or [f"it ended with {child.returncode}"]
            raise GbdtlrError(f"compiling failed: {lines[-1]}")
    places = last.pop("folders")
    if None in places:
        raise GbdtlrError(
            "there is no folder to keep compiled kernels in; set NUMBA_CACHE_DIR to one that can be written"
        )
    return {"cpu": cpu, **last, "folder": os.path.commonpath(places)}


def _search_path() -> str:
    """Where the child finds this very package first."""
    return os.pathsep.join([str(Path(gbdtlr.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
