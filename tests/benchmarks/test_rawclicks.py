from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import rawclicks
from benchmarks.clickstream import START, generate
from benchmarks.rawclicks import main
from gbdtlr.config import Config
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.samples import Tally, read
from gbdtlr.store import Store

N_ROWS, DAYS = 12_000, 2
CONFIG = Path(__file__).parents[2] / "configs" / "rawlogs.toml"
END = START + timedelta(days=DAYS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("raw")
    assert main(["--rows", str(N_ROWS), "--days", str(DAYS), "--seed", "1", "--out", str(out)]) == 0
    return out


def config(folder: Path, store: Path) -> Config:
    """The config that is shipped, on these files, and trees that take no time."""
    made = Config.load(CONFIG)
    assert made.outcomes is not None
    return made.replace(
        store=str(store),
        threads=1,
        samples=replace(made.samples, path=(str(folder / "shown"),)),
        outcomes=replace(made.outcomes, path=(str(folder / "clicks"),)),
        trees=replace(made.trees, params={"num_iterations": 5, "num_leaves": 4, "min_data_in_leaf": 20}),
        head=replace(made.head, half_lives=(timedelta(hours=6),), l2=(30.0,)),
    )


def test_joined_the_raw_logs_are_the_click_stream(folder, tmp_path):
    """But for the one row in a thousand that has no request, and the clicks that have none."""
    cfg, tally = config(folder, tmp_path).samples, Tally()
    joined = read(cfg, START, END, END + timedelta(days=2), tally=tally)
    whole = generate(N_ROWS, DAYS, seed=1)
    at = whole["ts"].cast(pa.int64()).to_numpy()
    label = whole["label"].to_numpy()
    assert 0.996 < len(joined) / N_ROWS < 1
    assert (np.diff(joined.event_us) >= 0).all()
    place = np.searchsorted(at, joined.event_us)
    alone = np.bincount(np.searchsorted(at, at), minlength=len(at))[place] == 1
    assert (joined.event_us == at[place]).all()
    assert (joined.label <= label[place])[alone].all(), "no impression has a click that is not its own"
    assert 0 <= label[place].sum() - joined.label.sum() < 8
    counts = tally.joined
    assert counts is not None
    n_clicks = label.sum()
    assert 0.005 < counts.repeated / N_ROWS < 0.015
    assert 0 < counts.keyless < 0.003 * N_ROWS
    assert 0.01 < counts.unmatched / n_clicks < 0.04
    assert 0.01 < counts.outcomes_repeated / n_clicks < 0.06
    assert 0.01 < counts.late / n_clicks < 0.06


def test_the_config_runs_on_them(folder, tmp_path):
    made = config(folder, tmp_path / "store")
    assert train_trees(made, START + timedelta(days=1)).status == "published"
    assert update_lr(made, START + timedelta(days=1, minutes=15)).status == "published"
    live = Store.open(made.store).live()
    assert live is not None
    assert live.metrics["joined"]["repeated"] > 0


def test_logs_of_another_run_are_not_mixed(folder, capsys):
    assert main(["--rows", "1000", "--days", "1", "--out", str(folder)]) == 2
    assert "holds logs of raw, version 1, rows 12000" in capsys.readouterr().err


def test_the_same_arguments_give_the_same_logs():
    first, second = (list(rawclicks.raw_hours(2000, 1, 3)) for _ in range(2))
    assert all(a[1].equals(b[1]) and a[2].equals(b[2]) for a, b in zip(first, second, strict=True))
