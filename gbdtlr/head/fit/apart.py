"""Apart: wide buckets of few rows, each moved by its own curvature while all others are searched for.

At each point that is accepted, a bucket's direction is its gradient over its curvature::

    direction = -gradient / (DAMPED * sum of s p (1 - p) over its rows + l2)

A row has such a bucket in each wide column, and all of them answer to the same residual; damped, they do not overshoot
together. There may be millions of them, so they are kept as the kernels want them, all lanes of one side by side, and
one sweep over memory does all that is done between two passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.head.fit.apart_kernels import sweep
from gbdtlr.head.fit.kernels import LANES
from gbdtlr.head.fit.lines import aligned, blocks, zeros

DAMPED = 2.0
"""By trial: from 1.5 to 3 as few passes; undamped, half as many again."""
CHUNK = 16_384
"""Buckets that one thread works on at a time."""

Floats = NDArray[np.float32]


@dataclass
class Block:
    """The lanes a kernel serves at once.

    Attributes
    ----------
    lanes : which they are; the first of ``trial``'s
    trial : float32 (n, width), where the next pass looks
    slope : float32 (n, width), gradient of the loss there, written by the pass
    direction : float32 (n, width)
    applied : float64 (width,), how much of the direction ``trial`` is beyond the accepted point
    squares : float64 (n_columns, width), of ``trial``, over the buckets apart of each wide column
    """

    lanes: list[int]
    trial: Floats
    slope: Floats
    direction: Floats
    applied: NDArray[np.float64]
    squares: NDArray[np.float64]

    @property
    def width(self) -> int:
        """Of a line: the number of lanes, and maybe more for the kernels' sake."""
        return int(self.trial.shape[1])


class Apart:
    """Points and directions of the buckets apart, for all lanes; busy buckets have a place too, and do not move."""

    def __init__(
        self,
        start: NDArray[np.floating],
        curvature: Floats,
        group_of_lane: Sequence[int],
        l2: NDArray[np.float64],
        bounds: Sequence[int] | None = None,
    ) -> None:
        """All lanes at their start.

        Parameters
        ----------
        start : (n, n_lanes), of all wide parameters
        curvature : float32 (n, n_groups), without l2; infinite for busy buckets
        group_of_lane : (n_lanes,)
        l2 : (n_lanes,), or (n_columns, n_lanes)
        bounds : where the parameters of each wide column begin, and n; None where one ridge is all columns'
        """
        self._curvature, self._group, self._l2 = curvature, list(group_of_lane), np.atleast_2d(l2.astype(np.float32))
        bounds = (0, len(curvature)) if bounds is None else bounds
        self._chunks = [
            (column, lo, min(hi, lo + CHUNK))
            for column, (begin, hi) in enumerate(pairwise(bounds))
            for lo in range(begin, hi, CHUNK)
        ]
        self._none = bool(np.isinf(curvature[:, :1]).all())
        self._done: dict[int, Floats] = {}
        self.blocks = [
            self._block(list(range(some.start, some.stop)), aligned(start[:, some], width))
            for some, width in blocks(start.shape[1], LANES)
        ]
        for block in self.blocks:
            self._sweep(block, np.zeros(block.width, bool), np.zeros(block.width))

    def keep(self, lanes: Sequence[int]) -> None:
        """Let go of all other lanes, if that makes for fewer blocks, or narrower ones."""
        if [width for _, width in blocks(len(lanes), LANES)] == [block.width for block in self.blocks]:
            return
        points: dict[int, tuple[Floats, Floats, float, NDArray[np.float64]]] = {}
        for block in self.blocks:
            for slot, lane in enumerate(block.lanes):
                if lane not in lanes:
                    self._done[lane] = self._accepted(block, slot)
                else:
                    trial, direction = block.trial[:, slot], block.direction[:, slot]
                    points[lane] = trial, direction, block.applied[slot], block.squares[:, slot]
        made = []
        for some, width in blocks(len(lanes), LANES):
            mine = list(lanes[some])
            block = self._block(mine, zeros(len(self._curvature), width))
            for slot, lane in enumerate(mine):
                block.trial[:, slot], block.direction[:, slot], block.applied[slot], squares = points[lane]
                block.squares[:, slot] = squares
            made.append(block)
        self.blocks = made

    def move(self, accepted: Sequence[int], lengths: Mapping[int, float]) -> dict[int, float]:
        """Turn where the accepted lanes are, and look a whole step further; look other lanes' lengths from theirs.

        Returns
        -------
        slopes : of the accepted lanes, the derivative along their new directions
        """
        slopes: dict[int, float] = {}
        for block in self.blocks:
            turned, change = np.zeros(block.width, bool), np.zeros(block.width)
            for slot, lane in enumerate(block.lanes):
                if lane in accepted:
                    turned[slot], change[slot], block.applied[slot] = True, 1.0, 1.0
                elif lane in lengths:
                    change[slot] = lengths[lane] - block.applied[slot]
                    block.applied[slot] = lengths[lane]
            if change.any():
                found = self._sweep(block, turned, change)
                slopes.update((lane, float(found[slot])) for slot, lane in enumerate(block.lanes) if turned[slot])
        return slopes

    def write_accepted(self, out: Floats) -> None:
        """Write where all lanes are, (n, n_lanes)."""

        def work(chunk: int) -> None:
            _, lo, hi = self._chunks[chunk]
            for block in self.blocks:
                back = block.trial[lo:hi] - block.applied.astype(np.float32) * block.direction[lo:hi]
                first, k = block.lanes[0], len(block.lanes)
                if block.lanes == list(range(first, first + k)):
                    out[lo:hi, first : first + k] = back[:, :k]
                else:
                    out[lo:hi, block.lanes] = back[:, :k]
            for lane, point in self._done.items():
                out[lo:hi, lane] = point[lo:hi]

        threads.run(len(self._chunks), work)

    def _block(self, lanes: list[int], trial: Floats) -> Block:
        n, width = trial.shape
        slope, direction = zeros(n, width), zeros(n, width)
        return Block(lanes, trial, slope, direction, np.zeros(width), np.zeros((len(self._l2), width)))

    def _accepted(self, block: Block, slot: int) -> Floats:
        back: Floats = block.trial[:, slot] - np.float32(block.applied[slot]) * block.direction[:, slot]
        return back

    def _sweep(self, block: Block, turned: NDArray[np.bool_], change: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn some lanes, move all by so much of their direction, and sum the squares anew; slopes of those turned."""
        if self._none:
            return np.zeros(block.width)
        sums = np.zeros((len(self._chunks), 2, block.width))
        spare = block.width - len(block.lanes)
        group = (*(self._group[lane] for lane in block.lanes), *(0,) * spare)
        # A column's in a row, whatever was taken: kernels are compiled for each way that arrays may lie.
        l2 = np.ascontiguousarray(np.pad(self._l2[:, block.lanes], ((0, 0), (0, spare)), constant_values=1))
        step = change.astype(np.float32)

        def work(chunk: int) -> None:
            column, lo, hi = self._chunks[chunk]
            sweep(
                block.trial, block.direction, block.slope, self._curvature, group, l2[column], np.float32(DAMPED),
                turned, step, lo, hi, *sums[chunk],
            )  # fmt: skip

        threads.run(len(self._chunks), work)
        slopes: NDArray[np.float64] = sums[:, 0].sum(axis=0)
        block.squares[:] = 0
        for (column, _, _), (_, squares) in zip(self._chunks, sums, strict=True):
            block.squares[column] += squares
        return slopes
