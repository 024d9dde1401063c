from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from gbdtlr.store import Store


class S3Server:
    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    def fault(self, query: str = "") -> int:
        """Make requests fail, see cloud_server.py; number of requests since the last call."""
        with urlopen(Request(f"{self.endpoint}/__fault__?{query}", method="POST"), timeout=60) as answer:
            return int(answer.read())

    def absent(self, answer: str = "") -> None:
        """Make put-if-absent that of another service, see cloud_server.py; the usual one if not told which."""
        with urlopen(Request(f"{self.endpoint}/__absent__?answer={answer}", method="POST"), timeout=60) as done:
            done.read()


@pytest.fixture(scope="session")
def s3_process():
    script = Path(__file__).with_name("cloud_server.py")
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        server = S3Server(int(process.stdout.readline()))
        urlopen(Request(f"{server.endpoint}/bucket", method="PUT"), timeout=60).close()
        yield server
        process.stdin.close()


@pytest.fixture
def bare_environment(monkeypatch, tmp_path):
    """An environment in which no cloud is known, nor any home."""
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_", "GBDTLR_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def clouds(s3_process, bare_environment):  # noqa: ARG001
    """The server, behaving well before and after."""
    s3_process.fault()
    s3_process.absent()
    yield s3_process
    s3_process.fault()
    s3_process.absent()


@pytest.fixture
def s3(clouds, monkeypatch):
    """A real S3 server, and an environment such as its users have."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", clouds.endpoint)
    return clouds


@pytest.fixture
def gs(clouds, monkeypatch):
    """A fake of Google's, where its own libraries would look for an emulator."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"{clouds.endpoint}/__gs__")
    return clouds


@pytest.fixture
def az(clouds, monkeypatch):
    """A fake of Azure's, and a connection string as its portal gives."""
    text = f"AccountName=test;AccountKey=a2V5;BlobEndpoint={clouds.endpoint}/__az__"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    return clouds


@pytest.fixture(params=["local", "memory", "s3", "gs", "az"])
def url(request, tmp_path):
    """URL of a new, empty store, once for every kind of backend."""
    if request.param in ("s3", "gs", "az"):
        request.getfixturevalue(request.param)
        return f"{request.param}://bucket/{uuid.uuid4().hex}/store"
    return f"memory://{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path / "new" / "store")


@pytest.fixture
def store(url):
    return Store.open(url)
