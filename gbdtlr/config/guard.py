"""When a job keeps the old release: the table ``[guard]``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gbdtlr.config.checks import at_least
from gbdtlr.errors import ConfigError


@dataclass(frozen=True)
class GuardConfig:
    """When a job keeps the old release.

    ``volume`` is how many labels may become known, as multiples of the same hours of recent days; ``label_rate`` how
    far the odds of a positive may be below the lowest and above the highest of these. The share of a column's rows that
    are missing, or hold categories unseen, may rise by ``missing``; a column may be all of one value where that had a
    share of ``constant`` before. The mean of a dense column may move by ``drift`` of its standard deviations; on
    rows that a head has not learned, it must be worth the share ``leak`` of what the head gives it. ``auc``
    is the lowest the live head may have on labels it had not learned, and ``worse`` the share by which a new head's log
    loss may exceed its. Of the last day's rows, ``vectors`` is the least share whose item must have a vector in new
    embeddings, and ``cosine`` the least mean of that between an item's new vector, rotated, and its live one. ``ages``
    is how far labels that become known sooner for one class may bend the odds of a positive. ``early`` refuses
    nothing: where the outcomes of the youngest rows are that far from what was expected, beside those of older ones,
    unfinal rows wait. Where outcomes are joined, ``keyless`` is the share of impressions, or outcomes, that may have no
    key, ``repeated`` the share of them that may be repeats of others, ``unmatched`` the share of outcomes that may have
    no impression, ``late`` the share that may come after the window, or after the deadlines of one log.
    """

    min_samples: int = 100
    volume: tuple[float, ...] = (0.1, 10.0)
    label_rate: tuple[float, ...] = (0.25, 4.0)
    missing: float = 0.75
    constant: float = 0.5
    drift: float = 5.0
    leak: float = 0.25
    auc: float = 0.4
    worse: float = 0.05
    vectors: float = 0.3
    cosine: float = 0.3
    calibration: tuple[float, ...] = (0.5, 2.0)
    ages: tuple[float, ...] = (0.8, 1.25)
    early: tuple[float, ...] = (0.5, 2.0)
    keyless: float = 0.1
    repeated: float = 0.75
    unmatched: float = 0.5
    late: float = 0.5

    def __post_init__(self) -> None:
        at_least("[guard] min_samples", self.min_samples, 1)
        for key in ("volume", "label_rate", "calibration", "ages", "early"):
            bounds = getattr(self, key)
            if len(bounds) != 2 or not 0 <= bounds[0] < 1 < bounds[1]:
                raise ConfigError(f"[guard] {key} must be two numbers around 1, such as [0.5, 2.0]")
        shares = ("missing", "constant", "leak", "vectors", "cosine", "keyless", "repeated", "unmatched", "late")
        others = (("drift", math.inf), ("auc", 0.5), ("worse", math.inf))
        for key, most in (*((share, 1.0) for share in shares), *others):
            if not 0 <= getattr(self, key) <= most:
                raise ConfigError(f"[guard] {key} must be at least 0 and at most {most:g}")
