"""Fits of the head, beside logistic regressions on the same leaves and beside LightGBM's ``Booster.refit``.

Trees are grown on yesterday's rows, heads fitted on today's, whose relations have drifted. No peer knows an anchor, so
all minimise the same ridge logistic regression, the anchor at zero: one weight per leaf and a constant, and no
further intercept. *gap* is how far above the best known objective each ended, relative to it; every system is given
a tolerance that gets it below 1e-5 if anything does. A peer that takes more than ``PATIENCE`` times as long as ours
is stopped.

``--scale 5`` is the case of 1,000,000 rows, of which the peers fit only one strength of the ridge.

The last case is what dense columns cost, in CPU seconds: the blend on 80 trees alone, and with 1, 8 and 32.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import fit_peers
from benchmarks.harness import OURS, Bench
from gbdtlr.compute.parts import Parts
from gbdtlr.config import HeadConfig
from gbdtlr.head import (
    Candidates,
    Codes,
    DenseColumn,
    DenseColumns,
    Layout,
    Setting,
    fit_candidates,
    pieces,
)
from gbdtlr.head.codes import known_by
from gbdtlr.head.fit.objective import Objective
from gbdtlr.head.fit.search import Search
from gbdtlr.head.fit.solver import minimise
from gbdtlr.jobs.grid import settings_of
from gbdtlr.metrics import log_loss_of
from gbdtlr.times import to_us
from gbdtlr.trees import FrozenTrees

N_ROWS, N_TREES, N_LEAVES, N_FEATURES = 200_000, 200, 31, 28
DENSE_TREES, N_DENSE = 80, (0, 1, 8, 32)
L2 = (10.0, 100.0)
PATIENCE, LEAST_CAP_S = 25.0, 20.0
BATCH = 65_536
"""Rows of one part of a window, as the jobs read them."""

AS_OF = datetime(2024, 5, 2, tzinfo=UTC)
ALIKE = timedelta(days=1_000_000)  # a half-life at which no sample has faded: the peers' objective
BLEND = tuple(settings_of(HeadConfig()))
"""The settings of a config that names none."""


@dataclass(frozen=True)
class Problem:
    """Trees of yesterday and the rows of today, coded."""

    booster: Any
    trees: FrozenTrees
    matrix: NDArray[np.float64]
    window: Parts[Codes]

    @property
    def label(self) -> NDArray[np.float32]:
        """Of all rows."""
        return np.concatenate([part.label for part in self.window])

    def margin(self, leaves: NDArray[np.float64], bias: float) -> NDArray[np.float64]:
        """Log-odds of all rows from weights of the leaves, float64 throughout."""
        offsets = self.trees.offsets[:-1, None]
        return bias + np.concatenate(
            [
                sum(leaves[first + tree] for first, tree in zip(offsets, part.leaves, strict=True))
                for part in self.window
            ]
        )


def problem(n_rows: int, n_trees: int, n_leaves: int, n_threads: int) -> Problem:
    """Today's ``n_rows`` rows of the last seven days on trees grown on as many, at most 200,000, of the week before."""
    import lightgbm as lgb

    matrix, label = rows(min(n_rows, 200_000), 0.0)
    params = {"objective": "binary", "num_leaves": n_leaves, "verbosity": -1, "num_threads": n_threads, "seed": 1}
    booster = lgb.train(params, lgb.Dataset(matrix, label), n_trees)
    trees = FrozenTrees.from_booster_text(booster.model_to_string())
    matrix, label = rows(n_rows, 1.0)
    return Problem(booster, trees, matrix, window_of(trees, matrix, label))


def rows(n: int, drift: float, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Features and labels; ``drift`` moves how they relate."""
    rng = np.random.default_rng([7, seed, round(drift * 100)])
    x = rng.normal(size=(n, N_FEATURES))
    steady, moved = np.random.default_rng(1).normal(size=(2, N_FEATURES))
    z = 0.3 * x @ (steady + 0.5 * drift * moved) + 0.8 * np.sin(2 * x[:, 0]) * x[:, 1]
    z += 0.5 * (x[:, 2] > 0) * x[:, 3] - 1.5 + 0.3 * drift
    return x, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.float32)


def window_of(trees: FrozenTrees, matrix: NDArray[np.float64], label: NDArray[np.float32]) -> Parts[Codes]:
    """Rows coded in batches, as the jobs do, their events spread evenly over the seven days before ``AS_OF``."""
    n = len(label)
    event_us = to_us(AS_OF) - np.linspace(7 * 86_400_000_000, 0, n).astype(np.int64)
    batches = [
        Codes(
            trees.encode_matrix(matrix[part]),
            np.empty((0, len(label[part])), np.uint32),
            label[part],
            np.ones(len(label[part])),
            event_us[part],
            event_us[part],
        )
        for part in (slice(start, start + BATCH) for start in range(0, n, BATCH))
    ]
    return pieces(batches)


def run(bench: Bench) -> None:
    today = problem(bench.size(N_ROWS), N_TREES, N_LEAVES, bench.n_threads)
    for l2 in L2 if bench.scale <= 1 else L2[:1]:
        beside_peers(bench, today, l2)
    settings(bench, today)
    beside_refit(bench, today)
    with_dense(bench, problem(bench.size(N_ROWS), DENSE_TREES, N_LEAVES, bench.n_threads))


def beside_peers(bench: Bench, today: Problem, l2: float, cap_s: float | None = None) -> None:
    """Ours, several times, and each peer once, on the objective they share."""
    case = f"{len(today.label)} rows, anchor 0, l2 {l2:g}"
    ours = partial(fit_candidates, today.window, without_anchor(today), [Setting(ALIKE, l2)], AS_OF)
    begin = len(bench.rows)
    bench.compare(case, {OURS: ours}, tell=lambda _, fitted: {"passes": fitted.passes})
    base = bench.rows[begin]["seconds"]
    cap_s = max(LEAST_CAP_S, PATIENCE * base) if cap_s is None else cap_s
    values = {OURS: objective_of(today, weights_of(ours()), l2)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        leaves = np.concatenate([part.leaves for part in today.window], axis=1)
        np.savez(folder / "problem.npz", leaves=leaves, label=today.label, offsets=today.trees.offsets)
        for peer in fit_peers.PEERS:
            if not fit_peers.here(peer):
                bench.add(case, peer, None, base, {})
            elif (took := _in_own_process(peer, folder, l2, bench.n_threads, cap_s)) is None:
                bench.add(case, peer, [cap_s], base, {"note": "stopped, or out of memory"})
            else:
                with np.load(folder / f"{peer}.npz") as found:
                    values[peer] = objective_of(today, found["weights"], l2)
                    bench.add(case, peer, [took], base, {"passes": int(found["passes"])})
    best = min(*values.values(), optimum(today, l2))
    for row in bench.rows[begin:]:
        if row["system"] in values:
            row["gap"] = values[row["system"]] / best - 1


def without_anchor(today: Problem) -> Layout:
    """The layout of heads on today's trees that are pulled to zero."""
    return Layout(today.trees.offsets, np.zeros(today.trees.n_codes))


def optimum(today: Problem, l2: float) -> float:
    """The objective where nothing is left to gain that our sums can see."""
    objective = Objective(today.window, without_anchor(today), [Setting(ALIKE, l2)], AS_OF)
    search = Search(objective, objective.curvature(), np.zeros(1, np.intp), np.zeros((objective.layout.n, 1)))
    found, _, _, _ = minimise(
        search.value_and_gradient,
        search.start,
        search.precondition,
        tolerance=1e-9,
        max_passes=400,
        apart=search.apart,
    )
    delta = search.whole(found)
    return objective_of(today, delta[:, 0], l2)


def objective_of(today: Problem, weights: NDArray[Any], l2: float) -> float:
    """The objective that is compared, in float64 from its definition: leaf weights, then that of the constant."""
    weights = np.ravel(weights).astype(np.float64)
    margin = today.margin(weights[:-1], weights[-1])
    return float(log_loss_of(margin, today.label).sum() + l2 / 2 * weights @ weights)


def weights_of(candidates: Candidates, k: int = 0) -> NDArray[np.float64]:
    """Distances from the anchor of one fitted setting, the bias last."""
    return candidates.lines[:, k].astype(np.float64)


def _in_own_process(peer: str, folder: Path, l2: float, n_threads: int, cap_s: float) -> float | None:
    """Seconds the peer's fit took; None if it was stopped or ran out of memory."""
    command = [sys.executable, "-m", "benchmarks.fit_peers", peer, str(folder), str(l2), str(n_threads), str(cap_s)]
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        print(f"fit: {peer}: {error}", file=sys.stderr)
        return None
    with np.load(folder / f"{peer}.npz") as found:
        return float(found["seconds"])


def settings(bench: Bench, today: Problem) -> None:
    """One setting from the leaf outputs and from the head before, and the whole blend; as ``update-lr`` fits them."""
    then, layout = AS_OF - timedelta(hours=3), Layout.of(today.trees)
    earlier = pieces(today.window.derive(known_by, to_us(then)))  # known at once here

    def ours(chosen: Sequence[Setting], start: Candidates | None = None) -> Candidates:
        return fit_candidates(today.window, layout, chosen, AS_OF, start)

    def before(chosen: Sequence[Setting]) -> Candidates:
        return fit_candidates(earlier, layout, chosen, then)

    hardest = [max(BLEND, key=lambda setting: (setting.half_life, -setting.l2))]
    systems = {
        "one setting": partial(ours, hardest),
        "one setting, from the head 3 h before": partial(ours, hardest, before(hardest)),
        f"blend of {len(BLEND)} settings": partial(ours, BLEND),
        f"blend of {len(BLEND)}, from the head 3 h before": partial(ours, BLEND, before(BLEND)),
    }
    bench.compare(
        f"{len(today.label)} rows, anchored at the leaf outputs",
        systems,
        tell=lambda _, fitted: {"passes": fitted.passes},
        ours="one setting",
    )


def with_dense(bench: Bench, today: Problem) -> None:
    """The whole blend without dense columns and with more and more of them: a network's hidden layer, say."""
    width = max(N_DENSE)
    hidden = np.tanh(0.3 * today.matrix @ np.random.default_rng(2).normal(size=(N_FEATURES, width)))
    values = ((hidden - hidden.mean(axis=0)) / hidden.std(axis=0)).T.astype(np.float32)
    stops = np.cumsum([0, *map(len, today.window)])

    def ours(n: int) -> Callable[[], Candidates]:
        dense = DenseColumns((DenseColumn("hidden", (0.0,) * n, (1.0,) * n, is_list=True),) if n else ())
        parts = [
            replace(part, dense=np.ascontiguousarray(values[:n, start : start + len(part)]))
            for part, start in zip(today.window, stops[:-1], strict=True)
        ]
        return partial(fit_candidates, Parts(parts), Layout.of(today.trees, dense=dense), BLEND, AS_OF)

    names = {n: f"{n} dense" if n else "without dense columns" for n in N_DENSE}
    bench.compare(
        f"{len(today.label)} rows, {today.trees.n_trees} trees, blend of {len(BLEND)}",
        {name: ours(n) for n, name in names.items()},
        tell=lambda _, fitted: {"passes": fitted.passes},
        ours=names[0],
        clock=time.process_time,
    )


def beside_refit(bench: Bench, today: Problem) -> None:
    """From the matrix to new leaf outputs: log loss on the rows of the fit, and on as many that neither has seen."""
    unseen_matrix, unseen_label = rows(len(today.label), 1.0, seed=1)
    unseen = Problem(today.booster, today.trees, unseen_matrix, window_of(today.trees, unseen_matrix, unseen_label))
    label, anchor = today.label, today.trees.leaf_values

    def ours() -> Any:
        window = window_of(today.trees, today.matrix, label)
        candidates = fit_candidates(window, Layout.of(today.trees), [Setting(ALIKE, 100.0)], AS_OF)
        weights = weights_of(candidates)
        return lambda asked: asked.margin(anchor + weights[:-1], weights[-1])

    def refit(decay: float) -> Any:
        booster = today.booster.refit(today.matrix, label, decay_rate=decay)
        return lambda asked: booster.predict(asked.matrix, raw_score=True)

    def losses(_: str, margin: Any) -> dict[str, float]:
        return {
            "log loss": float(log_loss_of(margin(today), today.label).mean()),
            "log loss of unseen rows": float(log_loss_of(margin(unseen), unseen.label).mean()),
        }

    systems = {
        f"{OURS}, encode and fit": ours,
        "Booster.refit": partial(refit, 0.9),
        "Booster.refit, decay 0.5": partial(refit, 0.5),
        "Booster.refit, decay 0": partial(refit, 0.0),
    }
    case = f"{len(label)} rows, matrix to refitted leaves"
    bench.compare(case, systems, tell=losses, ours=f"{OURS}, encode and fit")
