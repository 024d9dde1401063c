"""A store whose head has learned what users' scores weigh."""

from __future__ import annotations

from pathlib import Path

import pytest
from users_kit import at, config_of, write

from gbdtlr.jobs import train_trees, update_lr


@pytest.fixture(scope="session")
def store(_filled: Path) -> str:
    """One whose head knows of no users; read only."""
    return str(_filled / "store")


@pytest.fixture(scope="session")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the log, with the store of ``refit``; read only."""
    folder = tmp_path_factory.mktemp("tastes")
    write(folder)
    config = config_of(folder)
    assert train_trees(config, at(2.0)).status == "published"
    assert update_lr(config, at(2.2)).status == "published"
    return folder
