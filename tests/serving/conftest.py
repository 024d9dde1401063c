"""A store with five releases that no test of serving changes, and an application of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from serving_kit import ROOT, Application, application


@pytest.fixture(scope="session")
def store(_filled: Path) -> str:
    """Read only; tests that publish take ``filled``."""
    return str(_filled / "store")


@pytest.fixture(scope="module")
def app(store: str) -> Application:
    return application(store)


@pytest.fixture
def child_env() -> dict[str, str]:
    """Environment of a process that imports what tests do."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
