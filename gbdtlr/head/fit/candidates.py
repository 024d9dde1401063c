"""Candidates: one fitted head per setting, kept together so that they can be scored, blended and fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.codec.npz import checked, from_npz, to_npz
from gbdtlr.compute import blas
from gbdtlr.compute.compiled import read_only
from gbdtlr.compute.parts import Parts
from gbdtlr.errors import DamagedError
from gbdtlr.head.blend import LEVEL
from gbdtlr.head.codes import Codes
from gbdtlr.head.fit import kernels
from gbdtlr.head.fit.curvature import Curvature
from gbdtlr.head.fit.groups import Groups
from gbdtlr.head.fit.lines import aligned, blocks, zeros
from gbdtlr.head.fit.objective import Objective, Setting
from gbdtlr.head.fit.search import Search
from gbdtlr.head.fit.solver import minimise
from gbdtlr.head.fit.window import anchored_margins
from gbdtlr.head.head import Head
from gbdtlr.head.kernels import add_found_lines
from gbdtlr.head.layout import Layout
from gbdtlr.head.ridges import Prior, Ridges
from gbdtlr.times import format_duration

Floats = NDArray[np.float32]

TIED, TIED_DENSE, FORMAT = 1, 2, 3
"""The formats in which one ridge holds for all kinds of weight of a candidate, without dense columns and with, and the
newest."""
MAX_PASSES, PATIENCE = 200, 80
"""Passes at most, and passes after which the curvature is taken anew, where the search has come by then."""
MANY = 2**20
"""Weights of wide columns from which they are written as they are: two seconds of compressing would gain 7%."""


@dataclass(frozen=True)
class Candidates:
    """Fitted heads of all settings, as distances from the anchor, beside the two that need no fit, and levels.

    The *trees* candidate is the anchor itself; the *background* one says the same log-odds for every row, and lets
    the blend shrink trees that are too sure of themselves.

    Attributes
    ----------
    settings : one per candidate
    layout : their parameters
    lines : float32 (n_params, n_settings), distances from the anchor
    background : log-odds of the discounted rate of positives
    passes : passes over the codes the fit took
    ridges : of each kind of weight they were fitted with; None where each setting's own is all kinds'
    found : those the next are to be fitted with
    levels : log-odds that their blend lacked lately, by half-life; see ``levels``. None, where they are not known
    """

    settings: tuple[Setting, ...]
    layout: Layout
    lines: NDArray[np.float32]
    background: float
    passes: int = 0
    ridges: Ridges | None = None
    found: Ridges | None = None
    levels: tuple[float, ...] = ()

    @classmethod
    def bare(cls, settings: Sequence[Setting], layout: Layout, ridges: Ridges | None = None) -> Candidates:
        """Candidates that have learned nothing: all at the anchor."""
        nothing = np.zeros((layout.n, len(settings)), np.float32)
        return cls(tuple(settings), layout, nothing, 0.0, ridges=ridges, found=ridges)

    @property
    def fitted_with(self) -> Ridges:
        """The ridges they were fitted with."""
        return Ridges.tied(self.layout, [s.l2 for s in self.settings]) if self.ridges is None else self.ridges

    @property
    def names(self) -> list[str]:
        """Names of all candidates and levels, in the order of :meth:`margins`' columns: what records know them by for
        ever."""
        return names_of(self.settings)

    @property
    def labels(self) -> list[str]:
        """The candidates' names as people write them: ``6h l2=30``."""
        return [*(f"{format_duration(s.half_life)} l2={s.l2:g}" for s in self.settings), "trees", "background"]

    @property
    def half_lives_of_levels(self) -> list[timedelta]:
        """Half-lives that have levels, in rising order."""
        return half_lives_of_levels(self.settings)

    def margins(self, codes: Codes) -> NDArray[np.float64]:
        """Margin of every candidate on coded rows, and the levels: float64 (n, n_settings + 2 + n_levels)."""
        layout, k = self.layout, len(self.settings)
        leaves, wide, bias = layout.split(self.lines)
        base = anchored_margins(codes, layout)
        moved = self._shared_margins(codes, leaves, self.lines[layout.linear])
        for bucket, in_use, weight in zip(codes.buckets, layout.in_use, wide, strict=True):
            add_found_lines(in_use.places(bucket), read_only(np.ascontiguousarray(weight)), moved)
        out = np.empty((len(codes), len(self.names)))
        out[:, :k] = base[:, None] + (moved + bias)
        out[:, k] = base
        out[:, k + 1] = self.background
        out[:, k + 2 :] = self.levels or 0.0
        return out

    def _shared_margins(
        self, codes: Codes, leaves: NDArray[np.float32], dense: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """What leaves and dense columns add to the anchor's margin, (n, n_settings), by their lines."""
        k, n = len(self.settings), len(codes)
        out, groups = np.empty((n, k), np.float32), Groups(self.layout.offsets, n)
        for block, width in blocks(k, kernels.LANES):
            table, moved = groups.table(aligned(leaves[:, block], width)), zeros(n, width)
            numbers, lanes = aligned(dense[:, block], width), tuple(range(width))
            kernels.add_lane_margins(codes.leaves, *groups.arguments, table, codes.dense, numbers, lanes, moved)
            out[:, block] = moved[:, : block.stop - block.start]
        return out

    def blended(self, weights: NDArray[np.float64]) -> Head:
        """The one head whose margin is the weighted average of all candidates' margins, and the levels' share.

        Parameters
        ----------
        weights : float64 (n_settings + 2 + n_levels,), of a record
        """
        k = len(self.settings)
        fitted, background = weights[:k], float(weights[k + 1])
        # Not by BLAS, whose sums depend on its threads.
        moved = np.einsum("pk,k->p", self.lines, fitted)
        blended = (1.0 - background) * self.layout.anchor + moved
        blended[self.layout.bias] += background * self.background + self.level(weights)
        layout, left = self.layout.without(moved == 0)
        return Head(layout, blended[left])

    def level(self, weights: NDArray[np.float64]) -> float:
        """Log-odds that the levels move all rows by, with a record's weights."""
        shares = weights[len(self.settings) + 2 :].tolist()
        return float(sum(share * level for share, level in zip(shares, self.levels, strict=False)))

    def levels_and_shares(self, weights: NDArray[np.float64]) -> dict[str, dict[str, float]]:
        """What the levels are, and how much of each is believed, by half-life."""
        told = zip(self.half_lives_of_levels, self.levels, weights[len(self.settings) + 2 :].tolist(), strict=True)
        return {format_duration(each): {"log_odds": round(c, 4), "share": round(q, 4)} for each, c, q in told}

    def unlearned(self, weights: NDArray[np.float64]) -> Head:
        """What :meth:`blended` would be, had no candidate learned anything: the trees, less the background's share."""
        background = float(weights[len(self.settings) + 1])
        layout = Layout.of(self.layout, self.layout.wide, self.layout.dense)
        kept = (1.0 - background) * layout.anchor
        kept[layout.bias] = background * self.background
        return Head(layout, kept)

    def without(self, dropped: NDArray[np.bool_]) -> Candidates:
        """The same without the wide buckets whose parameter is ``dropped``, (n_params,)."""
        layout, left = self.layout.without(dropped)
        return replace(self, layout=layout, lines=self.lines[left])

    def to_bytes(self) -> bytes:
        """The candidates as an npz; equal candidates give equal bytes."""
        leaves, wide, bias = self.layout.split(self.lines)
        dense = self.lines[self.layout.linear]
        arrays: dict[str, NDArray[Any]] = {
            "half_lives_s": np.array([s.half_life.total_seconds() for s in self.settings]),
            "l2": np.array([s.l2 for s in self.settings]),
            "leaves": leaves,
            "bias": bias,
            "background": np.array([self.background]),
            "n_wide": np.array([len(wide)]),
        }
        for j, (index, weight) in enumerate(zip(self.layout.buckets, wide, strict=True)):
            arrays[f"wide_index_{j}"], arrays[f"wide_{j}"] = index, weight
        if len(dense):
            arrays["dense"] = dense
        if self.levels:
            arrays["levels"] = np.array(self.levels)
        format_ = TIED_DENSE if len(dense) else TIED
        if self.ridges is not None and self.found is not None:
            arrays["ridges"], arrays["ridges_found"] = self.ridges.values, self.found.values
            format_ = FORMAT
        return to_npz(arrays, format_, compress=sum(weight.size for weight in wide) < MANY)

    @classmethod
    def from_bytes(cls, data: bytes, layout: Layout) -> Candidates:
        """Candidates as :meth:`to_bytes` gave them, of heads of that layout, whatever buckets it has in use.

        Raises
        ------
        DamagedError, FormatError
            Not such bytes; written by a newer gbdtlr.
        """
        arrays = from_npz(data, "candidates.npz", FORMAT)
        try:
            seconds, l2 = arrays["half_lives_s"], arrays["l2"]
            k, n_wide = len(seconds), int(arrays["n_wide"][0])
            if n_wide != len(layout.wide.names):
                raise ValueError(f"{n_wide} wide columns, where the head has {len(layout.wide.names)}")
            layout = layout.using([checked(arrays[f"wide_index_{j}"], np.uint32, None) for j in range(n_wide)])
            wide = [checked(arrays[f"wide_{j}"], np.float32, (len(index), k)) for j, index in enumerate(layout.buckets)]
            leaves = checked(arrays["leaves"], np.float32, (layout.n_leaves, k))
            n_dense = layout.dense.n
            none = np.empty((0, k), np.float32)
            settings = tuple(
                Setting(timedelta(seconds=float(s)), float(each)) for s, each in zip(seconds, l2, strict=True)
            )
            dense = checked(arrays["dense"], np.float32, (n_dense, k)) if n_dense or "dense" in arrays else none
            return cls(
                settings,
                layout,
                layout.join(leaves, wide, checked(arrays["bias"], np.float32, (k,)), dense),
                float(arrays["background"][0]),
                ridges=_ridges(arrays.get("ridges"), layout, k),
                found=_ridges(arrays.get("ridges_found"), layout, k),
                levels=_levels(arrays.get("levels"), settings),
            )
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"the head's candidates are damaged: {error}") from None


def _ridges(values: NDArray[Any] | None, layout: Layout, n_lanes: int) -> Ridges | None:
    """Ridges as they were written; ``ValueError`` for what none can be."""
    if values is None:
        return None
    found = checked(values, np.float64, (len(layout.kinds), n_lanes))
    if not (np.isfinite(found) & (found > 0)).all():
        raise ValueError("not all ridges are above zero and finite")
    return Ridges(tuple(layout.kinds), found)


def _levels(values: NDArray[Any] | None, settings: Sequence[Setting]) -> tuple[float, ...]:
    """Levels as they were written; ``ValueError`` for what none can be."""
    if values is None:
        return ()
    found = checked(values, np.float64, (len(half_lives_of_levels(settings)),))
    if not np.isfinite(found).all():
        raise ValueError("not all levels are finite")
    return tuple(found.tolist())


def fit_candidates(
    window: Parts[Codes],
    layout: Layout,
    settings: Sequence[Setting],
    as_of: datetime,
    start: Candidates | None = None,
    ridges: Ridges | None = None,
    prior: Prior | None = None,
) -> Candidates:
    """Candidates that minimise the anchored objective of each setting, to a relative 1e-5.

    Samples of weights in the thousands, which make labels all but certain, may keep it from coming so close within
    ``MAX_PASSES``.

    Parameters
    ----------
    window : the samples of the head's window in pieces; at least one row in all
    layout : of heads on their trees and wide columns
    settings : any number of them
    as_of : the moment the weights of samples are discounted from
    start : candidates on the same trees to start from, such as those of the live head
    ridges : of each kind of weight in each setting; each setting's own for all kinds, where there are none
    prior : what the next ridges are found by, where there are ridges

    Source
    ------
    He et al. 2014, section 3, with the anchor and the settings of ``objective``.
    """
    # The lanes are spread over our own threads: BLAS's would fight them, and change the last bits of the sums.
    with blas.single_threaded():
        objective = Objective(window, layout, settings, as_of, ridges)
        curvature = objective.curvature()
        lines, passes = _search(objective, _start(start, settings, objective.layout), curvature)
    background = objective.background(slowest(settings))
    layout, found = objective.layout, ridges
    told = curvature.told
    if ridges is not None and prior is not None and told is not None and prior.finds(layout):
        found = ridges.stepped(layout, lines, told.held.T, told.noise, objective.half_of_lane, prior)
    return Candidates(tuple(settings), layout, lines, background, passes, ridges, found)


def names_of(settings: Sequence[Setting]) -> list[str]:
    """Names of the candidates of these settings, of the two that need no fit, and of the levels."""
    fitted = (f"{s.half_life.total_seconds():g}s/{s.l2:g}" for s in settings)
    levels = (f"{LEVEL}{half_life.total_seconds():g}s" for half_life in half_lives_of_levels(settings))
    return [*fitted, "trees", "background", *levels]


def half_lives_of_levels(settings: Sequence[Setting]) -> list[timedelta]:
    """The faster half of the half-lives, in rising order: slower levels move no faster than what sets rows apart."""
    half_lives = sorted({setting.half_life for setting in settings})
    return half_lives[: (len(half_lives) + 1) // 2]


def slowest(settings: Sequence[Setting]) -> int:
    """The first setting of the longest half-life."""
    return max(range(len(settings)), key=lambda k: (settings[k].half_life, -k))


def _search(objective: Objective, start: Floats, curvature: Curvature) -> tuple[Floats, int]:
    """The optimum of each setting, and the passes that took; from float32 to float32, as passes look at no other
    points."""
    x, passes = start, 0
    left = np.arange(start.shape[1])
    while True:
        search = Search(objective, curvature, left, x if len(left) == x.shape[1] else x[:, left])
        lines, _, took, done = minimise(
            search.value_and_gradient,
            search.start,
            search.precondition,
            tolerance=curvature.tolerance,
            max_passes=min(PATIENCE, MAX_PASSES - passes),
            apart=search.apart,
        )
        found = search.whole(lines)
        if len(left) == x.shape[1]:
            x = found
        else:
            x[:, left] = found
        passes, left = passes + took, left[~done]
        if not len(left) or passes >= MAX_PASSES:
            return x, passes
        curvature = objective.curvature(x.astype(np.float64))


def _start(start: Candidates | None, settings: Sequence[Setting], layout: Layout) -> Floats:
    """Where the search begins: at the anchor, or where ``start`` has the same setting and columns, from there."""
    nothing = np.zeros((layout.n, len(settings)), np.float32)
    if start is None or start.layout.wide != layout.wide or not start.layout.dense.same_values(layout.dense):
        return nothing
    known = [k for k, setting in enumerate(settings) if setting in start.settings]
    columns = [start.settings.index(settings[k]) for k in known]
    carried: Floats
    if columns == [*range(len(start.settings))]:
        carried = start.layout.carried(start.lines, layout)
    else:
        carried = start.layout.carried(start.lines[:, columns], layout)
    if len(known) == len(settings):
        return carried
    nothing[:, known] = carried
    return nothing
