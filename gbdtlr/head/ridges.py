"""Ridges: how strongly each kind of weight is pulled to its anchor, found from the weights themselves.

A ridge is the noise of a sample over the variance that weights of a kind are believed to have. Leaves of eighty trees
say much the same eighty times, so theirs stands in the grid that is blended. The bias shares it: how far all rows may
move together is for the blend to judge. Dense columns have a strength of their own, which is given. What the weights of
a wide column vary by, they tell themselves. After a fit with ridge a, with w the weights of a kind and h their
curvature, the next ridge is::

    r (sum of h / (h + a) + 1) / (sum of w^2 + 1 / a0)

the count of weights that the samples determine over the sum of their squares; a0, what is believed before there are
samples, counts as one weight, so that a kind of few weights stays near it. Some steps are made an update, each with the
weights ``w (h + a) / (h + a')`` that the ridge a' of the step before would give where no two weights said the same.

r is what the gradient varies by, as a multiple of the curvature. Samples of weight s have s of curvature and s^2 of
variance: a sample that has half faded says half as much of a weight as a new one, with a quarter of its noise. Were the
noise taken for as much as the curvature, as it is where all samples weigh 1, half a half-life's ids would look like
noise, and be pulled twice as strongly as they should.

Candidates whose leaves are pulled least have the ridge that is found, and it is found from them; those whose leaves are
pulled most, which leave most to the ids, have a part of it.

Source
------
MacKay 1992, Bayesian interpolation, section 4.3; the added terms are a gamma prior. White 1982, Maximum likelihood
estimation of misspecified models, for r.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head.layout import Layout
from gbdtlr.values.crosses import parts_of

ID, CROSS = 20.0, 60.0
"""Ridges that are believed before there are samples: of wide columns, and of crosses of several."""
LEAVES = 0
"""Where the leaves are among the kinds."""
WIDE = "wide "
"""What the kinds of wide columns begin with."""
LOW, HIGH = 1e-2, 1e6
"""Least and largest ridge that is found."""
LEAST = LOW / 1e3
"""Least that a step on the way there is."""
STEPS = 3
"""Of the formula at each update: what the weights would be with the ridge of one, the diagonal of the curvature tells
the next. Without that a store needs as many updates more to find out."""
BOLDEST = 0.7
"""What the ridges that are found are multiplied by where the leaves are pulled most."""
FACTOR = 10.0
"""What a ridge changes by at most in one step: its curvature is a diagonal, which many weights that say the same
outgrow."""


@dataclass(frozen=True)
class Prior:
    """Ridges of wide columns that are fixed; those of all other wide columns are found.

    Attributes
    ----------
    fixed : by the kinds' names; ``wide`` and ``cross`` hold for all columns, and all crosses, without one of their own
    """

    fixed: Mapping[str, float] = field(default_factory=dict)

    def fixed_of(self, kind: str) -> float | None:
        """The ridge that kind of wide column is given, None if it is to be found."""
        return self.fixed.get(kind, self.fixed.get("cross" if _is_cross(kind) else "wide"))

    def start_of(self, kind: str) -> float:
        """The ridge that kind of wide column begins with."""
        fixed = self.fixed_of(kind)
        return (CROSS if _is_cross(kind) else ID) if fixed is None else fixed

    def is_found(self, kind: str) -> bool:
        """Whether that kind's ridge is found."""
        return kind.startswith(WIDE) and self.fixed_of(kind) is None

    def finds(self, layout: Layout) -> bool:
        """Whether there is any to be found."""
        return any(self.is_found(kind) for kind in layout.kinds)


def _is_cross(kind: str) -> bool:
    return len(parts_of(kind.removeprefix(WIDE))) > 1


@dataclass(frozen=True, eq=False)
class Ridges:
    """How strongly each kind of weight is pulled to its anchor, in every lane of a fit.

    Attributes
    ----------
    kinds : of a layout, in its order
    values : float64 (n_kinds, lanes)
    """

    kinds: tuple[str, ...]
    values: NDArray[np.float64]

    @classmethod
    def tied(cls, layout: Layout, l2: Sequence[float]) -> Ridges:
        """One ridge for all kinds of each lane, but that of dense columns, which is all lanes'."""
        values = np.tile(np.asarray(l2, np.float64), (len(layout.kinds), 1))
        values[1 + len(layout.wide.names) : -1] = layout.dense.l2
        return cls(tuple(layout.kinds), values)

    @classmethod
    def begun(cls, layout: Layout, l2: Sequence[float], prior: Prior) -> Ridges:
        """As :meth:`tied`, but those of wide columns as the prior begins."""
        ridges = cls.tied(layout, l2)
        for k, kind in enumerate(ridges.kinds):
            if kind.startswith(WIDE):
                ridges.values[k] = prior.start_of(kind) * (ridges.shares if prior.is_found(kind) else 1.0)
        return ridges

    @property
    def shares(self) -> NDArray[np.float64]:
        """What each lane takes of a ridge that is found, (lanes,): all of it where the leaves are pulled least."""
        strengths, rank = np.unique(self.values[LEAVES], return_inverse=True)
        shares: NDArray[np.float64] = BOLDEST ** (rank / max(len(strengths) - 1, 1))
        return shares

    def of(self, kind: str) -> NDArray[np.float64] | None:
        """Those of a kind, (lanes,); None where there is no such kind."""
        return self.values[self.kinds.index(kind)] if kind in self.kinds else None

    def of_wide(self, layout: Layout) -> NDArray[np.float64]:
        """Those of each wide column, (n_wide, lanes)."""
        return self.values[1 : 1 + len(layout.wide.names)]

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
        noise: NDArray[np.float64],
        group_of_lane: Sequence[int],
        prior: Prior,
    ) -> Ridges:
        """The next ridges, after a fit with these; lanes of a group have shares of the same.

        It is found from the lane that has all of it: those that have less give ids what other kinds say, which would
        ask for less again.

        Parameters
        ----------
        lines : (n_params, lanes), distances from the anchor
        curvature : (n_groups, n_wide_params), diagonal of the Hessian without ridges
        noise : (n_groups,), variance of the gradient as a multiple of the curvature; where it is not above zero, as
            no sample weighs anything, or not a number, as nobody knows it, ridges stay as they are
        group_of_lane : (lanes,)
        """
        values, groups, shares = self.values.copy(), np.asarray(group_of_lane), self.shares
        for k, (kind, where) in enumerate(layout.kinds.items()):
            if not prior.is_found(kind) or where.stop == where.start:
                continue
            for group in np.unique(groups):
                if not noise[group] > 0:
                    continue
                own = np.flatnonzero(groups == group)
                lane = own[self.values[LEAVES, own].argmin()]
                ridge = float(values[k, lane])
                held = curvature[group, where.start - layout.n_leaves : where.stop - layout.n_leaves].astype(np.float64)
                moved = lines[where, lane].astype(np.float64) * (held + ridge)
                step = ridge
                for _ in range(STEPS):
                    counted = float((held / (held + step)).sum())
                    squares = float(np.square(moved / (held + step)).sum())
                    step = max(noise[group] * (counted + 1.0) / (squares + 1.0 / prior.start_of(kind)), LEAST)
                step = min(max(step, ridge / FACTOR), ridge * FACTOR)
                values[k, own] = min(max(step, LOW), HIGH) * shares[own] / shares[lane]
        return Ridges(self.kinds, values)

    def carried(self, groups: Sequence[object], other: Ridges, others: Sequence[object], prior: Prior) -> Ridges:
        """The same, but what ``other`` has found for a kind and a group of lanes, whatever trees it was fitted on.

        Parameters
        ----------
        groups, others : what the group of each lane is known by, here and there
        """
        values, shares, theirs = self.values.copy(), self.shares, other.shares
        known = {others[lane]: lane for lane in np.argsort(theirs)}  # at last that which has all of what was found
        for k, kind in enumerate(self.kinds):
            there = other.of(kind)
            for lane, group in enumerate(groups):
                if prior.is_found(kind) and there is not None and group in known:
                    values[k, lane] = there[known[group]] / theirs[known[group]] * shares[lane]
        return Ridges(self.kinds, values)
