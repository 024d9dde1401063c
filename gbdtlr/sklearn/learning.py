"""Learning: both speeds on rows in memory, by the methods that the jobs use, into a release of no store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.documents import table
from gbdtlr.compute.parts import Parts
from gbdtlr.compute.threads import n_threads
from gbdtlr.config import ONLINE, Config
from gbdtlr.errors import ConfigError
from gbdtlr.head import Codes, Record, pieces
from gbdtlr.jobs import guards
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.methods import Fitted, Lesson, method_of, wide_of
from gbdtlr.jobs.then import Served
from gbdtlr.jobs.versions import versions
from gbdtlr.model import Golden, Model
from gbdtlr.release import Fits, Release, Slow
from gbdtlr.release.slow import GOLDEN, HEAD
from gbdtlr.samples import Samples
from gbdtlr.store import Entry
from gbdtlr.store.versions import made
from gbdtlr.times import from_us, to_us
from gbdtlr.trees import train

UNDATED = datetime(1970, 1, 1, tzinfo=UTC)
"""When everything happened that carries no time."""
KEPT_ROWS = 2000
"""Rows whose codes are kept, to tell what the margin depends on."""
STEPS = 8
"""Steps until the blend of rows that are held out moves no more."""
LEAST_ROWS, LEAST_OF_A_CLASS = 50, 10
"""Fewer rows than these, held out, say nothing about what the candidates are worth."""


@dataclass(frozen=True)
class Learned:
    """What an estimator has learned.

    Attributes
    ----------
    release : trees and head, as a store would have them
    config : what they were learned with
    trees_manifest, head_manifest : what manifests say of them, but for what the store adds
    dated : whether the samples carried times
    codes : some of the rows that were learned
    """

    release: Release
    config: Config
    trees_manifest: Mapping[str, Any]
    head_manifest: Mapping[str, Any]
    dated: bool
    codes: Codes | None = None


def learn(config: Config, samples: Samples, dated: bool, held_out: NDArray[np.bool_] | None) -> Learned:
    """Trees and head of all samples.

    Parameters
    ----------
    held_out : (n,), rows that say what the candidates are worth, fitted without them beforehand; None for no such rows

    Raises
    ------
    ConfigError, SamplesError, TreesError
        As :func:`gbdtlr.trees.train`.
    """
    base = None
    if held_out is not None and config.head.method not in ONLINE and is_enough(samples, held_out):
        trial = _on_new_trees(config, samples.filter(~held_out), dated, None).release
        base = _weighed(config, trial, samples.filter(held_out))
    return _on_new_trees(config, samples, dated, base)


def refit(learned: Learned, config: Config, samples: Samples, dated: bool) -> Learned:
    """A new head of these samples on the same trees.

    Samples newer than the head say what its candidates are worth; without times, these are worth what they were.
    """
    base = learned.release
    as_of = max(base.head_as_of, _as_of(samples, dated))
    codes = base.slow.bare(wide_of(config)).encode(samples)
    fresh = samples.event_us > to_us(base.head_as_of)
    served = _served(base, samples.filter(fresh)) if dated and base.fits is not None and fresh.any() else []
    fitted = method_of(config, base.slow).full(Lesson(pieces([codes]), base.trees, as_of, base, served))
    return _learned(config, base.slow, learned.trees_manifest, fitted, samples, codes, as_of, dated)


def go_on(learned: Learned, config: Config, samples: Samples, dated: bool) -> Learned:
    """The head after samples it has not learned, without the old ones.

    Raises
    ------
    ConfigError
        The method cannot, or the head was made with other settings.
    """
    base = learned.release
    learn_on = method_of(config, base.slow).on(base)
    if learn_on is None:
        raise ConfigError(f"a head of the method {config.head.method!r} cannot learn on from one of other settings")
    as_of = max(base.head_as_of, _as_of(samples, dated))
    codes = base.model.encode(samples)
    served = _served(base, samples) if base.fits is not None else []
    fitted = learn_on(pieces([codes]), as_of, served, Parts())
    return _learned(config, base.slow, learned.trees_manifest, fitted, samples, codes, as_of, dated)


def is_enough(samples: Samples, held_out: NDArray[np.bool_]) -> bool:
    """Whether the rows that are held out, and the others, have enough of both classes."""
    for rows in (held_out, ~held_out):
        counted = samples.label[rows & (samples.weight > 0)]
        positives = int(counted.sum())
        if len(counted) < LEAST_ROWS or min(positives, len(counted) - positives) < LEAST_OF_A_CLASS:
            return False
    return True


def _weighed(config: Config, trial: Release, samples: Samples) -> Release:
    """The release with its candidates weighed by rows they have not learned: a blend to begin from, whatever the trees.

    A record steps once, from where it is, which does where samples come in every few minutes; here they come once.
    """
    fits = trial.fits
    if fits is None:
        return trial
    told = [(pieces([trial.model.encode(samples)]), fits.candidates)]
    record = Record.blank(fits.candidates.names, trial.head_as_of)
    for _ in range(STEPS):
        blank = replace(Record.blank(record.names, record.as_of), weights=record.weights)
        record = blank.learn(told, record.as_of, config.head.blend_half_life)
    return replace(trial, learned={**trial.learned, **Fits(fits.candidates, record, None).to_files()})


def _on_new_trees(config: Config, samples: Samples, dated: bool, base: Release | None) -> Learned:
    trees = train(samples, config.trees, config.samples, threads=n_threads())
    as_of = _as_of(samples, dated)
    manifest = {
        "config": config.as_dict(),
        "samples": len(samples),
        "totals": table(guards.Totals.of(samples.label, samples.weight, config.trees.window)),
        "profile": table(guards.profile_of(samples, trees.schema)),
        "versions": versions(),
    }
    slow = Slow.of(made("trees", trees.to_files(), manifest, as_of), trees)
    codes = slow.bare(wide_of(config)).encode(samples)
    fitted = method_of(config, slow).full(Lesson(pieces([codes]), trees, as_of, base))
    return _learned(config, slow, manifest, fitted, samples, codes, as_of, dated)


def _learned(
    config: Config,
    slow: Slow,
    trees_manifest: Mapping[str, Any],
    fitted: Fitted,
    samples: Samples,
    codes: Codes,
    as_of: datetime,
    dated: bool,
) -> Learned:
    model = Model(slow.trees, fitted.head)
    observer = guards.Observer(model, None)
    observer.add(samples, codes)
    ledger = Ledger(None, as_of, config.head.window, len(samples), as_of, len(samples))
    quality = model.judge(pieces([codes]))
    manifest = {
        "config": config.as_dict(),
        "samples": len(samples),
        "ledger": ledger.judged(quality, config.guard).to_dict(),
        "seen": guards.seen_by(None, observer.seen, config.guard).to_dict(),
        "metrics": {"fit": quality.as_dict(), **fitted.metrics},
        "base": None,
        "versions": versions(),
    }
    files = {HEAD: fitted.head.to_bytes(), GOLDEN: Golden.of(samples.table, model).to_bytes(), **fitted.files}
    head = made("heads", files, {**manifest, "trees": slow.tie()}, as_of, under=slow.trees_name)
    entry = Entry(number=1, as_of=as_of, trees=slow.trees_name, head=head.name, why="fit")
    kept = np.unique(np.linspace(0, len(codes) - 1, min(len(codes), KEPT_ROWS)).astype(np.int64))
    return Learned(Release.of(entry, slow, head, model), config, trees_manifest, manifest, dated, codes.take(kept))


def _served(base: Release, samples: Samples) -> list[Served]:
    fits = base.fits
    candidates = None if fits is None else fits.candidates
    rows = pieces([base.model.encode(samples)])
    first_us, last_us = int(samples.event_us.min(initial=0)), int(samples.event_us.max(initial=0))
    return [Served(base.entry.number, base.head, candidates, rows, base.entry.trees, first_us, last_us + 1)]


def _as_of(samples: Samples, dated: bool) -> datetime:
    return from_us(int(samples.event_us.max(initial=0))) if dated else UNDATED
