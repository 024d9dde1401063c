"""Fresh: what the live release has not learned, coded on its own trees, for new trees to be judged beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.head import Codes
from gbdtlr.head.codes import happened_from, known_after
from gbdtlr.jobs import guards
from gbdtlr.jobs.coding import code_window
from gbdtlr.jobs.methods import wide_of
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.times import to_us

NEWEST = timedelta(days=1)


def live_model(config: Config, base: Release) -> Model:
    """The live model, or its bare trees where its head has other wide columns than are configured now."""
    wide = wide_of(config)
    return base.model if base.head.wide == wide else base.model.bare(wide)


@dataclass(frozen=True)
class Fresh:
    """Samples whose label became known since the live head was made, and those of the newest day.

    Attributes
    ----------
    model : the live one, as far as it can be scored; see :func:`live_model`
    seen : what the fresh samples held
    fresh : they, coded
    newest : those of the newest day, or the fresh ones where they are more
    since_us, start_us : ``newest`` became known after the first moment, and happened after the second
    comparable : whether the live head can be scored, not only its trees
    """

    model: Model
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
        model = live_model(config, base)
        observer = guards.Observer(model, base.head_as_of)
        window = code_window(config, model, as_of, since, observer)
        start_us = to_us(as_of - config.head.window)
        return cls(
            model,
            observer.seen,
            window.known_after(base.head_as_of),
            window.parts.derive(happened_from, start_us),
            to_us(since),
            start_us,
            model is base.model,
        )

    def objections(self, config: Config, base: Release, as_of: datetime) -> list[str]:
        """What is wrong with the fresh samples."""
        if not self.fresh.sum(len, zero=0):
            return []
        return [
            *guards.given(base, self.seen, as_of, config.guard),
            *guards.contradiction(self.model.head, self.fresh, config.guard),
        ]

    def same(self, parts: Parts[Codes]) -> Parts[Codes]:
        """The rows of ``newest`` among those of the head's window on other trees, in the same order."""
        return parts.derive(known_after, self.since_us).derive(happened_from, self.start_us)
