"""CPUs that kernels can be compiled for: the one of this machine, or a level that many machines reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llvmlite import binding as llvm
from numba.core import codegen

from gbdtlr.errors import ConfigError

_codegen: Any = codegen
HOST, GENERIC = "host", "generic"

_V2 = ("cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
LEVELS: Mapping[str, tuple[str, ...]] = {"x86-64-v4": _V4, "x86-64-v3": _V3, "x86-64-v2": _V2, GENERIC: ()}
"""Levels as LLVM names them, the fastest first, and what a CPU must have to reach them (System V ABI for x86-64)."""

Cpu = tuple[str, str, str]
"""Triple, name and features: what machine code is for, as numba says it."""


def reached(host: Cpu) -> list[Cpu]:
    """CPUs whose code runs on this one: its own, then the levels it reaches, the fastest first."""
    triple, _, features = host
    has = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    levels = [name for name, needed in LEVELS.items() if has.issuperset(needed) and _is_of(name, triple)]
    return [host, *((triple, name, "") for name in levels)]


def environment(cpu: str) -> dict[str, str]:
    """Environment in which numba compiles for a CPU: ``host``, or one of ``LEVELS``.

    Raises
    ------
    ConfigError
        Not a CPU of this machine's kind; the message says which are.
    """
    triple = llvm.get_process_triple()
    names = [HOST, *(name for name in LEVELS if _is_of(name, triple))]
    if cpu not in names:
        raise ConfigError(f"kernels cannot be compiled for {cpu} here; choose one of {', '.join(names)}")
    if cpu != HOST:
        return {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    # By its name, or code that is kept for a level would do.
    return {"NUMBA_CPU_NAME": llvm.get_host_cpu_name(), "NUMBA_CPU_FEATURES": _codegen.get_host_cpu_features()}


def _is_of(level: str, triple: Any) -> bool:
    return level == GENERIC or str(triple).startswith("x86_64")
