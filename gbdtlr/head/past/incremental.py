"""The incremental fit: new samples and the memory of old ones, in place of all samples again.

For a setting, with w the distance from the anchor, w0 the fit before, H its memory and f the share of it that has not
faded, the objective is::

    new samples' loss(w) + f ((w - w0)' H (w - w0) / 2 - l20 w0' w) + l2 / 2 |w|^2

The middle is the old samples' loss to second order: at w0 its slope was ``-l20 w0``, l20 the ridges of that fit, or
w0 would not have been their optimum. So the fit tends to the optimum over old and new together, and the anchor's pull
does not fade with the data.

A wide bucket without news and outside the memory's core meets no other parameter: its optimum is ``w0 (d + f l20) /
(d + l2)``, d its faded curvature. The search goes over the others, so its cost follows the news.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from gbdtlr.compute import blas
from gbdtlr.compute.parts import Parts
from gbdtlr.head.codes import Codes
from gbdtlr.head.fit.candidates import MAX_PASSES, Candidates, slowest
from gbdtlr.head.fit.lines import Lines
from gbdtlr.head.fit.objective import Objective
from gbdtlr.head.fit.solver import minimise
from gbdtlr.head.past.joint import JointObjective
from gbdtlr.head.past.memory import Memory
from gbdtlr.head.past.weighed import Weighed, half_lives_of
from gbdtlr.head.ridges import Prior

TOLERANCE = 2e-6
"""Of the decrease the solver still expects."""

GUIDES, THOROUGH = 2**12, 2**14
"""Rows of the news that guide the search; from so many news on they do so more thoroughly, as each pass costs more."""

FORGOTTEN = 1e-3
"""Curvature below which a wide bucket is dropped: a small part of what any sensible l2 adds."""


def remember(window: Parts[Codes], fitted: Candidates, as_of: datetime) -> Memory:
    """Memory of the samples the candidates were fitted on in full."""
    # As in the fit: BLAS's threads would fight ours, and change the last bits of the sums.
    with blas.single_threaded():
        return Memory.empty(half_lives_of(fitted), fitted.layout.n).learn(Weighed.of(window, fitted, as_of))


def fit_on(
    base: Candidates,
    memory: Memory,
    passed: timedelta,
    news: Parts[Codes],
    as_of: datetime,
    prior: Prior | None = None,
) -> tuple[Candidates, Memory]:
    """Candidates close to the optimum over the samples of ``memory`` and the new ones, at the cost of the new ones.

    Parameters
    ----------
    base : candidates fitted on the samples in memory
    memory : as of their fit
    passed : time since then
    news : the new samples in pieces; at least one row in all
    as_of : the moment the weights of samples are discounted from
    prior : what the next ridges are found by; they stay as they are where there is none

    Returns
    -------
    candidates, memory : of the old samples and the new

    Source
    ------
    Laplace's approximation, as in Chapelle and Li 2011, algorithm 3, with curvature beyond the diagonal.
    """
    with blas.single_threaded():
        return _fit_on(base, memory, passed, news, as_of, prior)


def _fit_on(
    base: Candidates, memory: Memory, passed: timedelta, news: Parts[Codes], as_of: datetime, prior: Prior | None
) -> tuple[Candidates, Memory]:
    settings, ridges = base.settings, base.fitted_with if base.found is None else base.found
    objective = Objective(news, base.layout, settings, as_of, ridges)
    layout = base.layout.together_with(objective.layout)
    memory = memory.faded(passed).at(base.layout.places_in(layout), layout.n)
    start = base.layout.carried(base.lines, layout).astype(np.float64)
    before, l2 = base.fitted_with.of_parameters(layout), ridges.of_parameters(layout)
    lines = _faded(start, memory, base, passed, (before, l2))
    # What the memory will be if nothing moves: the curvature that guides the search, so some of the news will do.
    unmoved = Candidates(settings, layout, start.astype(np.float32), base.background)
    samples = Weighed.of(news, unmoved, as_of)
    expected = memory.learn(samples, sample=GUIDES)
    met = objective.layout.places_in(layout)
    free = np.union1d(met, np.union1d(memory.core, expected.core))
    place = np.full(layout.n, -1, np.int32)
    place[free] = np.arange(len(free))
    thorough = range(len(memory.half_lives)) if samples.n >= THOROUGH else []
    joint = JointObjective(
        objective,
        place[met].astype(np.intp),
        memory.of(free),
        expected.of(free),
        [samples.sampled(half, GUIDES).at(place) for half in thorough],
        settings,
        start[free],
        passed,
        (before[free], l2[free]),
    )
    lines[free], _, passes, _ = minimise(
        joint.value_and_gradient, start[free], joint.precondition, tolerance=TOLERANCE, max_passes=MAX_PASSES
    )
    background = _background(base.background, memory.half_lives[-1], objective.background(slowest(settings)), passed)
    kept = None if base.found is None else ridges
    fitted = Candidates(settings, layout, lines.astype(np.float32), background, passes, kept, kept)
    memory = memory.learn(Weighed.of(news, fitted, as_of))
    return _without_forgotten(_with_next_ridges(fitted, memory, prior), memory)


def _with_next_ridges(fitted: Candidates, memory: Memory, prior: Prior | None) -> Candidates:
    if fitted.ridges is None or prior is None:
        return fitted
    half = [memory.half_lives.index(setting.half_life) for setting in fitted.settings]
    wide = memory.total_diagonal()[:, fitted.layout.ids]
    found = fitted.ridges.stepped(fitted.layout, fitted.lines, wide, memory.noise, half, prior)
    return replace(fitted, found=found)


def _faded(start: Lines, memory: Memory, base: Candidates, passed: timedelta, l2: tuple[Lines, Lines]) -> Lines:
    """The optimum of the parameters that meet no other, (n_params, n_settings); the search is for the rest."""
    half = [memory.half_lives.index(setting.half_life) for setting in base.settings]
    fade = np.array([2.0 ** -(passed / setting.half_life) for setting in base.settings])
    held = memory.diagonal[half].T
    faded: Lines = start * ((held + fade * l2[0]) / (held + l2[1]))
    return faded


def _background(old: float, half_life: timedelta, new: float, passed: timedelta) -> float:
    """Log-odds between the old and the new, by how much of the old has faded."""
    fade: float = 2.0 ** -(passed / half_life)
    return fade * old + (1.0 - fade) * new


def _without_forgotten(fitted: Candidates, memory: Memory) -> tuple[Candidates, Memory]:
    forgotten = memory.total_diagonal().max(axis=0) <= FORGOTTEN
    _, left = fitted.layout.without(forgotten)
    return fitted.without(forgotten), memory.of(np.flatnonzero(left))
