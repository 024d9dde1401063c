"""Methods: the ways a head learns, behind one protocol; which one, the configuration says.

================  =======================================  ==========================================
method            the whole window                         new samples, on the head before
================  =======================================  ==========================================
``refit``         anchored fits, blended                   no: always the whole window
``incremental``   the same, and the memory of the samples  fits to memory and news, blended
``ftrl, rda,      one pass from the leaf outputs, in       each sample once, in order of maturity
fobos``           order of maturity
================  =======================================  ==========================================

Rows whose label is not final yet, weighed (``jobs.unfinal``), are extra rows of what is published and of nothing else:
a method that goes on from its state learns them on a copy of it, and each in earnest when it is final.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config, HeadConfig
from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.head import (
    Candidates,
    Codes,
    DenseColumn,
    DenseColumns,
    Head,
    Layout,
    Memory,
    OnlineHead,
    Record,
    Rule,
    WideColumns,
    concatenate,
    fit_candidates,
)
from gbdtlr.head.dense import NO_DENSE
from gbdtlr.head.past.incremental import fit_on, remember
from gbdtlr.jobs.grid import prior_of, ridges_for, ridges_of, settings_of
from gbdtlr.jobs.then import Served
from gbdtlr.metrics import Quality
from gbdtlr.release import Fits, Release, Slow
from gbdtlr.trees import FrozenTrees

FIRST_STEPS = 2
"""Fits after the first of a store, each with the ridges that the one before has found; the updates go on from there."""

# Strengths of L1 that leave about the same loss; that of FTRL does not grow with the number of samples.
L1 = {"ftrl": 0.1, "rda": 1e-6, "fobos": 1e-6}


@dataclass(frozen=True)
class Fitted:
    """A head ready to be written.

    Attributes
    ----------
    files : what the next update starts from
    metrics : what the method says about itself
    unlearned : the head, had it learned nothing; None where that is the bare trees
    """

    head: Head
    files: dict[str, bytes]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    unlearned: Head | None = None


Continue = Callable[[Parts[Codes], datetime, Sequence[Served], Parts[Codes]], Fitted]
"""Learns samples the head before has not, up to a moment, of which is known what served them; and on top of all, for
what is published alone, weighed rows that are not final."""
NOTHING: Parts[Codes] = Parts()


class Method(Protocol):
    """How a head learns."""

    def full(
        self,
        window: Parts[Codes],
        trees: FrozenTrees,
        as_of: datetime,
        base: Release | None,
        served: Sequence[Served],
        unfinal: Parts[Codes] = NOTHING,
        past: Fits | None = None,
    ) -> Fitted:
        """Head learned from all samples of the window; without samples, exactly the trees.

        Parameters
        ----------
        window : the samples in pieces
        base : the live release, or None before the first
        served : samples whose labels ``base``'s head had not learned, and what was live when they happened
        unfinal : weighed rows that are not final, as extra rows of what is published
        past : what is known of the candidates, where ``base`` has nothing to go on from
        """

    def on(self, base: Release) -> Continue | None:
        """What learns new samples on top of the live head; None where only a full fit will do.

        It takes codes of the live head's own wide columns, and keeps their hash: a full fit moves on to the newest.

        Raises
        ------
        DamagedError
            What the head before left for this cannot be read.
        """


def method_of(config: Config, slow: Slow) -> Method:
    """The method the configuration names, for heads on these slow artifacts; raises as :func:`dense_of`."""
    wide, dense = wide_of(config), dense_of(config, slow)
    if config.head.method == "refit":
        return Refit(config.head, wide, dense)
    if config.head.method == "incremental":
        return Incremental(config.head, wide, dense)
    return Online(rule_of(config.head), wide, dense)


def wide_of(config: Config) -> WideColumns:
    """The wide columns the configuration asks for."""
    return WideColumns(config.samples.wide, config.head.wide_buckets)


def dense_of(config: Config, slow: Slow) -> DenseColumns:
    """The dense columns the configuration asks for, with the constants of these slow artifacts.

    Raises
    ------
    ConfigError
        They have none for one of them, or an anchor has another length than its column.
    """
    known = {column.name: column for column in slow.dense.columns}
    if strangers := [name for name in config.samples.linear if name not in known]:
        raise ConfigError(
            f"[samples] dense or user_score names {', '.join(strangers)}, for which the live trees "
            f"({slow.trees_name}) have no centre and scale; run first: gbdtlr train-trees"
        )
    return anchored([known[name] for name in config.samples.linear], config)


def anchored(columns: Sequence[DenseColumn], config: Config) -> DenseColumns:
    """These columns with the configuration's anchors, 1 for a user's score if none is said; ``ConfigError`` where one
    has another length than its column."""
    found, head = [], config.head
    for column in columns:
        own = 1.0 if column.name == config.samples.user_score else 0.0
        try:
            found.append(column.anchored(head.dense_anchor.get(column.name, own)))
        except SchemaError as error:
            raise ConfigError(f"[head] dense_anchor: {column.name} {error}") from None
    return DenseColumns(tuple(found), head.dense_l2) if found else NO_DENSE


def rule_of(head: HeadConfig) -> Rule:
    """The rule of an online method."""
    online = head.online
    l1 = L1[head.method] if online.l1 is None else online.l1
    return Rule(head.method, online.alpha, online.beta, l1, online.l2, online.min_occurrences)


@dataclass(frozen=True)
class Refit:
    """Every setting fitted on the whole window, at every update."""

    config: HeadConfig
    wide: WideColumns
    dense: DenseColumns = NO_DENSE

    def full(
        self,
        window: Parts[Codes],
        trees: FrozenTrees,
        as_of: datetime,
        base: Release | None,
        served: Sequence[Served],
        unfinal: Parts[Codes] = NOTHING,
        past: Fits | None = None,
    ) -> Fitted:
        fits = past or (base.fits if base is not None else None)
        layout, known = Layout.of(trees, self.wide, self.dense), None if fits is None else fits.final
        settings = settings_of(self.config)
        bare = Candidates.bare(settings, layout, ridges_for(layout, settings, prior_of(self.config), known))
        if not window.sum(len, zero=0):
            record = Record.blank(bare.names, as_of) if past is None else past.record
            return Fitted(Head.bare(layout), Fits(bare, record, None).to_files())
        same = base is not None and base.trees is trees and base.head.wide == self.wide
        start = base.fits.final if base is not None and base.fits is not None and same else None
        if past is None:
            record = self.learn_record(bare, fits, served, as_of)
        else:
            record = past.record.learn([], as_of, self.config.blend_half_life)
        return blended(self.fitted(window, unfinal, as_of, bare, start, known, record))

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
        if fits is None or fits.record.names != tuple(candidates.names):
            return Record.blank(candidates.names, as_of)
        told = [
            (each.rows, each.candidates)
            for each in served
            if each.candidates is not None and each.candidates.names == candidates.names
        ]
        return fits.record.learn(told, as_of, self.config.blend_half_life)

    def fitted(
        self,
        window: Parts[Codes],
        unfinal: Parts[Codes],
        as_of: datetime,
        bare: Candidates,
        start: Candidates | None,
        known: Candidates | None,
        record: Record,
    ) -> Fits:
        """Fits of all settings on the samples and the weighed rows; the next update reads all of them again."""
        rows = Parts([*window, *unfinal]) if len(unfinal) else window
        return Fits(self.fit(rows, as_of, bare, start, known), record, None)

    def fit(
        self,
        rows: Parts[Codes],
        as_of: datetime,
        bare: Candidates,
        start: Candidates | None,
        known: Candidates | None,
    ) -> Candidates:
        """Candidates on these rows.

        Parameters
        ----------
        bare : they, before they have learned anything
        start : on the same trees, where the search begins
        known : whose ridges ``bare`` goes on with; where these have found none, some steps are made at once
        """
        settings, layout, prior = bare.settings, bare.layout, prior_of(self.config)
        candidates = fit_candidates(rows, layout, settings, as_of, start, bare.ridges, prior)
        if prior.finds(layout) and (known is None or known.found is None):
            for _ in range(FIRST_STEPS):
                candidates = fit_candidates(rows, layout, settings, as_of, candidates, candidates.found, prior)
        return candidates


class Incremental(Refit):
    """As a refit, but between full fits new samples only, beside the memory of the old."""

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

    def fitted(
        self,
        window: Parts[Codes],
        unfinal: Parts[Codes],
        as_of: datetime,
        bare: Candidates,
        start: Candidates | None,
        known: Candidates | None,
        record: Record,
    ) -> Fits:
        """Fits on the samples, their memory, and on a copy what the weighed rows say."""
        final = self.fit(window, as_of, bare, start, known)
        return _on_top(final, remember(window, final, as_of), unfinal, as_of, record)


def _on_top(final: Candidates, memory: Memory, unfinal: Parts[Codes], as_of: datetime, record: Record) -> Fits:
    """Fits that have learned the weighed rows, beside those and the memory that have not."""
    if not len(unfinal):
        return Fits(final, record, memory)
    published, _ = fit_on(replace(final, found=final.ridges), memory, timedelta(), unfinal, as_of)
    return Fits(published, record, memory, final)


@dataclass(frozen=True)
class Online:
    """One sample at a time, in the order in which labels became known."""

    rule: Rule
    wide: WideColumns
    dense: DenseColumns = NO_DENSE

    def full(
        self,
        window: Parts[Codes],
        trees: FrozenTrees,
        as_of: datetime,  # noqa: ARG002 - the protocol's, as the others below
        base: Release | None,  # noqa: ARG002
        served: Sequence[Served],  # noqa: ARG002
        unfinal: Parts[Codes] = NOTHING,
        past: Fits | None = None,  # noqa: ARG002
    ) -> Fitted:
        return _learned(OnlineHead(self.rule, Layout.of(trees, self.wide, self.dense)), window, unfinal)

    def on(self, base: Release) -> Continue | None:
        head = base.online()
        if head is None or head.rule != self.rule or not head.wide.same_ids(self.wide) or head.dense != self.dense:
            return None

        def learn(
            news: Parts[Codes],
            as_of: datetime,  # noqa: ARG001 - as of the others, as the next
            served: Sequence[Served],  # noqa: ARG001
            unfinal: Parts[Codes] = NOTHING,
        ) -> Fitted:
            return _learned(head, news, unfinal)

        return learn


def blended(fits: Fits) -> Fitted:
    """The one head whose margin is the average of all candidates', weighted as the record says."""
    weights = fits.record.weights
    head = fits.candidates.blended(weights)
    blend = dict(zip(fits.candidates.labels, weights.round(4).tolist(), strict=True))
    metrics = {"passes": fits.candidates.passes, "blend": blend}
    if found := ridges_of(fits.candidates):
        metrics["ridges"] = found
    return Fitted(head, fits.to_files(), metrics, fits.candidates.unlearned(weights))


def _learned(head: OnlineHead, samples: Parts[Codes], unfinal: Parts[Codes]) -> Fitted:
    quality = Quality()
    if len(samples):
        codes = _in_order(samples)
        quality = Quality.of(head.learn_many(codes), codes.label, codes.weight)
    state, published = head.to_bytes(), head
    if len(unfinal):
        published = OnlineHead.from_bytes(state, head.layout)
        published.learn_many(_in_order(unfinal))
    return Fitted(published.head(), {"online.npz": state}, {"one_by_one": quality.as_dict(), **sparsity(head)})


def _in_order(samples: Parts[Codes]) -> Codes:
    """All of them in one place, in the order in which their labels become known: they are learned one at a time."""
    codes = concatenate(list(samples))
    return codes.take(np.argsort(codes.known_us, kind="stable"))


def sparsity(head: OnlineHead) -> dict[str, int]:
    """How many samples the head has learned, and how many weights are not at their anchor."""
    leaves, _, wide, _ = head.distances()
    found = {"learned": head.n_learned, "moved_leaves": int(np.count_nonzero(leaves)), "wide_weights": len(wide)}
    if head.dense.n:
        found["moved_dense"] = int(np.count_nonzero(head.dense_distances()))
    return found
