"""The slow job: train trees, freeze them, fit their first head, and publish the pair."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from gbdtlr.codec.documents import table
from gbdtlr.config import Config, GuardConfig
from gbdtlr.errors import Refused
from gbdtlr.head import DenseColumn, DenseColumns, pieces
from gbdtlr.head.codes import happened_from
from gbdtlr.jobs import guards, hindsight, then
from gbdtlr.jobs.by import NOBODY, By
from gbdtlr.jobs.coding import code_window, start_of
from gbdtlr.jobs.counting import Counting
from gbdtlr.jobs.dealt_grounds import DealtGrounds, grounds_of
from gbdtlr.jobs.draft import Draft
from gbdtlr.jobs.fresh import NEWEST
from gbdtlr.jobs.grounds import Grounds
from gbdtlr.jobs.hindsight import Hindsight
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.methods import Lesson, anchored, dense_of, method_of, wide_of
from gbdtlr.jobs.placed import places_of
from gbdtlr.jobs.publishing import chosen_since, no_candidate_first
from gbdtlr.jobs.result import JobResult, OnEvent
from gbdtlr.jobs.rival import Rival
from gbdtlr.jobs.run import Run, running
from gbdtlr.jobs.unfinal import DelayCounter, OfRows, Unfinal
from gbdtlr.jobs.user_scores import played
from gbdtlr.jobs.versions import versions
from gbdtlr.release import Slow
from gbdtlr.release.slow import DENSE
from gbdtlr.samples import Samples, at_snapshots
from gbdtlr.times import to_us
from gbdtlr.values.vectors import is_list

Progress = Callable[[int, int, str], None]


def train_trees(
    config: Config,
    as_of: datetime,
    *,
    force: bool = False,
    on_event: OnEvent | None = None,
    progress: Progress | None = None,
    by: By = NOBODY,
    candidate: bool = False,
) -> JobResult:
    """Publish new trees with a head that knows at least as much as the live one.

    Updates that were published while the trees grew moved the moment up to which labels are known: the first head
    is then fitted up to that moment. A rollback while they grew stands: the samples may be what it was made for.
    So does a promotion.

    Parameters
    ----------
    as_of : the moment the job pretends is now
    force : publish although a guard refuses, and say so in the release
    on_event : see :data:`OnEvent`
    progress : ``progress(iteration, total, text)`` after each tree
    by : who asks, and why
    candidate : publish them to be tried, beside the live release, which they are judged against all the same

    Returns
    -------
    result : ``published``, ``superseded`` (trees as new are live, or a rollback or a promotion was made meanwhile) or
        ``refused``, by a guard or a hold

    Raises
    ------
    GbdtlrError
        Samples, parameters or store cannot be used; nothing was published.

    Source
    ------
    He et al. 2014, section 3.
    """
    config = at_snapshots(config)
    with running("train-trees", config, as_of, force=force, on_event=on_event, by=by, candidate=candidate) as run:
        run.store.ensure_put_if_absent()
        try:
            _check_may_publish(run)
        except Refused as refusal:
            return run.refused(run.store.live(), str(refusal))
        with run.say.timed("samples.read") as told:
            grounds = grounds_of(run)
            told.update(rows=grounds.n_rows, **grounds.thinned, **grounds.tally.remarks())
        n_samples = grounds.n_rows
        live = run.store.live()
        gate = run.gate()
        try:
            gate.judge(
                [
                    *guards.joined(grounds.tally.joined, config.guard),
                    *guards.late(grounds.tally, config.guard),
                    *guards.too_few(n_samples, config.guard),
                    *guards.ages(grounds.tally, config),
                ]
            )
            rival = Rival.look(run, live)
            if reason := rival.is_as_new(run):
                return run.ended("superseded", live, reason, n_samples)
            if rival.release is not None and rival.fresh is not None:
                bare = rival.release.slow.with_embeddings(None)
                gate.judge(grounds.ask(checks_of, grounds.totals, bare, config.guard))
                gate.judge(rival.checks(run))
        except Refused as refusal:
            return run.refused(live, str(refusal), n_samples)
        past = None
        if hindsight.is_due(config.head, rival.release):
            dense = anchored(grounds.ask(constants_of, config).columns, config)
            past = hindsight.of_window(run, grounds.ask, dense, rival.users(config))
        slow = _grow(run, grounds, progress)
        del grounds
        return _release(run, slow, rival, gate.reason, n_samples, past)


def _check_may_publish(run: Run) -> None:
    """Pass if trees may be published once they have grown, which takes long; raises as :func:`try_publish_trees`."""
    live = run.store.live()
    if run.candidate and live is None:
        raise no_candidate_first(run.store)
    run.check_not_held(live)


def _grow(run: Run, grounds: Grounds | DealtGrounds, progress: Progress | None) -> Slow:
    """Trees of the samples, in the store; nothing refers to them yet."""
    config = run.config
    dense = grounds.ask(constants_of, config)
    anchored(dense.columns, config)  # a mistake in these is told before the work
    profile = grounds.ask(guards.profile_of, grounds.schema, guards.logged(dense, config.worked_out))
    with run.say.timed("trees.train") as told:
        trees = grounds.grow(run, progress)
        told.update(rows=grounds.n_used, trees=trees.n_trees, leaves=trees.n_codes, **grounds.learned)
    with run.say.timed("trees.write") as told:
        manifest = {
            "config": config.as_dict(),
            "samples": grounds.n_rows,
            **grounds.thinned,
            **grounds.learned,
            "totals": table(grounds.totals),
            "profile": table(profile),
            "versions": versions(),
        }
        files = trees.to_files()
        if dense.columns:
            files[DENSE] = dense.to_json()
        slow = Slow.of(run.store.write_version("trees", files, manifest, run.as_of), trees)
        told.update(trees=slow.trees_name)
    return slow


def checks_of(samples: Samples, totals: guards.Totals, live: Slow, guard: GuardConfig) -> list[guards.Check]:
    """Checks of samples for new trees beside those the live ones were grown on."""
    return list(guards.given_to_trees(samples, totals, live, guard))


def constants_of(samples: Samples, config: Config) -> DenseColumns:
    """The dense columns with their centres and scales in these samples."""
    table, columns = samples.table, []
    for name in config.samples.dense:
        kind = table.schema.field(name).type
        columns.append(DenseColumn.fit(table, name, table.schema.names, is_list(kind)))
    if config.user_score is not None:  # log-odds already: they enter as they are
        columns.append(DenseColumn(config.user_score, (0.0,), (1.0,)))
    return DenseColumns(tuple(columns))


def _release(run: Run, slow: Slow, rival: Rival, reason: str, n_samples: int, past: Hindsight | None) -> JobResult:
    """Publish the trees with their first head, which is fitted and judged anew whenever another release comes first.

    Parameters
    ----------
    rival : the live release as it was before the trees grew
    reason : what was overruled before they did
    past : what the blend would have been worth, where nothing was on record of it
    """
    while True:
        before = rival.entry
        live = run.store.live(at_least=before.number if before is not None else 0)
        metrics: dict[str, Any] = {"trees": slow.trees.n_trees, "leaves": slow.trees.n_codes}
        gate = run.gate(reason)
        try:
            if live != before:
                if live is not None and before is not None and (chosen := chosen_since(run.store, before, live)):
                    return run.ended("superseded", live, f"release {chosen.number} {chosen.did} meanwhile", n_samples)
                rival = Rival.look(run, live)
                if newer := rival.is_as_new(run):
                    return run.ended("superseded", live, newer, n_samples)
                gate.judge(rival.checks(run))
            draft = _draft(run, slow.with_embeddings(rival.embeddings), rival, gate, metrics, past)
            draft.judge()
            gate.judge(_checks(draft, rival))
            with run.say.timed("head.write") as told:
                written = draft.write()
                told.update(head=written.head.name)
            with run.say.timed("release.publish") as told:
                entry = written.publish_with_trees()
                told.update(release=None if entry is None else entry.number)
        except Refused as refusal:
            return run.refused(live, str(refusal), n_samples, metrics)
        if entry is not None:
            return run.ended("published", entry, gate.reason, n_samples, metrics)


def _draft(
    run: Run, slow: Slow, rival: Rival, gate: guards.Gate, metrics: dict[str, Any], past: Hindsight | None
) -> Draft:
    """The trees with a head of their own, fitted on the whole window."""
    config, fresh, as_of = run.config, rival.fresh, rival.as_of
    model = slow.bare(wide_of(config), dense_of(config, slow))
    observer = guards.Observer(model, None, worked_out=config.worked_out)
    counter, users = DelayCounter(config, rival.release, as_of), played(run, slow, as_of, start_of(config, as_of))
    with run.say.timed("head.fit") as told:
        counting = Counting.of(config, as_of)
        window = code_window(
            config,
            model,
            as_of,
            onlookers=(counter, *([observer] if fresh is None else [])),
            engine=run.engine,
            users=users,
        )
        served = fresh.served if fresh is not None else []
        live = None if fresh is None else OfRows(fresh.model)
        unfinal = Unfinal.of(run, as_of, counter.delays, model, live, users)
        metrics.update(unfinal.metrics(window.parts))
        known = past.fits if past is not None and hindsight.is_due(config.head, rival.release) else None
        lesson = Lesson(window.parts, slow.trees, as_of, rival.release, served, unfinal.parts, known)
        fitted = method_of(config, slow).full(lesson)
        told.update(method=config.head.method, rows=len(window), passes=fitted.metrics.get("passes"))
    metrics.update(window.tally.metrics())
    if served:
        metrics["progressive"] = then.quality(served).as_dict()
    if known is not None and past is not None:
        metrics["hindsight"] = past.quality.as_dict()
    ledger = Ledger.full(config, as_of, window.tally, len(window), counting, run.engine)
    seen = (
        guards.seen_by(rival.release, fresh.seen, config.guard)
        if fresh is not None
        else guards.seen_by(None, observer.seen, config.guard)
    )
    places, delays = places_of(rival.release, config), counter.delays
    return Draft(
        run, gate, slow, fitted, window, ledger, seen, as_of, rival.entry, metrics, delays=delays, places=places
    )


def _checks(draft: Draft, rival: Rival) -> list[guards.Check]:
    """What may speak against a new pair, beside the live one on the same rows; against a first one, its bare trees."""
    parts, fresh = draft.window.parts, rival.fresh
    if fresh is not None:
        told = "the new trees with their head are worse than the live release"
        worse = draft.worse(fresh.model.head, pieces(fresh.same(parts)), told, pieces(fresh.newest))
    else:
        # Where the trees say nothing, the blend rightly leaves most of what they have learned by heart.
        bare = draft.fitted.unlearned or draft.model.bare().head
        worse = draft.worse(bare, parts, "the new head is worse than its bare trees")
    ages = guards.ages(draft.window.tally, draft.run.config)
    return [*ages, *worse, *draft.calibration(draft.as_of - NEWEST), *_leaks(draft, rival)]


def _leaks(draft: Draft, rival: Rival) -> list[guards.Check]:
    """What may speak against dense columns that the live head has not: with a head that does not know the newest day.

    Those that it has are judged by what they add on what it has not learned, at every update.
    """
    config, since = draft.run.config, draft.as_of - NEWEST
    known = () if rival.release is None else rival.release.head.dense.names
    if {*draft.fitted.head.dense.names} <= {*known}:
        return []
    older = draft.window.known_by(since)
    newer = draft.window.known_after(since).derive(happened_from, to_us(since))
    if min(rows.sum(len, zero=0) for rows in (older, newer)) < config.guard.min_samples:
        return []
    with draft.run.say.timed("head.hold_out"):
        held_out = method_of(config, draft.slow).full(Lesson(older, draft.slow.trees, since)).head
    return list(guards.leaks([(held_out, newer)], config.guard))
