"""The fast job: refit the head on fresh samples, on the trees that are live."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, NoReleaseError, Refused
from gbdtlr.head import Codes
from gbdtlr.head.codes import as_other, happened_between
from gbdtlr.jobs import guards, hindsight, then
from gbdtlr.jobs.by import NOBODY, By
from gbdtlr.jobs.coding import CodedWindow, code_window, start_of
from gbdtlr.jobs.counting import Counting
from gbdtlr.jobs.draft import Draft
from gbdtlr.jobs.fresh import NEWEST
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.live import Live
from gbdtlr.jobs.methods import Continue, Fitted, dense_of, method_of, wide_of
from gbdtlr.jobs.result import JobResult, OnEvent
from gbdtlr.jobs.run import Run, running
from gbdtlr.jobs.then import Served, Then
from gbdtlr.jobs.unfinal import DelayCounter, Unfinal, learned_unfinal
from gbdtlr.release import Release
from gbdtlr.samples import Delays, Samples, at_snapshots
from gbdtlr.times import format_time


def update_lr(
    config: Config,
    as_of: datetime,
    *,
    force: bool = False,
    on_event: OnEvent | None = None,
    by: By = NOBODY,
    candidate: bool = False,
) -> JobResult:
    """Publish a head that knows every label known by ``as_of``, on the live trees; or leave the live release.

    Parameters
    ----------
    as_of : the moment the job pretends is now
    force : publish although a guard refuses, and say so in the release
    on_event : see :data:`OnEvent`
    by : who asks, and why
    candidate : go on from the candidate, or from the live release where none stands, and publish the head to be tried

    Returns
    -------
    result : ``published``, ``unchanged`` (no new label), ``superseded`` or ``refused``, by a guard or a hold

    Raises
    ------
    NoReleaseError
        There are no trees yet.
    ConfigError
        The config no longer lists a column that the live trees read.
    GbdtlrError
        Samples or store cannot be used; nothing was published.

    Source
    ------
    He et al. 2014, section 3.
    """
    config = at_snapshots(config)
    with running("update-lr", config, as_of, force=force, on_event=on_event, by=by, candidate=candidate) as run:
        since = _newest(run)
        base = _base(run)
        if as_of <= base.head_as_of:
            knows = format_time(base.head_as_of)
            return run.ended("unchanged", base.entry, f"the live head knows the labels up to {knows} already")
        try:
            run.check_not_held(base.entry)
        except Refused as refusal:
            return run.refused(base.entry, str(refusal))
        run.store.ensure_put_if_absent()
        news = _News.read(run, base)
        if not news.n_fresh:
            return run.ended("unchanged", base.entry, news.why_nothing(run, base), len(news.window))
        ledger = news.ledger(run)
        metrics = news.metrics(ledger)
        gate = run.gate()
        try:
            gate.judge(
                [
                    *guards.joined(news.window.tally.joined, config.guard),
                    *guards.too_few(ledger.learned_since_full, config.guard),
                    *guards.given(base, news.as_live, as_of, config.guard),
                    *guards.ages(news.window.tally, config),
                    *guards.contradiction([(head, known) for head, known, _ in news.judged(base)], config.guard),
                ]
            )
            unfinal = news.unfinal(run)
            metrics.update(unfinal.metrics(news.window.parts))
            fitted = news.fit(run, base, unfinal, metrics)
            seen = guards.seen_by(base, news.seen, config.guard)
            entry = base.entry
            draft = Draft(
                run, gate, base.slow, fitted, news.window, ledger, seen, as_of, entry, metrics, since, news.delays
            )
            draft.judge()
            gate.judge(_checks(draft, base, news))
            with run.say.timed("head.write") as told:
                written = draft.write()
                told.update(head=written.head.name)
            with run.say.timed("release.publish") as told:
                published = written.publish()
                told.update(release=published.entry.number)
        except Refused as refusal:
            return run.refused(base.entry, str(refusal), len(news.window), metrics)
        status = "superseded" if published.superseded else "published"
        return run.ended(status, published.entry, published.reason or gate.reason, len(news.window), metrics)


def settings_changed(config: Config, base: Release) -> bool:
    """Whether heads are now made with other settings than the live one was."""
    made, now = base.head_manifest.get("config"), config.as_dict()
    made = made if isinstance(made, dict) else {}
    samples = made.get("samples")
    samples = samples if isinstance(samples, dict) else {}
    columns = any(samples.get(key) != now["samples"].get(key) for key in ("wide", "dense", "user_score"))
    head = made.get("head")
    if isinstance(head, dict):
        head = {**head, "hindsight": now["head"]["hindsight"]}  # makes no other head, once something is on record
    return bool(head != now["head"] or columns)


def _newest(run: Run) -> int:
    """Number of the newest entry, which may be newer than what a candidate is built on; 0 where none can be."""
    standing = run.store.standing() if run.candidate else None
    return 0 if standing is None else standing.newest.number


def _base(run: Run) -> Release:
    """The release to go on from, whose trees can be given the configuration's samples."""
    with run.say.timed("release.load") as told:
        base = Release.candidate(run.store) if run.candidate else None
        base = Release.live(run.store) if base is None else base
        if base is None:
            raise NoReleaseError(f"nothing is published in {run.store.url} yet; run first: gbdtlr train-trees")
        live = base.entry
        told.update(release=live.number, trees=live.trees, head=live.head)
    if gone := [name for name in base.trees.schema.names if name not in run.config.samples.features]:
        raise ConfigError(
            f"the live trees (release {live.number}) read {', '.join(gone)}, which [samples] no longer lists under "
            "numeric or categorical; put it back, or run first: gbdtlr train-trees"
        )
    return base


@dataclass(frozen=True)
class _News:
    """What an update has to learn, coded on the live trees.

    Attributes
    ----------
    live : the model that is
    learn : learns the window on top of the live head; None where the window is whole and is learned anew
    before : ledger of the live head, None if it cannot be gone on from
    counting : which files were opened
    window : the samples
    fresh, known : those of them that the live head has not learned, as a new head reads them, and as it does itself
    served : the latter by the release that was live when they happened; none where the live head cannot be scored
    seen, as_live : what these held; see :class:`guards.Observer`
    delays : how soon outcomes came up to now; None where rows do not say
    """

    live: Live
    learn: Continue | None
    before: Ledger | None
    counting: Counting
    window: CodedWindow
    fresh: Parts[Codes]
    known: Parts[Codes]
    served: list[Served]
    seen: guards.Seen
    as_live: guards.Seen
    delays: Delays | None

    @classmethod
    def read(cls, run: Run, base: Release) -> _News:
        config, as_of = run.config, run.as_of
        ledger = Ledger.of(base, config)
        method = method_of(config, base.slow)
        learn = None if ledger is None or ledger.full_is_due(config, as_of) else method.on(base)
        # A head that is learned on keeps the hash it was begun with.
        wide = wide_of(config) if learn is None else base.head.wide
        live = Live.of(config, base, wide, dense_of(config, base.slow), base.head_as_of)
        observer = guards.Observer(live.coding, base.head_as_of, live.other)
        counter = DelayCounter(config, base, as_of)
        with run.say.timed("samples.code") as told:
            if ledger is None or learn is None:
                counting = Counting.of(config, as_of)
                then = Then(run.store, base, base.head_as_of, config.samples, start_of(config, as_of))
                window = code_window(
                    config, live, as_of, observer=observer, counter=counter, others=then.others, engine=run.engine
                )
            else:
                counting = ledger.counting(config, as_of)
                since = base.head_as_of
                then = Then(run.store, base, since, config.samples, start_of(config, as_of, since))
                window = code_window(
                    config,
                    live,
                    as_of,
                    since,
                    observer=observer,
                    counter=counter,
                    others=then.others,
                    only=counting.changed,
                    engine=run.engine,
                )
            fresh = window.known_after(base.head_as_of)
            known = fresh.derive(as_other)
            served = then.served(known, window.on_others) if live.is_whole else []
            seen = observer.seen, observer.as_live
            news = cls(live, learn, ledger, counting, window, fresh, known, served, *seen, counter.delays)
            told.update(rows=len(window), fresh=news.n_fresh, **window.tally.remarks())
        return news

    @property
    def n_fresh(self) -> int:
        return self.fresh.sum(len, zero=0)

    def why_nothing(self, run: Run, base: Release) -> str:
        knows, now = format_time(base.head_as_of), format_time(run.as_of)
        if self.learn is None and not len(self.window):
            start = format_time(run.as_of - run.config.head.window)
            return f"no samples from {start} up to {now}; the live head knows the labels up to {knows}"
        return f"no label became known from {knows} up to {now}"

    def ledger(self, run: Run) -> Ledger:
        """Ledger of a head that has learned these."""
        tally, learned = self.window.tally, len(self.window)
        with run.say.timed("samples.count") as told:
            if self.before is None or self.learn is None:
                ledger = Ledger.full(run.config, run.as_of, tally, learned, self.counting, run.engine)
            else:
                ledger = self.before.next(run.as_of, tally, learned, self.counting, run.engine)
            told.update(files=len(self.counting.changed), late=ledger.late)
        return ledger

    def metrics(self, ledger: Ledger) -> dict[str, Any]:
        """What is measured before anything is learned."""
        metrics: dict[str, Any] = {"fresh": self.n_fresh, **self.window.tally.metrics()}
        if self.learn is not None:
            metrics.update(late=ledger.late, late_since_full=ledger.late_since_full)
        if self.served:
            metrics["progressive"] = then.quality(self.served).as_dict()
        return metrics

    def judged(self, base: Release) -> list[guards.Judged]:
        """Heads that have learned none of the fresh rows, with these.

        It is the live one; where that has learned rows before they were final, those that were live when the rows
        happened, on the same trees.
        """
        if not learned_unfinal(base):
            return [(self.live.model.head, self.known, self.fresh)]
        found: list[guards.Judged] = []
        for each in self.served:
            if each.trees == base.entry.trees:
                # Not its own rows, which are cut in another way where other embeddings were live.
                span = each.start_us, each.end_us
                known, fresh = (rows.derive(happened_between, *span) for rows in (self.known, self.fresh))
                found.append((each.head, known, fresh))
        return found

    def unfinal(self, run: Run) -> Unfinal:
        """Rows that are not final, weighed by what the live head says of them."""
        live = self.live.model.head

        def margin(samples: Samples, codes: Codes) -> NDArray[np.float64]:  # noqa: ARG001 - who has others reads them
            return live.margin(as_other(codes))

        return Unfinal.of(run, run.as_of, self.delays, self.live, margin)

    def fit(self, run: Run, base: Release, unfinal: Unfinal, metrics: dict[str, Any]) -> Fitted:
        """The head that has learned these, and rows that are not final on top.

        Where its candidates are new, it goes by the record of what they would have said.
        """
        known = None
        if self.learn is None and hindsight.is_due(run.config.head, base):
            past = hindsight.of_head(run, base, self.window.parts, run.as_of)
            if past is not None:
                known, metrics["hindsight"] = past.fits, past.quality.as_dict()
        with run.say.timed("head.fit") as told:
            if self.learn is None:
                method, parts = method_of(run.config, base.slow), self.window.parts
                fitted = method.full(parts, base.trees, run.as_of, base, self.served, unfinal.parts, known)
            else:
                fitted = self.learn(self.window.parts, run.as_of, self.served, unfinal.parts)
            full, passes = self.learn is None, fitted.metrics.get("passes")
            told.update(method=run.config.head.method, full=full, passes=passes)
        return fitted


def _checks(draft: Draft, base: Release, news: _News) -> list[guards.Check]:
    """What may speak against the new head: beside the live one on what that has not learned, and by itself."""
    config, judged = draft.run.config, news.judged(base)
    checks = [
        *draft.worse_than(judged, "the new head is worse than the live one"),
        *draft.calibration(min(base.head_as_of, draft.as_of - NEWEST)),
    ]
    if news.learn is None and settings_changed(config, base):
        with draft.run.say.timed("head.hold_out"):
            known, past = news.window.known_by(base.head_as_of), None
            if hindsight.is_due(config.head, base):
                past = hindsight.of_head(draft.run, base, known, base.head_as_of)
            fits = None if past is None else past.fits
            method = method_of(config, base.slow)
            held_out = method.full(known, base.trees, base.head_as_of, None, [], past=fits).head
        beside_live = guards.contests(held_out, judged, config.guard)
        told = "a head of these settings is worse than the live one, neither having learned these rows"
        checks += guards.worse(beside_live, told, config.guard)
    return checks
