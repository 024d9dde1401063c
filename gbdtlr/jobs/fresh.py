"""Fresh: what the live release has not learned, coded on its own trees, for new trees to be judged beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.engine import LOCAL, Engine
from gbdtlr.head import Codes, Head
from gbdtlr.head.codes import as_other, happened_from, known_after
from gbdtlr.jobs import guards
from gbdtlr.jobs.coding import code_window, start_of
from gbdtlr.jobs.live import Live
from gbdtlr.jobs.methods import dense_of, wide_of
from gbdtlr.jobs.then import Served, Then
from gbdtlr.jobs.unfinal import learned_unfinal
from gbdtlr.jobs.user_scores import UserScores
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.samples import Samples
from gbdtlr.store import Store
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
    served : the fresh ones by the release that was live when they happened; none where it cannot be scored
    newest : those of the newest day, or the fresh ones where they are more
    since_us, start_us : ``newest`` became known after the first moment, and happened after the second
    users : gives rows their users' scores on the live trees, where these are worked out
    """

    model: Model
    seen: guards.Seen
    as_live: guards.Seen
    fresh: Parts[Codes]
    served: list[Served]
    newest: Parts[Codes]
    since_us: int
    start_us: int
    users: UserScores | None = None

    @classmethod
    def of(cls, config: Config, store: Store, base: Release, as_of: datetime, engine: Engine = LOCAL) -> Fresh:
        """What became known between the live head and ``as_of``, which is no earlier."""
        since = min(base.head_as_of, as_of - NEWEST)
        # What new trees will know of dense columns, the live ones may not.
        same = {*config.linear} <= {*base.slow.dense.names}
        live = Live.of(config, base, wide_of(config), dense_of(config, base.slow) if same else base.head.dense, since)
        observer = guards.Observer(live.coding, base.head_as_of, live.other, config.worked_out)
        start = start_of(config, as_of, since)
        then = Then(store, base, base.head_as_of, config.samples, start)
        users = UserScores.of(config, base.slow, as_of, start)
        window = code_window(
            config, live, as_of, since, observer=observer, others=then.others, engine=engine, users=users
        )
        fresh = window.known_after(base.head_as_of).derive(as_other)
        start_us = to_us(as_of - config.head.window)
        return cls(
            live.model,
            observer.seen,
            observer.as_live,
            fresh,
            then.served(fresh, window.on_others) if live.is_whole else [],
            window.parts.derive(happened_from, start_us).derive(as_other),
            to_us(since),
            start_us,
            users,
        )

    def checks(self, config: Config, base: Release, as_of: datetime) -> list[guards.Check]:
        """Checks of the fresh samples."""
        if not self.fresh.sum(len, zero=0):
            return []
        return [
            *guards.given(base, self.as_live, as_of, config.guard),
            *guards.contradiction(self.judged(base), config.guard),
            *guards.leaks(self.judged(base), config.guard),
        ]

    def judged(self, base: Release) -> list[tuple[Head, Parts[Codes]]]:
        """The fresh rows with a head that has learned none of them: the live one, or those live when they happened."""
        if not learned_unfinal(base):
            return [(self.model.head, self.fresh)]
        return [(each.head, each.rows) for each in self.served]

    def margin(self, samples: Samples, codes: Codes) -> NDArray[np.float64]:  # noqa: ARG002 - other trees' codes
        """What the live head says of samples."""
        return self.model.margin(samples.table)

    def same(self, parts: Parts[Codes]) -> Parts[Codes]:
        """The rows of ``newest`` among those of the head's window on other trees, in the same order."""
        return parts.derive(known_after, self.since_us).derive(happened_from, self.start_us)
