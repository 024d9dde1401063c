"""Methods that learn sample by sample: the table ``[head.online]``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gbdtlr.config.checks import at_least
from gbdtlr.errors import ConfigError

ONLINE = ("ftrl", "rda", "fobos")
"""Methods of the head that learn sample by sample."""


@dataclass(frozen=True)
class OnlineConfig:
    """How the methods that learn one sample at a time move the weights.

    The rate of a weight is ``alpha / (beta + sqrt(sum of its squared gradients))``. ``l1`` and ``l2`` are strengths in
    all for ``ftrl`` and per sample for ``rda`` and ``fobos``. An id counts from its ``min_occurrences``-th sample on.
    """

    alpha: float = 0.02
    beta: float = 1.0
    l1: float | None = None
    l2: float = 0.0
    min_occurrences: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ConfigError(f"[head.online] alpha must be above zero and finite, not {self.alpha:g}; try 0.02")
        if not 0 < self.beta < math.inf:
            raise ConfigError(f"[head.online] beta must be above zero and finite, not {self.beta:g}; try 1")
        for key, value in (("l1", self.l1), ("l2", self.l2)):
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"[head.online] {key} must be at least zero and finite, not {value:g}")
        at_least("[head.online] min_occurrences", self.min_occurrences, 1)
        if self.min_occurrences > 255:
            raise ConfigError(f"[head.online] min_occurrences must be at most 255, not {self.min_occurrences}")
