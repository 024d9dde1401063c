"""Many real processes train, update and roll back at once: nothing is lost, mixed up or undone."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path

import pytest
from jobs_kit import at, config_of, whole

from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.release import Release
from gbdtlr.store import Store

HERE = Path(__file__).parent


def race(environment, stream, url, n_processes, n):
    command = [sys.executable, HERE / "job_race_child.py", stream, url]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    children = [
        subprocess.Popen([*command, str(i), str(n)], text=True, env=environment, **pipes) for i in range(n_processes)
    ]
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


@pytest.mark.parametrize(
    ("backend", "n_processes", "n"), [("local", 4, 6), pytest.param("s3", 3, 4, marks=pytest.mark.slow)]
)
def test_trainings_and_updates_at_once(request, tmp_path, child_environment, stream, backend, n_processes, n):
    environment = dict(child_environment)
    url = str(tmp_path / "store")
    if backend == "s3":
        request.getfixturevalue("s3")
        environment |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        url = f"s3://bucket/{uuid.uuid4().hex}"
    assert train_trees(config_of(stream, url), at(5)).status == "published"
    results = race(environment, stream, url, n_processes, n)
    ends = [end for result in results for end in result]
    store = Store.open(url)
    live = whole(store)
    published = sorted(end["release"] for end in ends if end["status"] == "published")
    assert published == list(range(2, live.number + 1)), "lost, given twice or left out"
    assert {end["status"] for end in ends} <= {"published", "superseded", "unchanged"}, Counter(
        (end["status"], end["reason"]) for end in ends
    )
    assert live.number > n, "hardly anything was published"
    entries = store.entries()
    by_number = {end["release"]: end for end in ends if end["status"] == "published"}
    for before, entry in itertools.pairwise(entries):
        end = by_number[entry.number]
        assert (entry.trees, entry.head) == (end["trees"], end["head"])
        release = Release.load(store, entry)  # the head's own trees, or it would not load
        assert release.head_manifest["trees"]["name"] == entry.trees
        assert entry.as_of == release.head_as_of >= before.as_of, "knowledge never goes back"
        if entry.why == "update-lr":
            assert entry.trees == before.trees, "only a training brings trees"
        else:
            trees = Release.load(store, before).trees_as_of
            assert release.trees_as_of > trees, "newer trees stay"
    # An update that lost to new trees leaves what it knew to the next.
    assert update_lr(config_of(stream, url), at(6)).status == "published"
    assert whole(store).as_of == at(6)
