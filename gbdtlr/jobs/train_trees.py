"""The slow job: train trees, freeze them, fit their first head, and publish the pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.errors import GbdtlrError, Refused, StoreUnavailable
from gbdtlr.head import Codes, Head, pieces
from gbdtlr.jobs import guards
from gbdtlr.jobs.counting import Counting
from gbdtlr.jobs.fresh import NEWEST, Fresh
from gbdtlr.jobs.learning import CodedWindow, code_window, judge, versions, wide_of, write_head
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.methods import method_of
from gbdtlr.jobs.publishing import note_refusal, rolled_back_since, try_publish_trees
from gbdtlr.jobs.result import JobResult, OnEvent, Reporter
from gbdtlr.metrics import Quality
from gbdtlr.release import Release
from gbdtlr.samples import read, require_both_classes
from gbdtlr.store import Entry, Store
from gbdtlr.trees import train

Progress = Callable[[int, int, str], None]


def train_trees(
    config: Config,
    as_of: datetime,
    *,
    force: bool = False,
    on_event: OnEvent | None = None,
    progress: Progress | None = None,
) -> JobResult:
    """Publish new trees with a head that knows at least as much as the live one.

    Updates that were published while the trees grew moved the moment up to which labels are known: the first head
    is then fitted up to that moment. A rollback while they grew stands: the samples may be what it was made for.

    Parameters
    ----------
    as_of : the moment the job pretends is now
    force : publish although a guard refuses, and say so in the release
    on_event : see :data:`OnEvent`
    progress : ``progress(iteration, total, text)`` after each tree

    Returns
    -------
    result : ``published``, ``superseded`` (trees as new are live, or a rollback was made meanwhile) or ``refused``

    Raises
    ------
    GbdtlrError
        Samples, parameters or store cannot be used; nothing was published.

    Source
    ------
    He et al. 2014, section 3.
    """
    say = Reporter(on_event)
    threads.set_threads(config.threads)
    store = Store.open(config.store)
    with say.timed("samples.read") as told:
        samples = read(config.samples, as_of - config.trees.window, as_of, as_of)
        told.update(rows=len(samples))
    n_samples = len(samples)
    live = store.live()

    def ended(status: str, reason: str, metrics: dict[str, Any] | None = None) -> JobResult:
        number, trees, head = (live.number, live.trees, live.head) if live is not None else (None, None, None)
        return JobResult(status, number, trees, head, as_of, n_samples, metrics or {}, reason)

    given = guards.Gate(force, say)
    totals = guards.Totals.of(samples.label, samples.weight, config.trees.window)
    try:
        given.judge(guards.too_few(n_samples, config.guard))
        base, fresh, head_as_of = _look(config, store, live, as_of, say)
        if base is not None and base.trees_as_of >= as_of:
            return ended("superseded", f"release {base.entry.number} has trees as new as these")
        if base is not None and fresh is not None:
            given.judge(guards.given_to_trees(samples, totals, base.trees, base.trees_manifest, config.guard))
            given.judge(fresh.objections(config, base, head_as_of))
    except Refused as refusal:
        note_refusal(store, live, "train-trees", as_of, str(refusal))
        return ended("refused", str(refusal))
    require_both_classes(samples)
    with say.timed("trees.train") as told:
        trees = train(samples, config.trees, config.samples, threads=config.threads, progress=progress)
        told.update(rows=n_samples, trees=trees.n_trees, leaves=trees.n_codes)
    with say.timed("trees.write") as told:
        manifest = {
            "config": config.as_dict(),
            "samples": n_samples,
            "totals": totals.to_dict(),
            "profile": guards.profile_of(samples, trees.schema).to_dict(),
            "versions": versions(),
        }
        trees_version = store.write_version("trees", trees.to_files(), manifest, as_of)
        told.update(trees=trees_version.name)
    del samples
    while True:
        looked_at, live = live, store.live(at_least=live.number if live is not None else 0)
        metrics: dict[str, Any] = {"trees": trees.n_trees, "leaves": trees.n_codes}
        made = guards.Gate(force, say)
        try:
            if live is not None and looked_at is not None and (back := rolled_back_since(store, looked_at, live)):
                return ended("superseded", f"release {back.number} rolled back meanwhile")
            if live != looked_at:
                base, fresh, head_as_of = _look(config, store, live, as_of, say)
            if base is not None and base.trees_as_of >= as_of:
                return ended("superseded", f"release {base.entry.number} has trees as new as these")
            if live != looked_at and base is not None and fresh is not None:
                made.judge(fresh.objections(config, base, head_as_of))
            observer = guards.Observer(trees.schema, wide_of(config), None)
            with say.timed("head.fit") as told:
                counting = Counting.of(config, None, head_as_of)
                window = code_window(
                    config, trees, wide_of(config), head_as_of, observer=observer if fresh is None else None
                )
                known = fresh.fresh if fresh is not None and fresh.comparable else Parts()
                fitted = method_of(config).full(window.parts, trees, head_as_of, base, known)
                told.update(method=config.head.method, rows=len(window), passes=fitted.metrics.get("passes"))
            made.judge(guards.not_finite(fitted.head), final=True)
            if base is not None and known.sum(len, zero=0):
                metrics["progressive"] = judge(base.head, known).as_dict()
            quality = judge(fitted.head, window.parts)
            lately = partial(_lately, fitted.head, window, head_as_of)
            ledger = Ledger.full(config, head_as_of, window.tally, len(window), counting)
            ledger = ledger.judged(quality, config.guard)
            metrics["fit"] = quality.as_dict()
            metrics.update(fitted.metrics)
            made.judge(
                [
                    *_of_pair(config, fitted.head, window.parts, base, fresh),
                    *guards.calibration(quality, config.guard, lately),
                ]
            )
        except Refused as refusal:
            note_refusal(store, live, "train-trees", as_of, str(refusal))
            return ended("refused", str(refusal), metrics)
        with say.timed("head.write") as told:
            head = write_head(
                store,
                trees_version.name,
                trees,
                trees_version.manifest,
                fitted,
                window,
                ledger,
                config,
                head_as_of,
                metrics,
                live.number if live is not None else None,
                guards.seen_by(base, fresh.seen, config.guard)
                if fresh is not None
                else guards.seen_by(None, observer.seen, config.guard),
            )
            told.update(head=head.name)
        forced = "; ".join(filter(None, [given.reason, made.reason]))
        values = {"why": "train-trees", "reason": forced, "forced": bool(forced), "metrics": metrics}
        with say.timed("release.publish") as told:
            entry = try_publish_trees(store, live, head_as_of, trees_version, head, values)
            told.update(release=None if entry is None else entry.number)
        if entry is not None:
            return JobResult("published", entry.number, entry.trees, entry.head, as_of, n_samples, metrics, forced)


def _look(
    config: Config, store: Store, live: Entry | None, as_of: datetime, say: Reporter
) -> tuple[Release | None, Fresh | None, datetime]:
    """The live release, what it has not learned, and the moment the new head is to know labels up to.

    Trees of columns that the configuration no longer has cannot be given the samples, nor compared with.
    """
    base = _load(store, live, say)
    if base is None:
        return None, None, as_of
    head_as_of = max(as_of, base.head_as_of)
    gone = sorted(set(base.trees.schema.names) - set(config.samples.features))
    if gone:
        say.say("release.incomparable", release=base.entry.number, columns=", ".join(gone))
        return base, None, head_as_of
    return base, Fresh.of(config, base, head_as_of), head_as_of


def _lately(head: Head, window: CodedWindow, as_of: datetime) -> Quality:
    return judge(head, window.known_after(as_of - NEWEST))


def _of_pair(
    config: Config, head: Head, parts: Parts[Codes], base: Release | None, fresh: Fresh | None
) -> Iterator[str]:
    """Objections to a new pair beside the live one on the same rows; to a first one, beside its bare trees."""
    if base is not None and fresh is not None:
        live, newest = fresh.live_head(config, base), pieces(fresh.newest)
        sums = guards.contest(head, live, pieces(fresh.same(parts)), config.guard, of_old=newest)
        told = "the new trees with their head are worse than the live release"
    else:
        sums = guards.contest(head, Head.bare(head.layout), parts, config.guard)
        told = "the new head is worse than its bare trees"
    return guards.worse(sums, told, config.guard)


def _load(store: Store, live: Entry | None, say: Reporter) -> Release | None:
    """The live release; None if there is none, or if it is beyond use, which new trees are the cure for."""
    if live is None:
        return None
    try:
        release = Release.load(store, live)
        release.check_learned()
        return release
    except StoreUnavailable:
        raise  # it may be whole
    except GbdtlrError as error:
        say.say("release.unusable", release=live.number, error=str(error))
        return None
