"""What an update has to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gbdtlr.compute.parts import Parts
from gbdtlr.head import Codes
from gbdtlr.head.codes import as_other, happened_between
from gbdtlr.jobs import guards, hindsight, then
from gbdtlr.jobs.coding import CodedWindow, code_window, start_of
from gbdtlr.jobs.counting import Counting
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.live import Live
from gbdtlr.jobs.methods import Continue, Fitted, Lesson, dense_of, method_of, wide_of
from gbdtlr.jobs.run import Run
from gbdtlr.jobs.then import Served, Then
from gbdtlr.jobs.unfinal import DelayCounter, OfCodes, Unfinal, learned_unfinal
from gbdtlr.jobs.user_scores import UserScores, played
from gbdtlr.release import Release
from gbdtlr.samples import Delays
from gbdtlr.times import format_time


@dataclass(frozen=True)
class News:
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
    users : gives rows their users' scores, where these are worked out
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
    users: UserScores | None
    seen: guards.Seen
    as_live: guards.Seen
    delays: Delays | None

    @classmethod
    def read(cls, run: Run, base: Release) -> News:
        config, as_of = run.config, run.as_of
        ledger = Ledger.of(base, config)
        method = method_of(config, base.slow)
        learn = None if ledger is None or ledger.full_is_due(config, as_of) else method.on(base)
        # A head that is learned on keeps the hash it was begun with.
        wide = wide_of(config) if learn is None else base.head.wide
        live = Live.of(config, base, wide, dense_of(config, base.slow), base.head_as_of)
        observer = guards.Observer(live.coding, base.head_as_of, live.other, config.worked_out)
        counter = DelayCounter(config, base, as_of)
        is_full = ledger is None or learn is None
        since = None if is_full else base.head_as_of
        start = start_of(config, as_of, since)
        users = played(run, base.slow, as_of, start)
        with run.say.timed("samples.code") as told:
            counting = Counting.of(config, as_of) if ledger is None or is_full else ledger.counting(config, as_of)
            then = Then(run.store, base, base.head_as_of, config.samples, start)
            window = code_window(
                config,
                live,
                as_of,
                since,
                onlookers=(observer, counter),
                others=then.others,
                only=None if is_full else counting.changed,
                engine=run.engine,
                users=users,
            )
            fresh = window.known_after(base.head_as_of)
            known = fresh.derive(as_other)
            served = then.served(known, window.on_others) if live.is_whole else []
            seen = observer.seen, observer.as_live
            news = cls(live, learn, ledger, counting, window, fresh, known, served, users, *seen, counter.delays)
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

    def checks(self, base: Release, ledger: Ledger, run: Run) -> list[guards.Check]:
        """What may speak against learning these at all."""
        config, tally = run.config, self.window.tally
        judged = [(head, known) for head, known, _ in self.judged(base)]
        return [
            *guards.joined(tally.joined, config.guard),
            *guards.late(tally, config.guard),
            *guards.too_few(ledger.learned_since_full, config.guard),
            *guards.given(base, self.as_live, run.as_of, config.guard),
            *guards.ages(tally, config),
            *guards.contradiction(judged, config.guard),
            *guards.leaks(judged, config.guard),
        ]

    def unfinal(self, run: Run) -> Unfinal:
        """Rows that are not final, weighed by what the live head says of them."""
        return Unfinal.of(run, run.as_of, self.delays, self.live, OfCodes(self.live.model.head), self.users)

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
                parts, as_of = self.window.parts, run.as_of
                lesson = Lesson(parts, base.trees, as_of, base, self.served, unfinal.parts, known)
                fitted = method_of(run.config, base.slow).full(lesson)
            else:
                fitted = self.learn(self.window.parts, run.as_of, self.served, unfinal.parts)
            full, passes = self.learn is None, fitted.metrics.get("passes")
            told.update(method=run.config.head.method, full=full, passes=passes)
        return fitted
