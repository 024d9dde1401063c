"""Memory that is free, as files of the system tell it."""

from __future__ import annotations

import pytest

from gbdtlr.compute.memory import free_bytes

MEMINFO = "MemTotal:       4096 kB\nMemFree:         100 kB\nMemAvailable:   2048 kB\n"


def system(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/meminfo": "nonsense\nMemAvailable: ? kB\n"}, None),
        ({"proc/meminfo": MEMINFO}, 2**21),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "max\n"}, 2**21),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "1000000\n"}, 10**6),
        (
            {
                "proc/meminfo": MEMINFO,
                "sys/fs/cgroup/memory.max": "1000000\n",
                "sys/fs/cgroup/memory.stat": "anon 300000\nfile 600000\n",
            },
            700_000,
        ),
        (
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n",
                "sys/fs/cgroup/memory/memory.stat": "rss 1\ntotal_rss 4000\n",
            },
            1000,
        ),
    ],
)
def test_the_tightest_limit_counts(tmp_path, files, expected):
    assert free_bytes(system(tmp_path, files)) == expected


def test_this_machine_says_something_or_nothing():
    found = free_bytes()
    assert found is None or found > 0
