"""Rows that are not final, of two logs: what is joined is weighed as what had been joined beforehand."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from labels_kit import DAY, HOUR, STAMP, START, US, WINDOW, config, table_of, views
from pyarrow import parquet

from gbdtlr.config import AT_ONCE, Config, OutcomesConfig, SamplesConfig
from gbdtlr.engine import LOCAL
from gbdtlr.errors import ConfigError
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.unfinal import DELAYS
from gbdtlr.jobs.window_parts import WindowParts
from gbdtlr.release import Release
from gbdtlr.release.slow import HEAD
from gbdtlr.samples import Samples, Tally, read
from gbdtlr.store import Store
from gbdtlr.times import to_us

NOW = START + 2 * DAY
HOURS = 56


def write(folder: Path, name: str, table: pa.Table, time: str) -> None:
    """The rows in a file for each hour."""
    (folder / name).mkdir()
    hour = (table[time].cast(pa.int64()).to_numpy() - to_us(START)) // 3_600_000_000
    for h in np.unique(hour).tolist():
        path = folder / name / f"{START + h * HOUR:%Y-%m-%dT%H}.parquet"
        parquet.write_table(table.filter(pa.array(hour == h)), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same views as one log, which knows of its clicks, and as two."""
    folder = tmp_path_factory.mktemp("two-logs")
    parts = [views(60, START + h * HOUR, HOUR) for h in range(HOURS)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    write(folder, "log", table_of(columns), "at")
    keys = pa.array([f"r{i}" for i in range(len(columns["at"]))])
    shown = table_of(columns).select(["at", "x", "shop"]).append_column("request", keys)
    write(folder, "shown", shown, "at")
    there = columns["click"] >= 0
    clicks = pa.table({"request": keys.filter(pa.array(there)), "clicked_at": pa.array(columns["click"][there], STAMP)})
    write(folder, "clicks", clicks, "clicked_at")
    return folder


def two(folder: Path, store: str = "two", unfinal: str = "weigh", method: str = "refit") -> Config:
    """The config of the two logs."""
    one = config(folder, method, store=store)
    table = one.as_dict()
    for key in ("label_time", "label_window", "unfinal", "label"):
        del table["samples"][key]
    table["samples"] |= {"path": str(folder / "shown"), "key": "request"}
    parts = {"key": "request", "time": "clicked_at", "window": "6h", "partition": "%Y-%m-%dT%H"}
    return Config.from_dict({**table, "outcomes": {"path": str(folder / "clicks"), "unfinal": unfinal, **parts}})


def plain(samples: Samples) -> dict[str, list[object]]:
    assert samples.outcome_us is not None
    names = ("label", "weight", "event_us", "known_us", "outcome_us")
    return {**{name: getattr(samples, name).tolist() for name in names}, "x": samples.table["x"].to_pylist()}


def unfinal(cfg: SamplesConfig, moment: datetime) -> tuple[Samples, Tally]:
    """Rows of a day that are not final at a moment."""
    read = WindowParts.read(LOCAL, cfg, (moment - DAY, moment + US), moment, list, unfinal=True)
    return Samples.concat([samples for batches in read.parts for samples in batches]), read.tally


@pytest.mark.parametrize("moment", [NOW, NOW + 3.7 * HOUR, START + HOURS * HOUR + WINDOW - HOUR])
def test_the_same_rows_are_final_or_look_the_same(folder: Path, moment: datetime) -> None:
    one, other = config(folder).samples, two(folder).samples
    assert plain(read(one, moment - DAY, moment, moment)) == plain(read(other, moment - DAY, moment, moment))
    samples, tallies = zip(*(unfinal(cfg, moment) for cfg in (one, other)), strict=True)
    found = [*map(plain, samples)]
    assert found[0] == found[1]
    assert 0 < sum(found[0]["label"]) < len(found[0]["label"])
    assert tallies[0].newest_outcome_us == max(t for t in found[0]["outcome_us"] if t <= to_us(moment))
    assert tallies[1].newest_outcome_us >= tallies[0].newest_outcome_us  # of any row there is


@pytest.mark.parametrize("method", ["refit", "ftrl"])
def test_their_heads_are_those_of_one_log(folder: Path, method: str) -> None:
    found = []
    for c in (config(folder, method, store=f"one-{method}"), two(folder, f"two-{method}", method=method)):
        assert train_trees(c, NOW).status == "published"
        for hours in (1, 2.5):
            assert update_lr(c, NOW + hours * HOUR).status == "published"
        store = Store.open(c.store)
        entry = store.live()
        assert entry is not None
        release = Release.load(store, entry)
        files = {HEAD: release.head.to_bytes(), **{n: d for n, d in release.learned.items() if n != "counts.npz"}}
        found.append((files, release.head_manifest[DELAYS], release.head_manifest["metrics"]["unfinal"]))
    assert found[0] == found[1]
    assert found[0][2]["rows"] > 100


def delayed(folder: Path, store: str, method: str) -> Config:
    """The config of the one log whose labels stand in it, each six hours old."""
    table = config(folder, method, store=store).as_dict()
    for key in ("label_time", "label_window", "unfinal"):
        del table["samples"][key]
    table["samples"] |= {"label": "label", "label_delay": "6h"}
    return Config.from_dict(table)


@pytest.mark.parametrize("method", ["refit", "incremental"])
def test_waiting_gives_what_labels_that_were_joined_beforehand_give(folder: Path, method: str) -> None:
    """Bytes of trees and heads, and what they say of each other: NE, calibration and the record of the blend."""
    found = []
    for c in (
        delayed(folder, f"before-{method}", method),
        config(folder, method, store=f"waits-{method}", unfinal="wait"),
        two(folder, f"waits-joined-{method}", "wait", method),
    ):
        files = []
        for job, hours in ((train_trees, 0.0), (update_lr, 1.0), (update_lr, 2.5)):
            result = job(c, NOW + hours * HOUR)
            assert result.status == "published"
            release = Release.live(Store.open(c.store))
            assert release is not None
            kept = {name: data for name, data in release.learned.items() if name != "counts.npz"}
            trees = (Path(c.store) / "trees" / str(result.trees) / "booster.txt").read_bytes()
            metrics = {name: of for name, of in result.metrics.items() if name not in ("joined", "unfinal")}
            files.append((trees, release.head.to_bytes(), kept, metrics))
        found.append(files)
    before, waits, joined = found
    assert before == waits == joined
    assert before[2][3]["fit"]["ne"] < 1


def test_an_outcome_that_has_not_landed_has_not_come(folder: Path, tmp_path: Path) -> None:
    moment = NOW + HOUR
    landed = tmp_path / "clicks"
    landed.mkdir()
    for path in (folder / "clicks").iterdir():
        table = parquet.read_table(path)
        late = pa.array(table["clicked_at"].cast(pa.int64()).to_numpy() + HOUR // US, STAMP)
        parquet.write_table(table.append_column("landed", late), landed / path.name)
    c = two(folder)
    assert c.outcomes is not None
    outcomes = OutcomesConfig(**{**vars(c.outcomes), "path": (str(landed),), "landed_time": "landed"})
    found, tally = unfinal(c.replace(outcomes=outcomes).samples, moment)
    whole, _ = unfinal(c.samples, moment)
    assert found.outcome_us is not None
    assert whole.outcome_us is not None
    by_then = whole.outcome_us <= to_us(moment - HOUR)
    np.testing.assert_array_equal(found.label, by_then)
    assert tally.newest_outcome_us is not None
    assert tally.newest_outcome_us <= to_us(moment - HOUR)


def test_at_once_knows_what_comes_later(folder: Path) -> None:
    c, moment = two(folder), NOW + HOUR
    knowing = read(c.with_unfinal(AT_ONCE).samples, moment - DAY, moment, moment)
    later = moment + timedelta(days=1)
    np.testing.assert_array_equal(knowing.label, read(c.samples, moment - DAY, moment, later).label)


def test_unfinal_stands_where_the_labels_come_from() -> None:
    table = {"path": "x", "event_time": "t", "numeric": ["n"], "key": "k", "unfinal": "weigh"}
    outcomes = {"path": "y", "key": "k", "time": "c", "window": "1h"}
    with pytest.raises(ConfigError, match=r"write it under \[outcomes\]"):
        Config.from_dict({"samples": table, "outcomes": outcomes})
    del table["unfinal"]
    with pytest.raises(ConfigError, match="choose one of wait, weigh"):
        Config.from_dict({"samples": table, "outcomes": {**outcomes, "unfinal": AT_ONCE}})
    with pytest.raises(ConfigError, match=r"\[outcomes\] window is 7d, as long as \[head\] window or longer"):
        Config.from_dict({"samples": table, "outcomes": {**outcomes, "window": "7d"}})
