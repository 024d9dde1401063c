"""Hindsight: a record of the candidates, made from the window's own past where nothing is on record of them.

A blend of candidates that nobody has seen predict gives each its prior share: too much to the background where trees
say a lot, most to what was learned by heart where they say nothing. But the window holds rows enough to try them on.
Trees are grown on its older part, once more, and on them the candidates are fitted again and again over the newer part,
each time on what was known then, and judged by the rows that happened until the next fit. Where trees are live that
have not seen the newest rows, as when the grid has changed, the same is done on these, and nothing is grown. Levels are
left out: what is lately is gone by the next of so few fits, which would say less of them than updates will.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from gbdtlr.compute.parts import Parts
from gbdtlr.compute.threads import n_threads
from gbdtlr.config import ONLINE, Config, HeadConfig
from gbdtlr.errors import SamplesError, TreesError
from gbdtlr.head import Candidates, Codes, DenseColumns, Layout, Record, Setting, fit_candidates, pieces
from gbdtlr.head.codes import happened_between, happened_from, known_after, known_by
from gbdtlr.head.dense import NO_DENSE
from gbdtlr.head.fit.candidates import names_of
from gbdtlr.jobs.grid import prior_of, ridges_for, settings_of
from gbdtlr.jobs.methods import dense_of, wide_of
from gbdtlr.jobs.run import Run
from gbdtlr.jobs.user_scores import UserScores
from gbdtlr.metrics import Quality
from gbdtlr.model import Model
from gbdtlr.release import Fits, Release
from gbdtlr.samples import Samples
from gbdtlr.times import from_us, to_us
from gbdtlr.trees import train

SHARE = 0.25
"""Newest share of the rows that is judged; the rest is for the trees."""
LONGEST = timedelta(days=3)
"""Time that is judged at most: fits further apart would not tell fast half-lives from slow ones."""
FITS = 8
"""Times the candidates are fitted; bounds what hindsight costs beside the trees."""

_BEGINS = (
    f"nothing is on record of the blend: trying it {FITS} times on the window's own past (which the first time on a "
    "machine compiles kernels)"
)

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Hindsight:
    """What the candidates would have been worth.

    Attributes
    ----------
    fits : the candidates as fitted last, whose ridges are to go on from, and their record
    quality : of their blend, each row scored before it was learned from
    """

    fits: Fits
    quality: Quality


def is_due(head: HeadConfig, base: Release | None) -> bool:
    """Whether a head of this configuration has no record to go on from, and is to be given one."""
    if not head.hindsight or head.method in ONLINE:
        return False
    fits = None if base is None else base.fits
    record = None if fits is None else fits.record.known_of(names_of(settings_of(head)))
    return record is None or not record.curvature.any()


def of_window(
    run: Run, ask: Callable[..., Any], dense: DenseColumns, users: UserScores | None = None
) -> Hindsight | None:
    """Hindsight on the trees' window, with trees of its older part; None where that has too little to tell.

    Parameters
    ----------
    ask : calls a function of the samples that new trees are grown on, where these are
    dense : the dense columns, with their centres and scales in these
    users : what works out users' scores, where these are
    """
    run.say.say("head.hindsight.begin", message=f"{_BEGINS}, on trees of its older part")
    with run.say.timed("head.hindsight") as told:
        past: Hindsight | None
        past, found = ask(there, run.config, run.as_of, dense, users)
        told.update(found)
        return past


def there(
    samples: Samples, config: Config, as_of: datetime, dense: DenseColumns, users: UserScores | None
) -> tuple[Hindsight | None, dict[str, Any]]:
    """As :func:`of_samples`, with what it told."""
    told: dict[str, Any] = {}
    samples = samples if users is None else users.on(samples)
    return of_samples(config, samples, as_of, told, dense), told


def of_samples(
    config: Config, samples: Samples, as_of: datetime, told: dict[str, Any], dense: DenseColumns = NO_DENSE
) -> Hindsight | None:
    """As :func:`of_window`; ``told`` is given how many rows there are on either side, and trees."""
    since_us = _newest_part(samples)
    older = samples.filter(samples.known_us <= since_us)
    told.update(rows=int((samples.event_us >= since_us).sum()), older=len(older))
    if min(told["rows"], len(older)) < config.guard.min_samples:
        return None
    try:
        trees = train(older, config.trees, config.samples, threads=n_threads())
    except (SamplesError, TreesError):  # such as labels all of one class, where the whole window has both
        return None
    del older
    told.update(trees=trees.n_trees)
    model = Model.of(trees, wide_of(config), dense)
    reach = samples.event_us >= since_us - config.head.window / MICROSECOND
    parts = pieces([model.encode(samples.filter(reach))])
    return judged(parts, model.head.layout, config.head, since_us, as_of)


def of_head(run: Run, base: Release, window: Parts[Codes], as_of: datetime) -> Hindsight | None:
    """Hindsight on the live trees over the rows of the head's window they were not grown on; None if there are too few.

    Parameters
    ----------
    window : the head's up to ``as_of`` in pieces, as a new head reads them
    """
    head = run.config.head
    run.say.say("head.hindsight.begin", message=f"{_BEGINS}, on the live trees")
    with run.say.timed("head.hindsight") as told:
        last_us = max(window.map(last_event), default=0)
        since_us = max(to_us(base.trees_as_of), int(last_us - LONGEST / MICROSECOND))
        rows, older = (window.derive(take, since_us).sum(len, zero=0) for take in (happened_from, known_by))
        told.update(rows=rows, older=older)
        if min(rows, older) < run.config.guard.min_samples:
            return None
        layout = Layout.of(base.trees, wide_of(run.config), dense_of(run.config, base.slow))
        return judged(window, layout, head, since_us, as_of)


def judged(parts: Parts[Codes], layout: Layout, head: HeadConfig, since_us: int, as_of: datetime) -> Hindsight:
    """What the configuration's candidates would have been worth, had they been fitted every so often.

    Parameters
    ----------
    parts : coded samples in pieces; the fits learn of them as far back as the head's window reaches
    layout : of heads on the trees they are coded on, which have learned nothing that happened since
    since_us : rows that happened from then on are judged, in microseconds
    """
    settings, newer = settings_of(head), parts.derive(happened_from, since_us)
    end_us = max(newer.map(last_event)) + 1
    bounds = [since_us + (end_us - since_us) * k // FITS for k in range(FITS + 1)]
    record, quality, live = Record.blank(names_of(settings), from_us(since_us)), Quality(), list[_Live]()
    for start_us, stop_us in pairwise(bounds):
        live.append(_Live(_fit(parts, layout, settings, head, start_us, live), record, start_us, stop_us))
        until = as_of if stop_us == end_us else from_us(stop_us)
        fresh = newer.derive(known_after, start_us).derive(known_by, to_us(until))
        told = [(fresh.derive(happened_between, each.start_us, each.stop_us), each) for each in live]
        for rows, each in told:
            quality = quality + rows.sum(quality_of_blend, each.candidates, each.record, zero=Quality())
        record = record.learn([(rows, each.candidates) for rows, each in told], until, head.blend_half_life)
    return Hindsight(Fits(live[-1].candidates, record, None), quality)


@dataclass(frozen=True)
class _Live:
    """Candidates as if live between two moments, and the record that blends them."""

    candidates: Candidates
    record: Record
    start_us: int
    stop_us: int


def _fit(
    parts: Parts[Codes],
    layout: Layout,
    settings: Sequence[Setting],
    head: HeadConfig,
    moment_us: int,
    live: Sequence[_Live],
) -> Candidates:
    """Candidates that know what was known at a moment; those before where that is nothing."""
    before = live[-1].candidates if live else None
    known = parts.derive(known_by, moment_us).derive(happened_from, int(moment_us - head.window / MICROSECOND))
    if not known.sum(len, zero=0):
        return before or Candidates.bare(settings, layout)
    prior = prior_of(head)
    ridges = ridges_for(layout, settings, prior, before)
    return fit_candidates(known, layout, settings, from_us(moment_us), before, ridges, prior)


def _newest_part(samples: Samples) -> int:
    """The moment from which on rows are judged, in microseconds."""
    at = np.sort(samples.event_us)
    return int(max(at[int(len(at) * (1 - SHARE))], at[-1] - LONGEST / MICROSECOND))


def last_event(codes: Codes) -> int:
    """When the last of a part's rows happened, in microseconds."""
    return int(codes.event_us.max(initial=0))


def quality_of_blend(codes: Codes, candidates: Candidates, record: Record) -> Quality:
    """Quality of the candidates, blended as a record says, on a part's rows."""
    return Quality.of(candidates.margins(codes) @ record.weights, codes.label, codes.weight)
