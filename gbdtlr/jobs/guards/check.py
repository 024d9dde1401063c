"""The check: what a guard measured beside what it allows, and what it objects to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One measurement of one guard.

    Attributes
    ----------
    guard : its key in ``[guard]``
    value : what was measured
    low, high : what is allowed there, chance included; None for no bound
    objection : what is wrong, in words with their numbers; empty where nothing is
    """

    guard: str
    value: float
    low: float | None = None
    high: float | None = None
    objection: str = ""

    @property
    def room(self) -> float:
        """How far the value is from the nearest bound; below zero beyond it."""
        low = math.inf if self.low is None else self.value - self.low
        high = math.inf if self.high is None else self.high - self.value
        return min(low, high)

    def as_dict(self) -> dict[str, Any]:
        """The measurement in JSON's types."""
        bounds = {"low": self.low, "high": self.high}
        finite = {name: bound for name, bound in bounds.items() if bound is not None and math.isfinite(bound)}
        return {"value": self.value, **finite, "objects": bool(self.objection)}


def objections(checks: Iterable[Check]) -> list[str]:
    """What is wrong, of all checks."""
    return [check.objection for check in checks if check.objection]


def nearest(checks: Iterable[Check]) -> dict[str, Check]:
    """Of each guard, the check that objects, or is nearest to doing so."""
    found: dict[str, Check] = {}
    for check in checks:
        known = found.get(check.guard)
        if known is None or (not check.objection, check.room) < (not known.objection, known.room):
            found[check.guard] = check
    return found


def told(checks: Mapping[str, Check]) -> dict[str, Any]:
    """What guards measured, by their keys, in JSON's types; what is no number is left out."""
    return {name: check.as_dict() for name, check in sorted(checks.items()) if math.isfinite(check.value)}
