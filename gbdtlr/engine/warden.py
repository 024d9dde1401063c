"""The warden: a small process that ends what a cluster of this machine leaves behind where its job was killed.

It waits for the other end of its pipe to be closed, which a death does too, and then kills the processes that were told
to it, if they are still those, and removes the cluster's folder. It imports nothing of gbdtlr, to begin at once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys


def descendants(pid: int, word: str = "") -> list[tuple[int, str]]:
    """Processes below one, by their numbers and when they began; none where the system does not say.

    Parameters
    ----------
    word : only those below children whose command line has it, and these
    """
    parents = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit() and (fields := _stat(int(name))):
            parents[int(name)] = int(fields[1])
    found = []
    for own in parents:
        child = own
        while parents.get(child, pid) != pid:
            child = parents[child]
        if parents.get(child) == pid and word in _command(child):
            found.append((own, began(own)))
    return found


def began(pid: int) -> str:
    """When a process began, in the system's ticks; empty if there is none of that number."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """Fields of a process from its state on; a name before them may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def main() -> None:
    """Wait, kill, remove."""
    told = [line.split() for line in sys.stdin.read().splitlines()]
    for pid, start in (each for each in told if len(each) == 2):
        if began(int(pid)) == start:
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
    shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
