"""The incremental fit: new samples and the memory of old ones, in place of all samples again.

For a setting, with w the distance from the anchor, w0 the fit before, H its memory and f the share of it that has not
faded, the objective is::

    new samples' loss(w) + f ((w - w0)' H (w - w0) / 2 - l2 w0' w) + l2 / 2 |w|^2

The middle is the old samples' loss to second order: at w0 its slope was ``-l2 w0``, or w0 would not have been their
optimum. So the fit tends to the optimum over old and new together, and the anchor's pull does not fade with the data.

A wide bucket without news and outside the memory's core meets no other parameter: its optimum is ``w0 (d + f l2) /
(d + l2)``, d its faded curvature. The search goes over the others, so its cost follows the news.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head.candidates import MAX_PASSES, Candidates
from gbdtlr.head.codes import Codes
from gbdtlr.head.lines import Lines
from gbdtlr.head.memory import Memory, half_lives_of, rows_of
from gbdtlr.head.objective import Objective, Setting
from gbdtlr.head.solver import minimise
from gbdtlr.head.together import Together
from gbdtlr.head.window import Parameters

TOLERANCE = 2e-6
"""Of the decrease the solver still expects."""

GUIDES, THOROUGH = 2**12, 2**14
"""Rows of the news that guide the search; from so many news on they do so more thoroughly, as each pass costs more."""

FORGOTTEN = 1e-3
"""Curvature below which a wide bucket is dropped: a small part of what any sensible l2 adds."""


def remember(
    window: Sequence[Codes],
    offsets: NDArray[np.int64],
    anchor: NDArray[np.float64],
    fitted: Candidates,
    as_of: datetime,
) -> Memory:
    """Memory of the samples the candidates were fitted on in full."""
    from threadpoolctl import threadpool_limits

    empty = Memory.empty(half_lives_of(fitted), _parameters(fitted).n)
    # As in the fit: BLAS's threads would fight ours, and change the last bits of the sums.
    with threadpool_limits(limits=1, user_api="blas"):
        return empty.learn(rows_of(fitted, [part for part in window if len(part)], offsets, anchor, as_of), len(anchor))


def fit_on(
    base: Candidates,
    memory: Memory,
    passed: timedelta,
    news: Sequence[Codes],
    offsets: NDArray[np.int64],
    anchor: NDArray[np.float64],
    as_of: datetime,
) -> tuple[Candidates, Memory]:
    """Candidates close to the optimum over the samples of ``memory`` and the new ones, at the cost of the new ones.

    Parameters
    ----------
    base : candidates fitted on the samples in memory
    memory : as of their fit
    passed : time since then
    news : parts of the new samples; at least one row in all
    offsets, anchor : int64 (n_trees + 1,), float64 (n_codes,)
    as_of : the moment the weights of samples are discounted from

    Returns
    -------
    candidates, memory : of the old samples and the new

    Source
    ------
    Laplace's approximation, as in Chapelle and Li 2011, algorithm 3, with curvature beyond the diagonal.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        return _fit_on(base, memory, passed, [part for part in news if len(part)], offsets, anchor, as_of)


def _fit_on(
    base: Candidates,
    memory: Memory,
    passed: timedelta,
    news: Sequence[Codes],
    offsets: NDArray[np.int64],
    anchor: NDArray[np.float64],
    as_of: datetime,
) -> tuple[Candidates, Memory]:
    known = tuple(
        np.union1d(index, np.concatenate([part.buckets[j] for part in news])).astype(np.uint32)
        for j, index in enumerate(base.wide_index)
    )
    parameters = Parameters(len(anchor), known)
    columns = _columns(_parameters(base), parameters)
    memory = memory.faded(passed).at(columns, parameters.n)
    start = np.zeros((parameters.n, len(base.settings)))
    start[columns] = np.concatenate([base.leaves, *base.wide, base.bias[None, :]])
    half = [memory.half_lives.index(setting.half_life) for setting in base.settings]
    l2 = np.array([setting.l2 for setting in base.settings])
    fade = np.array([2.0 ** -(passed / setting.half_life) for setting in base.settings])
    # Right for those that meet no other parameter; the search is for the rest.
    held = memory.diagonal[half].T
    found = start * ((held + fade * l2) / (held + l2))
    # What the memory will be if nothing moves: the curvature that guides the search, so some of the news will do.
    unmoved = _candidates(base.settings, start, parameters, base.background, 0)
    rows = rows_of(unmoved, news, offsets, anchor, as_of)
    expected = memory.learn(rows, len(anchor), sample=GUIDES)
    objective = Objective(news, offsets, anchor, base.settings, as_of)
    met = _columns(objective.parameters, parameters)
    free = np.union1d(met, np.union1d(memory.core, expected.core))
    place = np.full(parameters.n, -1, np.int32)
    place[free] = np.arange(len(free))
    together = Together(
        objective,
        place[met].astype(np.intp),
        memory.of(free),
        expected.of(free),
        [each.sampled(GUIDES).at(place) for each in rows] if len(rows[0]) >= THOROUGH else [],
        base.settings,
        start[free],
        passed,
    )
    found[free], _, passes, _ = minimise(
        together.value_and_gradient, start[free], together.precondition, tolerance=TOLERANCE, max_passes=MAX_PASSES
    )
    slowest = max(range(len(base.settings)), key=lambda k: (base.settings[k].half_life, -k))
    background = _background(base.background, memory.half_lives[-1], objective.background(slowest), passed)
    fitted = _candidates(base.settings, found, parameters, background, passes)
    memory = memory.learn(rows_of(fitted, news, offsets, anchor, as_of), len(anchor))
    return _without_forgotten(fitted, memory)


def _parameters(fitted: Candidates) -> Parameters:
    return Parameters(len(fitted.leaves), fitted.wide_index)


def _columns(some: Parameters, all_: Parameters) -> NDArray[np.intp]:
    """Where each parameter of ``some`` is among ``all_``, which has them and maybe more."""
    wide = [
        first + index.searchsorted(part)
        for first, index, part in zip(all_.wide_offsets[:-1], all_.wide_index, some.wide_index, strict=True)
    ]
    return np.concatenate([np.arange(all_.n_codes), *wide, [all_.n - 1]]).astype(np.intp)


def _candidates(
    settings: tuple[Setting, ...], lines: Lines, parameters: Parameters, background: float, passes: int
) -> Candidates:
    fitted = lines.astype(np.float32)
    first = parameters.wide_offsets
    wide = tuple(fitted[first[j] : first[j + 1]] for j in range(len(parameters.wide_index)))
    return Candidates(
        settings, fitted[: parameters.n_codes], fitted[-1], parameters.wide_index, wide, background, passes
    )


def _background(old: float, half_life: timedelta, new: float, passed: timedelta) -> float:
    """Log-odds between the old and the new, by how much of the old has faded."""
    fade: float = 2.0 ** -(passed / half_life)
    return fade * old + (1.0 - fade) * new


def _without_forgotten(fitted: Candidates, memory: Memory) -> tuple[Candidates, Memory]:
    parameters = _parameters(fitted)
    kept = memory.total_diagonal().max(axis=0) > FORGOTTEN
    kept[: parameters.n_codes] = kept[-1] = True
    first = parameters.wide_offsets
    spans = [slice(first[j], first[j + 1]) for j in range(len(fitted.wide))]
    smaller = Candidates(
        fitted.settings,
        fitted.leaves,
        fitted.bias,
        tuple(index[kept[span]] for index, span in zip(fitted.wide_index, spans, strict=True)),
        tuple(wide[kept[span]] for wide, span in zip(fitted.wide, spans, strict=True)),
        fitted.background,
        fitted.passes,
    )
    return smaller, memory.of(np.flatnonzero(kept))
