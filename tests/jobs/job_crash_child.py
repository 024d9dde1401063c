"""Kills the real jobs at every step they take in the store, then looks at what is left.

``python job_crash_child.py FOLDER URL WORK UNIT``: for k = 1, 2, ... a forked process runs the job WORK (``first``
training, ``train-trees`` or ``update-lr``) on a store of its own and is killed with SIGKILL before and after its k-th
step, until one gets through. Steps are those of the store's own crash tests: system calls that change the disk, or
calls of the backend that do. Prints, as JSON, how many were killed and how many left the old and the new release.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from crash_child import CALLS, LATER, SYSCALLS, arm
from jobs_kit import at, config_of, whole

from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.store import Store
from gbdtlr.store.backend import is_temporary

JOBS = {"first": (train_trees, at(5)), "train-trees": (train_trees, at(5, 6)), "update-lr": (update_lr, at(5, 6))}


def copy(source: Store, target: Store) -> None:
    for stat in source.backend.list(""):
        target.backend.put(stat.key, source.backend.get(stat.key, stat.size))


def run(folder: Path, url: str, work: str, unit: str, k: int, after: bool) -> None:
    """The job, killed at its k-th step."""
    job, as_of = JOBS[work]
    if unit == "syscall":
        arm(os, SYSCALLS, k, after)
    else:
        opened = Store.open

        def armed(url: str) -> Store:
            store = opened(url)
            arm(store.backend, CALLS, k, after)
            return store

        Store.open = armed
    assert job(config_of(folder, url), as_of).status == "published"


def main(folder: Path, url: str, work: str, unit: str) -> None:
    os.fsync = lambda _: None  # a kill loses nothing that was written; only counted, as it takes most of the time
    job, as_of = JOBS[work]
    urls = []
    # All are copies of one store. That is a local one: nothing that starts threads may run before the forks.
    base = str(folder / f"base-{work}-{os.getpid()}")
    if work != "first":
        assert train_trees(config_of(folder, base), at(5)).status == "published"
    for after in (False, True):
        for k in itertools.count(1):
            here = f"{url}/{work}-{unit}-{after}-{k}"
            child = os.fork()
            if not child:
                try:
                    copy(Store.open(base), Store.open(here))
                    run(folder, here, work, unit, k, after)
                finally:
                    os._exit(0 if sys.exc_info()[0] is None else 1)
            status = os.waitpid(child, 0)[1]
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                urls.append(here)
                continue
            assert status == 0, f"step {k} of {work} failed by itself"
            break
    counts = {"killed": len(urls), "old": 0, "new": 0}
    old = 0 if work == "first" else 1
    for here in urls:
        store = Store.open(here)
        live = whole(store)
        number = live.number if live else 0
        assert number in (old, old + 1), f"{here}: release {number} is live"
        counts["new" if number > old else "old"] += 1
        again = job(config_of(folder, here), as_of)  # needs no help, and tells whether there is anything to do
        assert again.status == ("published" if number == old else {"update-lr": "unchanged"}.get(work, "superseded"))
        live = whole(store)
        assert live.number == old + 1
        assert job(config_of(folder, here), as_of + timedelta(hours=6)).status == "published"
        live = whole(store)
        store.prune(keep=1, min_age=timedelta(days=1), now=LATER)
        assert whole(store) == live
        left = [stat.key for stat in store.backend.list("")]
        assert not [key for key in left if is_temporary(key)], left
        assert len(store.list_versions()) == 2, left
    print(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
