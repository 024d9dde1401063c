"""Fresh: what the live release has not learned, coded on its own trees, for new trees to be judged beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.head import Codes
from gbdtlr.head.codes import as_other, happened_from, known_after
from gbdtlr.jobs import guards
from gbdtlr.jobs.coding import code_window
from gbdtlr.jobs.live import Live
from gbdtlr.jobs.methods import wide_of
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.times import to_us

NEWEST = timedelta(days=1)


@dataclass(frozen=True)
class Fresh:
    """Samples whose label became known since the live head was made, and those of the newest day.

    Attributes
    ----------
    model : the live one, as far as it can be scored; see :class:`Live`
    seen, as_live : what the fresh samples held; see :class:`guards.Observer`
    fresh : they, as the live head reads them
    newest : those of the newest day, or the fresh ones where they are more
    since_us, start_us : ``newest`` became known after the first moment, and happened after the second
    comparable : whether the live head can be scored, not only its trees
    """

    model: Model
    seen: guards.Seen
    as_live: guards.Seen
    fresh: Parts[Codes]
    newest: Parts[Codes]
    since_us: int
    start_us: int
    comparable: bool

    @classmethod
    def of(cls, config: Config, base: Release, as_of: datetime) -> Fresh:
        """What became known between the live head and ``as_of``, which is no earlier."""
        since = min(base.head_as_of, as_of - NEWEST)
        live = Live.of(config, base, wide_of(config), since)
        observer = guards.Observer(live.coding, base.head_as_of, live.other)
        window = code_window(config, live, as_of, since, observer)
        start_us = to_us(as_of - config.head.window)
        return cls(
            live.model,
            observer.seen,
            observer.as_live,
            window.known_after(base.head_as_of).derive(as_other),
            window.parts.derive(happened_from, start_us).derive(as_other),
            to_us(since),
            start_us,
            live.is_whole,
        )

    def objections(self, config: Config, base: Release, as_of: datetime) -> list[str]:
        """What is wrong with the fresh samples."""
        if not self.fresh.sum(len, zero=0):
            return []
        return [
            *guards.given(base, self.as_live, as_of, config.guard),
            *guards.contradiction(self.model.head, self.fresh, config.guard),
        ]

    def same(self, parts: Parts[Codes]) -> Parts[Codes]:
        """The rows of ``newest`` among those of the head's window on other trees, in the same order."""
        return parts.derive(known_after, self.since_us).derive(happened_from, self.start_us)
