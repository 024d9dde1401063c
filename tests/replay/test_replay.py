"""The replay: every row once, by what was live; the past never learns from the future; stopping costs nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from replay_crash_child import POINTS
from replay_crash_child import run as run_on
from replay_kit import DAY, HOUR, START, config, stream, write

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, NoReleaseError
from gbdtlr.release import Release
from gbdtlr.replay import STRATEGIES, ReplayResult, replay
from gbdtlr.store import Store
from gbdtlr.times import to_us

FROM, TO = START + DAY, START + 3 * DAY


def run(config: Config, **more: Any) -> ReplayResult:
    return replay(config, FROM, TO, DAY, 4 * HOUR, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReplayResult, Path]:
    """Data, the replay of all strategies, and the folder it was kept in."""
    folder = tmp_path_factory.mktemp("replay")
    path = write(folder, stream(days_of_drift=2))
    return path, run(config(path), out=folder / "out"), folder / "out"


def test_each_row_is_scored_once_by_the_release_live_when_it_happened(whole: tuple[Path, ReplayResult, Path]) -> None:
    path, result, out = whole
    store = Store.open(str(out / "two-speed-1d-4h" / "store"))
    entries = store.entries()
    releases = [Release.load(store, entry) for entry in entries]
    table = pq.read_table(path)
    us = table["ts"].to_numpy().astype("datetime64[us]").astype(np.int64)
    expected, bare, stale = [], [], []
    for i in np.flatnonzero((us >= to_us(FROM)) & (us < to_us(TO))):
        live = [release for release in releases if to_us(release.entry.as_of) <= us[i]][-1]
        row = table.slice(i, 1)
        expected.append(live.model.margin(row)[0])
        bare.append(live.trees.margin(row, live.trees.leaf_values, 0.0)[0])
        stale.append(releases[0].trees.margin(row, releases[0].trees.leaf_values, 0.0)[0])
    assert len(result.rows) == len(expected)
    np.testing.assert_allclose(result.margins["two-speed"], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.margins["trees-on-schedule"], bare, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.margins["stale-trees"], stale, rtol=0, atol=1e-12)


def test_says_what_the_contract_says(whole: tuple[Path, ReplayResult, Path]) -> None:
    values = whole[1].as_dict()
    assert [each["name"] for each in values["strategies"]] == list(STRATEGIES)
    for each in values["strategies"]:
        assert {"name", "ne", "log_loss", "calibration", "auc", "seconds"} <= set(each)
        assert each["seconds"] > 0
        assert 0 < each["ne"] < 2
        assert np.isfinite(whole[1].margins[each["name"]]).all()
    assert values["rows"] == len(whole[1].rows)
    assert values["jobs"]["published"] == 12
    assert values["cadences"][0]["jobs"] == 12


def test_the_head_wins_where_the_label_drifts(whole: tuple[Path, ReplayResult, Path]) -> None:
    two_speed, bare, stale = whole[1].as_dict()["strategies"][:3]
    assert two_speed["ne"] < bare["ne"] - 0.01
    assert bare["low"] > 0, "and not by chance"
    assert stale["difference"] == pytest.approx(stale["ne"] - two_speed["ne"])


def test_no_label_is_used_before_it_is_known(tmp_path: Path, whole: tuple[Path, ReplayResult, Path]) -> None:
    cut = to_us(START + 2 * DAY + 8 * HOUR) - to_us(START) + 600_000_000  # ten minutes after a step
    columns = stream(days_of_drift=2)
    unknown, later = columns["label_ts"] > cut, columns["ts"] >= cut
    assert (unknown & ~later).any(), "some labels were still open at the cut"
    columns["label"] = np.where(unknown, 1 - columns["label"], columns["label"]).astype(np.int8)
    columns["x"] = np.where(later, -3 * columns["x"], columns["x"])
    columns["user"] = np.where(later, columns["user"] + 7, columns["user"])
    planted = run(config(write(tmp_path, columns)))
    before = planted.rows.event_us < cut + to_us(START)
    for name in STRATEGIES:
        honest = whole[1].margins[name]
        np.testing.assert_array_equal(planted.margins[name][before], honest[before], err_msg=name)
        assert (planted.margins[name][~before] != honest[~before]).any(), name


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [7, 31])
def test_a_stopped_replay_goes_on_where_it_was(
    tmp_path: Path, whole: tuple[Path, ReplayResult, Path], after: int
) -> None:
    path, expected, _ = whole

    def kill(done: int, _total: int, _text: str) -> None:
        if done == after:
            raise Killed

    with pytest.raises(Killed):
        run(config(path), out=tmp_path / "out", progress=kill)
    told: list[int] = []
    result = run(config(path), out=tmp_path / "out", progress=lambda done, _total, _text: told.append(done))
    assert told == list(range(told[0], 49)), "what was kept is told at once"
    assert after - 12 < told[0] <= after, "rivals keep whole days"
    for name in STRATEGIES:
        np.testing.assert_array_equal(result.margins[name], expected.margins[name], err_msg=name)
    assert result.as_dict()["jobs"] == expected.as_dict()["jobs"]


@pytest.mark.parametrize(
    "point", [p if p in ("published", "line") else pytest.param(p, marks=pytest.mark.slow) for p in POINTS]
)
def test_a_replay_killed_in_the_middle_of_a_write_goes_on(
    tmp_path: Path, whole: tuple[Path, ReplayResult, Path], point: str
) -> None:
    path, expected, kept = whole
    out = tmp_path / "out"
    child = Path(__file__).with_name("replay_crash_child.py")
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, child, path.parent, out, point], env=paths, capture_output=True, timeout=300
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    result = run_on(path.parent, out)
    for name in result.margins:
        np.testing.assert_array_equal(result.margins[name], expected.margins[name], err_msg=name)
    assert result.as_dict()["jobs"] == expected.as_dict()["jobs"]
    ours, theirs = (heads(Store.open(str(folder / "two-speed-1d-4h" / "store"))) for folder in (out, kept))
    assert ours == theirs


def heads(store: Store) -> list[dict[str, bytes]]:
    """Files of the head of each release; their manifests, and so their names, tell in which store they were made."""
    return [store.read_version("heads", entry.head, entry.trees).files for entry in store.entries()]


def test_a_finished_replay_is_read_back_and_nothing_is_run_again(
    whole: tuple[Path, ReplayResult, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, expected, out = whole
    for job in ("train_trees", "update_lr"):
        monkeypatch.setattr(f"gbdtlr.jobs.{job}", None)
    assert run(config(path), out=out).as_dict() == expected.as_dict()


def test_side_by_side_gives_the_same(whole: tuple[Path, ReplayResult, Path]) -> None:
    path, expected, _ = whole
    told: list[tuple[int, int]] = []
    result = run(config(path), workers=2, progress=lambda done, total, _text: told.append((done, total)))
    for name in STRATEGIES:
        np.testing.assert_array_equal(result.margins[name], expected.margins[name], err_msg=name)
    assert sorted(told) == [(i + 1, 48) for i in range(48)]


def test_cadences_and_further_configs_are_compared_on_the_same_rows(whole: tuple[Path, ReplayResult, Path]) -> None:
    path, expected, _ = whole
    other = config(path, head={"l2": [1e6]})
    result = replay(
        config(path), FROM, TO, DAY, [4 * HOUR, 12 * HOUR], strategies=["two-speed"], others={"stiff": other}
    )
    values = result.as_dict()
    assert [(each["trees_every"], each["lr_every"], each["jobs"]) for each in values["cadences"]] == [
        ("1d", "4h", 12),
        ("1d", "12h", 4),
    ]
    assert [each["name"] for each in values["strategies"]] == ["two-speed", "stiff"]
    np.testing.assert_array_equal(result.margins["two-speed"], expected.margins["two-speed"])
    assert values["strategies"][1]["ne"] > values["strategies"][0]["ne"]
    assert values["cadences"][1]["ne"] > values["cadences"][0]["ne"]
    assert values["enough"]["lr_every"] == "4h"


def test_a_further_config_of_other_rows_is_refused(whole: tuple[Path, ReplayResult, Path], tmp_path: Path) -> None:
    columns = stream()
    fewer = write(tmp_path, {name: values[:-800] for name, values in columns.items()}, "fewer")
    turned = write(tmp_path, {**columns, "label": 1 - columns["label"]}, "turned")
    for path in (fewer, turned):
        with pytest.raises(ConfigError, match="the config odd has other rows"):
            replay(config(whole[0]), FROM, TO, DAY, DAY, strategies=["two-speed"], others={"odd": config(path)})


def test_age_costs_and_every_age_is_judged_on_the_same_rows(whole: tuple[Path, ReplayResult, Path]) -> None:
    for curve in whole[1].as_dict()["freshness"].values():
        assert len({point["rows"] for point in curve}) == 1
        assert [point["age_s"] for point in curve] == sorted(point["age_s"] for point in curve)
    release = whole[1].as_dict()["freshness"]["release"]
    assert max(point["ne"] for point in release[1:]) > release[0]["ne"]


def test_a_refused_head_leaves_the_old_release_live_and_is_counted(whole: tuple[Path, ReplayResult, Path]) -> None:
    picky = config(whole[0], head={"window": "1h"}, guard={"min_samples": 100})
    values = run(picky, strategies=["trees-on-schedule"]).as_dict()
    assert values["jobs"]["refused"] == 10
    assert values["jobs"]["published"] == 2
    assert "min_samples" in values["jobs"]["kept"][0]["reason"]


def test_a_job_that_fails_leaves_the_old_release_live_and_is_counted(tmp_path: Path) -> None:
    columns = stream()
    day = 86_400_000_000
    columns["label"] = np.where((columns["ts"] >= day) & (columns["ts"] < 2 * day), 0, columns["label"]).astype(np.int8)
    anything = {"min_samples": 20, "label_rate": [0.0, 1e9]}  # a guard would refuse it before
    c = config(write(tmp_path, columns), trees={"window": "20h"}, guard=anything)
    values = run(c, strategies=["two-speed"]).as_dict()
    assert values["jobs"]["failed"] == 1
    (failed,) = (each for each in values["jobs"]["kept"] if each["status"] == "failed")
    assert failed["job"] == "train-trees"
    assert "one class" in failed["reason"]


def test_a_start_without_samples_says_what_to_do(whole: tuple[Path, ReplayResult, Path]) -> None:
    with pytest.raises(NoReleaseError, match="begin later"):
        replay(config(whole[0]), START, TO, DAY, 4 * HOUR)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"strategies": ["two-sped"]}, "unknown strategy two-sped"),
        ({"others": {"stale-trees": None}}, "cannot name a further config"),
    ],
)
def test_wrong_requests(whole: tuple[Path, ReplayResult, Path], more: dict[str, Any], message: str) -> None:
    others = dict.fromkeys(more.get("others", {}), config(whole[0]))
    with pytest.raises(ConfigError, match=message):
        run(config(whole[0]), **{**more, "others": others})


def test_an_empty_period(whole: tuple[Path, ReplayResult, Path]) -> None:
    with pytest.raises(ConfigError, match="end must be after"):
        replay(config(whole[0]), TO, FROM, DAY, HOUR)


def test_a_folder_of_another_replay_is_left_alone(whole: tuple[Path, ReplayResult, Path], tmp_path: Path) -> None:
    path, _, out = whole
    with pytest.raises(ConfigError, match="another end"):
        replay(config(path), FROM, TO - HOUR, DAY, 4 * HOUR, out=out)
    with pytest.raises(ConfigError, match="another config"):
        run(config(path, head={"l2": [3.0]}), out=out)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="other files"):
        run(config(path), out=tmp_path)
