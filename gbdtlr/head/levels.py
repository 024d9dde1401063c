"""Levels: what the blend has been off by lately, in all rows alike.

The rate of positives moves faster than what sets rows apart: a sale begins, a flood of bots comes, and every margin is
off by the same. A candidate that fades fast enough to follow knows little else. So the blend is asked, once its shares
are known, what log-odds its newest rows lack, as each half-life discounts them; the record says how much of each level
to believe, and the head's bias moves by that.

A level c of a half-life solves, over the rows of the fit with margin m, p = sigmoid(m) and discounted weight s::

    sum of s (y - sigmoid(m + c)) = PULL r c,    r = sum of s^2 p (1 - p) / sum of s p (1 - p)

r is the noise of a sample, as of ``ridges``: a level is the same whatever all weights are multiplied by. Margins are
counted in bins, so that one pass, and a sum over parts, tells all of it.
"""

from __future__ import annotations

import math
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

Floats = NDArray[np.float64]

PULL = 20.0
"""Ridge of a level where samples weigh 1: before there are any, it is believed to vary by a fifth of a log-odd."""
REACH = 5
"""Half-lives, of the longest of a level, after which a sample counts no more."""
WIDEST, BINS = 16.0, 512
"""Margins up to which they are told apart, and bins they are counted in."""
FARTHEST, HALVINGS = math.log(2.0), 40
"""Largest level, and times its interval is halved. What moves odds by more than twice within hours, guards and people
are to see before it is followed."""


def levelled(candidates: Candidates, rows: Parts[Codes], weights: Floats, as_of: datetime) -> Candidates:
    """Candidates with the levels that their blend lacks on rows.

    Parameters
    ----------
    rows : those the candidates were fitted on, in pieces
    weights : float64 (n_names,), of the record; those of levels do not count
    as_of : the moment samples are discounted from
    """
    half_lives = candidates.half_lives_of_levels
    blended = candidates.blended(np.append(weights[: len(candidates.settings) + 2], np.zeros(len(half_lives))))
    bins = np.zeros((2, len(half_lives), BINS))
    counts = rows.sum(counts_of, blended, half_lives, as_of, zero=(bins, np.zeros((3, len(half_lives)))))
    return replace(candidates, levels=tuple(levels_of(*counts).tolist()))


def counts_of(codes: Codes, head: Head, half_lives: Sequence[timedelta], as_of: datetime) -> tuple[Floats, Floats]:
    """What a part's rows say of each half-life's level.

    Returns
    -------
    bins, sums : (2, n_half_lives, BINS), discounted weight of the rows in each bin of the margin, and their margins
        times that; (3, n_half_lives), discounted weight of the positives, sums of ``s p (1 - p)`` and ``s^2 p (1 - p)``
    """
    codes = happened_from(codes, to_us(as_of - REACH * half_lives[-1]))
    margin = np.clip(head.margin(codes), -WIDEST, WIDEST)
    at = np.minimum((margin + WIDEST) * (BINS / (2 * WIDEST)), BINS - 1).astype(np.int64)
    spread = sigmoid(margin)
    spread *= 1.0 - spread
    bins, sums = np.empty((2, len(half_lives), BINS)), np.empty((3, len(half_lives)))
    for k, half_life in enumerate(half_lives):
        weight = codes.weight * decay(codes, half_life, as_of)
        bins[0, k], bins[1, k] = (np.bincount(at, each, BINS) for each in (weight, weight * margin))
        curvature = weight * spread
        sums[:, k] = weight @ codes.label, curvature.sum(), weight @ curvature
    return bins, sums


def levels_of(bins: Floats, sums: Floats) -> Floats:
    """Level of each half-life, (n_half_lives,), by the sums of what :func:`counts_of` gives."""
    weight, margins = bins
    positives, curvature, variance = sums
    margin = np.divide(margins, weight, out=np.zeros_like(weight), where=weight > 0)
    pull = PULL * np.divide(variance, curvature, out=np.ones_like(variance), where=curvature > 0)
    low, high = np.full(len(weight), -FARTHEST), np.full(len(weight), FARTHEST)
    for _ in range(HALVINGS):
        level = (low + high) / 2
        expected = (weight * sigmoid(margin + level[:, None])).sum(axis=1)
        is_low = expected + pull * level < positives
        low, high = np.where(is_low, level, low), np.where(is_low, high, level)
    found: Floats = (low + high) / 2
    return found
