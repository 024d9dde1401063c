"""The fast job: refit the head on fresh samples, on the trees that are live."""

from __future__ import annotations

from datetime import datetime

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, NoReleaseError, Refused
from gbdtlr.jobs import guards, hindsight
from gbdtlr.jobs.by import NOBODY, By
from gbdtlr.jobs.draft import Draft
from gbdtlr.jobs.fresh import NEWEST
from gbdtlr.jobs.methods import Lesson, method_of
from gbdtlr.jobs.news import News
from gbdtlr.jobs.result import JobResult, OnEvent
from gbdtlr.jobs.run import Run, running
from gbdtlr.release import Release
from gbdtlr.samples import at_snapshots
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
        news = News.read(run, base)
        if not news.n_fresh:
            return run.ended("unchanged", base.entry, news.why_nothing(run, base), len(news.window))
        return _learned(run, base, news, since)


def _learned(run: Run, base: Release, news: News, since: int) -> JobResult:
    """A head that has learned the news, once it has been judged."""
    ledger = news.ledger(run)
    metrics = news.metrics(ledger)
    gate, n_rows = run.gate(), len(news.window)
    try:
        gate.judge(news.checks(base, ledger, run))
        unfinal = news.unfinal(run)
        metrics.update(unfinal.metrics(news.window.parts))
        fitted = news.fit(run, base, unfinal, metrics)
        seen = guards.seen_by(base, news.seen, run.config.guard)
        draft = Draft(
            run, gate, base.slow, fitted, news.window, ledger, seen, run.as_of, base.entry, metrics, since, news.delays
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
        return run.refused(base.entry, str(refusal), n_rows, metrics)
    status = "superseded" if published.superseded else "published"
    return run.ended(status, published.entry, published.reason or gate.reason, n_rows, metrics)


def settings_changed(config: Config, base: Release) -> bool:
    """Whether heads are now made with other settings than the live one was."""
    made, now = base.head_manifest.get("config"), config.as_dict()
    made = made if isinstance(made, dict) else {}
    samples = made.get("samples")
    samples = samples if isinstance(samples, dict) else {}
    columns = any(samples.get(key) != now["samples"].get(key) for key in ("wide", "dense", "user_score"))
    # How users learn moves the head only where their scores are worked out.
    tables = [table for table in (made.get("users"), now.get("users")) if isinstance(table, dict)]
    columns |= any(table.get("replay") for table in tables) and made.get("users") != now.get("users")
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


def _checks(draft: Draft, base: Release, news: News) -> list[guards.Check]:
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
            lesson = Lesson(known, base.trees, base.head_as_of, past=fits)
            held_out = method_of(config, base.slow).full(lesson).head
        beside_live = guards.contests(held_out, judged, config.guard)
        told = "a head of these settings is worse than the live one, neither having learned these rows"
        checks += guards.worse(beside_live, told, config.guard)
    return checks
