"""The cloud of the store's tests, for jobs that publish to a bucket."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

STORE_TESTS = Path(__file__).parents[1] / "store"
sys.path.append(str(STORE_TESTS))
_spec = importlib.util.spec_from_file_location("store_conftest", STORE_TESTS / "conftest.py")
_cloud = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_cloud)
s3_process, clouds, s3 = _cloud.s3_process, _cloud.clouds, _cloud.s3


@pytest.fixture
def bare_environment(monkeypatch):
    """As the store's, but with a home: compiled kernels are kept below it."""
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_", "GBDTLR_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def stream(tmp_path_factory):
    """Folder with nine days of clicks; tests that change it copy it."""
    from jobs_kit import write_stream

    folder = tmp_path_factory.mktemp("stream")
    write_stream(folder)
    return folder


@pytest.fixture
def child_environment():
    """Environment of a process that imports what tests do."""
    paths = [str(Path(__file__).parent), str(STORE_TESTS), *sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture
def meanwhile(monkeypatch):
    """``meanwhile(job, other)``: when the job has fitted and is about to write its head, ``other()`` runs, once."""

    from gbdtlr.jobs.draft import Draft

    def meanwhile(job, other):
        write = Draft.write

        def interrupted(draft):
            if draft.run.job != job.__name__.replace("_", "-"):
                return write(draft)
            monkeypatch.setattr(Draft, "write", write)
            other()
            return write(draft)

        monkeypatch.setattr(Draft, "write", interrupted)

    return meanwhile
