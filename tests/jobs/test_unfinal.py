"""Rows that are not final: only a fit sees them, weighed so that they bend nothing; what judges or stays does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labels_kit import DAY, HOUR, START, US, WINDOW, config, table_of, views, write_views
from pyarrow import parquet

from gbdtlr.config import Config
from gbdtlr.engine import LOCAL
from gbdtlr.errors import StoreUnavailable
from gbdtlr.head import Codes
from gbdtlr.jobs import guards, train_trees, unfinal, update_lr
from gbdtlr.jobs.guards.early import early
from gbdtlr.jobs.unfinal import DELAYS, Aged, share_of_negative
from gbdtlr.jobs.window_parts import WindowParts
from gbdtlr.metrics import sigmoid
from gbdtlr.release import COUNTS, Release
from gbdtlr.release.fits import CANDIDATES, PUBLISHED
from gbdtlr.release.slow import HEAD
from gbdtlr.samples import Delays, File, read
from gbdtlr.samples.delays import BINS
from gbdtlr.store import Store
from gbdtlr.times import MOMENT, to_us

NOW = START + 2 * DAY
METHODS = ("refit", "incremental", "ftrl", "rda", "fobos")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 60 hours of views, and stores with trees of NOW by every method; whoever changes it copies it."""
    folder = tmp_path_factory.mktemp("views")
    write_views(folder / "log", 60)
    for method in METHODS:
        assert train_trees(config(folder, method, store=f"first-{method}"), NOW).status == "published"
    return folder


def store_of(log: Path, method: str, name: str) -> str:
    """A copy of the store with trees."""
    shutil.copytree(log / f"first-{method}", log / name)
    return name


def live(c: Config) -> Release:
    store = Store.open(c.store)
    entry = store.live()
    assert entry is not None
    return Release.load(store, entry)


def files(release: Release) -> dict[str, bytes]:
    """What a head's version keeps, but for what the config is told in."""
    return {**release.learned, HEAD: release.head.to_bytes()}


def updated(c: Config, *moments: datetime) -> Release:
    for moment in moments:
        result = update_lr(c, moment)
        assert result.status == "published", result.reason
    return live(c)


# What a row counts


@given(st.floats(1e-6, 1 - 1e-6), st.floats(-20, 20))
def test_a_row_without_an_outcome_pulls_as_the_censored_likelihood_does(reached: float, margin: float) -> None:
    def log_likelihood(m: float) -> float:
        return float(np.log1p(-reached * sigmoid(np.array(m))))

    step = 1e-5
    slope = (log_likelihood(margin + step) - log_likelihood(margin - step)) / (2 * step)
    share = share_of_negative(np.array([reached]), np.array([margin]))[0]
    assert slope == pytest.approx(-share * sigmoid(np.array(margin)), rel=1e-3, abs=1e-8)


@given(st.floats(-800, 800))
def test_a_row_begins_as_nothing_and_ends_as_a_negative(margin: float) -> None:
    share = share_of_negative(np.array([0.0, 1.0]), np.array([margin, margin]))
    assert share.tolist() == [0.0, 1.0]


def aged(columns: dict[str, np.ndarray], now_us: int, delays: Delays, p: float) -> Aged:
    """The rows that are not final at a moment, under a head that says ``p`` of all."""
    there = (columns["at"] <= now_us) & (columns["until"] > now_us)
    at, until, click = (columns[name][there] for name in ("at", "until", "click"))
    label = ((click >= 0) & (click <= now_us)).astype(np.float32)
    none = np.zeros((0, len(at)), np.uint32)
    codes = Codes(none.astype(np.uint8), none, label, np.ones(len(at)), at, until)
    newest = int(click[label == 1].max(initial=0))
    return Aged.of(codes, np.full(len(at), np.log(p / (1 - p))), delays, newest)


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.5])
def test_the_weighed_fit_has_no_bias_where_the_naive_one_has(rate: float) -> None:
    """200,000 rows of one rate: its fit on all rows is within three standard errors of it at every moment."""
    rng = np.random.default_rng(int(100 * rate))
    columns = views(200_000, START, DAY)
    delays = (columns["click"] - columns["at"])[columns["click"] >= 0]
    click = columns["at"] + delays[rng.integers(0, len(delays), 200_000)]
    columns["click"] = np.where(rng.random(200_000) < rate, click, -1)
    p = rate / 2  # a head that is far off: what it says is put right from one moment to the next
    for h in (12, 13, 14, 16, 18, 21, 24):
        now = to_us(START + h * HOUR)
        final = columns["until"] <= now
        positives = final & (columns["click"] >= 0)
        share = (columns["click"] - columns["at"])[positives] / (WINDOW // US)
        outcomes = np.histogram(share, (np.arange(BINS + 1) / BINS) ** 3)[0].astype(float)
        weighed = aged(columns, now, Delays("6h", START, outcomes), p).weighed()
        n_positive = positives.sum() + (weighed.label == 1).sum()
        n_negative = final.sum() - positives.sum() + weighed.weight[weighed.label == 0].sum()
        found = np.log(n_positive / n_negative)
        error = np.sqrt(1 / n_positive + 1 / n_negative)
        p = n_positive / (n_positive + n_negative)
        naive = np.log(n_positive / ((columns["at"] <= now).sum() - n_positive))
        if h > 14:
            assert abs(found - np.log(rate / (1 - rate))) < 3 * error, h
            assert abs(naive - np.log(rate / (1 - rate))) > 3 * error, h


# What sees them


@pytest.mark.parametrize("method", METHODS)
def test_only_what_is_published_has_learned_them(log: Path, method: str) -> None:
    """State and record are those of a run that waits, update after update; the head is not."""
    waiting = config(log, method, store=store_of(log, method, f"wait-{method}"), unfinal="wait")
    weighing = config(log, method, store=store_of(log, method, f"weigh-{method}"))
    for hours in (1, 3):
        moment = NOW + hours * HOUR
        one, other = updated(waiting, moment), updated(weighing, moment)
        assert one.head_manifest[DELAYS] == other.head_manifest[DELAYS]
        assert one.head_manifest["ledger"]["rows"] == other.head_manifest["ledger"]["rows"]
        assert one.head_manifest["seen"] == other.head_manifest["seen"]
        assert one.head.to_bytes() != other.head.to_bytes()
        told = other.head_manifest["metrics"]["unfinal"]
        assert told["rows"] > 0
        assert 0 < told["weight"] < told["rows"]
        assert "unfinal" not in one.head_manifest["metrics"]
        if method == "incremental":
            assert other.learned[CANDIDATES] == one.learned[CANDIDATES]
            assert other.learned[PUBLISHED] != other.learned[CANDIDATES]
            assert other.learned["memory.npz"] == one.learned["memory.npz"]
        elif method != "refit":
            assert other.learned["online.npz"] == one.learned["online.npz"]


@pytest.mark.parametrize("method", ["refit", "incremental"])
def test_the_blend_learns_from_final_rows_alone(log: Path, method: str) -> None:
    """The same candidates served both until now: the record is the same, though the heads are not."""
    waiting = config(log, method, store=store_of(log, method, f"wait-blend-{method}"), unfinal="wait")
    weighing = config(log, method, store=store_of(log, method, f"weigh-blend-{method}"))
    before = live(waiting).learned["record.json"]
    one, other = updated(waiting, NOW + 8 * HOUR), updated(weighing, NOW + 8 * HOUR)
    assert other.learned["record.json"] == one.learned["record.json"] != before
    assert one.head.to_bytes() != other.head.to_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_once_all_is_final_to_weigh_is_to_wait(log: Path, method: str) -> None:
    end = START + 60 * HOUR + WINDOW
    waiting = config(log, method, store=store_of(log, method, f"wait-all-{method}"), unfinal="wait")
    weighing = config(log, method, store=store_of(log, method, f"weigh-all-{method}"))
    assert files(updated(waiting, end)) == files(updated(weighing, end))


def test_state_after_crashes_is_that_of_a_run_that_waits(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = config(log, "ftrl", store=store_of(log, "ftrl", "wait-crash"), unfinal="wait")
    weighing = config(log, "ftrl", store=store_of(log, "ftrl", "weigh-crash"))
    append, n_calls = Store.append, 0

    def failing(self: Store, *arguments: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls % 2:
            raise StoreUnavailable("the store went away")
        return append(self, *arguments)

    for hours in (1, 2, 4):
        updated(waiting, NOW + hours * HOUR)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "append", failing)
            with pytest.raises(StoreUnavailable):
                update_lr(weighing, NOW + (hours - 0.5) * HOUR)
            updated(weighing, NOW + hours * HOUR)
    assert live(weighing).learned["online.npz"] == live(waiting).learned["online.npz"]


def with_row(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change one row of a file of the log: the first without a click."""
    path = folder / "log" / name
    table = parquet.read_table(path)
    rows = table.to_pylist()
    change(next(row for row in rows if row["clicked_at"] is None))
    parquet.write_table(pa.Table.from_pylist(rows, table.schema), path)


@pytest.mark.parametrize("method", ["refit", "ftrl"])
def test_an_outcome_a_microsecond_later_changes_no_byte(log: Path, tmp_path: Path, method: str) -> None:
    moment = NOW + HOUR
    found = []
    for late in (None, US, 0 * US):
        folder = tmp_path / f"late-{late}"
        shutil.copytree(log / "log", folder / "log")
        shutil.copytree(log / f"first-{method}", folder / "store")

        def click(row: dict[str, Any], late: Any = late) -> None:
            if late is not None:
                row.update(clicked_at=moment + late, label=1)

        with_row(folder, f"{NOW - HOUR:%Y-%m-%dT%H}.parquet", click)
        release = updated(config(folder, method), moment)
        kept = {name: data for name, data in files(release).items() if name != COUNTS}  # of files as they are
        found.append((kept, release.head_manifest[DELAYS], release.head_manifest["metrics"]))
    assert found[0] == found[1]
    assert found[0][0][HEAD] != found[2][0][HEAD]


def test_who_judges_has_learned_none_of_the_rows(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that has learned rows before they were final is not asked about them, but the one they met."""
    c = config(log, store=store_of(log, "refit", "judged"))
    updated(c, *(NOW + h * HOUR for h in range(1, 9)))
    asked: list[tuple[Any, Any]] = []
    contradiction, contests = guards.contradiction, guards.contests

    def noted(pairs: Any, guard: Any) -> Any:
        asked.extend(pairs)
        return contradiction(pairs, guard)

    def noted_too(new: Any, judged: Any, guard: Any) -> Any:
        asked.extend((head, rows) for head, rows, _ in judged)
        assert all(len(a) == len(b) for _, one, two in judged for a, b in zip(one, two, strict=True))
        return contests(new, judged, guard)

    monkeypatch.setattr(guards, "contradiction", noted)
    monkeypatch.setattr(guards, "contests", noted_too)
    updated(c, NOW + 9 * HOUR)
    store = Store.open(c.store)
    made = {}
    for entry in store.entries():
        release = Release.load(store, entry)
        made[release.head.to_bytes()] = to_us(release.head_as_of)
    n_rows = 0
    for head, rows in asked:
        assert all((codes.event_us >= made[head.to_bytes()]).all() for codes in rows)
        n_rows += rows.sum(len, zero=0)
    assert n_rows >= 2 * 50


def test_delays_are_counted_once_whatever_the_updates(log: Path) -> None:
    """Of all rows of the first trees' window and those that became final since, each fading since then."""
    c = config(log, store=store_of(log, "refit", "counted"))
    moment = NOW + 5 * HOUR
    stored = updated(c, NOW + HOUR, NOW + 2.5 * HOUR, moment).head_manifest[DELAYS]
    columns = [views(60, START + h * HOUR, HOUR) for h in range(60)]
    at, until, label = (np.concatenate([each[name] for each in columns]) for name in ("at", "until", "label"))
    counted = (at >= to_us(NOW - DAY)) & (until <= to_us(moment)) & (label == 1)
    age = (to_us(moment) - until[counted]) / 1e6 / c.head.blend_half_life.total_seconds()
    assert sum(stored["outcomes"]) == pytest.approx((2.0**-age).sum())
    assert stored["of"] == "6h"


# When they wait


def test_they_wait_until_enough_outcomes_tell_how_soon_they_come(tmp_path: Path) -> None:
    write_views(tmp_path / "log", 54, per_hour=8)
    c = config(tmp_path, head={"window": "12h"}, guard={"min_samples": 5})
    assert train_trees(c, NOW).status == "published"
    told = updated(c, NOW + HOUR).head_manifest["metrics"]["unfinal"]
    assert told["rows"] == 0
    assert told["waits"].endswith("outcomes tell how soon they come, fewer than 200")


def test_first_trees_wait_as_nothing_is_live(log: Path) -> None:
    told = live(config(log, store="first-refit")).head_manifest["metrics"]["unfinal"]
    assert (told["rows"], told["weight"]) == (0, 0.0)
    assert told["waits"].startswith("nothing is live")


def test_new_trees_get_a_head_that_knows_them_too(log: Path) -> None:
    c = config(log, store=store_of(log, "refit", "second-trees"))
    assert train_trees(c, NOW + HOUR).status == "published"
    assert live(c).head_manifest["metrics"]["unfinal"]["rows"] > 100


def stalled(folder: Path, since: datetime, until: datetime, per_hour: int, hours: int) -> None:
    """A log in which no click lands between two moments."""
    (folder / "log").mkdir(parents=True)
    for h in range(hours):
        columns = views(per_hour, START + h * HOUR, HOUR)
        lost = (columns["click"] > to_us(since)) & (columns["click"] <= to_us(until))
        columns["click"] = np.where(lost, -1, columns["click"])
        columns["label"] = np.where(lost, 0, columns["label"]).astype(np.int8)
        parquet.write_table(table_of(columns), folder / "log" / f"{START + h * HOUR:%Y-%m-%dT%H}.parquet")


def test_where_clicks_stop_landing_the_youngest_rows_count_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = NOW + HOUR
    stalled(tmp_path, since, NOW + 5 * HOUR, 600, 54)
    c = config(tmp_path)
    assert train_trees(c, NOW).status == "published"
    updated(c, since)
    kept: list[Codes] = []
    weighed = Aged.weighed

    def noted(self: Aged) -> Codes:
        kept.append(weighed(self))
        return kept[-1]

    monkeypatch.setattr(unfinal.Aged, "weighed", noted)
    release = updated(c, since + 2 * HOUR)
    assert kept
    assert to_us(since) - WINDOW // US < max(codes.event_us.max(initial=0) for codes in kept) <= to_us(since)
    to_come = views(5000, since + 2 * HOUR, HOUR)
    said = sigmoid(release.model.margin(table_of(to_come)))
    assert said.sum() / to_come["p"].sum() == pytest.approx(1, abs=0.05)


def test_where_the_youngest_lack_their_outcomes_the_update_waits(tmp_path: Path) -> None:
    """Clicks that land late, all but one: age alone does not notice."""
    moment = NOW + HOUR
    stalled(tmp_path, moment - 1.5 * HOUR, moment - 10 * US, 200, 50)

    def click(row: dict[str, Any]) -> None:
        row.update(clicked_at=moment, label=1)

    with_row(tmp_path, f"{NOW:%Y-%m-%dT%H}.parquet", click)
    c = config(tmp_path)
    assert train_trees(c, NOW - 12 * HOUR).status == "published"
    release = updated(c, moment)
    told = release.head_manifest["metrics"]["unfinal"]
    assert told["rows"] == 0
    assert "[guard] early allows 0.5 to 2 times as many" in told["waits"]
    free = config(tmp_path, store="free", guard={"early": [0.0, 1e9]})
    assert train_trees(free, NOW - 12 * HOUR).status == "published"
    assert updated(free, moment).head_manifest["metrics"]["unfinal"]["rows"] > 100


@pytest.mark.parametrize(("young", "old", "waits"), [(1, 1, False), (0.45, 1, True), (2.2, 1, True), (0.6, 1.3, True)])
def test_the_youngest_are_compared_with_the_oldest(young: float, old: float, waits: bool) -> None:
    expected = np.full(BINS, 10.0)
    came = np.where(np.arange(BINS) < BINS // 2, young, old) * expected
    guard = config(Path()).guard
    assert bool(early(np.stack([expected, came]), guard)) is waits
    assert not early(np.stack([expected, came]) / 20, guard)  # too few to tell


# What they cost


def test_only_files_that_hold_them_are_opened(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c = config(log, store=store_of(log, "refit", "opened"))
    opened: list[str] = []
    random_access = File.random_access

    def noted(self: File) -> Any:
        opened.append(Path(self.path).stem)
        return random_access(self)

    monkeypatch.setattr(File, "random_access", noted)
    moment = NOW + 0.5 * HOUR
    WindowParts.read(LOCAL, c.samples, (moment - DAY, moment + MOMENT), moment, list, unfinal=True)
    first = moment - WINDOW - 2 * HOUR  # two hours are left for clocks that go back
    assert opened == sorted(opened)
    assert opened[0] >= f"{first:%Y-%m-%dT%H}"
    assert opened[-1] == f"{moment:%Y-%m-%dT%H}"
    opened.clear()
    read(c.samples, moment - DAY, moment, moment)
    assert opened[-1] <= f"{moment - WINDOW + 2 * HOUR:%Y-%m-%dT%H}"  # nothing in the hours after is final
