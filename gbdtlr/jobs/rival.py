"""The live release beside new trees, and what it has not learned."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gbdtlr.config import Config
from gbdtlr.errors import GbdtlrError, StoreUnavailable
from gbdtlr.jobs import guards
from gbdtlr.jobs.fresh import Fresh
from gbdtlr.jobs.run import Run
from gbdtlr.jobs.user_scores import UserScores
from gbdtlr.release import Embedded, Release
from gbdtlr.store import Entry


@dataclass(frozen=True)
class Rival:
    """The live release, beside which new trees are judged, and what it has not learned.

    Attributes
    ----------
    entry : the live one; None before the first
    release : it, loaded; None if it is beyond use, which new trees are the cure for
    fresh : what it has not learned; None where the samples cannot be given to its trees
    as_of : the moment a new head is to know labels up to
    embeddings : its own, which new trees carry along
    """

    entry: Entry | None
    release: Release | None
    fresh: Fresh | None
    as_of: datetime
    embeddings: Embedded | None = None

    @classmethod
    def look(cls, run: Run, live: Entry | None) -> Rival:
        release = _load(run, live)
        if release is None:
            return cls(live, None, None, run.as_of, _embeddings(run, live))
        as_of = max(run.as_of, release.head_as_of)
        gone = sorted(set(release.trees.schema.names) - set(run.config.samples.features))
        if gone:
            run.say.say("release.incomparable", release=release.entry.number, columns=", ".join(gone))
            return cls(live, release, None, as_of, release.embeddings)
        fresh = Fresh.of(run.config, run.store, release, as_of, run.engine)
        return cls(live, release, fresh, as_of, release.embeddings)

    def is_as_new(self, run: Run) -> str:
        """Why trees of the run's moment are not worth having any more; empty if they are, as all are that are tried."""
        if self.release is None or run.candidate or self.release.trees_as_of < run.as_of:
            return ""
        return f"release {self.release.entry.number} has trees as new as these"

    def users(self, config: Config) -> UserScores | None:
        """What works out users' scores, where these are: those that it knows."""
        if not config.users.replay:
            return None
        known = None if self.fresh is None else self.fresh.users
        return UserScores(config.samples, config.samples.features) if known is None else known

    def checks(self, run: Run) -> list[guards.Check]:
        """Checks of the samples it has not learned."""
        if self.release is None or self.fresh is None:
            return []
        return self.fresh.checks(run.config, self.release, self.as_of)


def _load(run: Run, live: Entry | None) -> Release | None:
    if live is None:
        return None
    try:
        release = Release.load(run.store, live)
        release.check_learned()
        return release
    except StoreUnavailable:
        raise  # it may be whole
    except GbdtlrError as error:
        run.say.say("release.unusable", release=live.number, error=str(error))
        return None


def _embeddings(run: Run, live: Entry | None) -> Embedded | None:
    """Those of a live release that is beyond use, unless they are so themselves."""
    if live is None or live.embeddings is None:
        return None
    try:
        return Embedded.load(run.store, live.embeddings)
    except StoreUnavailable:
        raise
    except GbdtlrError as error:
        run.say.say("embeddings.unusable", embeddings=live.embeddings, error=str(error))
        return None
