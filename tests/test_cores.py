"""A quota of control groups counts as fewer cores, whichever version, however nested, and whoever wrote the files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gbdtlr.compute.cores import cores, cpu_quota

V1, V2 = "cgroup cgroup rw,cpu,cpuacct", "cgroup2 cgroup rw,nsdelegate"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def system(root: Path, groups: str, mounts: dict[str, tuple[str, str]], files: dict[str, str]) -> Path:
    """Fake ``proc`` and ``sys``: mounts by their point, each the group that is mounted and its kind."""
    lines = [f"31 23 0:28 {of} {point} rw,relatime shared:9 - {kind}" for point, (of, kind) in mounts.items()]
    lines = ["22 1 8:1 / / rw - ext4 /dev/sda1 rw", "23 22 0:5 / /proc rw - proc proc rw", "broken", *lines]
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": "\n".join(lines) + "\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def v2(root: Path, group: str, **limits: str) -> Path:
    """Version 2 with limits of groups, ``__`` for ``/``."""
    files = {f"sys/fs/cgroup{name.replace('__', '/')}/cpu.max": text for name, text in limits.items()}
    return system(root, f"0::{group}\n", {"/sys/fs/cgroup": ("/", V2)}, files)


@pytest.mark.parametrize(
    ("text", "quota", "n"),
    [
        ("200000 100000\n", 2.0, 2),
        ("150000 100000\n", 1.5, 2),
        ("10000 100000\n", 0.1, 1),
        ("25000 10000\n", 2.5, 3),
        ("6400000 100000\n", 64.0, 8),
        ("50000\n", 0.5, 1),
        ("max 100000\n", None, 8),
        ("max\n", None, 8),
        ("", None, 8),
        ("nonsense\n", None, 8),
        ("0 0\n", None, 8),
        ("-1 100000\n", None, 8),
    ],
)
def test_quota_of_version_2(tmp_path, text, quota, n):
    root = v2(tmp_path, "/", **{"": text})
    assert (cpu_quota(root), cores(root)) == (quota, n)


def test_the_tightest_of_the_groups_above_counts(tmp_path):
    limits = {"": "max 100000", "__pods": "400000 100000", "__pods__a": "max 100000", "__pods__a__b": "800000 100000"}
    assert cores(v2(tmp_path, "/pods/a/b", **limits)) == 4


def test_groups_beside_it_do_not_count(tmp_path):
    assert cores(v2(tmp_path, "/pods/a", __pods__b="100000 100000", __pods__a__inner="100000 100000")) == 8


def v1(root: Path, group: str, mounted: str = "/", **limits: tuple[int, int]) -> Path:
    point = "/sys/fs/cgroup/cpu,cpuacct"
    files = {}
    for name, (quota, period) in limits.items():
        folder = f"{point[1:]}{name.replace('__', '/')}"
        files |= {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}
    groups = f"4:memory:/elsewhere\n3:cpu,cpuacct:{group}\n0::/elsewhere\n"
    return system(
        root, groups, {point: (mounted, V1), "/sys/fs/cgroup/memory": ("/", "cgroup cgroup rw,memory")}, files
    )


@pytest.mark.parametrize(
    ("quota", "period", "n"), [(300000, 100000, 3), (250001, 100000, 3), (1000, 100000, 1), (-1, 100000, 8), (5, 0, 8)]
)
def test_quota_of_version_1(tmp_path, quota, period, n):
    assert cores(v1(tmp_path, "/", **{"": (quota, period)})) == n


def test_version_1_nested(tmp_path):
    limits = {"": (-1, 100000), "__docker": (500000, 100000), "__docker__1a": (700000, 100000)}
    assert cores(v1(tmp_path, "/docker/1a", **limits)) == 5


@pytest.mark.parametrize("group", ["/docker/1a", "/docker/1a/child", "/", "/../other"])
def test_a_container_that_sees_its_own_group_alone(tmp_path, group):
    """The mount is of the container's group, the path that of the host, or of the container's own view."""
    root = v1(tmp_path, group, mounted="/docker/1a", **{"": (200000, 100000), "__docker__1a": (100000, 100000)})
    assert cores(root) == 2


def test_both_versions_at_once(tmp_path):
    groups = "3:cpu,cpuacct:/a\n0::/b\n"
    mounts = {"/sys/fs/cgroup/cpu": ("/", V1), "/sys/fs/cgroup/unified": ("/", V2)}
    files = {
        "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "400000\n",
        "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/unified/b/cpu.max": "300000 100000\n",
    }
    assert cores(system(tmp_path, groups, mounts, files)) == 3


def test_a_mount_with_a_space_in_its_name(tmp_path):
    files = {"mnt/c groups/cpu.max": "100000 100000\n"}
    assert cores(system(tmp_path, "0::/\n", {r"/mnt/c\040groups": ("/", V2)}, files)) == 1


def test_a_machine_without_control_groups(tmp_path):
    assert (cpu_quota(tmp_path), cores(tmp_path)) == (None, 8)


def test_the_quota_is_read_once_and_the_affinity_each_time(tmp_path, monkeypatch):
    root = v2(tmp_path, "/", **{"": "300000 100000"})
    assert cores(root) == 3
    (root / "sys/fs/cgroup/cpu.max").write_text("100000 100000")
    assert cores(root) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 7}, raising=False)
    assert cores(root) == 2
