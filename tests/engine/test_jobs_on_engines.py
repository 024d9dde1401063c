"""Jobs on engines: whoever reads, codes and learns, each file of each version is the same, to the last byte."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from engine_kit import pretended

from gbdtlr.config import Config
from gbdtlr.engine import LOCAL
from gbdtlr.errors import EngineError
from gbdtlr.head.fit import own_lines
from gbdtlr.jobs import run, train_trees, update_lr
from gbdtlr.samples import dealing
from gbdtlr.times import parse_time

TESTS = Path(__file__).parents[1]
METHODS = ("refit", "incremental", "ftrl", "rda", "fobos")


@pytest.fixture(autouse=True)
def _small_shares(monkeypatch):
    """As if the few files were many: each share has about two of them, and what is found for ids is added up soon."""
    monkeypatch.setattr(dealing, "SHARE_BYTES", 12_000)
    monkeypatch.setattr(own_lines, "BUNCH", 2)


@pytest.fixture
def on(monkeypatch):
    """``with on(made):`` each job is done by an engine that ``made`` makes."""

    @contextlib.contextmanager
    def on(made):
        with monkeypatch.context() as patch:
            patch.setattr(run, "open_engine", lambda *_, **__: made())
            yield

    return on


def story(filled: Config, store: Path, method: str) -> dict[str, bytes]:
    """Trees, two updates on them, other trees and another update; each file of the store, and what the jobs said."""
    table = filled.as_dict()
    table["head"] |= {"method": method}
    table["trees"] |= {"max_rows": 1000}
    config = Config.from_dict({**table, "store": str(store)})
    said = {}
    for days, job in ((2, train_trees), (2.25, update_lr), (2.5, update_lr), (3, train_trees), (3.25, update_lr)):
        at = parse_time(f"2024-03-{1 + int(days):02d}T{int(days % 1 * 24):02d}:00Z")
        result = job(config, at)
        assert result.status == "published", result
        said[f"{days}"] = repr(result).encode()
    paths = [path for path in sorted(store.rglob("*")) if path.is_file() and path.parent.name != "releases"]
    files = {str(path.relative_to(store)): path.read_bytes() for path in paths}  # entries say who wrote them, at random
    shutil.rmtree(store)  # manifests say where it was
    assert sum(name.endswith("head.npz") for name in files) == 5
    return files | said


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bytes_whatever_the_workers(config, tmp_path, on, method):
    expected = story(config, tmp_path / "store", method)
    for workers in (1, 3):
        with on(lambda workers=workers: pretended(workers)):
            assert story(config, tmp_path / "store", method) == expected


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("workers", [2, 5])
def test_the_same_bytes_whatever_the_workers_at_length(config, tmp_path, on, method, workers):
    expected = story(config, tmp_path / "store", method)
    with on(lambda workers=workers: pretended(workers)):
        assert story(config, tmp_path / "store", method) == expected


def test_a_worker_that_dies_in_any_phase_of_an_update_changes_nothing(filled, on):
    config, at = filled, parse_time("2024-03-04T12:00Z")
    store = Path(config.store)
    before = {path for path in store.rglob("*") if path.is_file()}

    def update():
        """What an update publishes, which is taken back."""
        result = update_lr(config, at)
        assert result.status == "published"
        new = [path for path in sorted(store.rglob("*")) if path.is_file() and path not in before]
        found = {path.name: path.read_bytes() for path in new if path.parent.name != "releases"}
        for path in new:
            path.unlink()
        return found

    with on(lambda: LOCAL):
        expected = update()
    assert "head.npz" in expected
    engine = pretended(2)
    cluster = engine.crew._cluster
    with on(lambda: engine):
        assert update() == expected
    n_calls = cluster.n_calls
    for call in range(0, n_calls, max(1, n_calls // 8)):
        told = []
        with on(lambda call=call, told=told: pretended(2, {call: call % 2}, told)):
            assert update() == expected
        assert told


@pytest.mark.parametrize("job", [train_trees, update_lr])
def test_a_cluster_that_goes_away_leaves_the_store_as_it_was(filled, on, job):
    at, store = parse_time("2024-03-04T12:00Z"), Path(filled.store)
    releases = {path.name for path in (store / "releases").iterdir()}
    engine = pretended(2)
    cluster = engine.crew._cluster

    def run_on(n_calls):
        engine = pretended(2)
        gone = engine.crew._cluster
        gone.gone_after = n_calls
        with on(lambda: engine), pytest.raises(EngineError, match="went away"):
            job(filled, at)
        assert {path.name for path in (store / "releases").iterdir()} == releases
        assert gone.closed

    for n_calls in (0, 5, 40):
        run_on(n_calls)
    with on(lambda: engine):
        assert job(filled, at).status == "published"
    assert cluster.closed
    assert cluster.n_calls > 40
