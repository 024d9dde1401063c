"""The fast speed: the table ``[head]``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from gbdtlr.config.checks import at_least, check_lengths
from gbdtlr.config.online import ONLINE, OnlineConfig
from gbdtlr.errors import ConfigError

METHODS = ("refit", "incremental", *ONLINE)
L2 = (1e-9, 1e12)
"""Least and largest ridge of a head: beyond them, its single precision says nothing any more."""


@dataclass(frozen=True)
class HeadConfig:
    """The fast speed: how and from which samples the head learns, and the settings its blend weighs.

    ``refit`` fits the window at every update. The other methods learn new samples only, and the whole window with new
    trees and, where it is given, whenever ``full_every`` has passed. ``l2`` are ridges of the leaves; those of wide
    columns and of crosses are found, but where ``wide_l2`` or ``cross_l2`` gives one for all, or for some by name. Fits
    pull dense columns with the strength ``dense_l2`` towards ``dense_anchor``: log-odds for each unit of a column, or
    of each number of a list. With ``hindsight``, a blend of which nothing is on record yet is tried on the window's own
    past.
    """

    window: timedelta = timedelta(days=7)
    method: str = "refit"
    half_lives: tuple[timedelta, ...] = (
        timedelta(minutes=90),
        timedelta(hours=6),
        timedelta(days=1),
        timedelta(days=4),
    )
    l2: tuple[float, ...] = (30.0, 1000.0)
    wide_l2: float | dict[str, float] | None = None
    cross_l2: float | dict[str, float] | None = None
    blend_half_life: timedelta = timedelta(days=8)
    hindsight: bool = True
    wide_buckets: int = 2**18
    dense_l2: float = 10.0
    dense_anchor: dict[str, Any] = field(default_factory=dict)
    full_every: timedelta | None = None
    online: OnlineConfig = field(default_factory=OnlineConfig)

    def __post_init__(self) -> None:
        check_lengths("head", self)
        if self.method not in METHODS:
            raise ConfigError(f"[head] method is {self.method!r}; choose one of {', '.join(METHODS)}")
        if self.method == "refit" and self.full_every is not None:
            raise ConfigError('[head] full_every has no meaning for method = "refit", which always fits in full')
        if self.method not in ONLINE and self.online.min_occurrences > 1:
            raise ConfigError(
                f"[head.online] min_occurrences has no meaning for method = {self.method!r}, where l2 keeps rare ids "
                f"near zero; leave it out, or choose one of {', '.join(ONLINE)}"
            )
        if not self.half_lives or not self.l2:
            raise ConfigError("[head] half_lives and l2 need at least one value each")
        low, high = L2
        if wrong := [value for value in self.l2 if not low <= value <= high]:
            raise ConfigError(f"[head] l2 values must be from {low:g} to {high:g}, not {wrong[0]:g}")
        if not low <= self.dense_l2 <= high:
            raise ConfigError(f"[head] dense_l2 must be from {low:g} to {high:g}, not {self.dense_l2:g}")
        for name, anchor in self.dense_anchor.items():
            numbers = anchor if isinstance(anchor, list | tuple) else [anchor]
            if not numbers or not all(type(each) in (int, float) and math.isfinite(each) for each in numbers):
                raise ConfigError(
                    f"[head] dense_anchor of {name} must be a number, or a list of one for each of the column's, "
                    f"not {anchor!r}"
                )
        for key, ridges in self.fixed_ridges.items():
            if ridges and self.method in ONLINE:
                raise ConfigError(f"[head] {key} has no meaning for method = {self.method!r}; leave it out")
            if wrong := [value for value in ridges.values() if not low <= value <= high]:
                raise ConfigError(f"[head] {key} must be from {low:g} to {high:g}, not {wrong[0]:g}")
        at_least("[head] wide_buckets", self.wide_buckets, 2)
        if self.wide_buckets > 2**28:
            raise ConfigError("[head] wide_buckets must be at most 268435456 (2^28)")

    @property
    def fixed_ridges(self) -> dict[str, dict[str, float]]:
        """The ridges of ``wide_l2`` and ``cross_l2`` by column; one for all of them by the empty name."""
        given = {"wide_l2": self.wide_l2, "cross_l2": self.cross_l2}
        return {
            key: value if isinstance(value, dict) else {} if value is None else {"": value}
            for key, value in given.items()
        }
