"""What the tests of real clusters share: configs as files, what a job left in its store, and Ray's processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gbdtlr.config import Config
from gbdtlr.engine import warden

ADDRESS = """
import sys, ray
ray.init("local", num_cpus=int(sys.argv[2]), _temp_dir=sys.argv[1], include_dashboard=False, log_to_driver=False,
         logging_level="error", object_store_memory=2**27)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


def toml_of(config: Config) -> str:
    """The config as a file, of the few kinds of values that are in it."""
    table = {**config.as_dict(), "engine": config.engine}
    table |= {} if config.workers is None else {"workers": config.workers}
    tops = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    return "\n".join([*tops, *_lines_of(table, "")])


def _lines_of(table, above):
    for name, section in table.items():
        if isinstance(section, dict):
            yield f"[{above}{name}]"
            yield from (f"{key} = {json.dumps(each)}" for key, each in section.items() if not isinstance(each, dict))
            yield from _lines_of(section, f"{above}{name}.")


def files_of(config: Config) -> dict[str, bytes]:
    """All files of the store but the log's entries, which say who wrote them, at random."""
    paths = sorted(path for path in Path(config.store).rglob("*") if path.is_file() and path.parent.name != "releases")
    return {str(path.relative_to(config.store)): path.read_bytes() for path in paths}


@contextlib.contextmanager
def taken_back(config: Config) -> Iterator[None]:
    """What is written to the store inside is removed again."""
    before = {path for path in Path(config.store).rglob("*") if path.is_file()}
    try:
        yield
    finally:
        for path in [path for path in Path(config.store).rglob("*") if path.is_file() and path not in before]:
            path.unlink()


def workers_of(pid: int) -> list[int]:
    """Processes of the workers of clusters that a process began."""
    return [each for each, _ in warden.descendants(pid) if warden._command(each).startswith("ray::Actor")]


def is_running(pid: int, start: str) -> bool:
    """Whether the process is there; one that nobody has waited for is not."""
    return warden.began(pid) == start and warden._stat(pid)[0] != "Z"


def wait_until_gone(processes: dict[int, str], folders: set[Path], seconds: float = 60.0) -> None:
    """Return when all of them are gone; an error if that takes too long."""
    deadline = time.monotonic() + seconds
    while left := [pid for pid, start in processes.items() if is_running(pid, start)] or [
        *filter(Path.exists, folders)
    ]:
        assert time.monotonic() < deadline, [(each, warden._command(each)) for each in left if isinstance(each, int)]


def folders_in(processes: dict[int, str]) -> set[Path]:
    """Folders of the clusters that these processes are of."""
    lines = [warden._command(pid) for pid in processes]
    return {Path(each[1]) for line in lines if (each := re.search(r"(/tmp/gbr\w+)/session", line))}


@contextlib.contextmanager
def cluster_of_another(folder: Path, n_cpus: int) -> Iterator[tuple[str, dict[int, str]]]:
    """A cluster that another process began: its address, and its processes."""
    command = [sys.executable, "-c", ADDRESS, str(folder), str(n_cpus)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        try:
            address = other.stdout.readline().strip()
            processes = dict(warden.descendants(other.pid))
            yield address, processes
        finally:
            other.communicate()
    wait_until_gone(processes, set())


def kill_all(processes: dict[int, str]) -> None:
    """Kill them, in no order that they would choose."""
    for pid, start in processes.items():
        if warden.began(pid) == start:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
