"""A cluster of Ray's on this machine, begun once for the tests of a process, and gone afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Ray would tell its makers, and start what shows itself in a browser.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Path]:
    """The folder of Ray's own files; five processors by name, so that five workers have room."""
    ray = pytest.importorskip("ray")
    folder = Path(tempfile.mkdtemp(prefix="gbr", dir="/tmp"))  # sockets have short names, which those of pytest are not
    try:
        ray.init(
            "local",
            num_cpus=5,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=2**27,
            _temp_dir=str(folder),
        )
        yield folder
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
