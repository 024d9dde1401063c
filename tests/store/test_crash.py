"""Killed with SIGKILL at every step: the old or the new release is live and whole, and the next run just works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills by fork and signal")


def crash(url: str, work: str, unit: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-W", "error", HERE / "crash_child.py", url, work, unit],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("work", "at_least"), [("first", 100), ("next", 100), ("prune", 50)])
def test_local_disk_at_every_system_call(tmp_path, work, at_least):
    counts = crash(str(tmp_path), work, "syscall")
    assert counts["killed"] >= at_least, counts
    assert work == "prune" or min(counts["old"], counts["new"]) > 0, counts


@pytest.mark.parametrize("work", ["first", "next", pytest.param("prune", marks=pytest.mark.slow)])
def test_bucket_at_every_write(s3, work):  # noqa: ARG001
    counts = crash(f"s3://bucket/{uuid.uuid4().hex}", work, "call")
    assert counts["killed"] >= 14, counts
    assert work == "prune" or min(counts["old"], counts["new"]) > 0, counts
