"""Many real processes publish at once: no number is lost, given twice or left out; all that is named is there."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from store_kit import publish, verified

from gbdtlr.errors import Conflict, DamagedError
from gbdtlr.store import Store

HERE = Path(__file__).parent


def race(url: str, n_processes: int, n: int) -> list[dict]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-W", "error", HERE / "race_child.py", url]
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": env,
    }
    children = [subprocess.Popen([*command, f"p{i}", str(n)], **pipes) for i in range(n_processes)]
    for child in children:
        assert child.stdout.readline() == "ready\n", child.communicate()[1]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    results = []
    for child in children:
        out, err = child.communicate()
        assert child.returncode == 0, err
        results.append(json.loads(out))
    return results


@pytest.mark.parametrize(("backend", "n_processes", "n"), [("local", 8, 12), ("s3", 4, 6)])
def test_many_processes_publish_at_once(backend, n_processes, n, request, tmp_path):
    if backend == "s3":
        request.getfixturevalue("s3")
    url = str(tmp_path) if backend == "local" else f"s3://bucket/{uuid.uuid4().hex}"
    results = race(url, n_processes, n)
    numbers = [number for result in results for number in result["numbers"]]
    assert sorted(numbers) == list(range(1, n_processes * n + 1)), "lost, given twice or left out"
    store = Store.open(url)
    live = verified(store)
    assert live.number == n_processes * n
    entries = store.entries()
    said = Counter(entry.reason for entry in entries)
    assert said == Counter(f"p{i} {j}" for i in range(n_processes) for j in range(n))
    for i, result in enumerate(results):
        assert result["numbers"] == [entry.number for entry in entries if entry.reason.startswith(f"p{i} ")]
    for entry in entries:
        assert store.read_version("heads", entry.head, entry.trees).manifest["lineage"] == {"trees": entry.trees}
    assert sum(result["lost"] for result in results) > 0, "they never met, so nothing was tried"


def test_many_threads_want_one_number(url):
    entry = publish(Store.open(url))
    won, barrier = [], threading.Barrier(8)

    def run(i):
        store = Store.open(url)
        barrier.wait()
        with contextlib.suppress(Conflict):
            won.append(store.append({**entry.to_dict(), "reason": str(i)}, 2))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert Store.open(url).live() == won[0]


def test_readers_see_whole_releases_while_others_publish_and_prune(url):
    publish(Store.open(url), 0)
    done, errors = threading.Event(), []

    def read():
        store, known = Store.open(url), 1
        while not done.is_set():
            try:
                live = store.live(at_least=known)
                assert live.number >= known
                known = live.number
                store.read_version("trees", live.trees)
                store.read_version("heads", live.head, live.trees)
            except DamagedError as error:
                if store.live(at_least=known).number < known + 3:  # else it may well be pruned by now
                    errors.append(error)
                    return
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    store = Store.open(url)
    for i in range(1, 8):
        publish(store, i)
        # With a keep of 3, a reader is to find all of a release unless it is overtaken three times while it reads.
        store.prune(keep=3, min_age=timedelta(), now=datetime(2099, 1, 1, tzinfo=UTC))
    done.set()
    for thread in threads:
        thread.join()
    assert not errors, errors
    verified(store)
