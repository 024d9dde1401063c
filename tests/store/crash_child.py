"""Kills itself at every step of a piece of work on a store, then looks at what is left.

``python crash_child.py URL WORK UNIT``: for k = 1, 2, ... a forked process does WORK (``first``, ``next`` or
``prune``) on a store of its own and is killed with SIGKILL before and after its k-th step, until one gets through.
A step is a system call that changes the disk (UNIT ``syscall``; a write is also killed halfway) or a call of the
backend that changes it (UNIT ``call``). Prints, as JSON, how many were killed and how many left the old and the
new release.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta

from store_kit import T0, publish, put_head, put_trees, verified

from gbdtlr.store import Store
from gbdtlr.store.backend import is_temporary

SYSCALLS = ("open", "write", "fsync", "close", "replace", "link", "unlink", "rmdir", "mkdir")
CALLS = ("put", "put_if_absent", "delete")
LATER = datetime(2099, 1, 1, tzinfo=UTC)


def prune(store: Store) -> None:
    store.prune(keep=1, min_age=timedelta(days=1), now=LATER)


def prepare(store: Store, work: str) -> None:
    if work != "first":
        publish(store, 1)
    if work == "prune":
        put_head(store, put_trees(store, 10).name)
        publish(store, 2)


def do(store: Store, work: str) -> None:
    prune(store) if work == "prune" else publish(store, 5)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(owner: object, names: tuple[str, ...], k: int, after: bool) -> None:
    """Make the k-th call of any of these functions deadly: before it is done, or when (for writes, half) done."""
    steps = itertools.count(1)

    def deadly(name: str, real):
        def call(*args, **kwargs):
            if next(steps) != k:
                return real(*args, **kwargs)
            try:
                if after:
                    real(args[0], args[1][: len(args[1]) // 2]) if name == "write" else real(*args, **kwargs)
            finally:  # also of a call that fails, as one that offers again what is there must
                die()
            return None

        return call

    for name in names:
        setattr(owner, name, deadly(name, getattr(owner, name)))


def main(url: str, work: str, unit: str) -> None:
    os.fsync = lambda _: None  # a kill loses nothing that was written; only counted, as it takes most of the time
    urls = []
    for after in (False, True):
        for k in itertools.count(1):
            here = f"{url}/{work}-{unit}-{after}-{k}"
            child = os.fork()
            if not child:
                try:
                    prepare(Store.open(here), work)
                    store = Store.open(here)
                    if unit == "syscall":
                        arm(os, SYSCALLS, k, after)
                    else:
                        arm(store.backend, CALLS, k, after)
                    do(store, work)
                finally:
                    os._exit(0 if sys.exc_info()[0] is None else 1)
            status = os.waitpid(child, 0)[1]
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                urls.append(here)
                continue
            assert status == 0, f"step {k} of {work} failed by itself"
            break
    counts = {"killed": len(urls), "old": 0, "new": 0}
    old = {"first": 0, "next": 1, "prune": 2}[work]
    for here in urls:
        store = Store.open(here)
        live = verified(store)
        number = live.number if live else 0
        assert number in (old, old + (work != "prune")), f"{here}: release {number} is live"
        counts["new" if number > old else "old"] += 1
        do(store, work)  # the next run needs no help
        again = store.live()
        assert again is not None
        assert again.number == number + (work != "prune")
        if work != "prune":
            assert again.as_of == T0 + timedelta(hours=5)
        prune(store)
        assert verified(store) == again
        left = [stat.key for stat in store.backend.list("")]
        assert not [key for key in left if is_temporary(key)], left
        assert len(store.list_versions()) == 2, left
        assert len(left) == 5 + again.number + 1, left  # two trees' and one head's files, two manifests, log, hint
    print(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
