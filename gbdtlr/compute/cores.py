"""Cores: how many this process may keep busy, by the machine, its affinity and the quota of its control groups.

A container with a quota of two CPUs on a machine of 64 sees 64: as many threads would spend its share at once and then
all wait for the next period.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_OCTAL = re.compile(r"\\([0-7]{3})")


def cores(root: Path = Path("/")) -> int:
    """Cores this process may use: those it may run on, and no more than its quota, rounded up; at least 1.

    Parameters
    ----------
    root : where ``proc`` and ``sys`` are found
    """
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    return n if quota is None else max(1, min(n, math.ceil(quota)))


@cache
def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs that the control groups of this process may use together, the tightest of all; None without a limit.

    It is read once: kernels ask at every call. Limits of a group hold for all groups in it, so those above count as
    well, as far as they can be seen from here.

    Source
    ------
    Linux: Documentation/admin-guide/cgroup-v2.rst, ``cpu.max``; scheduler/sched-bwc.rst, ``cpu.cfs_quota_us``;
    proc(5), ``/proc/self/mountinfo``; cgroups(7), ``/proc/self/cgroup``.
    """
    groups = _groups(root)
    limits = [
        limit
        for mount_point, mount_root, controllers in _mounts(root)
        if (group := groups.get(controllers)) is not None
        for folder in _upwards(root / mount_point.lstrip("/"), mount_root, group)
        if (limit := _limit(folder)) is not None
    ]
    return min(limits, default=None)


def _groups(root: Path) -> dict[str, str]:
    """Path of this process's group by what its hierarchy controls: ``cpu`` of version 1, nothing of version 2."""
    groups = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            groups[""] = path
        elif "cpu" in controllers.split(","):
            groups["cpu"] = path
    return groups


def _mounts(root: Path) -> Iterator[tuple[str, str, str]]:
    """Where the hierarchies are mounted, which of their groups is mounted there, and the key of :func:`_groups`."""
    for line in _lines(root / "proc/self/mountinfo"):
        fields, _, more = line.partition(" - ")
        words = fields.split(" ")
        kind, _, options = (*more.split(" "), "", "", "")[:3]
        if len(words) < 5:
            continue
        if kind == "cgroup2":
            yield _unescaped(words[4]), _unescaped(words[3]), ""
        elif kind == "cgroup" and "cpu" in options.split(","):
            yield _unescaped(words[4]), _unescaped(words[3]), "cpu"


def _upwards(mount_point: Path, mount_root: str, group: str) -> Iterator[Path]:
    """Folders of a group and of those it is in, as far as they are mounted.

    In a container the group may be told as the host sees it, though only the container's own is mounted: then
    the mount is the group.
    """
    yield mount_point
    try:
        below = PurePosixPath(group).relative_to(mount_root)
    except ValueError:
        return
    folder = mount_point
    for part in below.parts:
        if part == "..":  # the group of another namespace
            return
        folder = folder / part
        yield folder


def _limit(folder: Path) -> float | None:
    """CPUs that one group may use; None if it says nothing, or nothing that makes sense."""
    for line in _lines(folder / "cpu.max"):
        quota, _, period = line.partition(" ")
        return _ratio(quota, period or "100000")
    quotas, periods = _lines(folder / "cpu.cfs_quota_us"), _lines(folder / "cpu.cfs_period_us")
    return _ratio(quotas[0], periods[0]) if quotas and periods else None


def _ratio(quota: str, period: str) -> float | None:
    if not (_NUMBER.fullmatch(quota) and _NUMBER.fullmatch(period)):
        return None  # "max" or -1: no limit
    return int(quota) / int(period)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
