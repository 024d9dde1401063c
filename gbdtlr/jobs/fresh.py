"""Fresh: what the live release has not learned, coded on its own trees, for new trees to be judged beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.head import Codes, Head, Layout
from gbdtlr.head.codes import happened_from, known_after
from gbdtlr.jobs import guards
from gbdtlr.jobs.learning import code_window, wide_of
from gbdtlr.release import Release
from gbdtlr.times import to_us

NEWEST = timedelta(days=1)


@dataclass(frozen=True)
class Fresh:
    """Samples whose label became known since the live head was made, and those of the newest day.

    Attributes
    ----------
    seen : what the fresh samples held
    fresh : they, coded
    newest : those of the newest day, or the fresh ones where they are more
    since_us, start_us : ``newest`` became known after the first moment, and happened after the second
    comparable : whether the live head has the wide columns of the configuration, so that it can be scored
    """

    seen: guards.Seen
    fresh: Parts[Codes]
    newest: Parts[Codes]
    since_us: int
    start_us: int
    comparable: bool

    @classmethod
    def of(cls, config: Config, base: Release, as_of: datetime) -> Fresh:
        """What became known between the live head and ``as_of``, which is no earlier."""
        since = min(base.head_as_of, as_of - NEWEST)
        wide = wide_of(config)
        observer = guards.Observer(base.trees.schema, wide, base.head_as_of)
        window = code_window(config, base.trees, wide, as_of, since, observer)
        fresh = window.known_after(base.head_as_of)
        start_us = to_us(as_of - config.head.window)
        newest = window.parts.derive(happened_from, start_us)
        return cls(observer.seen, fresh, newest, to_us(since), start_us, base.head.wide == wide)

    def live_head(self, config: Config, base: Release) -> Head:
        """The live head, or its bare trees where it cannot be scored."""
        return base.head if self.comparable else Head.bare(Layout.of(base.trees, wide_of(config)))

    def objections(self, config: Config, base: Release, as_of: datetime) -> list[str]:
        """What is wrong with the fresh samples."""
        if not self.fresh.sum(len, zero=0):
            return []
        return [
            *guards.given(base, self.seen, as_of, config.guard),
            *guards.contradiction(self.live_head(config, base), self.fresh, config.guard),
        ]

    def same(self, parts: Parts[Codes]) -> Parts[Codes]:
        """The rows of ``newest`` among those of the head's window on other trees, in the same order."""
        return parts.derive(known_after, self.since_us).derive(happened_from, self.start_us)
