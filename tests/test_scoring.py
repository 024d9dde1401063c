"""Scoring: equal for frames, rows and files, and always by one whole release, whatever happens to the store."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, DamagedError, NoReleaseError, SamplesError, SchemaError, StoreUnavailable
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.metrics import sigmoid
from gbdtlr.operate.rollback import rollback
from gbdtlr.release import Release
from gbdtlr.samples.tables import Piece, Source, read_pieces
from gbdtlr.scoring import Scorer, score_file
from gbdtlr.store import Standing, Store

NOW = datetime(2024, 3, 5, tzinfo=UTC)
FEATURES = ["x", "y", "colour", "shop"]


@pytest.fixture
def rows(make_samples: Callable[..., pa.Table]) -> pa.Table:
    return make_samples(n=60, seed=7).select(FEATURES)


def odd_rows() -> list[dict[str, Any]]:
    """Every way in which a value may be missing, unseen or of another type."""
    values: dict[str, list[Any]] = {
        "x": [0, -0.0, 1.5, None, float("nan"), float("inf"), np.float32(0.1), True, 10**6],
        "y": [1.0, float("-inf"), None],
        "colour": ["red", "mauve", "", None],
        "shop": [3, None, 10**12],
    }
    longest = max(len(each) for each in values.values())
    spread = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    assert len(spread) > longest
    return spread


# One row, many rows, whatever they come in: the same numbers.


def test_every_kind_of_frame_scores_the_same(filled: Config, rows: pa.Table) -> None:
    scorer = Scorer.open(filled.store)
    expected = scorer.score(rows)
    assert expected.dtype == np.float64
    assert expected.shape == (60,)
    assert len(set(expected)) > 20
    arrays = {name: rows[name].to_numpy() if name != "colour" else rows[name].to_pylist() for name in FEATURES}
    for frame in (rows.to_pandas(), arrays, rows.select(FEATURES[::-1]).append_column("more", rows["x"])):
        np.testing.assert_array_equal(scorer.score(frame), expected)
    np.testing.assert_array_equal(sigmoid(scorer.margin(rows)), expected)


def test_a_row_scores_as_in_a_frame_to_the_last_bit(filled: Config) -> None:
    scorer = Scorer.open(filled.store)
    odd = odd_rows()
    whole = {name: [row[name] for row in odd] for name in FEATURES}
    whole["x"] = np.array([np.nan if value is None else value for value in whole["x"]], np.float64)
    expected = scorer.score(whole)
    assert [scorer.score_row(row) for row in odd] == expected.tolist()
    names = ("shop", "colour", "more", "y", "x")
    values = [(row["shop"], row["colour"], 1, row["y"], row["x"]) for row in odd]
    assert [scorer.score_row(row, names) for row in values] == expected.tolist()


def test_an_array_of_numbers_scores_as_in_a_frame(config: Config) -> None:
    config = numbers_only(config)
    train_trees(config, NOW - timedelta(days=2))
    scorer = Scorer.open(config.store)
    matrix = np.random.default_rng(0).normal(size=(50, 3))
    matrix[::7, 0] = np.nan
    names = ["y", "more", "x"]
    expected = scorer.score({"x": matrix[:, 2], "y": matrix[:, 0]})
    assert len(set(expected)) > 5
    assert [scorer.score_row(row, names) for row in matrix] == expected.tolist()
    assert [scorer.score_row(row[None, :], tuple(names)) for row in matrix] == expected.tolist()
    assert [scorer.score_row(row.tolist(), names) for row in matrix] == expected.tolist()
    for wrong in ((matrix[0], ["x", "y"]), (matrix[0], ["x", "a", "b"]), (matrix[0], ["x", "y", "x"])):
        with pytest.raises(SchemaError):
            scorer.score_row(*wrong)


def numbers_only(config: Config) -> Config:
    values = config.as_dict()
    del values["samples"]["categorical"], values["samples"]["wide"]
    return Config.from_dict(values)


def test_missing_columns_are_all_named(filled: Config, rows: pa.Table) -> None:
    scorer = Scorer.open(filled.store)
    row = rows.to_pylist()[0]
    for missing in (["x", "colour"], ["shop"], ["x", "shop"]):
        with pytest.raises(SchemaError, match=".*".join(missing)):
            scorer.score(rows.drop_columns(missing))
        with pytest.raises(SchemaError, match=".*".join(missing)):
            scorer.score_row({name: value for name, value in row.items() if name not in missing})
    with pytest.raises(SchemaError, match="x is 'high'"):
        scorer.score_row({**row, "x": "high"})
    with pytest.raises(SchemaError, match="by name"):
        scorer.score_row([1.0, 2.0])
    with pytest.raises(SchemaError, match="same name"):
        scorer.score_row([1.0, 2.0, "red", 3, 4], ["x", "x", "colour", "shop", "y"])
    with pytest.raises(SchemaError, match="expected"):
        scorer.score(row)


def test_no_rows_are_no_probabilities(filled: Config, rows: pa.Table) -> None:
    assert Scorer.open(filled.store).score(rows.slice(0, 0)).shape == (0,)


# Opening.


def test_open_names_what_is_missing(config: Config) -> None:
    with pytest.raises(NoReleaseError, match="train-trees"):
        Scorer.open(config.store)
    assert not Path(config.store).exists()


def test_a_pinned_scorer_stays(filled: Config, rows: pa.Table) -> None:
    pinned = Scorer.open(filled.store, 2)
    before = pinned.score(rows)
    assert pinned.release == 2
    assert not pinned.refresh()
    assert pinned.health()["pinned"]
    np.testing.assert_array_equal(pinned.score(rows), before)
    with pytest.raises(NoReleaseError, match="newest is 5"):
        Scorer.open(filled.store, 6)


def test_the_live_release_is_taken_or_none(filled: Config) -> None:
    damage(newest_head(filled) / "head.npz")
    with pytest.raises(DamagedError, match="release 5"):
        Scorer.open(filled.store)
    assert Scorer.open(filled.store, 4).release == 4


def newest_head(config: Config) -> Path:
    live = Store.open(config.store).live()
    assert live is not None
    return Path(config.store, live.head_id.folder)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# Refreshing.


def test_refresh_follows_the_log(filled: Config, rows: pa.Table) -> None:
    scorer = Scorer.open(filled.store)
    old_trees = scorer.loaded.trees
    assert scorer.refresh() is False
    assert update_lr(filled, NOW).release == 6
    assert scorer.release == 5
    assert scorer.refresh() is True
    assert scorer.release == 6
    assert scorer.loaded.trees is old_trees, "trees that stay are not loaded again"
    np.testing.assert_array_equal(scorer.score(rows), Scorer.open(filled.store).score(rows))
    assert rollback(filled.store, 1, NOW).release == 7
    assert scorer.refresh() is True
    assert scorer.release == 7
    np.testing.assert_array_equal(scorer.score(rows), Scorer.open(filled.store, 1).score(rows))


class Flaky(Store):
    """A store that can be told to fail."""

    error: Exception | None = None

    def standing(self, at_least: int = 0) -> Standing | None:
        if self.error is not None:
            raise self.error
        return super().standing(at_least)


def test_a_store_that_is_down_changes_nothing(filled: Config, rows: pa.Table) -> None:
    store = Flaky(Store.open(filled.store).backend)
    scorer = Scorer.open(store)
    before = scorer.score(rows)
    update_lr(filled, NOW)
    for failures, error in enumerate((StoreUnavailable("no route"), MemoryError("too big")), start=1):
        store.error = error
        assert scorer.refresh() is False
        health = scorer.health(NOW)
        assert health["failures"] == failures
        assert str(error) in health["error"]
        assert health["release"] == scorer.release == 5
        np.testing.assert_array_equal(scorer.score(rows), before)
    store.error = None
    assert scorer.refresh() is True
    assert (scorer.health()["failures"], scorer.health()["error"], scorer.release) == (0, None, 6)


def test_an_emptied_store_changes_nothing(filled: Config, tmp_path: Path) -> None:
    scorer = Scorer.open(filled.store)
    Path(filled.store).rename(tmp_path / "elsewhere")
    assert scorer.refresh() is False
    assert "nothing is published" in scorer.health()["error"]
    assert scorer.release == 5


@pytest.mark.parametrize("name", ["head.npz", "golden.json", "manifest.json"])
def test_a_damaged_newest_release_is_not_served_till_it_is_mended(filled: Config, rows: pa.Table, name: str) -> None:
    scorer = Scorer.open(filled.store)
    before = scorer.score(rows)
    update_lr(filled, NOW)
    path = newest_head(filled) / name
    whole = path.read_bytes()
    damage(path)
    assert scorer.refresh() is False
    assert "DamagedError" in scorer.health()["error"]
    assert scorer.release == 5
    np.testing.assert_array_equal(scorer.score(rows), before)
    path.write_bytes(whole)
    assert scorer.refresh() is True
    assert scorer.release == 6


class Overtaken(Store):
    """A store in which whatever is read first is overtaken and pruned just before."""

    def __init__(self, store: Store, overtake: Callable[[], object]) -> None:
        super().__init__(store.backend)
        self._overtake = [overtake]

    def read_version(self, kind: str, name: str, under: str | None = None) -> Any:
        while self._overtake:
            self._overtake.pop()()
        return super().read_version(kind, name, under)


@pytest.mark.parametrize("opened", [False, True])
def test_a_release_pruned_while_it_is_read_is_no_damage(filled: Config, opened: bool) -> None:
    def overtake() -> None:
        assert train_trees(filled, NOW).status == "published"
        Store.open(filled.store).prune(1, timedelta(0), datetime(2099, 1, 1, tzinfo=UTC))

    store = Store.open(filled.store)
    if opened:
        scorer = Scorer.open(store)
        update_lr(filled, NOW - timedelta(hours=1))
        scorer.store = Overtaken(store, overtake)
        assert scorer.refresh()
        assert scorer.health()["error"] is None
    else:
        scorer = Scorer.open(Overtaken(store, overtake))
    live = store.live()
    assert live is not None
    assert scorer.release == live.number


def test_health_tells_ages(filled: Config) -> None:
    scorer = Scorer.open(filled.store)
    health = scorer.health(NOW)
    assert health["release"] == 5
    assert (health["trees"], health["head"]) == (scorer.loaded.entry.trees, scorer.loaded.entry.head)
    assert health["trees_age_s"] == 24 * 3600
    assert health["head_age_s"] == 18 * 3600
    assert (health["error"], health["failures"], health["refreshing"], health["pinned"]) == (None, 0, False, False)
    assert health["checked_age_s"] >= 0
    assert scorer.health()["head_age_s"] > health["head_age_s"]


def test_two_scorers_do_not_disturb_each_other(filled: Config, rows: pa.Table) -> None:
    first, second, pinned = Scorer.open(filled.store), Scorer.open(filled.store), Scorer.open(filled.store, 3)
    before = {scorer: scorer.score(rows) for scorer in (second, pinned)}
    update_lr(filled, NOW)
    assert first.refresh()
    assert (first.release, second.release, pinned.release) == (6, 5, 3)
    for scorer, expected in before.items():
        np.testing.assert_array_equal(scorer.score(rows), expected)
    assert not np.array_equal(first.score(rows), before[second])


# Swapping under load.


class Restless(Store):
    """A store whose live release is another one at every look: among them other trees and the same trees again."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.backend)
        self._turn = itertools.cycle([*store.entries(), *store.entries()[::-2]])
        self._versions: dict[tuple[str, ...], Any] = {}

    def standing(self, at_least: int = 0) -> Standing:  # noqa: ARG002
        entry = next(self._turn)
        return Standing(entry, entry)

    def read_version(self, kind: str, name: str, under: str | None = None) -> Any:
        key = (kind, name, under or "")
        if key not in self._versions:
            self._versions[key] = super().read_version(kind, name, under)
        return self._versions[key]


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns a thousand times as often as they usually do."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize(("n_swaps", "in_memory"), [(100, False), (3000, True)])
def test_every_result_belongs_wholly_to_the_release_it_names(
    filled: Config, rows: pa.Table, monkeypatch: pytest.MonkeyPatch, n_swaps: int, in_memory: bool
) -> None:
    rows = rows.slice(0, 5)
    store = Store.open(filled.store)
    loaded = {entry.number: Release.load(store, entry) for entry in store.entries()}
    row = rows.to_pylist()[0]
    expected = {number: sigmoid(release.model.margin(rows)) for number, release in loaded.items()}
    assert len({each.tobytes() for each in expected.values()}) == len(expected) == 5
    scorer = Scorer(store, loaded[5])
    scorer.store = Restless(store)
    if in_memory:  # what takes the time is loading; without, the threads meet more swaps
        monkeypatch.setattr(Release, "load", lambda _store, entry, _known: loaded[entry.number])
    done = threading.Event()
    wrong: list[str] = []
    calls = dict.fromkeys(loaded, 0)
    counting = threading.Lock()

    def serve() -> None:
        while not done.is_set():
            scored, single = scorer.score_with_release(rows), scorer.score_row_with_release(row)
            if not np.array_equal(scored.probability, expected[scored.release]):
                wrong.append(f"rows of release {scored.release}")
            if single.probability != expected[single.release][0]:
                wrong.append(f"a row of release {single.release}")
            plain = scorer.score(rows)
            if not any(np.array_equal(plain, each) for each in expected.values()):
                wrong.append("rows of no release")
            with counting:
                calls[scored.release] += 1

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    swaps = 0
    while swaps < n_swaps or not all(calls.values()):
        swaps += scorer.refresh()
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert scorer.health()["error"] is None


def test_refreshes_from_many_threads_load_a_release_once(filled: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer.open(filled.store)
    update_lr(filled, NOW)
    loads = []
    load = Release.load.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(Release, "load", classmethod(lambda cls, *args: loads.append(1) or load(cls, *args)))
    changed: list[bool] = []
    threads = [threading.Thread(target=lambda: changed.append(scorer.refresh())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed) == [False] * 7 + [True]
    assert len(loads) == 1


# The background thread.


class Steps:
    """Waiting that ends when the test says so, and tells how long it was to be."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._go = threading.Semaphore(0)
        self._arrived = threading.Semaphore(0)

    def wait(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._arrived.release()
        self._go.acquire()

    def begin(self) -> None:
        """Go on until the first wait begins."""
        self._arrived.acquire()

    def step(self) -> None:
        """Let one wait end and go on until the next begins."""
        self._go.release()
        self._arrived.acquire()

    def end(self) -> None:
        """Wait no more."""
        self._go.release(1000)


def test_refreshing_in_the_background(filled: Config) -> None:
    steps, seen = Steps(), []
    jitters = itertools.cycle([-1.0, 0.0, 1.0, 0.5])
    with ExitStack() as stack:
        scorer = stack.enter_context(Scorer.open(Flaky(Store.open(filled.store).backend)))
        refresher = scorer.start_refreshing(
            "100s", 0.2, on_refresh=seen.append, wait=steps.wait, uniform=lambda _low, _high: next(jitters)
        )
        stack.callback(steps.end)
        steps.begin()
        assert refresher.daemon
        assert scorer.health()["refreshing"]
        steps.step()
        update_lr(filled, NOW)
        steps.step()
        assert scorer.release == 6
        assert seen == [False, True]
        assert isinstance(scorer.store, Flaky)
        scorer.store.error = StoreUnavailable("gone")
        steps.step()
        assert seen == [False, True, False]
        assert scorer.health()["failures"] == 1
        assert steps.asked == pytest.approx([80, 100, 120, 110])
    assert not refresher.is_alive()
    assert not scorer.health()["refreshing"]
    assert scorer.release == 6


def test_a_callback_that_fails_does_not_end_the_refreshing(filled: Config, caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps()
    with ExitStack() as stack:
        scorer = stack.enter_context(Scorer.open(filled.store))
        scorer.start_refreshing("1s", on_refresh=lambda _changed: 1 / 0, wait=steps.wait)
        stack.callback(steps.end)
        steps.begin()
        steps.step()
        assert scorer.health()["refreshing"]
        assert "ZeroDivisionError" in caplog.text


def test_stopping_does_not_wait_for_the_period(filled: Config) -> None:
    with Scorer.open(filled.store).start_refreshing(timedelta(days=365)) as refresher:
        assert refresher.is_alive()
    assert not refresher.is_alive()


@pytest.mark.parametrize(("period", "jitter"), [(timedelta(0), 0.1), ("30s", 1.0), ("30s", -0.1), ("soon", 0.1)])
def test_impossible_periods(filled: Config, period: Any, jitter: float) -> None:
    with pytest.raises(ConfigError):
        Scorer.open(filled.store).start_refreshing(period, jitter)


# Files.


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz", ".jsonl"])
def test_a_file_keeps_all_its_columns(
    filled: Config, make_samples: Callable[..., pa.Table], tmp_path: Path, suffix: str
) -> None:
    table = make_samples(n=150, seed=3)
    source, output = tmp_path / "in.parquet", tmp_path / f"out{suffix}"
    parquet.write_table(table, source)
    scorer = Scorer.open(filled.store)
    assert score_file(scorer, str(source), str(output)) == 150
    back = (pd.read_json(output, lines=True) if suffix == ".jsonl" else None) if suffix != ".parquet" else None
    if suffix == ".parquet":
        written = parquet.read_table(output)
        assert written.select(table.schema.names).equals(table)
        back = written.to_pandas()
    elif back is None:
        back = csv.read_csv(output).to_pandas()
    assert list(back) == [*table.schema.names, "probability", "release"]
    np.testing.assert_allclose(back["probability"], scorer.score(table), rtol=1e-9)
    assert set(back["release"]) == {5}


def test_csv_in_scores_as_parquet_in(filled: Config, make_samples: Callable[..., pa.Table], tmp_path: Path) -> None:
    table = make_samples(n=150, seed=3)
    csv.write_csv(table, tmp_path / "in.csv")
    scorer = Scorer.open(filled.store)
    score_file(scorer, str(tmp_path / "in.csv"), str(tmp_path / "out.parquet"))
    written = parquet.read_table(tmp_path / "out.parquet")
    np.testing.assert_array_equal(written["probability"].to_numpy(), scorer.score(table))


def test_csv_gives_numbers_in_json_lines(filled: Config, make_samples: Callable[..., pa.Table], tmp_path: Path) -> None:
    rows = make_samples(n=50).append_column("price", pa.array([i / 4 for i in range(50)]))
    rows = rows.append_column("code", pa.array([f"{i:03}" for i in range(50)]))
    shop = rows.schema.get_field_index("shop")
    rows = rows.set_column(shop, "shop", pa.array([f"3.{i}0" for i in range(50)]))
    csv.write_csv(rows, tmp_path / "in.csv")
    scorer = Scorer.open(filled.store)
    score_file(scorer, str(tmp_path / "in.csv"), str(tmp_path / "out.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for name in ("label", "price", "x"):
        assert [line[name] for line in lines] == pytest.approx(rows[name].to_pylist())
        assert not any(isinstance(line[name], str) for line in lines)
    for name in ("code", "shop"):
        assert [line[name] for line in lines] == rows[name].to_pylist()
    assert [line["probability"] for line in lines] == pytest.approx(scorer.score(rows), abs=1e-6)


def test_a_file_is_scored_by_one_release_whatever_is_published_meanwhile(
    filled: Config, rows: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        parquet.write_table(rows, tmp_path / f"in{i}.parquet")
    scorer = Scorer.open(filled.store)
    update_lr(filled, NOW)
    changed = []

    def refreshing(source: Source) -> Iterator[Piece]:
        for piece in read_pieces(source):
            yield piece
            changed.append(scorer.refresh())

    monkeypatch.setattr("gbdtlr.scoring.files.read_pieces", refreshing)
    assert score_file(scorer, str(tmp_path / "in*.parquet"), str(tmp_path / "out.parquet")) == 180
    assert changed == [True, False, False]
    written = parquet.read_table(tmp_path / "out.parquet")
    assert set(written["release"].to_pylist()) == {5}
    np.testing.assert_array_equal(written["probability"][:60], written["probability"][120:])


def test_what_cannot_be_scored_leaves_no_file(filled: Config, rows: pa.Table, tmp_path: Path) -> None:
    scorer = Scorer.open(filled.store)
    source, output = str(tmp_path / "in.parquet"), tmp_path / "out.parquet"
    parquet.write_table(rows.append_column("release", rows["shop"]), source)
    with pytest.raises(SamplesError, match="a column release already"):
        score_file(scorer, source, str(output))
    parquet.write_table(rows.drop_columns(["x", "shop"]), source)
    with pytest.raises(SchemaError, match=r"in\.parquet: no column x.*shop"):
        score_file(scorer, source, str(output))
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "samples", "store"}


# Starting up.


def test_scoring_loads_nothing_slow(filled: Config, rows: pa.Table) -> None:
    code = (
        "import sys, gbdtlr; scorer = gbdtlr.Scorer.open(sys.argv[1]); "
        f"scorer.score_row({rows.to_pylist()[0]!r}); scorer.score({rows.to_pydict()!r}); "
        "print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, filled.store], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert loaded & {"lightgbm", "pandas", "scipy.special", "sklearn"} == set()  # numba loads other parts of scipy
