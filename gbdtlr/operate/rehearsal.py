"""Rehearsal: the jobs and the scoring as they are, on samples made up, so that every kernel has been compiled since.

Numba compiles a kernel for each combination of types it is called with. Which ones there are follows from a few things
about a model: whether a leaf's number fits in a byte, whether there are ids, how many settings are fitted,
how many rows there are, how heavy they are, and how the head learns. All of these are played through here, and two logs
are joined.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from gbdtlr.compute.compiled import KERNELS
from gbdtlr.config import ONLINE, Config
from gbdtlr.head.fit.sampling import SUBSAMPLE_FROM
from gbdtlr.jobs.learn import learn
from gbdtlr.jobs.train_trees import train_trees
from gbdtlr.jobs.update_lr import update_lr
from gbdtlr.samples import read
from gbdtlr.scoring import Scorer, score_file
from gbdtlr.users import Events, Rule
from gbdtlr.values.arrays import from_numpy, from_texts

DAY0, HOUR = datetime(2024, 1, 1, tzinfo=UTC), timedelta(hours=1)
HOURS = 120
BEGIN, LONG_AFTER = 80, 30
"""Hour at which a model's life begins, and hours after which more samples are new than are all looked at."""
HANDFUL, FEW, MANY = 60, 3_000, SUBSAMPLE_FROM * HOURS // BEGIN + HOURS
FEATURES = ("x", "y", "z")
IDS = {"u": 700, "v": 50_000}
"""How many there are in each column: some that come often, and are fitted with the leaves, and some that do not."""

Step = Callable[[], object]


class Model(NamedTuple):
    """A model to play through.

    Attributes
    ----------
    n_trees, n_leaves : as LightGBM is asked for them
    n_rows : samples made up, of which a window has the most
    wide : whether it has ids
    heavy : whether samples weigh so much that single precision would not do
    """

    name: str
    n_trees: int
    n_leaves: int
    n_rows: int
    wide: bool
    heavy: bool = False


SHAPES = {"few leaves": (2, 4), "many leaves": (4, 200), "large trees": (2, 300), "one large tree": (1, 300)}
MODELS = (
    *(
        Model(f"{name}, {n_rows} rows{', ids' if wide else ''}", *shape, n_rows, wide)
        for name, shape in SHAPES.items()
        for n_rows, wide in ((FEW, True), (MANY, False), (MANY, True))
    ),
    Model("heavy rows", 2, 4, HANDFUL, wide=True, heavy=True),
)
GRID = {"half_lives": ["6h", "12h", "1d", "2d", "4d"], "l2": [3, 300]}
PAIR = {"half_lives": ["6h", "4d"], "l2": [30]}
ONE = {"half_lives": ["1d"], "l2": [30]}
"""Settings that are fitted by lines of every width, whether a line is a setting's or a half-life's."""


def steps(folder: Path, model: Model) -> list[Step]:
    """What is done with one model; the steps need each other in this order.

    Parameters
    ----------
    folder : where the samples and the store are made
    """
    config = partial(_config, folder, model)
    hours = iter((*range(BEGIN, BEGIN + 4), *range(BEGIN + LONG_AFTER, HOURS)))

    def update(**head: Any) -> Step:
        return lambda: update_lr(config(**head), _at(next(hours)), force=True)

    played: list[Step] = [
        lambda: _write(folder, model),
        lambda: train_trees(config(**GRID), _at(next(hours)), force=True),
        update(**ONE),
    ]
    if model.n_rows == HANDFUL:
        return [*played, partial(_join, folder)]
    played += [update(**PAIR), *2 * [update(**GRID, method="incremental")]]
    if model.n_rows == MANY:
        return played
    played += 2 * [update(**ONE, method="incremental")]
    for method in ONLINE:
        played += [update(method=method), partial(_learn, config(method=method), model, hours)]
    return [*played, partial(_score, config(), model, folder)]


def play(on_step: Callable[[int, int, str], object]) -> None:
    """Play everything through; nothing of it is left but compiled kernels.

    Parameters
    ----------
    on_step : called after each step: how many are done, how many there are, and of which model
    """
    n_steps = sum(len(steps(Path(), model)) for model in MODELS)
    n_done = 0
    for model in MODELS:
        with TemporaryDirectory() as folder:
            for step in steps(Path(folder), model):
                step()
                n_done += 1
                on_step(n_done, n_steps, model.name)


def _write(folder: Path, model: Model) -> None:
    (folder / "samples").mkdir()
    parquet.write_table(_samples(model), folder / "samples" / "all.parquet")


def _samples(model: Model) -> pa.Table:
    """Columns of made-up samples, at even intervals up to the last hour."""
    rng, n = np.random.default_rng(1), model.n_rows
    values = {name: rng.normal(size=n) for name in FEATURES}
    margin = values["x"] + np.sin(3 * values["y"]) - 1
    columns = {name: from_numpy(each) for name, each in values.items()}
    columns["c"] = pa.array(rng.choice(["red", "green", "blue"], n).tolist(), pa.string())
    columns |= {name: from_numpy(rng.integers(0, n_ids, n)) for name, n_ids in IDS.items()}
    columns["weight"] = from_numpy(np.full(n, 1e9 if model.heavy else 1.0) * rng.uniform(0.5, 1.5, n))
    columns["label"] = from_numpy((rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int8))
    us = (HOURS - (np.arange(n)[::-1] + 0.5) * min(HOURS / n, 1.0)) * 3600e6
    columns["t"] = from_numpy(int(DAY0.timestamp() * 1e6) + us.astype(np.int64))
    return pa.table(columns)


def _config(folder: Path, model: Model, **head: Any) -> Config:
    params = {"num_iterations": model.n_trees, "num_leaves": model.n_leaves, "min_data_in_leaf": 1}
    samples = {
        "path": str(folder / "samples"),
        "event_time": "t",
        "label_delay": "1m",
        "weight": "weight",
        "numeric": list(FEATURES),
        "categorical": ["c"],
        "wide": [*IDS, ":".join(IDS)] if model.wide else [],
    }
    return Config.from_dict(
        {
            "store": str(folder / "store"),
            "samples": samples,
            "trees": {"window": "30d", "params": params},
            "head": {"window": "30d", "wide_buckets": 2**16, **head},
        }
    )


def _at(hour: int) -> datetime:
    return DAY0 + hour * HOUR


def _learn(config: Config, model: Model, hours: Iterator[int]) -> None:
    rows = _samples(model).slice(0, 100).to_pylist()
    lines, now = [json.dumps({**row, "t": None}) for row in rows], _at(next(hours))
    learn(config, [lines], lambda: now, publish_every=HOUR)
    release = Scorer.open(config.store).loaded
    if (head := release.online()) is not None:
        head.learn_one([*release.trees.encode_row(rows[0]), *release.head.wide.row_buckets(rows[0])], 1)


def _join(folder: Path) -> None:
    """Two logs: an impression, and its outcome."""
    for name in ("shown", "came"):
        columns = {"key": from_texts(["a"]), "x": from_numpy(np.zeros(1)), "t": from_numpy(np.array([1_704_067_200]))}
        parquet.write_table(pa.table(columns), folder / f"{name}.parquet")
    outcomes = {"path": str(folder / "came.parquet"), "key": "key", "time": "t", "window": "1m"}
    samples = {"path": str(folder / "shown.parquet"), "key": "key", "event_time": "t", "numeric": ["x"]}
    read(Config.from_dict({"samples": samples, "outcomes": outcomes}).samples, DAY0, DAY0 + HOUR, DAY0 + 2 * HOUR)


def _score(config: Config, model: Model, folder: Path) -> None:
    scorer, rows = Scorer.open(config.store), _samples(model).slice(0, 100)
    scorer.score(rows)
    scorer.score_row(rows.slice(0, 1).to_pylist()[0])
    score_file(scorer, str(folder / "samples" / "all.parquet"), str(folder / "scored.parquet"))
    one, n = np.ones(1, np.int64), np.zeros(1)
    users = Events(one.astype(np.uint64), one - 1, one, one, one.astype(np.int8), n, one.astype(np.uint64))
    users.scores(np.ones((1, 1)), Rule())


def main() -> None:
    """Play everything through and tell of it on stdout, a JSON object a line; the last says what there is now."""

    def tell(**said: object) -> None:
        print(json.dumps(said), flush=True)

    play(lambda done, total, name: tell(done=done, total=total, text=name))
    used = [kernel for kernel in KERNELS if kernel.signatures]
    tell(
        kernels=len(used),
        versions=sum(len(kernel.signatures) for kernel in used),
        compiled=sum(sum(kernel.stats.cache_misses.values()) for kernel in used),
        folders=[kernel.stats.cache_path for kernel in used],
    )


if __name__ == "__main__":
    main()
