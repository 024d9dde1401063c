"""Margins then: log-odds of past rows that no label of theirs, and none that was known later, has touched.

A head that was fitted to a window knows its labels: the more it has learned of a row's own ids, the smaller what is
left for the user to learn of the row, and the further off in the next one. A head that is learned one sample at a time
says of each what it would have said when it happened: every label is learned when it became known, and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import HeadConfig
from gbdtlr.head import Codes, Layout, OnlineHead, concatenate
from gbdtlr.jobs.methods import rule_of
from gbdtlr.values.hashing import U64

CHUNK = 65_536
"""Rows that are in memory twice."""


def margins_then(batches: Sequence[Codes], salt: U64, layout: Layout, head: HeadConfig) -> NDArray[np.float64]:
    """Log-odds of every row as of its own time, float64 (n,), by the rule of ``ftrl`` from the trees' outputs on.

    Parameters
    ----------
    batches : coded rows, in any order
    salt : uint64 (n,), a hash of each row: of labels that become known at one instant, the lower is learned first
    layout : of heads that these are codes for

    Source
    ------
    McMahan et al. 2013, algorithm 1.
    """
    codes, n = concatenate(batches), len(salt)
    online = OnlineHead(rule_of(replace(head, method="ftrl", online=replace(head.online, min_occurrences=1))), layout)
    # Each row twice: when it happens, which weighs nothing, and when its label becomes known.
    at_us = np.concatenate([codes.event_us, codes.known_us])
    order = np.lexsort((np.tile(salt, 2), np.arange(2 * n) >= n, at_us))
    margin = np.empty(n)
    for start in range(0, 2 * n, CHUNK):
        chosen = order[start : start + CHUNK]
        rows, is_known = chosen % n, chosen >= n
        part = codes.take(rows)
        told = online.learn_many(replace(part, weight=np.where(is_known, part.weight, 0.0)))
        margin[rows[~is_known]] = told[~is_known]
    return margin
