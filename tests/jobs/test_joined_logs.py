"""The jobs on two logs that they join: the same heads however the logs lie in files, and each sample learned once."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from methods_kit import DAY, HOUR, START, rows
from pyarrow import parquet

from gbdtlr.cli import main
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.grounds import Grounds
from gbdtlr.jobs.learn import learn
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.run import running
from gbdtlr.release import Release
from gbdtlr.replay import replay
from gbdtlr.samples import chances, opening, read
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store
from gbdtlr.times import format_time, to_us

NOW = START + 2 * DAY
US = timedelta(microseconds=1)
HOURS = 56
STAMP = pa.timestamp("us", "UTC")


def two_logs(hours: int = HOURS, per_hour: int = 60) -> tuple[pa.Table, pa.Table]:
    """Impressions, and outcomes of those that are a 1, within 50 minutes."""
    table = pa.concat_tables(rows(per_hour, START + h * HOUR, HOUR) for h in range(hours))
    table = table.append_column("request", pa.array([f"r{i}" for i in range(len(table))]))
    shown = table.select(["at", "request", "x", "kind", "shop"])
    ones = table.filter(pa.compute.equal(table["label"], 1))
    rng = np.random.default_rng(1)
    came = ones["at"].cast(pa.int64()).to_numpy() + rng.integers(0, 50 * 60_000_000, len(ones))
    return shown, pa.table({"request": ones["request"], "clicked_at": pa.array(came, STAMP)})


def write_hourly(table: pa.Table, time: str, folder: Path, name: str = "") -> None:
    """The rows in a file for each hour."""
    folder.mkdir(parents=True, exist_ok=True)
    hour = (table[time].cast(pa.int64()).to_numpy() - to_us(START)) // 3_600_000_000
    for h in np.unique(hour).tolist():
        path = folder / f"{START + h * HOUR:%Y-%m-%dT%H}{name}.parquet"
        parquet.write_table(table.filter(pa.array(hour == h)), path)


@pytest.fixture(scope="module")
def logs() -> tuple[pa.Table, pa.Table]:
    return two_logs()


@pytest.fixture(scope="module")
def hourly(tmp_path_factory: pytest.TempPathFactory, logs: tuple[pa.Table, pa.Table]) -> Path:
    """Folder with both logs in hourly files, that nobody changes."""
    folder = tmp_path_factory.mktemp("joined")
    write_hourly(logs[0], "at", folder / "shown")
    write_hourly(logs[1], "clicked_at", folder / "clicks")
    return folder


def config(
    folder: Path, store: Path, method: str = "refit", partition: str | None = "%Y-%m-%dT%H", **guard: Any
) -> Config:
    """Config of the logs below a folder."""
    parts = {} if partition is None else {"partition": partition}
    return Config.from_dict(
        {
            "store": str(store),
            "threads": 1,
            "samples": {
                "path": str(folder / "shown"),
                "event_time": "at",
                "key": "request",
                "numeric": ["x"],
                "categorical": ["kind"],
                "wide": ["shop"],
                **parts,
            },
            "outcomes": {
                "path": str(folder / "clicks"),
                "key": "request",
                "time": "clicked_at",
                "window": "1h",
                **parts,
            },
            "trees": {"window": "2d", "params": {"num_iterations": 5, "num_leaves": 4, "min_data_in_leaf": 20}},
            "head": {"window": "1d", "method": method, "half_lives": ["6h"], "l2": [3, 30], "wide_buckets": 64},
            "guard": {"min_samples": 20, "calibration": [0.1, 10.0], "volume": [0.0, 1000.0], **guard},
        }
    )


def live(config: Config) -> Release:
    store = Store.open(config.store)
    entry = store.live()
    assert entry is not None
    return Release.load(store, entry)


def ledger(config: Config) -> Ledger:
    release = live(config)
    return Ledger.from_dict(release.head_manifest["ledger"], release.counts)


def learned(config: Config, *moments: datetime) -> dict[str, bytes]:
    """Bytes of trees and heads after trees at the first moment and updates at the others."""
    found = {}
    for moment in moments:
        job = train_trees if moment == moments[0] else update_lr
        result = job(config, moment)
        assert result.status == "published", result.reason
        folder = Path(config.store) / "heads" / str(result.trees) / str(result.head)
        found[f"{moment} head"] = (folder / "head.npz").read_bytes()
        found[f"{moment} golden"] = (folder / "golden.json").read_bytes()
    found["booster"] = (Path(config.store) / "trees" / str(result.trees) / "booster.txt").read_bytes()
    return found


def write_otherwise(folder: Path, logs: tuple[pa.Table, pa.Table], layout: str) -> None:
    rng = np.random.default_rng(5)
    for table, name in zip(logs, ("shown", "clicks"), strict=True):
        (folder / name).mkdir(parents=True)
        table = table.take(rng.permutation(len(table)))
        n_files = {"one": 1, "shuffled": 7, "doubled": 3}[layout]
        for i in range(n_files):
            part = table.slice(i * len(table) // n_files, (i + 1) * len(table) // n_files - i * len(table) // n_files)
            for copy in range(2 if layout == "doubled" else 1):
                parquet.write_table(
                    part, folder / name / f"{rng.integers(1000):03d}-{i}-{copy}.parquet", row_group_size=500
                )


@pytest.mark.parametrize("method", ["refit", "incremental"])
def test_logs_shuffled_split_and_doubled_give_the_same_bytes(
    hourly: Path, logs: tuple[pa.Table, pa.Table], tmp_path: Path, method: str
) -> None:
    moments = [NOW, NOW + HOUR, NOW + 3 * HOUR]
    expected = learned(config(hourly, tmp_path / "store", method), *moments)
    for layout in ("one", "shuffled", "doubled"):
        folder = tmp_path / layout
        write_otherwise(folder, logs, layout)
        found = learned(config(folder, folder / "store", method, partition=None), *moments)
        assert {name for name in found if found[name] != expected[name]} == set(), layout
    assert live(config(folder, folder / "store")).entry.metrics["joined"]["repeated"] > 0


def test_an_outcome_a_microsecond_after_now_changes_no_byte(logs: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    """One of an impression whose window ends now counts up to now."""
    shown, clicks = logs
    edge = {"at": pa.array([NOW - HOUR], STAMP), "request": ["edge"], "x": [0.0], "kind": ["a"], "shop": ["s1"]}
    shown = pa.concat_tables([shown, pa.table(edge)])
    seen = clicks.filter(pa.compute.less_equal(clicks["clicked_at"], pa.scalar(NOW, STAMP)))
    stores = {}
    for name, at in (("none", None), ("after", NOW + US), ("now", NOW)):
        folder = tmp_path / name
        write_hourly(shown, "at", folder / "shown")
        more = seen
        if at is not None:
            keys = ["edge", *(shown["request"].to_pylist() if name == "after" else [])]
            more = pa.concat_tables(
                [seen, pa.table({"request": keys, "clicked_at": pa.array([at] * len(keys), STAMP)})]
            )
        write_hourly(more, "clicked_at", folder / "clicks")
        stores[name] = learned(config(folder, folder / "store"), NOW)
    assert stores["after"] == stores["none"]
    assert stores["now"] != stores["none"]


@pytest.mark.parametrize("method", ["incremental", "ftrl"])
def test_updates_learn_each_sample_once_and_open_what_is_new(
    hourly: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = config(hourly, tmp_path / "store", method)
    learned(c, NOW)
    total = ledger(c).rows
    opened: set[str] = set()
    real = opening.Reading._batches

    def spy(self: Any) -> Any:
        opened.add("/".join(Path(self.file.path).parts[-2:]))
        yield from real(self)

    monkeypatch.setattr(opening.Reading, "_batches", spy)
    for hours in (1, 1.25, 4):
        opened.clear()
        result = update_lr(c, NOW + hours * HOUR)
        assert result.status == "published", result.reason
        assert len(opened) < 22, "of 104 files"
        total += ledger(c).rows
        assert ledger(c).late == 0
    everything = read(c.samples, NOW - DAY, NOW + 4 * HOUR, NOW + 4 * HOUR)
    assert total == len(everything)
    again = update_lr(c, NOW + 4 * HOUR + US)
    assert (again.status, again.reason[:28]) == ("unchanged", "no label became known from 2")


def test_outcomes_that_land_after_their_samples_were_learned_are_late(
    logs: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    shown, clicks = logs
    write_hourly(shown, "at", tmp_path / "shown")
    write_hourly(clicks, "clicked_at", tmp_path / "clicks")
    c = config(tmp_path, tmp_path / "store", "incremental")
    held_back = sorted((tmp_path / "clicks").glob("2024-03-02T2[01]*"))
    n_held_back = sum(parquet.read_metadata(path).num_rows for path in held_back)
    data = [path.read_bytes() for path in held_back]
    for path in held_back:
        path.unlink()
    learned(c, NOW, NOW + HOUR)
    assert ledger(c).late == 0
    for path, content in zip(held_back, data, strict=True):
        path.write_bytes(content)
    assert update_lr(c, NOW + 2 * HOUR).status == "published"
    assert ledger(c).late == n_held_back
    assert update_lr(c, NOW + 3 * HOUR).status == "published"
    assert (ledger(c).late, ledger(c).late_since_full) == (0, n_held_back)
    full = config(tmp_path, tmp_path / "store", "incremental")
    full = full.replace(head=replace(full.head, full_every=timedelta(hours=1)))
    assert update_lr(full, NOW + 4 * HOUR).status == "published"
    assert ledger(full).late_since_full == 0


@pytest.mark.parametrize(
    ("key", "spoil", "reason"),
    [
        ("keyless", {"request": "none"}, "impressions have no key; [guard] keyless allows 0.1"),
        ("repeated", {"request": "one"}, "impressions have a key that one shortly before them had; [guard] repeated"),
        ("unmatched", {"request": "other"}, "outcomes have a key of no impression before them; [guard] unmatched"),
        ("late", {"clicked_at": "later"}, "allows 0.5 of them; make [outcomes] window longer, or --grace"),
    ],
)
def test_guards_object_to_logs_that_do_not_belong_together(
    hourly: Path, logs: tuple[pa.Table, pa.Table], tmp_path: Path, key: str, spoil: dict[str, str], reason: str
) -> None:
    shown, clicks = logs
    if spoil.get("request") in ("none", "one", "other"):
        n = len(shown)
        # Nine in ten: of nothing but such rows no sample is left.
        keys = [
            f"r{i}" if i % 10 == 0 else {"none": None, "one": "k", "other": f"x{i}"}[spoil["request"]] for i in range(n)
        ]
        shown = shown.set_column(1, "request", pa.array(keys, pa.string()))
    else:
        late = pa.array(clicks["clicked_at"].cast(pa.int64()).to_numpy() + 3_600_000_000, STAMP)
        clicks = clicks.set_column(1, "clicked_at", late)
    good = config(hourly, tmp_path / "store")
    learned(good, NOW)
    write_hourly(shown, "at", tmp_path / "shown")
    write_hourly(clicks, "clicked_at", tmp_path / "clicks")
    bad = config(tmp_path, tmp_path / "store")
    result = train_trees(bad, NOW + HOUR)
    assert result.status == "refused", result
    assert reason in result.reason
    result = update_lr(bad, NOW + HOUR)
    assert result.status == "refused"
    assert reason in result.reason
    allowing = config(tmp_path, tmp_path / "store", **{key: 1.0})
    assert reason not in train_trees(allowing, NOW + HOUR).reason


def test_every_command_works_on_two_logs_or_says_why_not(
    hourly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    c = config(hourly, tmp_path / "store", "ftrl")
    learned(c, NOW, NOW + HOUR)
    assert Scorer.open(c.store).score_row({"x": 1.0, "kind": "a", "shop": "s4"}) > 0.5
    with pytest.raises(ConfigError, match=r"gbdtlr learn takes lines whose label is final"):
        learn(c, [], lambda: NOW, publish_every=HOUR)
    capsys.readouterr()
    assert main(["status", "--store", c.store, "--as-of", format_time(NOW + HOUR)]) == 0
    assert "joined" in capsys.readouterr().out
    assert main(["report", "--store", c.store, "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "outcomes without impression" in page
    assert main(["status", "--store", c.store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]["joined"]["impressions"] > 0


def test_two_logs_can_be_replayed(hourly: Path, tmp_path: Path) -> None:
    c = config(hourly, tmp_path / "store")
    result = replay(c, NOW, NOW + 6 * HOUR, 6 * HOUR, 2 * HOUR, ["two-speed", "lightgbm-refit"])
    assert len(result.rows) == len(read(c.samples, NOW, NOW + 6 * HOUR, NOW + 30 * DAY))
    assert 0.2 < result.rows.label.mean() < 0.5


def test_trees_of_two_logs_may_be_grown_on_some_of_their_rows(tmp_path, hourly):
    asked = config(hourly, tmp_path / "store")
    asked = asked.replace(trees=replace(asked.trees, max_rows=1000))
    whole = read(asked.samples, NOW - asked.trees.window, NOW, NOW)
    with running("train-trees", asked, NOW) as run:
        some = Grounds.read(run)
    assert (some.n_rows, len(some.samples)) == (len(whole), 1000)
    assert some.tally.joined is not None
    limit = np.sort(chances(whole, asked.samples.numeric))[1000]
    assert some.samples.table.equals(whole.filter(chances(whole, asked.samples.numeric) < limit).table)
    assert some.totals.positives == whole.label.sum()
