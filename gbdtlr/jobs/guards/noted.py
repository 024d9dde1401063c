"""Noted: what guards keep in manifests, read back with distrust."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gbdtlr.errors import DamagedError

_MOST = 2.0**62


@contextmanager
def reading(what: str) -> Iterator[None]:
    """What goes wrong inside is damage of ``what`` in a manifest."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedError(f"{what} is damaged in the manifest: {type(error).__name__}: {error}") from None


def number(value: Any) -> float:
    """The finite number that ``value`` is; ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MOST:
        raise ValueError(f"a number expected, not {str(value)[:40]}")
    return float(value)


def measure(value: Any) -> float:
    """The number of at least zero that ``value`` is; ValueError for anything else."""
    found = number(value)
    if not (found >= 0 and math.isfinite(found)):
        raise ValueError(f"a number of at least 0 expected, not {found:g}")
    return found


def count(value: Any) -> int:
    """The whole number of at least zero that ``value`` is; ValueError for anything else."""
    if measure(value) != int(value):
        raise ValueError(f"a whole number expected, not {value}")
    return int(value)
