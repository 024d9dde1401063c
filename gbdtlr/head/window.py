"""A window of coded samples as the kernels of the fit want it: parameters, the anchor's margins, discounted weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.head import kernels
from gbdtlr.head.codes import Codes
from gbdtlr.times import to_us


@dataclass(frozen=True)
class Parameters:
    """Which parameter is which: leaves first, then the wide buckets that occur in the window, then the bias.

    Attributes
    ----------
    n_codes : leaves of all trees
    wide_index : per wide column, uint32 (n_active,), sorted
    """

    n_codes: int
    wide_index: tuple[NDArray[np.uint32], ...]

    @property
    def wide_offsets(self) -> list[int]:
        """First parameter of each wide column, and the bias's behind them."""
        sizes = [len(index) for index in self.wide_index]
        return [self.n_codes + sum(sizes[:j]) for j in range(len(sizes) + 1)]

    @property
    def n(self) -> int:
        """How many there are, the bias included."""
        return self.wide_offsets[-1] + 1

    def of_buckets(self, part: Codes) -> NDArray[np.int32]:
        """Parameter of each row's wide buckets, which are all among them, int32 (n_wide, n)."""
        out = np.empty(part.buckets.shape, np.int32)
        for j, (first, index) in enumerate(zip(self.wide_offsets[:-1], self.wide_index, strict=True)):
            out[j] = first + index.searchsorted(part.buckets[j])
        return out


class Window:
    """Coded samples in parts.

    Attributes
    ----------
    n : rows in all
    parts : samples, each part with the same trees and wide columns
    offsets : int64 (n_trees + 1,)
    parameters : of the fit
    wide : per part, parameters of its wide buckets, int32 (n_wide, n_part)
    base : per part, the anchor's margins, float32 (n_part,)
    weight : per part, discounted by each half-life, float32 (n_half_lives, n_part)
    """

    def __init__(
        self,
        parts: Sequence[Codes],
        offsets: NDArray[np.int64],
        anchor: NDArray[np.float64],
        half_lives: Sequence[timedelta],
        as_of: datetime,
    ) -> None:
        self.parts, self.offsets = parts, offsets
        self.n = sum(map(len, parts))
        n_wide = len(parts[0].buckets) if parts else 0
        self.parameters = Parameters(len(anchor), tuple(_active(parts, j) for j in range(n_wide)))
        self.wide = [self.parameters.of_buckets(part) for part in parts]
        self.base: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(parts)
        self.weight = list(self.base)

        def work(p: int) -> None:
            part = parts[p]
            base = np.zeros(len(part))
            kernels.add_leaf_weights(part.leaves, offsets, anchor, base)
            self.base[p] = base.astype(np.float32)
            age_s = (to_us(as_of) - part.event_us) / 1e6
            decay = [part.weight * np.exp2(-age_s / half_life.total_seconds()) for half_life in half_lives]
            self.weight[p] = np.stack(decay).astype(np.float32)

        threads.run(len(parts), work)

    def add_margins(self, p: int, delta: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """``out += the margins of part p's rows``, for a distance ``delta``, (n_params,), from the anchor."""
        kernels.add_leaf_weights(self.parts[p].leaves, self.offsets, delta, out)
        out += delta[-1]
        for column in self.wide[p]:
            out += delta[column]

    def taken(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int32]]:
        """Leaves (n_trees, m) and wide parameters (n_wide, m) of those rows, in rising order through all parts."""
        starts = np.cumsum([0, *map(len, self.parts)])
        cuts = rows.searchsorted(starts)
        mine = [rows[a:b] - start for a, b, start in zip(cuts, cuts[1:], starts, strict=False)]
        return (
            np.concatenate([part.leaves[:, at] for part, at in zip(self.parts, mine, strict=True)], axis=1),
            np.concatenate([wide[:, at] for wide, at in zip(self.wide, mine, strict=True)], axis=1),
        )

    def codes(self, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        """Parameters of those rows, int32 (m, n_trees + n_wide + 1), the bias last."""
        leaves, wide = self.taken(rows)
        bias = np.full((len(rows), 1), self.parameters.n - 1)
        return np.concatenate([leaves.T + self.offsets[:-1], wide.T, bias], axis=1).astype(np.int32)


def _active(parts: Sequence[Codes], j: int) -> NDArray[np.uint32]:
    return np.unique(np.concatenate([np.unique(part.buckets[j]) for part in parts]))
