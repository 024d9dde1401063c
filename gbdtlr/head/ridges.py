"""Ridges: how strongly each kind of weight is pulled to its anchor, found from the weights themselves.

A ridge is one over the variance that weights of a kind are believed to have. Leaves of eighty trees say much the same
eighty times, so theirs stands in the grid that is blended; what the weights of a wide column vary by, they tell
themselves. After a fit with ridge a, with w the weights of a kind and h their curvature, the next ridge is::

    (sum of h / (h + a) + 1) / (sum of w^2 + 1 / a0)

the count of weights that the samples determine over the sum of their squares; a0, what is believed before there are
samples, counts as one weight, so that a kind of few weights stays near it. One step is made an update.

Source
------
MacKay 1992, Bayesian interpolation, section 4.3; the added terms are a gamma prior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head.layout import Layout
from gbdtlr.values.crosses import parts_of

ID, CROSS, BIAS = 10.0, 30.0, 1.0
"""Ridges that are believed before there are samples: of wide columns, crosses of several, and the bias."""
LOW, HIGH = 1e-2, 1e6
"""Least and largest ridge that is found."""
FACTOR = 10.0
"""What a ridge changes by at most in one step: its curvature is a diagonal, which many weights that say the same
outgrow."""


@dataclass(frozen=True)
class Prior:
    """Ridges that are fixed, by the kind of weight; all others but the leaves' are found.

    Attributes
    ----------
    fixed : by the kinds' names; ``wide`` and ``cross`` hold for all columns, and all crosses, without one of their own
    """

    fixed: Mapping[str, float] = field(default_factory=dict)

    def fixed_of(self, kind: str) -> float | None:
        """The ridge that kind is given, None if it is to be found."""
        return self.fixed.get(kind, self.fixed.get(family(kind)))

    def start_of(self, kind: str) -> float:
        """The ridge that kind begins with."""
        fixed = self.fixed_of(kind)
        return {"wide": ID, "cross": CROSS}.get(family(kind), BIAS) if fixed is None else fixed


def family(kind: str) -> str:
    """``wide``, ``cross``, or the kind itself: what is believed of it before there are samples."""
    if not kind.startswith("wide "):
        return kind
    return "wide" if len(parts_of(kind.removeprefix("wide "))) == 1 else "cross"


@dataclass(frozen=True, eq=False)
class Ridges:
    """The ridge of every kind of weight in every lane of a fit.

    Attributes
    ----------
    kinds : of a layout, in its order
    values : float64 (n_kinds, lanes)
    """

    kinds: tuple[str, ...]
    values: NDArray[np.float64]

    @classmethod
    def tied(cls, layout: Layout, l2: Sequence[float]) -> Ridges:
        """One ridge for all kinds of each lane."""
        return cls(tuple(layout.kinds), np.tile(np.asarray(l2, np.float64), (len(layout.kinds), 1)))

    @classmethod
    def begun(cls, layout: Layout, l2: Sequence[float], prior: Prior) -> Ridges:
        """The leaves' as given for each lane, all others as the prior begins."""
        ridges = cls.tied(layout, l2)
        for k, kind in enumerate(ridges.kinds):
            if kind != "leaves":
                ridges.values[k] = prior.start_of(kind)
        return ridges

    def of(self, kind: str) -> NDArray[np.float64] | None:
        """Those of a kind, (lanes,); None where there is no such kind."""
        return self.values[self.kinds.index(kind)] if kind in self.kinds else None

    def lanes(self, lanes: Sequence[int] | NDArray[np.intp]) -> Ridges:
        """Those of some lanes."""
        return Ridges(self.kinds, self.values[:, lanes])

    def of_parameters(self, layout: Layout) -> NDArray[np.float64]:
        """The ridge of each parameter, (n_params, lanes)."""
        sizes = [where.stop - where.start for where in layout.kinds.values()]
        return np.repeat(self.values, sizes, axis=0)

    def times(self, lines: NDArray[np.floating], layout: Layout) -> NDArray[np.floating]:
        """Each parameter's ridge times its lines, (n_params, lanes), in their precision."""
        out = np.empty_like(lines)
        for where, values in zip(layout.kinds.values(), self.values, strict=True):
            np.multiply(lines[where], values.astype(lines.dtype), out=out[where])
        return out

    def stepped(
        self,
        layout: Layout,
        lines: NDArray[np.floating],
        curvature: NDArray[np.floating],
        group_of_lane: Sequence[int],
        prior: Prior,
    ) -> Ridges:
        """The next ridges, after a fit with these; lanes of a group, which differ in the leaves' alone, share theirs.

        Parameters
        ----------
        lines : (n_params, lanes), distances from the anchor
        curvature : (n_groups, n_params), diagonal of the Hessian without ridges
        group_of_lane : (lanes,)
        """
        values, groups = self.values.copy(), np.asarray(group_of_lane)
        for k, (kind, where) in enumerate(layout.kinds.items()):
            if kind == "leaves" or prior.fixed_of(kind) is not None or where.stop == where.start:
                continue
            for group in np.unique(groups):
                own = np.flatnonzero(groups == group)
                ridge = float(values[k, own[0]])
                held = curvature[group, where].astype(np.float64)
                counted = float((held / (held + ridge)).sum())
                squares = float(np.square(lines[where][:, own].astype(np.float64)).sum()) / len(own)
                step = (counted + 1.0) / (squares + 1.0 / prior.start_of(kind))
                step = min(max(step, ridge / FACTOR), ridge * FACTOR)
                values[k, own] = min(max(step, LOW), HIGH)
        return Ridges(self.kinds, values)

    def carried(self, groups: Sequence[object], other: Ridges, others: Sequence[object], prior: Prior) -> Ridges:
        """The same, but what ``other`` has found for a kind and a group of lanes, whatever trees it was fitted on.

        Parameters
        ----------
        groups, others : what the group of each lane is known by, here and there
        """
        values = self.values.copy()
        known = {group: lane for lane, group in enumerate(others)}
        for k, kind in enumerate(self.kinds):
            there = other.of(kind)
            for lane, group in enumerate(groups):
                if kind != "leaves" and there is not None and group in known and prior.fixed_of(kind) is None:
                    values[k, lane] = there[known[group]]
        return Ridges(self.kinds, values)
