"""Memory: how much this process can still have, by the machine and the limit of its container."""

from __future__ import annotations

from pathlib import Path


def free_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that are free or can be freed at once; None where the system does not say.

    Parameters
    ----------
    root : where ``proc`` and ``sys`` are found

    Source
    ------
    Linux: proc(5), ``MemAvailable``; Documentation/admin-guide/cgroup-v2.rst, ``memory.max``, ``memory.stat``;
    cgroup-v1/memory.rst, ``memory.limit_in_bytes``.
    """
    found = [1024 * _named(root / "proc/meminfo", "MemAvailable:")]
    for folder, limit, used in (
        (root / "sys/fs/cgroup", "memory.max", "anon"),
        (root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "total_rss"),
    ):
        most = _text(folder / limit).strip()
        if most.isdecimal():  # what files left in memory counts as used, but is given up when it is needed
            found.append(int(most) - _named(folder / "memory.stat", used))
    return min((each for each in found if each > 0), default=None)


def _named(path: Path, name: str) -> int:
    """The number that stands behind a name; 0 if there is none."""
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
