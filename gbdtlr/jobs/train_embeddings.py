"""The third job: vectors of items, rotated onto the live ones and published with the head that is live."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import Config
from gbdtlr.embeddings import Embeddings, read_vectors, rotated_onto, shared, train
from gbdtlr.errors import NoReleaseError, Refused
from gbdtlr.jobs import guards
from gbdtlr.jobs.by import NOBODY, By
from gbdtlr.jobs.carrying import try_publish_embeddings
from gbdtlr.jobs.guards import vectors as judged
from gbdtlr.jobs.publishing import chosen_since, no_candidate_first
from gbdtlr.jobs.result import JobResult, OnEvent
from gbdtlr.jobs.run import Run, running
from gbdtlr.jobs.taken import Taken, columns_of
from gbdtlr.jobs.versions import versions
from gbdtlr.release import Embedded, Release
from gbdtlr.samples import at_snapshots


def train_embeddings(
    config: Config,
    as_of: datetime,
    *,
    force: bool = False,
    on_event: OnEvent | None = None,
    by: By = NOBODY,
    candidate: bool = False,
) -> JobResult:
    """Publish vectors of items that know what was known by ``as_of``, with the live trees and head.

    Updates that are published while the vectors are made are kept: the head that goes with them is the one that is live
    then. A rollback and a promotion stand, and so do embeddings that others have published.

    Parameters
    ----------
    as_of : the moment the job pretends is now
    force : publish although a guard refuses, and say so in the release
    on_event : see :data:`OnEvent`
    by : who asks, and why
    candidate : publish them to be tried, beside the live release, which they are judged against all the same

    Returns
    -------
    result : ``published``, ``superseded`` (embeddings as new are live, or others were published, rolled back or
        promoted meanwhile) or ``refused``, by a guard or a hold

    Raises
    ------
    NoReleaseError
        There are no trees yet.
    ConfigError
        ``[samples]`` does not say which columns are item and user.
    GbdtlrError
        Samples, vectors or store cannot be used; nothing was published.
    """
    config = at_snapshots(config)
    with running("train-embeddings", config, as_of, force=force, on_event=on_event, by=by, candidate=candidate) as run:
        columns_of(config)
        run.store.ensure_put_if_absent()
        base = _base(run)
        if reason := _is_as_new(run, base):
            return run.ended("superseded", base.entry, reason)
        try:
            run.check_not_held(base.entry)
        except Refused as refusal:
            return run.refused(base.entry, str(refusal))
        with run.say.timed("samples.read") as told:
            taken = Taken.read(config, as_of, run.engine)
            n_rows = taken.told.n_rows
            told.update(rows=n_rows, positives=taken.told.n_positives, **taken.tally.remarks())
        gate = run.gate()
        metrics: dict[str, Any] = {}
        try:
            if config.embeddings.method == "pmi":
                gate.judge(guards.too_few(n_rows, config.guard))
            made = _made(run, taken, base, metrics)
            gate.judge(judged.not_finite_vectors(made), final=True)
            gate.judge(_checks(run, made, taken, base, metrics))
        except Refused as refusal:
            return run.refused(base.entry, str(refusal), n_rows, metrics)
        with run.say.timed("embeddings.write") as told:
            written = _write(run, made, base, n_rows, metrics)
            told.update(embeddings=written.name)
        return _publish(run, base, written, gate, n_rows, metrics)


def _base(run: Run) -> Release:
    base = Release.live(run.store)
    if base is None:
        if run.candidate:
            raise no_candidate_first(run.store)
        raise NoReleaseError(f"nothing is published in {run.store.url} yet; run first: gbdtlr train-trees")
    return base


def _is_as_new(run: Run, base: Release) -> str:
    """Why embeddings of the run's moment are not worth having; empty if they are, as all are that are tried."""
    if run.candidate or base.embeddings is None or base.embeddings.as_of < run.as_of:
        return ""
    return f"release {base.entry.number} has embeddings as new as these"


def _made(run: Run, taken: Taken, base: Release, metrics: dict[str, Any]) -> Embeddings:
    """The vectors, rotated onto the live ones where these are of as many numbers."""
    settings = run.config.embeddings
    with run.say.timed("embeddings.train") as told:
        vectors: NDArray[Any]
        if settings.method == "pmi":
            trained = train(taken.events, settings.dimensions, settings.min_item_count)
            keys, vectors = trained.keys, trained.vectors
            counts = {"pairs": trained.n_pairs, "rare": trained.n_rare, "alone": trained.n_alone}
            metrics.update(counts, left_out=trained.n_beyond)
        else:
            keys, vectors = read_vectors(str(settings.path))
        told.update(items=len(keys), method=settings.method)
    live = None if base.embeddings is None else base.embeddings.vectors
    if live is not None and live.dimensions == vectors.shape[1] and np.isfinite(vectors).all():
        own, before = shared(keys, live.keys)
        with run.say.timed("embeddings.rotate") as told:
            vectors = rotated_onto(vectors, vectors[own], live.vectors[before])
            told.update(shared=len(own))
    elif live is not None:
        found = {"dimensions": vectors.shape[1], "live": live.dimensions}
        run.say.say("embeddings.not_rotated", **found)
    made = Embeddings.of(keys, vectors, str(run.config.samples.item), settings.content, taken.told.content)
    metrics.update(items=len(made), dimensions=made.dimensions)
    if settings.content:
        metrics["groups"] = len(made.groups)
    return made


def _checks(run: Run, made: Embeddings, taken: Taken, base: Release, metrics: dict[str, Any]) -> list[guards.Check]:
    """What may speak against the vectors: beside the rows of the last day, and beside the live ones."""
    guard, n_newest = run.config.guard, taken.told.n_newest
    share = judged.share_known(made, taken.told.shown, n_newest)
    metrics["known"] = share
    checks = [*judged.unknown_items(share, n_newest, guard)]
    live = None if base.embeddings is None else base.embeddings.vectors
    if live is not None and live.dimensions == made.dimensions:
        cosine, n_shared = judged.cosine_to(live, made, taken.told.shown)
        metrics.update(cosine=cosine, shared=n_shared)
        checks += judged.far_from_live(cosine, n_shared, live, guard)
    return checks


def _write(run: Run, made: Embeddings, base: Release, n_samples: int, metrics: dict[str, Any]) -> Embedded:
    """The version in the store; nothing refers to it yet."""
    manifest = {
        "config": run.config.as_dict(),
        "samples": n_samples,
        "metrics": metrics,
        "before": base.entry.embeddings,
        "turned_onto": _turned_onto(made, base),
        "versions": versions(),
    }
    return Embedded.of(run.store, run.store.write_version("embeddings", made.to_files(), manifest, run.as_of))


def _turned_onto(made: Embeddings, base: Release) -> list[str]:
    """Versions that the vectors lie as; none where they could not be turned."""
    live = base.embeddings
    return [] if live is None or live.vectors.dimensions != made.dimensions else live.lineage


def _left_out(metrics: dict[str, Any]) -> str:
    if not metrics.get("left_out"):
        return ""
    n, most = metrics["left_out"], metrics["items"] + metrics["alone"]
    return f"the {most:,} most frequent items were given vectors, {n:,} others were left out"


def _publish(
    run: Run,
    base: Release,
    written: Embedded,
    gate: guards.Gate,
    n_samples: int,
    metrics: dict[str, Any],
) -> JobResult:
    """Publish them with the head that is live, whichever that is by then."""
    reason = "; ".join(filter(None, [gate.reason, _left_out(metrics)]))
    measured = {**metrics, "guards": guards.told(gate.checks)}
    values = {"why": run.job, "forced": bool(gate.reason), "metrics": measured, **run.by.values(reason)}
    first = base
    while True:
        try:
            with run.say.timed("release.publish") as told:
                entry = try_publish_embeddings(run.store, base, written, run.as_of, values, run.candidate)
                told.update(release=None if entry is None else entry.number)
        except Refused as refusal:
            return run.refused(base.entry, str(refusal), n_samples, metrics)
        if entry is not None:
            return run.ended("published", entry, reason, n_samples, metrics)
        live = run.store.live(at_least=base.entry.number + 1) or base.entry
        if chosen := chosen_since(run.store, first.entry, live):
            return run.ended("superseded", live, f"release {chosen.number} {chosen.did} meanwhile", n_samples)
        if live.embeddings != first.entry.embeddings:
            told_why = f"release {live.number} has other embeddings meanwhile"
            return run.ended("superseded", live, told_why, n_samples)
        base = Release.load(run.store, live, base)
