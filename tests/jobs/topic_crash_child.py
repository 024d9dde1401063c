"""Kills a stream from topics at its steps; whoever goes on has learned each message once.

``python topic_crash_child.py FOLDER SERVERS WORK STRIDE N``: WORK is ``one`` topic or ``two`` that are joined, of N
messages in all. For k = 1, 1 + STRIDE, ... a forked process learns from the beginning, on a store of its own, and is
killed with SIGKILL before and after its k-th step, until one gets through; then another goes on to the end. Steps are
the calls that change the store, and pieces that are learned. Prints, as JSON, how many were killed, how many of these
had published something, and how many different states came of it all, that of an undisturbed run among them.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from crash_child import CALLS, die
from methods_kit import HOUR
from topics_kit import NOW, Clock, raw_config
from topics_kit import config as plain_config

from gbdtlr.jobs import train_trees
from gbdtlr.jobs.stream import Stream
from gbdtlr.release import Release
from gbdtlr.store import Store
from gbdtlr.streams import Places, kafka
from tests.streams.kafka_kit import asked, counted, learn_from


class Servers:
    """Where the cluster of another process is."""

    def __init__(self, servers: str) -> None:
        self.servers = servers


def config_of(folder: Path, work: str, store: str) -> Any:
    return plain_config(folder, "ftrl", store=store) if work == "one" else raw_config(folder, store)


def learn(c: Any, servers: str, work: str, n: int) -> None:
    """All that is in the topics."""
    topics = ("one",) if work == "one" else ("shown", "clicks")
    what: Any = asked(Servers(servers), *topics)  # type: ignore[arg-type]

    def until(source: Any) -> bool:
        return counted(source) >= n and not source.metrics().get("waiting", 0)

    learn_from(c, what, until, Clock(NOW + 12 * HOUR), publish_every=1000 * HOUR, publish_samples=20)


def arm(k: int, after: bool) -> None:
    """Make the k-th step deadly."""
    steps = itertools.count(1)

    def deadly(real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            if next(steps) != k:
                return real(*args, **more)
            try:
                if after:
                    real(*args, **more)
            finally:  # also of a call that fails, as one that offers again what is there must
                die()
            return None

        return call

    opened = Store.open

    def armed(url: str) -> Store:
        store = opened(url)
        for name in CALLS:
            setattr(store.backend, name, deadly(getattr(store.backend, name)))
        return store

    Store.open = armed  # type: ignore[method-assign, assignment]
    learn = Stream.learn
    armed_learn = deadly(learn)

    def learn_some(stream: Stream, piece: Any, clock: Any) -> None:
        (armed_learn if piece.lines else learn)(stream, piece, clock)

    Stream.learn = learn_some  # type: ignore[method-assign]


def forked(work: Any) -> int:
    """How a process of its own ends that does this."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    return os.waitpid(child, 0)[1]


def main(folder: Path, servers: str, work: str, stride: int, n: int) -> None:
    os.fsync = lambda _: None  # a kill loses nothing that was written
    kafka._MOST = 7  # so that there are several pieces
    base = config_of(folder, work, f"base-{work}")
    if not Path(base.store).exists():
        assert train_trees(base, NOW).status == "published"
    stores: list[Any] = []
    n_killed, n_published = 0, 0

    def begun(name: str) -> Any:
        c = config_of(folder, work, f"{work}-{name}")
        shutil.copytree(base.store, c.store)
        stores.append(c)
        return c

    c = begun("undisturbed")
    assert forked(lambda: learn(c, servers, work, n)) == 0
    for after in (False, True):
        for k in itertools.count(1, stride):
            c = begun(f"{after}-{k}")

            def killed(c: Any = c, k: int = k, after: bool = after) -> None:
                arm(k, after)
                learn(c, servers, work, n)

            status = forked(killed)
            if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
                assert status == 0, f"step {k} failed by itself"
                break
            n_killed += 1
            n_published += len(os.listdir(Path(c.store) / "releases")) > 1
            assert forked(lambda c=c: learn(c, servers, work, n)) == 0
    states = set()
    for c in stores:
        release = Release.live(Store.open(c.store))
        assert release is not None
        places = Places.of(release.head_manifest)
        assert places is not None
        read = sum(place.next for topic in places.topics.values() for place in topic.partitions.values())
        states.add((release.learned["online.npz"], read))
    print(json.dumps({"killed": n_killed, "published": n_published, "states": len(states)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
