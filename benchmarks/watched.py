"""Watched: a process and all below it, as a job and the processes Ray begins for it are, and what each kind used.

Nobody waits for a worker of Ray's, so what it used is nowhere added up: it is looked up while it is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gbdtlr.engine import warden

EVERY_S = 0.05
"""Seconds between two looks: what a process does after the last one is missed."""
AFTER_S = 15.0
"""Seconds that processes may outlive the one that began them."""
Process = tuple[int, str]
"""Its number, and when it began"""
Look = tuple[str, float, int]
"""Command line, seconds of all processors, and peak bytes"""
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Used:
    """What a run used.

    Attributes
    ----------
    seconds : from start to exit
    cpu_s : of all processors, by the kind of process
    peak : bytes, of the largest process of each kind
    """

    seconds: float
    cpu_s: dict[str, float]
    peak: dict[str, int]
    stdout: str
    stderr: str


def watched(command: Sequence[str], folder: Path, kind_of: Callable[[str], str], into: Path) -> Used:
    """Run a command in a folder to its end, and to the end of what it began.

    Parameters
    ----------
    kind_of : the kind of a process below it by its command line; the command itself is a ``job``
    into : folder for what it writes

    Raises
    ------
    SystemExit
        It failed; what it wrote to stderr is the message.
    """
    if not sys.platform.startswith("linux"):
        raise SystemExit("processes are looked up where Linux has them")
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    looks: dict[Process, Look] = {}
    begin = time.perf_counter()
    out, err = into / "stdout", into / "stderr"
    with (
        out.open("w") as stdout,
        err.open("w") as stderr,
        subprocess.Popen(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, stdout=stdout, stderr=stderr
        ) as child,
    ):
        own = (child.pid, warden.began(child.pid))
        while child.poll() is None:
            looks.update(_looked([own, *warden.descendants(child.pid), *looks]))
            time.sleep(EVERY_S)
        seconds = time.perf_counter() - begin
        while (there := _looked(looks)) and time.perf_counter() < begin + seconds + AFTER_S:
            looks.update(there)
            time.sleep(EVERY_S)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}:\n{err.read_text()}")
    cpu_s: dict[str, float] = {}
    peak: dict[str, int] = {}
    for each, (line, cpu, size) in looks.items():
        kind = "job" if each == own else kind_of(line)
        cpu_s[kind] = cpu_s.get(kind, 0.0) + cpu
        peak[kind] = max(peak.get(kind, 0), size)
    return Used(seconds, cpu_s, peak, out.read_text(), err.read_text())


def _looked(processes: Iterable[Process]) -> dict[Process, Look]:
    return {each: look for each in processes if (look := _look(*each))}


def _look(pid: int, began: str) -> Look | None:
    """A process as it is now; None if it is gone."""
    try:
        fields = warden._stat(pid)
        if len(fields) < 20 or fields[19] != began or fields[0] == "Z":
            return None
        line = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        status = dict(row.split(":", 1) for row in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return None
    if not line:  # its memory is gone already, and with it what it is called
        return None
    peak = int(status.get("VmHWM", "0 kB").split()[0]) * 1024
    return line, (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND, peak
