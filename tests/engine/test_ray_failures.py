"""What goes wrong on a real cluster: a worker that dies in any phase changes nothing, all else is a line and exit 1."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ray_kit import (
    cluster_of_another,
    files_of,
    folders_in,
    kill_all,
    taken_back,
    toml_of,
    wait_until_gone,
    workers_of,
)

from gbdtlr.engine import cluster, warden
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.samples import dealing
from gbdtlr.store import Store
from gbdtlr.times import parse_time

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # Ray's own
]
AT = "2024-03-04T12:00Z"


class Calls:
    """Calls of the workers of a job, by the phase they are in; in one of them a worker is killed before it is made."""

    def __init__(self, monkeypatch, kill_at=None):
        self.phases, self.killed, self.lost = [], None, 0
        self._n, call = 0, cluster.RayCluster.call

        def counted(crew, *arguments, **options):
            if self._n == kill_at:
                self.killed = workers_of(os.getpid())[0]
                os.kill(self.killed, signal.SIGKILL)
            self._n += 1
            return call(crew, *arguments, **options)

        monkeypatch.setattr(cluster.RayCluster, "call", counted)

    def on_event(self, name, **_):
        self.phases.append((name, self._n))
        self.lost += name == "engine.lost"


def middles(phases):
    """Of each phase, from one event to the next, the call in its middle, and its name."""
    found, before = {}, 0
    for name, n_calls in phases:
        if n_calls > before:
            found[(before + n_calls) // 2] = name
        before = n_calls
    return found


@pytest.mark.parametrize("job", [update_lr, train_trees])
def test_a_worker_that_is_killed_in_any_phase_changes_nothing(ray_cluster, filled, monkeypatch, job):
    assert ray_cluster.is_dir()
    monkeypatch.setattr(dealing, "SHARE_BYTES", 12_000)  # as if the few files were many
    filled = filled.replace(trees=dataclasses.replace(filled.trees, max_rows=1000))
    with taken_back(filled):
        expected = job(filled, parse_time(AT))
        files = files_of(filled)
    config = filled.replace(engine="ray", workers=2)
    with taken_back(config), monkeypatch.context() as patch:
        calls = Calls(patch)
        assert job(config, parse_time(AT), on_event=calls.on_event) == expected
    phases = middles(calls.phases)
    assert len(phases) >= 3, "workers have something to do in so many"
    assert "head.fit" in phases.values()
    for number, name in phases.items():
        with taken_back(config), monkeypatch.context() as patch:
            calls = Calls(patch, number)
            assert job(config, parse_time(AT), on_event=calls.on_event) == expected, name
            assert files_of(config) == files, name
        assert calls.killed is not None
        assert calls.lost == 1, name


def on_a_cluster(config, file, **environ):
    """A job as a process of its own, with its config in a file."""
    file.write_text(toml_of(config))
    command = [sys.executable, "-m", "gbdtlr", "update-lr", "-c", str(file), "--as-of", AT]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": "/tmp", **environ}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)


def lines_until(job, event):
    lines = []
    for line in job.stderr:
        lines.append(line)
        if event in line:
            break
    return lines


@pytest.mark.parametrize("event", ["engine.begin", "samples.code", "head.fit"])
def test_a_job_that_is_killed_leaves_no_process_and_no_release(filled, tmp_path, event):
    before = files_of(filled)
    live = Store.open(filled.store).live()
    with on_a_cluster(filled.replace(engine="ray", workers=2), tmp_path / "config.toml", RAY_ADDRESS="") as job:
        lines = lines_until(job, event)
        begun = {pid: start for pid, start in warden.descendants(job.pid) if warden.began(pid)}
        assert any("raylet" in warden._command(pid) for pid in begun), lines
        folders = folders_in(begun)
        assert all(folder.is_dir() for folder in folders)
        job.kill()
    assert folders
    wait_until_gone(begun, folders)
    assert Store.open(filled.store).live() == live
    assert {name for name in before if "manifest.json" in name} == {
        name for name in files_of(filled) if "manifest.json" in name
    }


def test_a_cluster_of_its_own_is_gone_with_the_job(filled, tmp_path):
    with on_a_cluster(filled.replace(engine="ray", workers=2), tmp_path / "config.toml", RAY_ADDRESS="") as job:
        lines_until(job, "head.fit")
        begun = dict(warden.descendants(job.pid))
        folders = folders_in(begun)
        _, err = job.communicate()
    assert job.returncode == 0, err
    assert folders
    wait_until_gone(begun, folders, 20)


@pytest.fixture
def short():
    """A folder whose name is short enough for the names of Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="gbr", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("event", ["engine.begin", "samples.code"])
def test_a_cluster_that_goes_away_is_one_line(filled, tmp_path, short, event):
    live = Store.open(filled.store).live()
    config = filled.replace(engine="ray", workers=2)
    with (
        cluster_of_another(short, 2) as (address, processes),
        on_a_cluster(config, tmp_path / "config.toml", RAY_ADDRESS=address) as job,
    ):
        lines = lines_until(job, event)
        assert lines[-1].split()[1] == event, lines
        kill_all(processes)
        _, err = job.communicate()
    (line,) = err.strip().splitlines()[-1:]
    assert job.returncode == 1, err
    assert line.startswith("gbdtlr: error: "), err
    assert "cluster went away" in line or "workers are lost" in line, err
    assert Store.open(filled.store).live() == live


def test_a_cluster_that_is_not_there_is_one_line(filled, tmp_path):
    with on_a_cluster(filled.replace(engine="ray"), tmp_path / "config.toml", RAY_ADDRESS="127.0.0.1:1") as job:
        _, err = job.communicate()
    assert job.returncode == 1
    (line,) = [line for line in err.splitlines() if "release.load" not in line]
    assert line.startswith("gbdtlr: error: cannot reach the cluster 127.0.0.1:1")
