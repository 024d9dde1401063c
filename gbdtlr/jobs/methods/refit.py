"""Methods that fit every setting: on the whole window, or on new samples beside the memory of the old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from gbdtlr.compute.parts import Parts
from gbdtlr.config import HeadConfig
from gbdtlr.head import Candidates, Codes, DenseColumns, Head, Layout, Memory, Record, WideColumns, fit_candidates
from gbdtlr.head.dense import NO_DENSE
from gbdtlr.head.levels import levelled
from gbdtlr.head.past.incremental import fit_on, remember
from gbdtlr.jobs.grid import prior_of, ridges_for, ridges_of, settings_of
from gbdtlr.jobs.methods.method import NOTHING, Continue, Fitted, Lesson
from gbdtlr.jobs.then import Served
from gbdtlr.release import Fits, Release

FIRST_STEPS = 2
"""Fits after the first of a store, each with the ridges that the one before has found; the updates go on from there."""


@dataclass(frozen=True)
class Start:
    """Where the search for candidates begins.

    Attributes
    ----------
    bare : they, before they have learned anything
    there : on the same trees, where the search begins; None where it begins at ``bare``
    known : whose ridges ``bare`` goes on with; where these have found none, some steps are made at once
    """

    bare: Candidates
    there: Candidates | None
    known: Candidates | None


@dataclass(frozen=True)
class Refit:
    """Every setting fitted on the whole window, at every update."""

    config: HeadConfig
    wide: WideColumns
    dense: DenseColumns = NO_DENSE

    has_levels: ClassVar[bool] = True

    def full(self, lesson: Lesson) -> Fitted:
        base, past, as_of = lesson.base, lesson.past, lesson.as_of
        fits = past or (base.fits if base is not None else None)
        layout, known = Layout.of(lesson.trees, self.wide, self.dense), None if fits is None else fits.final
        settings = settings_of(self.config)
        bare = Candidates.bare(settings, layout, ridges_for(layout, settings, prior_of(self.config), known))
        if not lesson.rows.sum(len, zero=0):
            record = Record.blank(bare.names, as_of) if past is None else past.record
            return Fitted(Head.bare(layout), Fits(bare, record, None).to_files())
        same = base is not None and base.trees is lesson.trees and base.head.wide == self.wide
        there = base.fits.final if base is not None and base.fits is not None and same else None
        if past is None:
            record = self.learn_record(bare, fits, lesson.served, as_of)
        else:
            record = past.record.learn([], as_of, self.config.blend_half_life)
        fits = self.fitted(lesson, Start(bare, there, known), record)
        if self.has_levels and base is not None:  # nothing has been judged that was served yet
            published = levelled(fits.candidates, lesson.all, record.weights, as_of)
            fits = replace(fits, candidates=published)
        return blended(fits)

    def on(self, base: Release) -> Continue | None:  # noqa: ARG002 - the protocol's
        return None

    def learn_record(
        self,
        candidates: Candidates,
        fits: Fits | None,
        served: Sequence[Served],
        as_of: datetime,
    ) -> Record:
        """The blend's record after what the candidates of the releases then live said of the rows they served.

        A record of other candidates (the configuration changed) says nothing about these, and is begun anew; rows that
        other candidates served say nothing about these either.
        """
        record = None if fits is None else fits.record.known_of(candidates.names)
        if record is None:
            return Record.blank(candidates.names, as_of)
        told = [
            (each.rows, each.candidates)
            for each in served
            if each.candidates is not None and each.candidates.names == candidates.names
        ]
        return record.learn(told, as_of, self.config.blend_half_life)

    def fitted(self, lesson: Lesson, start: Start, record: Record) -> Fits:
        """Fits of all settings on the samples and the weighed rows; the next update reads all of them again."""
        return Fits(self.fit(lesson.all, lesson.as_of, start), record, None)

    def fit(self, rows: Parts[Codes], as_of: datetime, start: Start) -> Candidates:
        """Candidates on these rows."""
        settings, layout, prior = start.bare.settings, start.bare.layout, prior_of(self.config)
        candidates = fit_candidates(rows, layout, settings, as_of, start.there, start.bare.ridges, prior)
        if prior.finds(layout) and (start.known is None or start.known.found is None):
            for _ in range(FIRST_STEPS):
                candidates = fit_candidates(rows, layout, settings, as_of, candidates, candidates.found, prior)
        return candidates


class Incremental(Refit):
    """As a refit, but between full fits new samples only, beside the memory of the old.

    It has no levels: the news alone do not tell them.
    """

    has_levels: ClassVar[bool] = False

    def on(self, base: Release) -> Continue | None:
        fits, settings, prior = base.fits, settings_of(self.config), prior_of(self.config)
        if fits is None or fits.memory is None or list(fits.candidates.settings) != settings:
            return None
        if not base.head.wide.same_ids(self.wide) or base.head.dense != self.dense:
            return None
        known, memory = fits.final, fits.memory
        if known.found is not None:
            # What the configuration fixes by now is not what was found.
            known = replace(known, found=ridges_for(known.layout, settings, prior, known))
        elif prior.fixed:
            return None

        def learn(
            news: Parts[Codes], as_of: datetime, served: Sequence[Served], unfinal: Parts[Codes] = NOTHING
        ) -> Fitted:
            record = self.learn_record(known, fits, served, as_of)
            final, kept = fit_on(known, memory, as_of - base.head_as_of, news, as_of, prior)
            return blended(_on_top(final, kept, unfinal, as_of, record))

        return learn

    def fitted(self, lesson: Lesson, start: Start, record: Record) -> Fits:
        """Fits on the samples, their memory, and on a copy what the weighed rows say."""
        final = self.fit(lesson.rows, lesson.as_of, start)
        return _on_top(final, remember(lesson.rows, final, lesson.as_of), lesson.unfinal, lesson.as_of, record)


def _on_top(final: Candidates, memory: Memory, unfinal: Parts[Codes], as_of: datetime, record: Record) -> Fits:
    """Fits that have learned the weighed rows, beside those and the memory that have not."""
    if not len(unfinal):
        return Fits(final, record, memory)
    published, _ = fit_on(replace(final, found=final.ridges), memory, timedelta(), unfinal, as_of)
    return Fits(published, record, memory, final)


def blended(fits: Fits) -> Fitted:
    """The one head whose margin is the average of all candidates', weighted as the record says, on their level."""
    weights, candidates = fits.record.weights, fits.candidates
    blend = dict(zip(candidates.labels, weights.round(4).tolist(), strict=False))
    metrics: dict[str, Any] = {"passes": candidates.passes, "blend": blend}
    if candidates.levels:
        metrics["level"] = round(candidates.level(weights), 4)
        metrics["levels"] = candidates.levels_and_shares(weights)
    if found := ridges_of(candidates):
        metrics["ridges"] = found
    return Fitted(candidates.blended(weights), fits.to_files(), metrics, candidates.unlearned(weights))
