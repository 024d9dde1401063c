"""Users' own weights: the table ``[users]``."""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass
from typing import Any

from gbdtlr.config.checks import at_least
from gbdtlr.config.tables import build
from gbdtlr.errors import ConfigError

USERS = ("regression", "mean")
"""Methods that a user's weights learn by."""
USER_SCORE = "user_score"
"""Dense column of the scores that are worked out where none were logged."""


@dataclass(frozen=True)
class UsersConfig:
    """How a user's own weights learn; docs/users.md has the formulas.

    ``alpha`` is the longest step of a weight, or for ``mean`` the share that the newest click has; ``l2`` the pull of
    the regression's weights towards zero at each event. With ``replay``, past rows are given the score that their user
    had, by playing all events of the head's window again, of which there are at most ``max_events``.
    """

    method: str = "regression"
    alpha: float | None = None
    l2: float = 0.0
    replay: bool = False
    max_events: int = 10_000_000

    def __post_init__(self) -> None:
        if self.method not in USERS:
            raise ConfigError(f"[users] method is {self.method!r}; choose one of {', '.join(USERS)}")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise ConfigError(
                f"[users] alpha must be above zero and finite, not {self.alpha:g}; leave it out for the usual"
            )
        if self.method == "mean" and (self.l2 or (self.alpha or 0) > 1):
            raise ConfigError('[users] of method = "mean", alpha is a share of at most 1, and there is no l2')
        if not 0 <= self.l2 < math.inf:
            raise ConfigError(f"[users] l2 must be at least zero and finite, not {self.l2:g}")
        at_least("[users] max_events", self.max_events, 1)

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> UsersConfig:
        """Settings from a table of a TOML file."""
        return typing.cast(UsersConfig, build(cls, table, "users"))
