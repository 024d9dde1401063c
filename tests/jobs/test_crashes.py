"""The real jobs killed and hindered at every step: the old or the new release is live and whole, the next run works."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from crash_child import LATER
from jobs_kit import at, config_of, whole
from store_kit import Watched

from gbdtlr.errors import StoreUnavailable
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.store import Store

HERE = Path(__file__).parent
killing = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills by fork and signal")


def crash(environment, stream, url, work, unit):
    done = subprocess.run(
        [sys.executable, HERE / "job_crash_child.py", stream, url, work, unit],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@killing
@pytest.mark.parametrize(
    "work",
    [
        "update-lr",
        pytest.param("first", marks=pytest.mark.slow),
        pytest.param("train-trees", marks=pytest.mark.slow),
    ],
)
def test_killed_at_every_write_to_a_disk(tmp_path, child_environment, stream, work):
    counts = crash(child_environment, stream, tmp_path, work, "call")
    assert counts["killed"] >= 2 * {"update-lr": 7, "first": 10, "train-trees": 10}[work], counts
    assert min(counts["old"], counts["new"]) > 0, counts


@killing
@pytest.mark.slow
@pytest.mark.parametrize("work", ["update-lr", "train-trees"])
def test_killed_at_every_system_call(tmp_path, child_environment, stream, work):
    counts = crash(child_environment, stream, tmp_path, work, "syscall")
    assert counts["killed"] >= 100, counts
    assert min(counts["old"], counts["new"]) > 0, counts


@killing
@pytest.mark.slow
@pytest.mark.parametrize("work", ["update-lr", "first"])
def test_killed_at_every_write_to_a_bucket(s3, child_environment, stream, work):  # noqa: ARG001
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3", "AWS_EC2_METADATA_DISABLED")
    environment = {**child_environment, **{name: os.environ[name] for name in names}}
    counts = crash(environment, stream, f"s3://bucket/{uuid.uuid4().hex}", work, "call")
    assert counts["killed"] >= 14, counts
    assert min(counts["old"], counts["new"]) > 0, counts


@killing
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_command_line_killed_at_the_log(stream, tmp_path, child_environment, when):
    """The command itself, killed by a ``sitecustomize`` at the one write that decides."""
    config = config_of(stream, str(tmp_path / "store"))
    assert train_trees(config, at(5)).status == "published"
    (tmp_path / "model.toml").write_text(_toml(stream, tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal\n"
        "link = os.link\n"
        "def deadly(source, target, **more):\n"
        f"    if '{when}' == 'after': link(source, target, **more)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.link = deadly\n"
    )
    path = os.pathsep.join([str(tmp_path), child_environment["PYTHONPATH"]])
    command = [sys.executable, "-m", "gbdtlr", "update-lr", "-c", str(tmp_path / "model.toml")]
    done = subprocess.run(
        [*command, "--as-of", "2024-03-06T06:00Z"], env={**child_environment, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert whole(Store.open(config.store)).number == {"before": 1, "after": 2}[when]
    again = subprocess.run([*command, "--as-of", "2024-03-06T12:00Z"], env=child_environment, check=False)
    assert again.returncode == 0
    assert whole(Store.open(config.store)).number == {"before": 2, "after": 3}[when]


def _toml(stream, tmp_path):
    return f"""
store = "{tmp_path}/store"
threads = 1
[samples]
path = "{stream}/data"
event_time = "ts"
label_delay = "1h"
numeric = ["x", "y"]
categorical = ["c"]
wide = ["id", "u"]
[head]
window = "5d"
half_lives = ["1d"]
l2 = [10]
wide_buckets = 512
"""


@pytest.fixture(scope="module")
def before(stream, tmp_path_factory):
    """A store with one release."""
    folder = tmp_path_factory.mktemp("before") / "store"
    assert train_trees(config_of(stream, str(folder)), at(5)).status == "published"
    return folder


@pytest.mark.parametrize(
    ("job", "how"),
    [
        (update_lr, "error"),
        (update_lr, "lost"),
        (update_lr, "torn"),
        (train_trees, "error"),
        pytest.param(train_trees, "lost", marks=pytest.mark.slow),
        pytest.param(train_trees, "torn", marks=pytest.mark.slow),
    ],
)
def test_every_call_of_the_store_fails_in_turn(before, stream, tmp_path, monkeypatch, how, job):
    monkeypatch.setattr("os.fsync", lambda _: None)
    seen, opened, fail_at, done = set(), Store.open, 0, False
    while not done:
        fail_at += 1
        url = str(tmp_path / str(fail_at))
        shutil.copytree(before, url)
        config = config_of(stream, url)
        watched = Watched(opened(url).backend, fail_at, how)
        monkeypatch.setattr(Store, "open", lambda _, watched=watched: Store(watched))
        status = "failed"
        with contextlib.suppress(StoreUnavailable):
            status = job(config, at(5, 6)).status
        monkeypatch.setattr(Store, "open", opened)
        store = Store.open(url)
        if how == "torn":  # half a file of a version nobody refers to; the next run writes it anew, or this removes it
            store.prune(keep=9, min_age=timedelta(0), now=LATER)
        live = whole(store)
        assert live.number in (1, 2)
        assert live.number == 2 or status == "failed", f"{status}, but it is not live"
        seen.add((live.number, status))
        assert job(config, at(5, 12)).status == "published"
        assert whole(store).number == live.number + 1
        done = len(watched.calls) < fail_at
    assert fail_at > 15
    assert seen == {(1, "failed"), (2, "published")}
