"""The grid: which settings a configuration has fitted and blended, and which ridges are theirs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gbdtlr.config import HeadConfig
from gbdtlr.head import Candidates, Layout, Prior, Ridges, Setting
from gbdtlr.times import format_duration


def settings_of(head: HeadConfig) -> list[Setting]:
    """The grid of half-lives and of ridges of the leaves."""
    return [Setting(half_life, l2) for half_life in head.half_lives for l2 in head.l2]


def prior_of(head: HeadConfig) -> Prior:
    """What the configuration says of ridges that are not in the grid."""
    fixed: dict[str, float] = {}
    for key, given in head.fixed_ridges.items():
        for name, ridge in given.items():
            fixed[f"wide {name}" if name else key.removesuffix("_l2")] = ridge
    return Prior(fixed)


def ridges_for(layout: Layout, settings: Sequence[Setting], prior: Prior, known: Candidates | None) -> Ridges | None:
    """Ridges of the next fit, with what was found by candidates before; None without wide columns to have their own."""
    if not layout.wide.names:
        return None
    ridges = Ridges.begun(layout, [setting.l2 for setting in settings], prior)
    if known is None or known.found is None:
        return ridges
    groups, others = ([each.half_life for each in some] for some in (settings, known.settings))
    return ridges.carried(groups, known.found, others, prior)


def ridges_of(candidates: Candidates) -> dict[str, dict[str, float]]:
    """The ridges that are not in the grid, by wide column and half-life, to three digits; of those of which candidates
    have parts, the whole."""
    ridges = candidates.ridges
    if ridges is None:
        return {}
    whole_last = np.argsort(ridges.shares, kind="stable").tolist()
    return {
        kind: {
            format_duration(candidates.settings[lane].half_life): float(f"{values[lane]:.3g}") for lane in whole_last
        }
        for kind, values in zip(ridges.kinds, ridges.values, strict=True)
        if kind.startswith("wide ")
    }
