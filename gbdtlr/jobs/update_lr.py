"""The fast job: refit the head on fresh samples, on the trees that are live."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, NoReleaseError, Refused
from gbdtlr.head import Head, Layout
from gbdtlr.head.codes import known_by
from gbdtlr.jobs import guards
from gbdtlr.jobs.counting import Counting
from gbdtlr.jobs.fresh import NEWEST
from gbdtlr.jobs.learning import code_window, judge, ledger_of, settings_changed, wide_of, write_head
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.methods import method_of
from gbdtlr.jobs.publishing import note_refusal, publish_head
from gbdtlr.jobs.result import JobResult, OnEvent, Reporter
from gbdtlr.metrics import Quality
from gbdtlr.release import Release
from gbdtlr.store import Store
from gbdtlr.times import format_time, to_us


def update_lr(config: Config, as_of: datetime, *, force: bool = False, on_event: OnEvent | None = None) -> JobResult:
    """Publish a head that knows every label known by ``as_of``, on the live trees; or leave the live release.

    Parameters
    ----------
    as_of : the moment the job pretends is now
    force : publish although a guard refuses, and say so in the release
    on_event : see :data:`OnEvent`

    Returns
    -------
    result : ``published``, ``unchanged`` (no new label), ``superseded`` or ``refused``

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
    say = Reporter(on_event)
    threads.set_threads(config.threads)
    store = Store.open(config.store)
    with say.timed("release.load") as told:
        base = Release.live(store)
        if base is None:
            raise NoReleaseError(f"nothing is published in {store.url} yet; run first: gbdtlr train-trees")
        live = base.entry
        told.update(release=live.number, trees=live.trees, head=live.head)
    if gone := [name for name in base.trees.schema.names if name not in config.samples.features]:
        raise ConfigError(
            f"the live trees (release {live.number}) read {', '.join(gone)}, which [samples] no longer lists under "
            "numeric or categorical; put it back, or run first: gbdtlr train-trees"
        )

    def ended(status: str, reason: str, samples: int = 0, metrics: dict[str, Any] | None = None) -> JobResult:
        return JobResult(status, live.number, live.trees, live.head, as_of, samples, metrics or {}, reason)

    if as_of <= base.head_as_of:
        return ended("unchanged", f"the live head knows the labels up to {format_time(base.head_as_of)} already")
    method = method_of(config)
    ledger = ledger_of(base, config)
    learn = None if ledger is None or ledger.full_is_due(config, as_of) else method.on(base)
    gate = guards.Gate(force, say)
    observer = guards.Observer(base.trees.schema, wide_of(config), base.head_as_of)
    with say.timed("samples.code") as told:
        since = None if learn is None else base.head_as_of
        counting = Counting.of(config, ledger if learn is not None else None, as_of)
        only = None if learn is None else counting.changed
        window = code_window(config, base.trees, wide_of(config), as_of, since, observer, only)
        fresh = window.known_after(base.head_as_of)
        n_fresh = fresh.sum(len, zero=0)
        told.update(rows=len(window), fresh=n_fresh)
    if not n_fresh:
        knows = format_time(base.head_as_of)
        if learn is None and not len(window):
            start = format_time(as_of - config.head.window)
            reason = f"no samples from {start} up to {format_time(as_of)}; the live head knows the labels up to {knows}"
            return ended("unchanged", reason)
        return ended("unchanged", f"no label became known from {knows} up to {format_time(as_of)}", len(window))
    with say.timed("samples.count") as told:
        if ledger is None or learn is None:
            ledger = Ledger.full(config, as_of, window.tally, len(window), counting)
        else:
            ledger = ledger.next(as_of, window.tally, len(window), counting)
        told.update(files=len(counting.changed), late=ledger.late)
    metrics: dict[str, Any] = {"fresh": n_fresh}
    if learn is not None:
        metrics.update(late=ledger.late, late_since_full=ledger.late_since_full)
    comparable = base.head.wide == wide_of(config)
    live_head = base.head if comparable else Head.bare(Layout.of(base.trees, wide_of(config)))
    if comparable:
        metrics["progressive"] = judge(base.head, fresh).as_dict()
    try:
        gate.judge(
            [
                *guards.too_few(ledger.learned_since_full, config.guard),
                *guards.given(base, observer.seen, as_of, config.guard),
                *guards.contradiction(live_head, fresh, config.guard),
            ]
        )
        with say.timed("head.fit") as told:
            if learn is None:
                fitted = method.full(window.parts, base.trees, as_of, base, fresh if comparable else Parts())
            else:
                fitted = learn(window.parts, as_of)
            told.update(method=config.head.method, full=learn is None, passes=fitted.metrics.get("passes"))
        gate.judge(guards.not_finite(fitted.head), final=True)
        fit_quality = judge(fitted.head, window.parts)
        ledger = ledger.judged(fit_quality, config.guard)
        metrics["fit"] = fit_quality.as_dict()
        metrics.update(fitted.metrics)

        def of_newest() -> Quality:
            newest = window.known_after(min(base.head_as_of, as_of - NEWEST))
            return judge(fitted.head, newest)

        beside_live = guards.contest(fitted.head, live_head, fresh, config.guard)
        objections = [
            *guards.worse(beside_live, "the new head is worse than the live one", config.guard),
            *guards.calibration(ledger.recent, config.guard, of_newest),
        ]
        if learn is None and settings_changed(config, base):
            with say.timed("head.hold_out"):
                known = window.parts.derive(known_by, to_us(base.head_as_of))
                held_out = method.full(known, base.trees, base.head_as_of, None, Parts()).head
            beside_live = guards.contest(held_out, live_head, fresh, config.guard)
            told_of = "a head of these settings is worse than the live one, neither having learned these rows"
            objections += guards.worse(beside_live, told_of, config.guard)
        gate.judge(objections)
    except Refused as refusal:
        note_refusal(store, live, "update-lr", as_of, str(refusal))
        return ended("refused", str(refusal), len(window), metrics)
    forced = gate.reason
    with say.timed("head.write") as told:
        head = write_head(
            store,
            live.trees,
            base.trees,
            base.trees_manifest,
            fitted,
            window,
            ledger,
            config,
            as_of,
            metrics,
            live.number,
            guards.seen_by(base, observer.seen, config.guard),
        )
        told.update(head=head.name)
    with say.timed("release.publish") as told:
        values = {"why": "update-lr", "reason": forced, "forced": bool(forced), "metrics": metrics}
        published = publish_head(store, live, head, values)
        told.update(release=published.entry.number)
    entry = published.entry
    status = "superseded" if published.superseded else "published"
    return JobResult(
        status, entry.number, entry.trees, entry.head, as_of, len(window), metrics, published.reason or forced
    )
