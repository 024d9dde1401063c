"""A store with five releases that no test of serving changes, and an application of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving_kit import Application, application


@pytest.fixture(scope="session")
def store(_filled: Path) -> str:
    """Read only; tests that publish take ``filled``."""
    return str(_filled / "store")


@pytest.fixture(scope="module")
def app(store: str) -> Application:
    return application(store)
