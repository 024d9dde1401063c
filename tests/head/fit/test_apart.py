"""Buckets apart: their points and directions, and fits whose rare ids stand apart end where scipy's do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import AS_OF, Problem
from scipy.optimize import minimize

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.head import Ridges, Setting, fit_candidates
from gbdtlr.head.fit.apart import DAMPED, Apart
from gbdtlr.head.fit.core import Core

GRID = [Setting(timedelta(hours=h), l2) for h in (6, 48) for l2 in (0.5, 5.0, 50.0)]


class Naive:
    """One lane of :class:`Apart` in float64."""

    def __init__(self, x: np.ndarray, curvature: np.ndarray, l2: np.ndarray) -> None:
        self.x, self.curvature, self.l2 = x.astype(np.float64), curvature, l2
        self.direction, self.length = np.zeros_like(self.x), 0.0

    def turn(self, slope: np.ndarray) -> float:
        self.x, self.length = self.trial, 1.0
        gradient = slope + self.l2 * self.x
        self.direction = np.where(np.isinf(self.curvature), 0, -gradient / (DAMPED * self.curvature + self.l2))
        return float(gradient @ self.direction)

    @property
    def trial(self) -> np.ndarray:
        return self.x + self.length * self.direction

    def squares(self, bounds: list[int]) -> list[float]:
        square = np.where(np.isfinite(self.curvature), self.trial**2, 0)
        return [float(square[a:b].sum()) for a, b in pairwise(bounds)]


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(0, 60),
    n_lanes=st.integers(1, 19),
    n_columns=st.integers(1, 3),
    seed=st.integers(0, 1000),
    chunk=st.sampled_from([7, 4096]),
    data=st.data(),
)
def test_lanes_turn_shorten_and_are_let_go(
    n: int, n_lanes: int, n_columns: int, seed: int, chunk: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, n_lanes).tolist()
    curvature = rng.random((n, 2)).astype(np.float32) * 10
    curvature[rng.random(n) < 0.2] = np.inf
    bounds = [0, *sorted(rng.integers(0, n + 1, n_columns - 1).tolist()), n]
    start, l2 = rng.normal(size=(n, n_lanes)).astype(np.float32), rng.random((n_columns, n_lanes)) * 3 + 0.1
    own = np.repeat(l2, np.diff(bounds), axis=0)
    twins = [Naive(start[:, k], curvature[:, group[k]].astype(np.float64), own[:, k]) for k in range(n_lanes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gbdtlr.head.fit.apart.CHUNK", chunk)
        apart = Apart(start, curvature, group, l2, bounds)
        nothing_apart = not np.isfinite(curvature).any()
        going = list(range(n_lanes))
        for _ in range(data.draw(st.integers(0, 5))):
            apart.keep(going)
            slope_of = {}
            for block in apart.blocks:
                block.slope[:] = rng.normal(size=block.slope.shape)
                slope_of.update({lane: block.slope[:, s].astype(np.float64) for s, lane in enumerate(block.lanes)})
            accepted = data.draw(st.sets(st.sampled_from(going)))
            lengths = {k: data.draw(st.sampled_from([0.0, 0.3, 1.0])) for k in going if k not in accepted}
            slopes = apart.move(sorted(accepted), lengths)
            assert set(slopes) == accepted
            for lane in accepted:
                assert slopes[lane] == pytest.approx(twins[lane].turn(slope_of[lane]), rel=1e-4, abs=1e-4)
            for lane, length in lengths.items():
                twins[lane].length = length
            for block in apart.blocks:
                for slot, lane in enumerate(block.lanes):
                    if lane in going:
                        np.testing.assert_allclose(block.trial[:, slot], twins[lane].trial, rtol=1e-4, atol=1e-4)
                        squares = pytest.approx(twins[lane].squares(bounds), rel=1e-3)
                        assert nothing_apart or block.squares[:, slot].tolist() == squares
            going = sorted(data.draw(st.sets(st.sampled_from(going), min_size=1)))
        points = np.full((n, n_lanes), np.nan, np.float32)
        apart.write_accepted(points)
    for lane, twin in enumerate(twins):
        np.testing.assert_allclose(points[:, lane], twin.x, rtol=1e-3, atol=1e-3)


def test_the_core_has_a_place_for_all_others() -> None:
    layout = Problem(50, n_wide=2).layout.using([np.arange(3, dtype=np.uint32), np.arange(2, dtype=np.uint32)])
    core = Core.of(layout, np.array([False, True, False, False, True]))
    n = layout.n_leaves
    assert core.busy.tolist() == [1, 4]
    assert (core.n, core.others, core.of_busy) == (n + 4, n + 2, slice(n, n + 2))
    assert core.place.tolist() == [*range(n), n + 2, n, n + 2, n + 2, n + 1, n + 3]
    values = np.arange(layout.n) + 1.0
    assert core.kinds(layout).tolist() == [*[0] * n, 1, 2, 0, 3]
    assert core.take(values).tolist() == [*values[:n], n + 2, n + 5, 0.0, layout.n]
    numbers = Problem(50, n_wide=2, n_dense=4).layout.using(layout.buckets)
    of_each = Core.of(numbers, np.array([False, True, False, False, True])).kinds(numbers)
    assert of_each.tolist() == [*[0] * n, 1, 2, 0, 3, 4, 4, 4, 5]


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of a few hundred rows are fitted as those of many thousands are."""
    monkeypatch.setattr("gbdtlr.head.fit.sampling.SUBSAMPLE_FROM", 500)
    monkeypatch.setattr("gbdtlr.head.fit.sampling.SUBSAMPLE", 300)


def of_ids(n: int, n_ids: tuple[int, ...], seed: int = 0) -> Problem:
    """Rows with ids that matter, the first of each column's in more rows than the last."""
    problem = Problem(n, n_wide=len(n_ids), seed=seed)
    rng = np.random.default_rng(seed)
    ids = np.stack([(rng.random(n) ** 2 * many).astype(np.uint32) for many in n_ids])
    effect = sum(rng.normal(0, 1, many)[column] for column, many in zip(ids, n_ids, strict=True))
    label = (rng.random(n) < 1 / (1 + np.exp(-effect - problem.codes.label))).astype(np.float32)
    problem.codes = replace(problem.codes, buckets=ids, label=label)
    cuts = np.linspace(0, n, 4).astype(int)
    problem.window = Parts([problem.codes.take(np.arange(a, b)) for a, b in pairwise(cuts)])
    return problem


@pytest.mark.usefixtures("few_are_many")
@pytest.mark.parametrize(("n_ids", "own"), [((900,), False), ((5, 60, 400), False), ((3, 4), False), ((60, 400), True)])
def test_fits_with_rare_ids_reach_the_optimum_of_every_setting(n_ids: tuple[int, ...], own: bool) -> None:
    problem = of_ids(1200, n_ids)
    ridges = Ridges.tied(problem.layout, [setting.l2 for setting in GRID])
    if own:
        ridges.values[1:] = np.random.default_rng(0).uniform(0.5, 30, (len(n_ids) + 1, len(GRID)))
    candidates = fit_candidates(problem.window, problem.layout, GRID, AS_OF, ridges=ridges)
    l2 = ridges.of_parameters(candidates.layout)
    for k, setting in [*enumerate(GRID)][len(n_ids) % 2 :: 2]:
        ours = candidates.lines[:, k].astype(float)

        def naive(delta: np.ndarray, setting: Setting = setting, k: int = k) -> tuple[float, np.ndarray]:
            return problem.naive(setting, delta, candidates.layout.buckets, l2[:, k])

        best = minimize(
            naive, np.zeros_like(ours), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14}
        )
        assert naive(ours)[0] <= best.fun * (1 + 1e-5)


@pytest.mark.usefixtures("few_are_many")
def test_fits_with_rare_ids_are_the_same_on_any_number_of_threads_and_go_on_from_where_they_ended() -> None:
    problem = of_ids(1500, (40, 700))
    found = []
    for n in (1, 3):
        with threads.limited(n):
            found.append(fit_candidates(problem.window, problem.layout, GRID, AS_OF))
    assert found[0].to_bytes() == found[1].to_bytes()
    again = fit_candidates(problem.window, problem.layout, GRID, AS_OF, found[0])
    assert again.passes < found[0].passes
    np.testing.assert_allclose(again.lines, found[0].lines, atol=0.02)
