"""The draft of a release: a fitted head on its slow artifacts, judged, then written, then published, or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import pyarrow as pa

from gbdtlr.codec.documents import table
from gbdtlr.compute.parts import Parts
from gbdtlr.head import Codes, Head
from gbdtlr.jobs import guards
from gbdtlr.jobs.coding import CodedWindow
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.methods import Fitted
from gbdtlr.jobs.publishing import Published, publish_head, try_publish_trees
from gbdtlr.jobs.run import Run
from gbdtlr.jobs.unfinal import DELAYS
from gbdtlr.jobs.versions import versions
from gbdtlr.metrics import Quality
from gbdtlr.model import Golden, Model
from gbdtlr.release import Release, Slow
from gbdtlr.release.slow import GOLDEN, HEAD
from gbdtlr.samples import Delays
from gbdtlr.store import Entry, Version
from gbdtlr.streams import PLACES, Places


@dataclass
class Draft:
    """A release in the making. Nothing refers to it before it is published.

    Attributes
    ----------
    run : of the job that makes it
    gate : what objections to it are put to; knows what was overruled so far
    slow : the slow artifacts of the release
    fitted : its head, with what the next update starts from
    window : the samples the head has just learned
    ledger : which samples it has learned in all
    seen : what these held, for the guards of later releases
    as_of : the moment up to which the head knows labels
    live : entry it is built on, None for the first
    metrics : what was measured so far
    since : the newest entry of the log when it was begun, if that is newer than ``live``
    delays : how soon outcomes came in all it has learned; None where rows do not say
    places : up to where it, or the head it goes on from, has learned topics; None where neither has
    """

    run: Run
    gate: guards.Gate
    slow: Slow
    fitted: Fitted
    window: CodedWindow
    ledger: Ledger
    seen: guards.Seen
    as_of: datetime
    live: Entry | None
    metrics: dict[str, Any] = field(default_factory=dict)
    since: int = 0
    delays: Delays | None = None
    places: Places | None = None

    @cached_property
    def model(self) -> Model:
        """What would score."""
        return Model(self.slow.trees, self.fitted.head)

    def judge(self) -> None:
        """Note its quality on what it has just learned, among its metrics and in its ledger.

        Raises
        ------
        Refused
            Its weights are not finite: not even force helps, as no reader would load them.
        """
        self.gate.judge(guards.not_finite(self.fitted.head), final=True)
        quality = self.model.judge(self.window.parts)
        self.ledger = self.ledger.judged(quality, self.run.config.guard)
        self.metrics["fit"] = quality.as_dict()
        self.metrics.update(self.fitted.metrics)

    def worse(
        self, rival: Head, parts: Parts[Codes], told: str, of_rival: Parts[Codes] | None = None
    ) -> list[guards.Check]:
        """Check of its head beside another on the same rows; see :func:`guards.contest` and :func:`guards.worse`.

        Parameters
        ----------
        of_rival : the rows as the rival reads them, cut alike, where it does so in another way
        """
        return self.worse_than([(rival, parts if of_rival is None else of_rival, parts)], told)

    def worse_than(self, judged: Sequence[guards.Judged], told: str) -> list[guards.Check]:
        """As :meth:`worse`, of several heads, each on rows of its own."""
        guard = self.run.config.guard
        return list(guards.worse(guards.contests(self.fitted.head, judged, guard), told, guard))

    def calibration(self, newest: datetime | None = None) -> list[guards.Check]:
        """Check of its calibration on what it and those before it had just learned; see :func:`guards.calibration`.

        Parameters
        ----------
        newest : labels that became known since count as the newest; None where there are none to tell apart
        """

        def of_newest() -> Quality:
            return self.model.judge(self.window.known_after(newest or self.as_of))

        guard = self.run.config.guard
        return list(guards.calibration(self.ledger.recent, guard, None if newest is None else of_newest))

    def write(self) -> Written:
        """Write the head's version, under the slow artifacts'; nothing refers to it yet.

        Raises
        ------
        DamagedError, MismatchError
            Read back from these bytes, it would not give what it gives here: no reader would take it.
        """
        newest = self.window.newest if self.window.newest is not None else pa.table({})
        files = {
            HEAD: self.fitted.head.to_bytes(),
            GOLDEN: Golden.of(newest, self.model).to_bytes(),
            **self.fitted.files,
            **self.ledger.to_files(),
        }
        manifest = {
            **self.slow.ties(),
            "config": self.run.config.as_dict(),
            "samples": len(self.window),
            "ledger": self.ledger.to_dict(),
            "seen": self.seen.to_dict(),
            "metrics": self.metrics,
            "base": None if self.live is None else self.live.number,
            "versions": versions(),
            **({} if self.delays is None else {DELAYS: table(self.delays)}),
            **({} if self.places is None else {PLACES: self.places.to_dict()}),
        }
        version = self.run.store.write_version("heads", files, manifest, self.as_of, under=self.slow.trees_name)
        self.slow.model(version)
        return Written(self, version)


@dataclass(frozen=True)
class Written:
    """A draft whose head is in the store, so that it can be published.

    Attributes
    ----------
    draft : it
    head : the head's version
    """

    draft: Draft
    head: Version

    def publish(self, exactly: bool = False) -> Published:
        """Make the head live on the trees that are, or the candidate, unless something since says otherwise.

        See :func:`publish_head`.
        """
        draft = self.draft
        if draft.live is None:
            raise ValueError("a head alone is published on live trees, of which there are none")
        since = max(draft.since, draft.live.number)
        values, candidate = self._values(), draft.run.candidate
        return publish_head(draft.run.store, draft.live, self.head, values, since, candidate, exactly)

    def publish_with_trees(self) -> Entry | None:
        """Make trees and head live, or the candidate, if the release they were judged beside still is; None if not."""
        draft = self.draft
        trees, embeddings = draft.slow.names
        values = {
            **self._values(),
            "as_of": draft.as_of,
            "trees": trees,
            "embeddings": embeddings,
            "head": self.head.name,
        }
        return try_publish_trees(draft.run.store, draft.live, values, draft.run.candidate)

    def released(self, entry: Entry) -> Release:
        """The release that it has become."""
        return Release.of(entry, self.draft.slow, self.head, self.draft.model)

    def _values(self) -> dict[str, Any]:
        draft = self.draft
        overruled = draft.gate.reason
        metrics = {**draft.metrics, "guards": guards.told(draft.gate.checks)}
        values = {"why": draft.run.job, "forced": bool(overruled), "metrics": metrics}
        return {**values, **draft.run.by.values(overruled)}
