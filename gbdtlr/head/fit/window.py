"""A window of coded samples as the kernels of a fit want it: parameters, the anchor's margins, discounted weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.parts import Parts
from gbdtlr.head.codes import Codes
from gbdtlr.head.fit import kernels
from gbdtlr.head.fit.tiles import Tiles
from gbdtlr.head.kernels import add_leaf_weights
from gbdtlr.head.layout import Layout
from gbdtlr.times import to_us


@dataclass(frozen=True)
class Part:
    """Rows of a window, made ready where they are.

    Attributes
    ----------
    codes : the samples
    wide : int32 (n_wide, n), parameters of their wide buckets
    tiles : the rows of each of these
    base : float32 (n,), the anchor's margins
    weight : float32 (n_half_lives, n), discounted by each half-life
    """

    codes: Codes
    wide: NDArray[np.int32]
    tiles: Tiles
    base: NDArray[np.float32]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, codes: Codes, layout: Layout, half_lives: Sequence[timedelta], as_of: datetime) -> Part:
        """Coded samples made ready for a fit of these parameters."""
        base = anchored_margins(codes, layout)
        weight = [codes.weight * decay(codes, half_life, as_of) for half_life in half_lives]
        wide = layout.wide_parameters(codes.buckets)
        tiles = Tiles.of(wide - np.int32(layout.n_leaves)) if len(wide) else Tiles.of(wide, kernels.TILE)
        return cls(codes, wide, tiles, base.astype(np.float32), np.stack(weight).astype(np.float32))

    def margins(self, layout: Layout, delta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of the rows so far, (n_params,), from the anchor: float64 (n,)."""
        out = self.base.astype(np.float64)
        add_leaf_weights(self.codes.leaves, layout.offsets, delta, out)
        out += delta[layout.bias]
        for column in self.wide:
            out += delta[column]
        for line, distance in zip(self.codes.dense, delta[layout.linear], strict=True):
            out += line.astype(np.float64) * distance
        return out


@dataclass(frozen=True)
class Window:
    """All rows of a fit.

    Attributes
    ----------
    layout : the parameters, with the wide buckets in use that occur in the window
    parts : the rows
    n : how many
    """

    layout: Layout
    parts: Parts[Part]
    n: int

    @classmethod
    def of(cls, codes: Parts[Codes], layout: Layout, half_lives: Sequence[timedelta], as_of: datetime) -> Window:
        """Window of coded samples, whose weights are discounted from ``as_of`` by each half-life."""
        layout = layout.over(codes)
        return cls(layout, codes.derive(Part.of, layout, half_lives, as_of), codes.sum(len, zero=0))


def anchored_margins(codes: Codes, layout: Layout) -> NDArray[np.float64]:
    """Log-odds of coded rows where every parameter is at its anchor, (n,)."""
    base = np.zeros(len(codes))
    add_leaf_weights(codes.leaves, layout.offsets, layout.leaf_values, base)
    for line, anchor in zip(codes.dense, layout.dense.anchor, strict=True):
        base += line.astype(np.float64) * anchor
    return base


def decay(codes: Codes, half_life: timedelta, as_of: datetime) -> NDArray[np.float64]:
    """``2^-(age / half_life)`` of each sample, (n,)."""
    age_s = (to_us(as_of) - codes.event_us) / 1e6
    result: NDArray[np.float64] = np.exp2(-age_s / half_life.total_seconds())
    return result
