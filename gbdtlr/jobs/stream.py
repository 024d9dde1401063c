"""The stream: lines learned one after the other on top of the live release, and released when that is due."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gbdtlr.compute.parts import Parts
from gbdtlr.errors import ConfigError, NoReleaseError, Refused, StoreUnavailable
from gbdtlr.head import Codes, OnlineHead
from gbdtlr.jobs import guards
from gbdtlr.jobs.blocks import Block
from gbdtlr.jobs.coding import CodedWindow
from gbdtlr.jobs.draft import Draft
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.methods import Fitted, dense_of, rule_of, sparsity, wide_of
from gbdtlr.jobs.pending import Pending
from gbdtlr.jobs.placed import places_of
from gbdtlr.jobs.result import JobResult
from gbdtlr.jobs.run import Run
from gbdtlr.jobs.unfinal import delays_of
from gbdtlr.metrics import Quality
from gbdtlr.release import Release
from gbdtlr.samples import Joined
from gbdtlr.streams import Piece, Places, Source
from gbdtlr.tables import count
from gbdtlr.times import to_us

GOLDEN = 8
KEPT = 1 << 16
"""Samples in no release yet that are kept: a release is due after as many, and if it is refused, the newest stay."""


@dataclass
class Lines:
    """How many lines came, and what became of them."""

    n: int = 0
    blank: int = 0
    refused: int = 0
    learned: int = 0

    def metrics(self, progressive: Quality) -> dict[str, Any]:
        """What releases and results say of them."""
        return {
            "progressive": progressive.as_dict(),
            "lines": self.n,
            "lines_refused": self.refused,
            "lines_blank": self.blank,
        }


class Stream:
    """What has been learned on top of the live release, and what of it is in no release yet.

    Attributes
    ----------
    pending : samples in no release yet
    published_at : when a release was due last
    n_new : samples learned since the live release, pending or let go
    n_tried : of these, those that were in the release a guard refused last
    """

    def __init__(self, run: Run, source: Source) -> None:
        """Stream that goes on from the live release; raises as :func:`gbdtlr.jobs.learn.learn`."""
        self._run = run
        self._source = source
        self.pending = Pending()
        self.published_at = run.as_of
        self.n_new = 0
        self.n_tried = 0
        self._status, self._reason = "unchanged", "no sample came"
        self._lines = Lines()
        self._n_lost = 0
        self._refusal = ""
        self._refusal_told = False  # since a release was due last: a broken sender would fill the log
        self._quality_before = self._quality_of_release = Quality()  # of what is in releases; and of what is in none
        self._lines_before, self._joined_before = Lines(), Joined()
        self._load()
        run.store.ensure_put_if_absent()
        source.begin(Places.of(self._base.head_manifest), self._base.head_as_of)

    def _load(self) -> None:
        """Go on from the live release."""
        store, config = self._run.store, self._run.config
        live = store.live()
        if live is None:
            raise NoReleaseError(f"nothing is published in {store.url} yet; run first: gbdtlr train-trees")
        with self._run.say.timed("release.load") as told:
            self._base = Release.load(store, live)
            told.update(release=live.number)
        head = self._base.online()
        ledger = Ledger.of(self._base, config)
        made_alike = (
            head is not None
            and head.rule == rule_of(config.head)
            and head.wide.same_ids(wide_of(config))
            and head.dense == dense_of(config, self._base.slow)
        )
        if head is None or ledger is None or not made_alike:
            raise ConfigError(
                f"the head of release {live.number} was not learned as [head] and [samples] wide and dense now say; "
                "run first: gbdtlr update-lr"
            )
        self._head: OnlineHead = head
        self._ledger: Ledger = ledger

    def learn(self, piece: Piece, clock: Callable[[], datetime]) -> None:
        """Learn the samples among the lines, each after it was predicted."""
        if not piece.lines and not piece.refused:
            return
        new = self._samples_among(piece, to_us(clock()))
        if not len(new):
            return
        coded = new.coded(self._base.model)
        self._quality_of_release += Quality.of(self._head.learn_many(coded), coded.label, coded.weight)
        self._lines.learned += len(new)
        self.n_new += len(new)
        self.pending.extend(new)

    def _samples_among(self, piece: Piece, now_us: int) -> Pending:
        """Those lines that are samples, coded; the others are counted, and the first reason is told."""
        block = Block.of(piece, self._run.config.samples, self._base.model)
        self._lines.n += len(piece.lines) + len(piece.refused)
        self._lines.blank += block.n_blank
        self._lines.refused += block.n_refused
        if block.reason:
            self._refusal = block.reason
            if not self._refusal_told:
                told = {"refused": self._lines.refused, "lines": self._lines.n, "reason": block.reason}
                self._run.say.say("lines.refused", **told)
            self._refusal_told = True
        return Pending(block.rows, block.codes, block.dense, block.label, block.weight, [now_us] * len(block.rows))

    def is_due(self, now: datetime, every: timedelta, samples: int | None) -> bool:
        """Whether a release is due: that long after the last was, or after so many samples, or as many as are kept."""
        most = KEPT if samples is None else min(samples, KEPT)
        return now - self.published_at >= every or self.n_new - self.n_tried >= most

    def publish_if_there(self, now: datetime) -> None:
        """As :meth:`publish`, but what was learned waits for the next time if the store does not answer."""
        if told := self._source.metrics():
            self._run.say.say("stream.lag", **told)
        try:
            self.publish(now)
        except StoreUnavailable as error:
            self.n_tried = self.n_new
            self.pending.keep_newest(KEPT)
            self._run.say.say("store.unavailable", reason=str(error), samples=self.n_new)

    def publish(self, now: datetime) -> None:
        """Publish the head if it has learned anything since it last was."""
        self.published_at, self._refusal_told = now, False
        while self.n_new:
            coded = self.pending.coded(self._base.model)
            seen = self._seen(coded)
            draft = self._draft(coded, seen, max(now, self._base.head_as_of))
            try:
                self._run.check_not_held(self._base.entry)
                draft.judge()
                draft.gate.judge(self._checks(draft, coded, seen))
                with self._run.say.timed("release.publish") as told:
                    written = draft.write()
                    # Who can go back need not win over what knows less, and must not: it would have places of its own.
                    published = written.publish(exactly=self._source.places() is not None)
                    told.update(release=published.entry.number, samples=self.n_new)
            except Refused as refusal:
                self._refuse(str(refusal), draft.as_of)
                return
            if published.superseded:
                self._relearn(published.reason)
                continue
            self._status, self._reason, self.n_new, self.n_tried = "published", "", 0, 0
            self._ledger, self.pending = draft.ledger, Pending()
            self._quality_before, self._quality_of_release = self._quality_before + self._quality_of_release, Quality()
            self._lines_before, self._joined_before = replace(self._lines), self._joined()
            self._source.published()
            self._base = written.released(published.entry)

    def _seen(self, coded: Codes) -> guards.Seen:
        """What the pending samples held, for this release's guards and those of later ones."""
        observer = guards.Observer(self._base.model, None)
        observer.add(self.pending.samples(coded, self._run.config.samples), coded)
        return observer.seen

    def _draft(self, coded: Codes, seen: guards.Seen, as_of: datetime) -> Draft:
        """The head as it is now."""
        config, base, head = self._run.config, self._base, self._head
        window = CodedWindow(Parts([coded]), self.pending.newest(GOLDEN, config.samples))
        return Draft(
            self._run,
            self._run.gate(),
            base.slow,
            Fitted(head.head(), {"online.npz": head.to_bytes()}, sparsity(head)),
            window,
            self._ledger.streamed(as_of, self.n_new),
            guards.seen_by(base, seen, config.guard),
            as_of,
            base.entry,
            {"fresh": self.n_new, **self._lines.metrics(self._quality_of_release), **self._told_of_source()},
            delays=delays_of(base, config),
            places=self._source.places() or places_of(base, config),
        )

    def _joined(self) -> Joined:
        """What the source came across in joining, in all."""
        return Joined() if self._source.joined is None else replace(self._source.joined)

    def _joined_of_release(self) -> Joined | None:
        """The same, of what is in no release yet."""
        if self._source.joined is None:
            return None
        before = asdict(self._joined_before)
        return Joined(**{name: n - before[name] for name, n in asdict(self._joined()).items()})

    def _told_of_source(self) -> dict[str, Any]:
        """What a release says of where its lines came from."""
        joined, told = self._joined_of_release(), self._source.metrics()
        return {
            **({} if joined is None else {"joined": joined.as_dict()}),
            **({"lag": told["lag"]} if "lag" in told else {}),
        }

    def _checks(self, draft: Draft, coded: Codes, seen: guards.Seen) -> list[guards.Check]:
        """What may speak against a release; volume does not, as a stream may carry any part of the traffic.

        A new stream has no days before it to compare its rate of positives with, but a head that expected another.
        """
        base, live, guard, rows = self._base, self._base.head, self._run.config.guard, Parts([coded])
        whatever_volume = replace(guard, volume=(0.0, math.inf))
        known = guards.Seen.of_manifest(base.head_manifest).traffic.has_rates(draft.as_of)
        return [
            *guards.joined(self._joined_of_release(), guard),
            *guards.too_few(draft.ledger.learned_since_full, guard),
            *guards.given(base, seen, draft.as_of, whatever_volume),
            *([] if known else guards.unpredicted(live.margin(coded), coded.label, coded.weight, guard)),
            *guards.contradiction([(live, rows)], guard),
            *draft.worse(live, rows, "the new head is worse than the live one"),
            *draft.calibration(),
        ]

    def _refuse(self, reason: str, as_of: datetime) -> None:
        """Keep what was learned, and of its samples the newest, for the next time a release is due."""
        self._status, self._reason, self.n_tried = "refused", reason, self.n_new
        self._run.note_refusal(self._base.entry, reason, as_of)
        self._run.say.say("release.refused", reason=reason, samples=self.n_new)
        self.pending.keep_newest(KEPT)

    def _relearn(self, reason: str) -> None:
        """Learn what is pending again, on top of what was published meanwhile."""
        lost = self.n_new - len(self.pending)
        self._load()
        goes_back = self._source.places() is not None
        if goes_back and (lost or not self._source.began_at(Places.of(self._base.head_manifest))):
            self._read_again(reason)
            return
        self._n_lost, self.n_new = self._n_lost + lost, len(self.pending)
        self._run.say.say("release.superseded", reason=reason, again=self.n_new, lost=lost)
        self.pending.encode(self._base.model)
        self._head.learn_many(self.pending.coded(self._base.model))

    def _read_again(self, reason: str) -> None:
        """Let go what is pending, and have the source go back to where the live head has learned it up to."""
        self._run.say.say("release.superseded", reason=reason, read_again=self.n_new)
        self.pending, self.n_new, self.n_tried = Pending(), 0, 0
        self._quality_of_release, self._lines = Quality(), replace(self._lines_before)
        self._source.begin(Places.of(self._base.head_manifest), self._base.head_as_of)

    def result(self, now: datetime) -> JobResult:
        """How the stream ended."""
        lines = self._lines
        if lines.refused and not lines.learned:
            self._reason = f"{count(lines.n, 'line')} came, and none was a sample: {self._refusal}"
        metrics = {
            **lines.metrics(self._quality_before + self._quality_of_release),
            **({} if self._source.joined is None else {"joined": self._source.joined.as_dict()}),
            **self._source.metrics(),
            "unpublished": self.n_new,
            "lost": self._n_lost,
        }
        run = replace(self._run, as_of=now)
        return run.ended(self._status, self._base.entry, self._reason, lines.learned, metrics)
