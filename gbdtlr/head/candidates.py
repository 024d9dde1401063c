"""Candidates: one fitted head per setting, kept together so that they can be scored, blended and fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.npz import checked, from_npz, to_npz
from gbdtlr.errors import DamagedError
from gbdtlr.head import kernels
from gbdtlr.head.codes import Codes
from gbdtlr.head.curvature import Curvature
from gbdtlr.head.groups import Groups
from gbdtlr.head.head import Head, lookup
from gbdtlr.head.lines import Lanes, Lines, aligned, blocks, zeros
from gbdtlr.head.objective import Objective, Setting
from gbdtlr.head.solver import minimise
from gbdtlr.head.wide import WideColumns
from gbdtlr.head.window import Parameters
from gbdtlr.times import format_duration

MAX_PASSES, PATIENCE = 200, 80
"""Passes at most, and passes after which the curvature is taken anew, where the search has come by then."""
MANY = 2**20
"""Weights of wide columns from which they are written as they are: two seconds of compressing would gain 7%."""


@dataclass(frozen=True)
class Candidates:
    """Fitted heads of all settings, as distances from the anchor, beside the two that need no fit.

    The *trees* candidate is the anchor itself; the *background* one says the same log-odds for every row, and lets
    the blend shrink trees that are too sure of themselves.

    Attributes
    ----------
    settings : one per candidate
    leaves : float32 (n_codes, n_settings)
    bias : float32 (n_settings,)
    wide_index : per wide column, uint32 (n_active,), sorted
    wide : per wide column, float32 (n_active, n_settings)
    background : log-odds of the discounted rate of positives
    passes : passes over the codes the fit took
    """

    settings: tuple[Setting, ...]
    leaves: NDArray[np.float32]
    bias: NDArray[np.float32]
    wide_index: tuple[NDArray[np.uint32], ...]
    wide: tuple[NDArray[np.float32], ...]
    background: float
    passes: int = 0

    @property
    def names(self) -> list[str]:
        """Names of all candidates, in the order of :meth:`margins`' columns: what records know them by for ever."""
        fitted = [f"{s.half_life.total_seconds():g}s/{s.l2:g}" for s in self.settings]
        return [*fitted, "trees", "background"]

    @property
    def labels(self) -> list[str]:
        """The same names as people write them: ``6h l2=30``."""
        return [*(f"{format_duration(s.half_life)} l2={s.l2:g}" for s in self.settings), "trees", "background"]

    def margins(self, codes: Codes, offsets: NDArray[np.int64], anchor: NDArray[np.float64]) -> NDArray[np.float64]:
        """Margin of every candidate on coded rows, float64 (n, n_settings + 2)."""
        n, k = len(codes), len(self.settings)
        base = np.zeros(n)
        kernels.add_leaf_weights(codes.leaves, offsets, anchor, base)
        moved = self._leaf_margins(codes.leaves, offsets)
        for bucket, index, weight in zip(codes.buckets, self.wide_index, self.wide, strict=True):
            moved += lookup(index, weight, bucket)
        out = np.empty((n, k + 2))
        out[:, :k] = base[:, None] + (moved + self.bias)
        out[:, k] = base
        out[:, k + 1] = self.background
        return out

    def _leaf_margins(self, leaves: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the leaves add to the anchor's margin, (n, n_settings)."""
        k, n = len(self.settings), leaves.shape[1]
        out, groups = np.empty((n, k), np.float32), Groups(offsets, n)
        for block, width in blocks(k, kernels.LANES):
            table, moved = groups.table(aligned(self.leaves[:, block], width)), zeros(n, width)
            kernels.add_lane_margins(leaves, *groups.arguments, table, tuple(range(width)), moved)
            out[:, block] = moved[:, : block.stop - block.start]
        return out

    def blended(self, weights: NDArray[np.float64], anchor: NDArray[np.float64], columns: WideColumns) -> Head:
        """The one head whose margin is the weighted average of all candidates' margins.

        Parameters
        ----------
        weights : float64 (n_settings + 2,), sums to 1
        anchor : float64 (n_codes,)
        """
        fitted, background = weights[:-2], float(weights[-1])
        # Not by BLAS, whose sums depend on its threads.
        leaves, *wide = (np.einsum("pk,k->p", each, fitted) for each in (self.leaves, *self.wide))
        kept = [each != 0 for each in wide]
        return Head(
            float(self.bias.astype(np.float64) @ fitted) + background * self.background,
            (1.0 - background) * anchor + leaves,
            columns,
            tuple(index[keep] for index, keep in zip(self.wide_index, kept, strict=True)),
            tuple(each[keep] for each, keep in zip(wide, kept, strict=True)),
        )

    def to_bytes(self) -> bytes:
        """The candidates as an npz; equal candidates give equal bytes."""
        arrays: dict[str, NDArray[Any]] = {
            "half_lives_s": np.array([s.half_life.total_seconds() for s in self.settings]),
            "l2": np.array([s.l2 for s in self.settings]),
            "leaves": self.leaves,
            "bias": self.bias,
            "background": np.array([self.background]),
            "n_wide": np.array([len(self.wide)]),
        }
        for j, (index, weight) in enumerate(zip(self.wide_index, self.wide, strict=True)):
            arrays[f"wide_index_{j}"], arrays[f"wide_{j}"] = index, weight
        return to_npz(arrays, compress=sum(weight.size for weight in self.wide) < MANY)

    @classmethod
    def from_bytes(cls, data: bytes, n_codes: int) -> Candidates:
        """Candidates as :meth:`to_bytes` gave them; ``DamagedError`` for anything else."""
        arrays = from_npz(data)
        try:
            seconds, l2 = arrays["half_lives_s"], arrays["l2"]
            k = len(seconds)
            columns = range(int(arrays["n_wide"][0]))
            index = tuple(checked(arrays[f"wide_index_{j}"], np.uint32, None) for j in columns)
            wide = (checked(arrays[f"wide_{j}"], np.float32, (len(index[j]), k)) for j in columns)
            return cls(
                tuple(Setting(timedelta(seconds=float(s)), float(each)) for s, each in zip(seconds, l2, strict=True)),
                checked(arrays["leaves"], np.float32, (n_codes, k)),
                checked(arrays["bias"], np.float32, (k,)),
                index,
                tuple(wide),
                float(arrays["background"][0]),
            )
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"the head's candidates are damaged: {error}") from None


def fit(
    window: Sequence[Codes],
    offsets: NDArray[np.int64],
    anchor: NDArray[np.float64],
    settings: Sequence[Setting],
    as_of: datetime,
    start: Candidates | None = None,
) -> Candidates:
    """Candidates that minimise the anchored objective of each setting, to a relative 1e-5.

    Samples of weights in the thousands, which make labels all but certain, may keep it from coming so close within
    ``MAX_PASSES``.

    Parameters
    ----------
    window : parts of the samples of the head's window; at least one row in all
    offsets : int64 (n_trees + 1,)
    anchor : float64 (n_codes,), the trees' leaf outputs
    settings : any number of them
    as_of : the moment the weights of samples are discounted from
    start : candidates on the same trees to start from, such as those of the live head

    Source
    ------
    He et al. 2014, section 3, with the anchor and the settings of ``objective``.
    """
    from threadpoolctl import threadpool_limits

    objective = Objective([part for part in window if len(part)], offsets, anchor, settings, as_of)
    # The lanes are spread over our own threads: BLAS's would fight them, and change the last bits of the sums.
    with threadpool_limits(limits=1, user_api="blas"):
        delta, passes = _search(objective, _start(start, settings, objective.parameters))
    parameters, fitted = objective.parameters, delta.astype(np.float32)
    first = parameters.wide_offsets
    slowest = max(range(len(settings)), key=lambda k: (settings[k].half_life, -k))
    return Candidates(
        tuple(settings),
        fitted[: parameters.n_codes],
        fitted[-1],
        parameters.wide_index,
        tuple(fitted[first[j] : first[j + 1]] for j in range(len(parameters.wide_index))),
        objective.background(slowest),
        passes,
    )


def _search(objective: Objective, start: Lines) -> tuple[Lines, int]:
    """The optimum of each setting, and the passes that took."""
    x, passes, curvature = start, 0, objective.curvature()
    left = np.arange(start.shape[1])
    while True:

        def evaluate(lines: Lines, lanes: Lanes, left: NDArray[np.intp] = left) -> tuple[NDArray[np.float64], Lines]:
            return objective.value_and_gradient(lines, left[lanes])

        def precondition(
            lines: Lines, lanes: Lanes, left: NDArray[np.intp] = left, curvature: Curvature = curvature
        ) -> Lines:
            return curvature.solve(lines, left[lanes])

        x[:, left], _, took, done = minimise(
            evaluate,
            x[:, left],
            precondition,
            tolerance=curvature.tolerance,
            max_passes=min(PATIENCE, MAX_PASSES - passes),
        )
        passes, left = passes + took, left[~done]
        if not len(left) or passes >= MAX_PASSES:
            return x, passes
        curvature = objective.curvature(x)


def _start(start: Candidates | None, settings: Sequence[Setting], parameters: Parameters) -> NDArray[np.float64]:
    """Where the search begins: at the anchor, or where ``start`` has the same setting and columns, from there."""
    lines = np.zeros((parameters.n, len(settings)))
    if start is None or len(start.wide) != len(parameters.wide_index):
        return lines
    first = parameters.wide_offsets
    for k, setting in enumerate(settings):
        if setting in start.settings:
            known = start.settings.index(setting)
            lines[: parameters.n_codes, k] = start.leaves[:, known]
            lines[-1, k] = start.bias[known]
            for j, index in enumerate(parameters.wide_index):
                lines[first[j] : first[j + 1], k] = lookup(start.wide_index[j], start.wide[j][:, known], index)
    return lines
