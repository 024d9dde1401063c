"""Ray: real processes do what the pretended cluster does, also where one is killed, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engine_kit import CHECKS, moments, numbers
from ray_kit import files_of, toml_of

from gbdtlr.cli.group import main
from gbdtlr.engine import LOCAL, cluster, open_engine, warden
from gbdtlr.errors import EngineError
from gbdtlr.jobs import update_lr
from gbdtlr.store import Store
from gbdtlr.times import parse_time

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Ray's own
AT = parse_time("2024-03-04T12:00Z")


def process_of(seeds):
    for _ in seeds:
        yield os.getpid()


def same(part):
    return part


@pytest.mark.slow
def test_rays_workers_are_as_any_and_one_that_is_killed_is_replaced(ray_cluster):
    assert ray_cluster.is_dir()
    told = []
    engine = open_engine("ray", threads=1, workers=3, on_event=lambda name, **fields: told.append((name, fields)))
    try:
        for check in CHECKS:
            check(engine)
        pids = engine.parts(range(9), process_of).map(same)
        assert len({*pids}) == 3
        assert os.getpid() not in pids
        parts = engine.parts(range(9), numbers, 1.0)
        os.kill(pids[4], signal.SIGKILL)
        expected = LOCAL.parts(range(9), numbers, 1.0).sum(moments, 2.0)
        for one, other in zip(parts.sum(moments, 2.0), expected, strict=True):
            assert one == other if isinstance(one, int) else one.tobytes() == other.tobytes()
        assert [name for name, _ in told] == ["engine.begin", "engine.lost"]
        assert told[1][1]["workers"] == 2
        for pid in {*pids}:
            if pid != pids[4]:
                os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="all 3 workers are lost"):
            parts.sum(moments, 2.0)
    finally:
        engine.close()


@pytest.mark.slow
def test_what_is_wrong_with_a_cluster_is_one_line(ray_cluster, filled, monkeypatch, capsys, tmp_path):
    """Too small, no room, other versions; each with exit code 1, and the live release is what it was."""
    assert ray_cluster.is_dir()
    before = Store.open(filled.store).live()

    def told(**changes):
        file = tmp_path / "config.toml"
        file.write_text(toml_of(filled.replace(engine="ray", **changes)))
        assert main(["update-lr", "-c", str(file), "--as-of", "2024-03-04T12:00Z", "--quiet"]) == 1
        assert Store.open(filled.store).live() == before
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    assert "too small: a worker needs 64 processors, and its largest machine has 5" in told(threads=64)
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "GROWING_S", 0.0)
        assert "no room: 0 of 50 workers could begin" in told(threads=1, workers=50)
    here = cluster.versions()
    for other in ({"Python": "3.99.0"}, {"gbdtlr": "9.9", "lightgbm": "8.8"}):
        with monkeypatch.context() as patch:
            patch.setattr(cluster, "versions", lambda other=other: {**here, **other})
            line = told(threads=1, workers=1)
        differing = ", ".join(f"{name} {here[name]} and not {version}" for name, version in other.items())
        assert f"runs {differing}; install it" in line


def test_versions_that_ray_refuses_are_told_by_name():
    message = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.1.0\n    Python: 3.9.1\n"
        "This process on node 10.0.0.1 was started with:\n    Ray: 2.1.0\n    Python: 3.11.7\n"
    )
    assert cluster._refused_versions(message) == "Python 3.9.1 and not 3.11.7"
    assert cluster._refused_versions("Ray: 1, Python: 2 and whatever") == ""


def test_differences_are_told_by_name():
    assert cluster.differences({"a": "1", "b": "2"}, {"a": "1", "b": "2", "c": "3"}) == ""
    assert cluster.differences({"a": "1", "b": "2"}, {"b": "3"}) == "a none and not 1, b 3 and not 2"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_an_update_gives_the_same_bytes_on_ray(ray_cluster, filled, workers):
    assert ray_cluster.is_dir()
    result = update_lr(filled, AT)
    expected = files_of(filled)
    for path in {*Path(filled.store).rglob("*")}:
        if path.is_file() and "20240304T120000Z" in str(path):
            path.unlink()
    (Path(filled.store) / "releases" / f"{result.release:08d}.json").unlink()
    told = []
    on_ray = update_lr(
        filled.replace(engine="ray", workers=workers), AT, on_event=lambda name, **fields: told.append((name, fields))
    )
    assert on_ray == result
    assert files_of(filled) == expected
    assert told[1][0] == "engine.begin"
    assert told[1][1]["workers"] == workers


def test_the_warden_kills_what_it_was_told_of_and_nothing_else(tmp_path):
    (tmp_path / "folder").mkdir()
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeper) as told, subprocess.Popen(sleeper) as other, subprocess.Popen(sleeper) as reused:
        try:
            assert {told.pid, other.pid, reused.pid} <= {pid for pid, _ in warden.descendants(os.getpid())}
            assert told.pid not in {pid for pid, _ in warden.descendants(os.getpid(), "no command line has this")}
            lines = f"{told.pid} {warden.began(told.pid)}\n{reused.pid} 12345\nnonsense\n"
            command = [sys.executable, "-I", "-S", warden.__file__, str(tmp_path / "folder")]
            subprocess.run(command, input=lines, text=True, check=True)
            assert told.wait() == -signal.SIGKILL
            assert other.poll() is None
            assert reused.poll() is None, "another process has the number now"
            assert not (tmp_path / "folder").exists()
        finally:
            for process in (told, other, reused):
                process.kill()
