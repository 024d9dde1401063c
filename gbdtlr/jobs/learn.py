"""The stream job: learn each sample as it comes, and publish the head every now and then."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.config import ONLINE, Config
from gbdtlr.errors import ConfigError, NoReleaseError, Refused, SamplesError, StoreUnavailable
from gbdtlr.head import Codes, OnlineHead
from gbdtlr.jobs import guards
from gbdtlr.jobs.learning import CodedWindow, judge, ledger_of, wide_of, write_head
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.lines import sample_of, table_of
from gbdtlr.jobs.methods import Fitted, rule_of, sparsity
from gbdtlr.jobs.publishing import note_refusal, publish_head
from gbdtlr.jobs.result import JobResult, OnEvent, Reporter
from gbdtlr.metrics import Quality
from gbdtlr.release import Release
from gbdtlr.samples import Samples
from gbdtlr.store import Store
from gbdtlr.tables import count
from gbdtlr.times import to_us

Clock = Callable[[], datetime]
Row = NDArray[np.int64]
GOLDEN = 8
KEPT = 1 << 16
"""Samples in no release yet that are kept: a release is due after as many, and if it is refused, the newest stay."""


def learn(
    config: Config,
    pieces: Iterable[Sequence[bytes | str]],
    clock: Clock,
    *,
    publish_every: timedelta,
    publish_samples: int | None = None,
    on_event: OnEvent | None = None,
) -> JobResult:
    """Learn samples one at a time for as long as they come; nothing learned is lost when they end.

    A line is a JSON object with the label and the features, sent when its label is final; it is learned whole,
    whatever ``negative_keep_rate`` says. Lines that are no sample are counted and passed over. Whatever else is
    published meanwhile, new trees or another head, the samples not yet published are learned again on top of it: all
    of them, unless guards have refused more than ``KEPT``. What was learned stays learned then, but guards look at
    the newest ``KEPT``, and only these are learned again. A store that does not answer is tried again when the next
    release is due.

    Parameters
    ----------
    pieces : the lines that have come since the last piece, maybe none: so that time is looked at while nothing comes
    clock : the time now, aware
    publish_every : time between releases, if there is anything new
    publish_samples : publish after so many samples, too
    on_event : see :data:`OnEvent`

    Returns
    -------
    result : ``published``, ``unchanged`` (no sample came) or ``refused`` (the last release a guard did not let pass).
        Its metrics count the lines, of which each is in ``samples``, ``lines_refused`` or ``lines_blank``; of the
        samples, those ``unpublished`` at the end, and those ``lost`` when more were refused than are kept

    Raises
    ------
    NoReleaseError
        There are no trees yet.
    ConfigError
        The method is not one that learns sample by sample, or the live head was not learned by it.
    StoreUnavailable
        The store did not answer at the start, or when the stream had ended.
    """
    if config.head.method not in ONLINE:
        raise ConfigError(
            f"[head] method is {config.head.method!r}, which cannot learn one sample at a time; "
            f"choose one of {', '.join(ONLINE)}"
        )
    threads.set_threads(config.threads)
    stream = _Stream(config, Store.open(config.store), Reporter(on_event), clock())
    most = KEPT if publish_samples is None else min(publish_samples, KEPT)
    for lines in pieces:
        stream.learn(lines, clock)
        due = clock() - stream.published_at >= publish_every
        if due or stream.n_new - stream.n_tried >= most:
            stream.publish_if_there(clock())
    stream.publish(clock())
    return stream.result(clock())


@dataclass
class _Pending:
    """Samples that are in no release yet, the newest of them, in the order they came: as they came, and coded."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    codes: list[Row] = field(default_factory=list)
    label: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    known_us: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, others: _Pending) -> None:
        for name, values in vars(others).items():
            getattr(self, name).extend(values)

    def keep_newest(self, n: int) -> None:
        for values in vars(self).values():
            del values[:-n]

    def coded(self, release: Release) -> Codes:
        """All of them as the head reads them."""
        codes = np.stack(self.codes, axis=1)
        n_trees = release.trees.n_trees
        known_us = np.array(self.known_us, np.int64)
        return Codes(
            codes[:n_trees].astype(release.trees.code_dtype),
            codes[n_trees:].astype(np.uint32),
            np.array(self.label, np.float32),
            np.array(self.weight, np.float64),
            known_us,
            known_us,
        )


class _Stream:
    def __init__(self, config: Config, store: Store, say: Reporter, now: datetime) -> None:
        self._config = config
        self._store = store
        self._say = say
        self.pending = _Pending()
        self.published_at = now
        self.n_new = 0  # samples learned since the live release, pending or let go
        self.n_tried = 0  # of these, those that were in the release a guard refused last
        self._status, self._reason = "unchanged", "no sample came"
        self._n_lines = self._n_blank = self._n_refused = self._n_learned = self._n_lost = 0
        self._refusal = ""
        self._refusal_told = False  # since a release was due last: a broken sender would fill the log
        self._quality = self._quality_of_release = Quality()
        self._load()

    def _load(self) -> None:
        """Go on from the live release."""
        live = self._store.live()
        if live is None:
            raise NoReleaseError(f"nothing is published in {self._store.url} yet; run first: gbdtlr train-trees")
        with self._say.timed("release.load") as told:
            self._base = Release.load(self._store, live)
            told.update(release=live.number)
        head = self._base.online()
        ledger = ledger_of(self._base, self._config)
        wide, rule = wide_of(self._config), rule_of(self._config.head)
        if head is None or ledger is None or head.rule != rule or head.wide != wide:
            raise ConfigError(
                f"the head of release {live.number} was not learned as [head] and [samples] wide now say; "
                "run first: gbdtlr update-lr"
            )
        self._head: OnlineHead = head
        self._ledger: Ledger = ledger

    def learn(self, lines: Sequence[bytes | str], clock: Clock) -> None:
        """Learn the samples among the lines, each after it was predicted."""
        if not lines:
            return
        new = _Pending()
        reason = ""
        now_us = to_us(clock())
        for line in lines:
            self._n_lines += 1
            if not line.strip():
                self._n_blank += 1
                continue
            try:
                row, label, weight = sample_of(line, self._config.samples)
                codes = _row_codes(row, self._base)
            except (SamplesError, ValueError, RecursionError) as error:
                self._n_refused += 1
                reason = reason or " ".join(str(error).split())
                continue
            new.rows.append(row)
            new.codes.append(codes)
            new.label.append(label)
            new.weight.append(weight)
            new.known_us.append(now_us)
        if reason:
            self._refusal = reason
            if not self._refusal_told:
                self._say.say("lines.refused", refused=self._n_refused, lines=self._n_lines, reason=reason)
            self._refusal_told = True
        if not new.rows:
            return
        coded = new.coded(self._base)
        quality = Quality.of(self._head.learn_many(coded), coded.label, coded.weight)
        self._quality += quality
        self._quality_of_release += quality
        self._n_learned += len(new)
        self.n_new += len(new)
        self.pending.add(new)

    def publish_if_there(self, now: datetime) -> None:
        """As :meth:`publish`, but what was learned waits for the next time if the store does not answer."""
        try:
            self.publish(now)
        except StoreUnavailable as error:
            self.n_tried = self.n_new
            self.pending.keep_newest(KEPT)
            self._say.say("store.unavailable", reason=str(error), samples=self.n_new)

    def publish(self, now: datetime) -> None:
        """Publish the head if it has learned anything since it last was."""
        self.published_at, self._refusal_told = now, False
        while self.n_new:
            as_of = max(now, self._base.head_as_of)
            coded = self.pending.coded(self._base)
            fitted = Fitted(self._head.head(), {"online.npz": self._head.to_bytes()}, sparsity(self._head))
            quality = judge(fitted.head, Parts([coded]))
            ledger = self._ledger.streamed(as_of, self.n_new).judged(quality, self._config.guard)
            metrics = {
                "fresh": self.n_new,
                **self._metrics(self._quality_of_release),
                "fit": quality.as_dict(),
                **fitted.metrics,
            }
            gate = guards.Gate(False, self._say)
            seen = self._seen(coded)
            try:
                gate.judge(guards.not_finite(fitted.head), final=True)
                gate.judge(self._objections(fitted, coded, ledger, seen, as_of))
            except Refused as refusal:
                self._status, self._reason, self.n_tried = "refused", str(refusal), self.n_new
                note_refusal(self._store, self._base.entry, "learn", as_of, self._reason)
                self._say.say("release.refused", reason=self._reason, samples=self.n_new)
                self.pending.keep_newest(KEPT)
                return
            entry = self._base.entry
            with self._say.timed("release.publish") as told:
                head = write_head(
                    self._store,
                    entry.trees,
                    self._base.trees,
                    self._base.trees_manifest,
                    fitted,
                    CodedWindow(Parts([coded]), table_of(self.pending.rows[-GOLDEN:], self._config.samples)),
                    ledger,
                    self._config,
                    as_of,
                    metrics,
                    entry.number,
                    guards.seen_by(self._base, seen, self._config.guard),
                )
                values = {"why": "learn", "reason": "", "forced": False, "metrics": metrics}
                published = publish_head(self._store, entry, head, values)
                told.update(release=published.entry.number, samples=self.n_new)
            if published.superseded:
                lost = self.n_new - len(self.pending)
                self._n_lost, self.n_new = self._n_lost + lost, len(self.pending)
                self._say.say("release.superseded", reason=published.reason, again=self.n_new, lost=lost)
                self._relearn()
                continue
            self._status, self._reason, self.n_new, self.n_tried = "published", "", 0, 0
            self._ledger, self.pending, self._quality_of_release = ledger, _Pending(), Quality()
            self._base = replace(
                self._base,
                entry=published.entry,
                head=fitted.head,
                learned=fitted.files,
                head_as_of=as_of,
                head_manifest=head.manifest,
            )

    def _objections(
        self, fitted: Fitted, coded: Codes, ledger: Ledger, seen: guards.Seen, as_of: datetime
    ) -> list[str]:
        """What speaks against a release; volume does not, as a stream may carry any part of the traffic.

        A new stream has no days before it to compare its rate of positives with, but a head that expected another.
        """
        live, rows, guard = self._base.head, Parts([coded]), self._config.guard
        whatever_volume = replace(guard, volume=(0.0, math.inf))
        beside_live = guards.contest(fitted.head, live, rows, guard)
        known = guards.Seen.of_manifest(self._base.head_manifest).traffic.has_rates(as_of)
        return [
            *guards.too_few(ledger.learned_since_full, guard),
            *guards.given(self._base, seen, as_of, whatever_volume),
            *([] if known else guards.unpredicted(live.margin(coded), coded.label, coded.weight, guard)),
            *guards.contradiction(live, rows, guard),
            *guards.worse(beside_live, "the new head is worse than the live one", guard),
            *guards.calibration(ledger.recent, guard),
        ]

    def _seen(self, coded: Codes) -> guards.Seen:
        """What the rows held, for this release's guards and those of later ones."""
        table = table_of(self.pending.rows, self._config.samples)
        samples = Samples(table, coded.label.astype(np.int8), coded.weight, coded.event_us, coded.known_us)
        observer = guards.Observer(self._base.trees.schema, self._base.head.wide, None)
        observer.add(samples, coded)
        return observer.seen

    def _relearn(self) -> None:
        """Learn what is pending again, on top of what was published meanwhile."""
        self._load()
        self.pending.codes = [_row_codes(row, self._base) for row in self.pending.rows]
        self._head.learn_many(self.pending.coded(self._base))

    def _metrics(self, quality: Quality) -> dict[str, Any]:
        return {
            "progressive": quality.as_dict(),
            "lines": self._n_lines,
            "lines_refused": self._n_refused,
            "lines_blank": self._n_blank,
        }

    def result(self, now: datetime) -> JobResult:
        """How the stream ended."""
        if self._n_refused and not self._n_learned:
            self._reason = f"{count(self._n_lines, 'line')} came, and none was a sample: {self._refusal}"
        entry = self._base.entry
        return JobResult(
            self._status,
            entry.number,
            entry.trees,
            entry.head,
            now,
            self._n_learned,
            {**self._metrics(self._quality), "unpublished": self.n_new, "lost": self._n_lost},
            self._reason,
        )


def _row_codes(row: dict[str, Any], release: Release) -> Row:
    """Leaves, then buckets, int64 (n_trees + n_wide,)."""
    leaves = release.trees.encode_row(row)
    return np.concatenate([leaves.astype(np.int64), np.array(release.head.wide.row_buckets(row), np.int64)])
