"""A cluster that another process began is reached by its address and its token, and by nobody without."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gbdtlr.config import Config
from gbdtlr.engine import warden
from gbdtlr.jobs import update_lr
from gbdtlr.store import Store
from gbdtlr.times import parse_time

AT = parse_time("2024-03-04T12:00Z")

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def head_with_a_token() -> Iterator[str]:
    """The address of a cluster of one machine, begun as ``ray start`` does, that asks whoever connects for a token."""
    pytest.importorskip("ray")
    folder = Path(tempfile.mkdtemp(prefix="gbr", dir="/tmp"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {**environment(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0", "--num-cpus=2"]
    command += ["--node-ip-address=127.0.0.1", f"--ray-client-server-port={port}", f"--temp-dir={folder}"]
    command += ["--include-dashboard=false", f"--object-store-memory={2**27}", "--disable-usage-stats"]
    with open(folder / "said", "wb") as said, subprocess.Popen(command, stdout=said, stderr=said, env=environ) as head:
        begun: list[tuple[int, str]] = []
        try:
            deadline = time.monotonic() + 120
            while not is_open(port):
                assert head.poll() is None, (folder / "said").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield f"ray://127.0.0.1:{port}"
        finally:
            begun = warden.descendants(head.pid)
            head.terminate()
            head.wait()
            for pid, start in begun:
                if warden.began(pid) == start:
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


def is_open(port: int) -> bool:
    """Whether anybody listens there."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def lines_of(table: dict[str, Any], above: str = "") -> Iterator[str]:
    """The config as TOML, of the few kinds of values that are in it."""
    yield from (f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict))
    for name, section in table.items():
        if isinstance(section, dict):
            yield f"[{above}{name}]"
            yield from lines_of(section, f"{above}{name}.")


def files_of(config: Config) -> dict[str, bytes]:
    """All files of the store but the log's entries, which say who wrote them, at random."""
    paths = sorted(path for path in Path(config.store).rglob("*") if path.is_file() and path.parent.name != "releases")
    return {str(path.relative_to(config.store)): path.read_bytes() for path in paths}


def environment() -> dict[str, str]:
    """For processes of their own: what is imported here is there, and nothing is said of clusters."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.mark.slow
def test_a_cluster_elsewhere_is_reached_by_its_address_and_its_token(head_with_a_token, filled, tmp_path):
    before, there = Store.open(filled.store).live(), {*Path(filled.store).rglob("*")}
    result = update_lr(filled, AT)
    expected = files_of(filled)
    for path in {*Path(filled.store).rglob("*")} - there:
        if path.is_file():
            path.unlink()
    table = filled.as_dict()
    file = tmp_path / "config.toml"
    file.write_text("\n".join([*lines_of({**table, "engine": head_with_a_token, "workers": 2})]))
    command = [sys.executable, "-m", "gbdtlr", "update-lr", "-c", str(file), "--as-of", "2024-03-04T12:00Z"]
    for token in ("", TOKEN[::-1]):  # each takes as long as Ray keeps trying
        refused = subprocess.run(
            command, capture_output=True, text=True, env={**environment(), "RAY_AUTH_TOKEN": token}, check=False
        )
        assert refused.returncode == 1, refused.stderr
        *_, line = refused.stderr.splitlines()
        assert f"cannot reach the cluster {head_with_a_token}: " in line
        assert "RAY_AUTH_TOKEN" in line
        assert "Warning" not in refused.stderr
        assert Store.open(filled.store).live() == before
    (tmp_path / "token").write_text(TOKEN)
    given = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    done = subprocess.run(command, capture_output=True, text=True, env={**environment(), **given}, check=False)
    assert done.returncode == 0, done.stderr
    assert "engine.begin workers=2" in done.stderr
    assert files_of(filled) == expected
    assert Store.open(filled.store).live().number == result.release
