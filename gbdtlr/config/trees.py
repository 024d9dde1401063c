"""The slow speed: the table ``[trees]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from gbdtlr.config.checks import at_least, check_lengths
from gbdtlr.errors import ConfigError

LEARN_ON = ("auto", "here", "workers")


@dataclass(frozen=True)
class TreesConfig:
    """The slow speed. ``params`` are LightGBM's own and go to it as they are.

    ``early_stopping_rounds`` holds out the newest ``validation`` of the window. A category seen less than
    ``min_category_count`` times shares the bucket of the unseen. Of a window with more than ``max_rows`` rows, so many
    are chosen, which stand for all. ``learn_on`` is where trees grow: ``here``, in the job itself; on the engine's
    ``workers`` together; or ``auto``, on these where the rows do not fit here.
    """

    window: timedelta = timedelta(days=28)
    params: dict[str, Any] = field(default_factory=dict)
    early_stopping_rounds: int | None = None
    validation: timedelta = timedelta(days=1)
    min_category_count: int = 10
    max_rows: int | None = None
    learn_on: str = "auto"

    def __post_init__(self) -> None:
        check_lengths("trees", self)
        if self.early_stopping_rounds is not None:
            at_least("[trees] early_stopping_rounds", self.early_stopping_rounds, 1)
        at_least("[trees] min_category_count", self.min_category_count, 1)
        if self.max_rows is not None:
            at_least("[trees] max_rows", self.max_rows, 1000)
        if self.learn_on not in LEARN_ON:
            raise ConfigError(f"[trees] learn_on is {self.learn_on!r}; choose one of {', '.join(LEARN_ON)}")
        if self.validation >= self.window:
            raise ConfigError("[trees] validation must be shorter than window: it is its newest part")
