"""Levels: what the blend has been off by lately, in all rows alike.

The rate of positives moves faster than what sets rows apart: a sale begins, a flood of bots comes, and every margin is
off by the same. A candidate that fades fast enough to follow knows little else. So the blend is asked, once its shares
are known, what log-odds its newest rows lack, as each half-life discounts them; the record says how much of each level
to believe, and the head's bias moves by that.

A level c of a half-life solves, over the rows of the fit with margin m and discounted weight s::

    sum of s (y - sigmoid(m + c)) = PULL c

Margins are counted in bins, so that one pass, and a sum over parts, tells all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.head.codes import Codes, happened_from
from gbdtlr.head.fit.candidates import Candidates
from gbdtlr.head.fit.window import decay
from gbdtlr.head.head import Head
from gbdtlr.metrics import sigmoid
from gbdtlr.times import to_us

PULL = 10.0
"""Ridge of a level: before there are samples, it is believed to vary by a third of a log-odd."""
REACH = 5
"""Half-lives, of the longest of a level, after which a sample counts no more."""
WIDEST, BINS = 16.0, 512
"""Margins up to which they are told apart, and bins they are counted in."""
FARTHEST, HALVINGS = 5.0, 40
"""Largest level, and times its interval is halved."""


def levelled(candidates: Candidates, rows: Parts[Codes], weights: NDArray[np.float64], as_of: datetime) -> Candidates:
    """Candidates with the levels that their blend lacks on rows.

    Parameters
    ----------
    rows : those the candidates were fitted on, in pieces
    weights : float64 (n_names,), of the record; those of levels do not count
    as_of : the moment samples are discounted from
    """
    half_lives = candidates.half_lives_of_levels
    blended = candidates.blended(np.append(weights[: len(candidates.settings) + 2], np.zeros(len(half_lives))))
    zero = np.zeros((len(half_lives), BINS + 1))
    counts = rows.sum(counts_of, blended, half_lives, as_of, zero=zero)
    return replace(candidates, levels=tuple(levels_of(counts).tolist()))


def counts_of(codes: Codes, head: Head, half_lives: Sequence[timedelta], as_of: datetime) -> NDArray[np.float64]:
    """Discounted weight of a part's rows in each bin of the margin, and at last of its positives: (n_half_lives, BINS +
    1)."""
    codes = happened_from(codes, to_us(as_of - REACH * half_lives[-1]))
    bins = np.clip((head.margin(codes) + WIDEST) * (BINS / (2 * WIDEST)), 0, BINS - 1).astype(np.int64)
    bins[codes.label == 1] += BINS
    found = np.empty((len(half_lives), BINS + 1))
    for each, half_life in zip(found, half_lives, strict=True):
        counted = np.bincount(bins, codes.weight * decay(codes, half_life, as_of), 2 * BINS)
        each[:BINS], each[BINS] = counted[:BINS] + counted[BINS:], counted[BINS:].sum()
    return found


def levels_of(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Level of each half-life, (n_half_lives,), by counts as of :func:`counts_of`."""
    margin = (np.arange(BINS) + 0.5) * (2 * WIDEST / BINS) - WIDEST
    low, high = np.full(len(counts), -FARTHEST), np.full(len(counts), FARTHEST)
    for _ in range(HALVINGS):
        level = (low + high) / 2
        expected = (counts[:, :BINS] * sigmoid(margin + level[:, None])).sum(axis=1)
        is_low = expected + PULL * level < counts[:, BINS]
        low, high = np.where(is_low, level, low), np.where(is_low, high, level)
    found: NDArray[np.float64] = (low + high) / 2
    return found
