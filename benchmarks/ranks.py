"""Trees of one machine beside those that ranks grow together, on a click stream: how good they are on the days after.

*one machine* is LightGBM in this process, once for each seed, so that it shows what chance makes of it: trees see half
of the rows and of the features each. *n ranks* are processes with their own share of the rows, as on n workers, and the
same seeds. *NE* is the mean normalised entropy over the seeds on rows of the days after, *spread* the standard
deviation over the seeds; *all rows and features* is without chance: there *gap* is how far the margins are from those
of one machine, in the mean, as LightGBM estimates how many rows of all ranks a leaf has, for ``min_data_in_leaf``.
Ranks share this machine, so seconds tell of what they cost and not of what they save.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks import clickstream
from benchmarks.harness import OURS, Bench
from gbdtlr.config import Config
from gbdtlr.engine import Local
from gbdtlr.jobs.dealt_grounds import grounds_of
from gbdtlr.jobs.grounds import Grounds
from gbdtlr.jobs.result import Reporter
from gbdtlr.jobs.run import Run
from gbdtlr.metrics import Quality
from gbdtlr.replay.rows import read_all
from gbdtlr.samples import Samples, dealing
from gbdtlr.store import Store

ROWS, DAYS, GROWN_DAYS = 400_000, 7, 5
RANKS = (2, 4)
SEEDS = range(4)
CHANCE = {"bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.5}
N_SHARES = 64


class Several(Local):
    """This process, as if it were so many workers."""

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers


def run(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clickstream.write(folder, bench.size(ROWS), DAYS, 1)
        config = Config.load("configs/clickstream.toml")
        samples = dataclasses.replace(config.samples, path=(str(folder),))
        config = config.replace(samples=samples, store=str(folder / "store"))
        as_of = clickstream.START + timedelta(days=GROWN_DAYS)
        later = read_all(config.samples, as_of, clickstream.START + timedelta(days=DAYS))
        assert later is not None
        size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
        with patch.object(dealing, "SHARE_BYTES", size // N_SHARES):
            compare(bench, config, later)


def compare(bench: Bench, config: Config, later: Samples) -> None:
    """One machine and ranks, by chance and without; ``later`` are rows to judge by."""
    for case, params, seeds in (("all rows and features", {}, [0]), ("half of them, by chance", CHANCE, SEEDS)):
        base, exact = None, None
        for n_ranks in (0, *RANKS):
            margins, seconds = [], []
            for seed in seeds:
                begin = time.perf_counter()
                margins.append(margins_of(config, {**params, "seed": seed}, n_ranks, later))
                seconds.append(time.perf_counter() - begin)
            base = base or float(np.median(seconds))
            exact = margins if exact is None else exact
            entropies = [Quality.of(margin, later.label, later.weight).ne for margin in margins]
            more = {"NE": float(np.mean(entropies)), "spread": float(np.std(entropies))}
            if not params:
                more["gap"] = float(np.abs(margins[0] - exact[0]).mean())
            bench.add(case, f"{n_ranks} ranks" if n_ranks else f"{OURS}, one machine", seconds, base, more)


def margins_of(config: Config, params: dict[str, float], n_ranks: int, later: Samples) -> NDArray[np.float64]:
    """Margins by trees that so many ranks grow; none are this process alone."""
    learn_on = "workers" if n_ranks else "here"
    window = timedelta(days=GROWN_DAYS)
    trees = dataclasses.replace(
        config.trees, window=window, learn_on=learn_on, params={**config.trees.params, **params}, max_rows=None
    )
    as_of = clickstream.START + window
    config = config.replace(trees=trees)
    run = Run("train-trees", config, Store.open(config.store), as_of, Reporter(None), engine=Several(n_ranks))
    grounds = grounds_of(run)
    assert isinstance(grounds, Grounds) == (not n_ranks)
    grown = grounds.grow(run, None)
    return grown.margin(later.table, grown.leaf_values, 0.0)
