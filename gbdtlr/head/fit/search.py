"""The search: the objective as the solver goes over it, core parameters in lanes and the others apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbdtlr.head.fit.apart import Apart
from gbdtlr.head.fit.curvature import Curvature
from gbdtlr.head.fit.lines import Lanes, Lines
from gbdtlr.head.fit.objective import Objective


class Search:
    """Value and gradient of some settings in the core's parameters.

    Attributes
    ----------
    start : float64 (n_core, n_lanes)
    apart : all wide parameters, as float32; the busy ones as the core says
    """

    def __init__(self, objective: Objective, curvature: Curvature, settings: NDArray[np.intp], start: Lines) -> None:
        """Search by a curvature.

        Parameters
        ----------
        settings : (n_lanes,), which settings of the objective are searched for
        start : (n_params, n_lanes)
        """
        self._objective, self._curvature, self._settings = objective, curvature, settings
        self._core, layout = curvature.core, objective.layout
        ridges = objective.ridges.lanes(settings)
        self._l2 = ridges.values[self._core.kinds(layout)]
        self._l2_wide = ridges.of_wide(layout)
        self.start: Lines = self._core.take(start).astype(np.float64)
        wide = start[layout.ids]
        bounds = [*(where.start - layout.n_leaves for where in layout.columns), len(wide)]
        group = [curvature.group_of_lane[k] for k in settings]
        self.apart = Apart(wide, curvature.wide, group, self._l2_wide, bounds)

    def value_and_gradient(self, lines: Lines, lanes: Lanes) -> tuple[NDArray[np.float64], Lines]:
        """Objective of each of these k lanes, (k,), and its gradient, float64 (n_core, k); the others' stays apart."""
        core = self._core
        gradient: Lines = self._l2[:, lanes] * lines
        value = np.einsum("pk,pk->k", lines, gradient) / 2
        column = {int(lane): i for i, lane in enumerate(lanes)}
        for block in self.apart.blocks:
            mine = [column.get(lane, 0) for lane in block.lanes]  # what of those that are done is of no interest
            block.trial[core.busy, : len(mine)] = lines[core.of_busy, mine]
            loss, slope = self._objective.losses(
                lines[: core.n_leaves, mine],
                lines[core.last, mine],
                block.trial,
                self._settings[block.lanes],
                block.slope,
            )
            for slot, lane in enumerate(block.lanes):
                if lane not in column:
                    continue
                i = column[lane]
                value[i] += loss[slot] + self._l2_wide[:, lane] @ block.squares[:, slot] / 2
                gradient[: core.n_leaves, i] += slope[: core.n_leaves, slot]
                gradient[core.of_busy, i] += block.slope[core.busy, slot]
                gradient[core.last, i] += slope[core.n_leaves :, slot]
        return value, gradient

    def precondition(self, lines: Lines, lanes: Lanes) -> Lines:
        """Inverse Hessian of each of these k lanes times its column, nearly, (n_core, k)."""
        return self._curvature.solve(lines, self._settings[lanes])

    def whole(self, lines: Lines) -> NDArray[np.float32]:
        """All parameters where the core's are these, (n_core, n_lanes): float32 (n_params, n_lanes)."""
        core, layout = self._core, self._objective.layout
        out = np.empty((layout.n, lines.shape[1]), np.float32)
        out[layout.leaves], out[layout.linear.start :] = lines[: core.n_leaves], lines[core.last]
        wide = out[layout.ids]
        self.apart.write_accepted(wide)
        wide[core.busy] = lines[core.of_busy]
        return out
