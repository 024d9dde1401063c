"""Trees grown on workers: as on one machine but for rounding, and the same for as many ranks, whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from engine_kit import pretended
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.config import Config
from gbdtlr.engine import LOCAL, seats, warden
from gbdtlr.errors import ConfigError, EngineError, SamplesError, TreesError
from gbdtlr.jobs import run, train_trees
from gbdtlr.jobs.dealt_grounds import dealt_evenly
from gbdtlr.release import Release
from gbdtlr.samples import dealing, read
from gbdtlr.store import Store
from gbdtlr.times import parse_time
from gbdtlr.trees import together

AT = parse_time("2024-03-05T12:00Z")
STOP = {"early_stopping_rounds": 3, "validation": "12h"}


@pytest.fixture(autouse=True)
def _small_shares(monkeypatch):
    """As if the few files were many: each has a share of its own."""
    monkeypatch.setattr(dealing, "SHARE_BYTES", 6_000)


@pytest.fixture
def on(monkeypatch):
    """``with on(engine):`` each job is done by that engine."""

    @contextlib.contextmanager
    def on(engine):
        with monkeypatch.context() as patch:
            patch.setattr(run, "open_engine", lambda *_, **__: engine)
            yield

    return on


def asked(config: Config, **trees) -> Config:
    table = config.as_dict()
    params = table["trees"].pop("params") | trees.pop("params", {})
    table["trees"] |= {"window": "4d", "learn_on": "workers", "params": params, **trees}
    return Config.from_dict(table)


def grown(config: Config, **arguments) -> tuple[Release, str, str]:
    """The release of the trees, their text, and what its parameters end with; nothing of it is left in the store."""
    result = train_trees(config, AT, **arguments)
    assert result.status == "published", result
    store = Store.open(config.store)
    release = Release.load(store, store.entry(result.release))
    text = (Path(config.store) / "trees" / result.trees / "booster.txt").read_text()
    for path in Path(config.store).rglob("*.json"):
        if path.parent.name == "releases":
            path.unlink()
    return release, *text.split("\nparameters:")


def forest_of(text: str) -> list[str]:
    """Lines that say what the trees are, and not how they were learned."""
    return [line for line in text.splitlines() if line.partition("=")[0] not in ("tree_sizes",)]


def ranks_left() -> list[int]:
    return [pid for pid, _ in warden.descendants(os.getpid(), "gbdtlr.trees.rank")]


def test_ranks_grow_the_trees_of_one_machine(config, on):
    """Their bins are the same, as all rows tell of all here, so sums alone are rounded in another order."""
    with on(LOCAL):
        here, text, parameters = grown(asked(config))
    assert "[num_machines: 1]" in parameters
    with on(pretended(2)):
        there, others, of_two = grown(asked(config))
    assert (here.slow.trees_manifest.get("ranks"), there.slow.trees_manifest["ranks"]) == (None, 2)
    for line in ("[tree_learner: data]", "[num_machines: 2]", "[machines: ]", "[local_listen_port: 12400]"):
        assert line in of_two
    assert here.trees.schema == there.trees.schema
    structure = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "cat_threshold")
    for one, other in zip(forest_of(text), forest_of(others), strict=True):
        if one.startswith(structure):
            assert one == other
    np.testing.assert_allclose(there.trees.leaf_values, here.trees.leaf_values, rtol=1e-6, atol=1e-9)
    for key in ("totals", "profile", "samples"):
        assert here.slow.trees_manifest[key] == there.slow.trees_manifest[key]
    assert ranks_left() == []


def test_a_window_that_fits_is_learned_here(config, on, monkeypatch):
    """And one that does not, on the workers, which is tried no further here."""
    with on(pretended(2)):
        release, *_ = grown(asked(config, learn_on="auto"))
        assert "ranks" not in release.slow.trees_manifest
    monkeypatch.setattr("gbdtlr.jobs.grounds.free_bytes", lambda: 10_000)
    monkeypatch.setattr(together, "grow_together", None)

    def begin(*_, **__):
        raise TreesError("ranks were to begin")

    monkeypatch.setattr("gbdtlr.jobs.dealt_grounds.grow_together", begin)
    with on(pretended(2)), pytest.raises(TreesError, match="were to begin"):
        train_trees(asked(config, learn_on="auto"), AT)
    with on(pretended(2)), pytest.raises(SamplesError, match=r"does not fit this machine's memory.*workers"):
        train_trees(asked(config, learn_on="here"), AT)


def test_where_trees_grow_is_one_of_three_and_written_down_where_it_was_chosen(config):
    with pytest.raises(ConfigError, match="learn_on is 'there'; choose one of auto, here, workers"):
        asked(config, learn_on="there")
    assert asked(config).as_dict()["trees"]["learn_on"] == "workers"
    assert "learn_on" not in config.as_dict()["trees"], "as in versions before there was any choice"


def test_what_cannot_be_learned_together_is_told_before_any_rank_begins(config, on):
    with on(pretended(2)), pytest.raises(ConfigError, match="metric auc"):
        train_trees(asked(config, params={"metric": "auc"}, **STOP), AT)
    with on(pretended(2)), pytest.raises(SamplesError, match=r"samples of the validation part: .*a longer validation"):
        train_trees(asked(config, early_stopping_rounds=3, validation="1s"), AT)
    assert ranks_left() == []


def test_rows_that_are_put_together_of_several_files_are_learned_here(config, on, monkeypatch):
    monkeypatch.setattr("gbdtlr.jobs.dealt_grounds.is_dealt", lambda _: False)
    with on(pretended(2)), pytest.raises(ConfigError, match="put together of several files; leave it out"):
        train_trees(asked(config), AT)
    with on(pretended(2)):
        release, *_ = grown(asked(config, learn_on="auto"))
    assert "ranks" not in release.slow.trees_manifest


@given(st.lists(st.sampled_from([0, 0, 1, 5, 50]), max_size=30), st.integers(1, 9))
def test_shares_are_dealt_in_order_and_evenly(n_rows, n_ranks):
    dealt = dealt_evenly(n_rows, n_ranks)
    there = [i for i, n in enumerate(n_rows) if n]
    assert len(dealt) == n_ranks
    assert [i for own in dealt for i in own] == there
    if len(there) >= n_ranks:
        assert all(dealt)
    if len(there) >= 2 * n_ranks and len({n_rows[i] for i in there}) == 1:
        assert max(map(len, dealt)) <= len(there) // n_ranks + 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("trees", [{}, STOP, {"max_rows": 1000, **STOP}], ids=["all", "stop", "some"])
def test_the_same_bytes_for_as_many_ranks_and_as_good_as_on_one_machine(config, on, workers, trees):
    """And they stop by the same metric, after as many trees."""
    trees = {**trees, "params": {"num_iterations": 40, "num_leaves": 12, "learning_rate": 0.3}}
    told: list[list[str]] = []
    found = []
    for engine in (LOCAL, pretended(workers), pretended(workers)):
        told.append([])
        with on(engine):
            found.append(grown(asked(config, **trees), progress=lambda *each: told[-1].append(each[-1])))
    (here, text, _), (one, *first), (_, *again) = found
    assert first == again
    assert told[1] == told[2]
    assert one.slow.trees_manifest["ranks"] == workers
    assert one.slow.trees_manifest.get("grown_on") == here.slow.trees_manifest.get("grown_on")
    later = read(config.samples, parse_time("2024-03-05T00:00Z"), parse_time("2024-03-06T00:00Z"), AT)
    losses = []
    for each in (here, one):
        margin = each.trees.margin(later.table, each.trees.leaf_values, 0.0)
        losses.append(float(np.logaddexp(0, np.where(later.label, -margin, margin)).mean()))
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    if "early_stopping_rounds" in trees:
        assert len(told[1]) < 40
        values = [[float(each.rpartition(" ")[2]) for each in texts] for texts in told[:2]]
        assert values[1][:3] == pytest.approx(values[0][:3], rel=0.03 if "max_rows" in trees else 1e-5)
        assert one.trees.n_trees == int(np.argmin(values[1])) + 1
    if workers == 1 and "max_rows" not in trees:
        assert forest_of(first[0]) == forest_of(text), "one rank is one machine"


@pytest.mark.slow
def test_what_dies_on_the_way_changes_nothing(config, on):
    """A rank in the midst of a tree, or a worker in any phase: all begins anew, and comes to the same."""
    trees = {"params": {"num_iterations": 6}, **STOP}
    engine = pretended(2)
    cluster = engine.crew._cluster
    with on(engine):
        _, *expected = grown(asked(config, **trees))
    n_calls = cluster.n_calls

    def kill_one(n, *_):
        if n == 2 and not told:
            os.kill(ranks_left()[1], signal.SIGKILL)

    told: list[tuple[str, dict]] = []
    with on(pretended(2)):
        _, *found = grown(
            asked(config, **trees),
            progress=kill_one,
            on_event=lambda name, **fields: told.append((name, fields)) if name == "trees.again" else None,
        )
    assert found == expected
    ((_, fields),) = told
    assert "is gone: it was killed by signal 9" in fields["reason"]
    lost = []
    for call in range(2, n_calls, n_calls // 9):
        engine = pretended(2, {call: call % 2})
        with on(engine):
            _, *found = grown(asked(config, **trees))
        assert found == expected, call
        lost.append(len(engine.crew._alive))
    assert 1 in lost
    assert ranks_left() == []


@pytest.mark.slow
def test_ranks_that_are_lost_again_and_again_are_one_error(config, on):
    def kill_one(n, *_):
        if n == 1:
            os.kill(ranks_left()[0], signal.SIGKILL)

    before = sorted(Path(config.store).rglob("*"))
    with on(pretended(2)), pytest.raises(EngineError, match=r"begun on the workers 5 times.*signal 9") as error:
        train_trees(asked(config), AT, progress=kill_one)
    assert "\n" not in str(error.value)
    assert sorted(Path(config.store).rglob("*")) == before
    assert ranks_left() == []


@pytest.mark.slow
def test_ranks_that_say_nothing_are_one_error(config, on, monkeypatch):
    monkeypatch.setattr(together, "LINK_S", 0.0)
    monkeypatch.setattr(seats, "WAIT_S", 0.0)
    told = r"rank 0, 1 said nothing for 0 s and did not reach the others; do firewalls let 127\.0\.0\.1:\d+, 127"
    with on(pretended(2)), pytest.raises(EngineError, match=told):
        train_trees(asked(config), AT)


@pytest.mark.slow
def test_an_address_that_is_another_machines_is_one_error(config, on, monkeypatch):
    monkeypatch.setattr(seats, "_reached_at", "192.0.2.1")
    with on(pretended(2)), pytest.raises(EngineError, match=r"an address that is not its own.*node-ip-address"):
        train_trees(asked(config), AT)
    assert ranks_left() == []


@pytest.mark.slow
def test_what_lightgbm_refuses_on_a_rank_is_as_on_one_machine(config, on):
    with on(pretended(2)), pytest.raises(TreesError, match=r"LightGBM refused .*bagging_fraction"):
        train_trees(asked(config, params={"bagging_fraction": 7.0}), AT)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Ray's own
def test_trees_grow_on_ray(ray_cluster, config, on):
    """With one, two and three workers, and where the first is killed while they grow."""
    assert ray_cluster.is_dir()
    trees = {"params": {"num_iterations": 6}, **STOP}
    for workers in (1, 2, 3):
        with on(pretended(workers)):
            _, *expected = grown(asked(config, **trees))
        told: list[tuple[str, dict]] = []

        def kill_a_worker(n, *_, workers=workers, told=told):
            if n == 2 and workers == 3 and not any(name == "trees.again" for name, _ in told):
                pids = [pid for pid, _ in warden.descendants(os.getpid(), str(ray_cluster))]
                parents = {pid: int(warden._stat(pid)[1]) for pid in pids}
                ranks = [pid for pid in pids if b"gbdtlr.trees.rank" in Path(f"/proc/{pid}/cmdline").read_bytes()]
                os.kill(parents[ranks[0]], signal.SIGKILL)

        on_ray = asked(config, **trees).replace(engine="ray", workers=workers, threads=1)
        _, *found = grown(
            on_ray, progress=kill_a_worker, on_event=lambda name, told=told, **fields: told.append((name, fields))
        )
        assert found == expected, json.dumps(told, default=str)
        assert [name for name, _ in told].count("trees.again") == (workers == 3)
        assert dataclasses.asdict(on_ray.trees)["learn_on"] == "workers"
