"""Releases that change under load: no request fails, and no answer is made of two releases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from serving_kit import (
    ARROW,
    JSON,
    Reply,
    application,
    ask,
    reply,
    request,
    serving,
    stream_of,
    until,
    values_of,
)

from gbdtlr.config import Config
from gbdtlr.operate.rollback import rollback
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store

CLIENTS = 3
PLAIN = [{"x": 0.5, "y": -1.25, "colour": "red", "shop": 3}, {"x": None, "y": 0.0, "colour": "blue", "shop": 4}]
MANY = PLAIN * 1001
"""More rows than are scored in the event loop."""


def expected_by_pair(store: str) -> dict[tuple[str, str], list[float]]:
    """What each pair of trees and head gives for ``PLAIN``; all of them differ."""
    opened = Store.open(store)
    pairs = {}
    for entry in opened.entries():
        scorer = Scorer.open(opened, entry.number)
        pairs[entry.trees, entry.head] = [scorer.score_row(row) for row in PLAIN]
    assert len({tuple(each) for each in pairs.values()}) == len(pairs) > 2
    return pairs


def tensors() -> dict[str, Any]:
    kinds = {"x": "FP64", "y": "FP64", "colour": "BYTES", "shop": "INT64"}
    return {
        "inputs": [
            {"name": name, "datatype": kind, "shape": [len(PLAIN)], "data": [row[name] for row in PLAIN]}
            for name, kind in kinds.items()
        ]
    }


@dataclass(frozen=True)
class Question:
    """What a client asks, and where the probabilities and the release stand in the answer."""

    path: str
    body: Any
    read: Callable[[Reply], tuple[list[float], int]]
    rows: tuple[int, ...] = (0, 1)
    kind: str = JSON


def own(reply: Reply) -> tuple[list[float], int]:
    found = reply.json["probability"]
    return found if isinstance(found, list) else [found], reply.json["release"]


def arrow(reply: Reply) -> tuple[list[float], int]:
    table = reply.table
    (release,) = {*table["release"].to_pylist()}
    return table["probability"].to_pylist(), release


def inferred(reply: Reply) -> tuple[list[float], int]:
    return reply.json["outputs"][0]["data"], int(reply.json["model_version"])


QUESTIONS = [
    Question("/score", PLAIN[0], own, (0,)),
    Question("/score", {"rows": PLAIN}, own),
    Question("/score", {"rows": MANY}, own, (0, 1) * 1001),
    Question("/score", {"columns": values_of(PLAIN)}, own),
    Question("/score", stream_of(pa.table(values_of(PLAIN))), arrow, kind=ARROW),
    Question("/v2/models/gbdtlr/infer", tensors(), inferred),
    Question("/invocations", {"instances": PLAIN}, lambda reply: (reply.json["predictions"], reply.json["release"])),
    Question("/explain", PLAIN[1], own, (1,)),
]


def release_of(reply: Reply, question: Question, of_release: dict[int, list[float]]) -> int:
    """The release of an answer, after a check that all of it came from that one."""
    assert reply.status == 200, reply.body
    probability, release = question.read(reply)
    assert release == reply.release
    assert probability == [of_release[release][row] for row in question.rows], release
    return release


def test_every_protocol_answers_by_one_release_while_they_change(filled: Config) -> None:
    swap_in_process(filled, 25)


@pytest.mark.slow
def test_every_protocol_answers_by_one_release_while_they_change_thousands_of_times(filled: Config) -> None:
    swap_in_process(filled, 2000)


def swap_in_process(config: Config, n_swaps: int) -> None:
    """Clients in threads ask one application while it goes over to a release after the other."""
    pairs = expected_by_pair(config.store)
    store = Store.open(config.store)
    of_release = {entry.number: pairs[entry.trees, entry.head] for entry in store.entries()}
    app = application(config.store)
    app.start()
    ended, failures, seen = threading.Event(), [], set()

    def client(first: int) -> None:
        n = first
        while not ended.is_set():
            question = QUESTIONS[n % len(QUESTIONS)]
            n += 1
            try:
                found = ask(app, question.path, question.body, question.kind)
                seen.add(release_of(found, question, of_release))
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:

        def go_over(number: int) -> None:
            app._scorer.refresh()
            until(lambda: number in seen or bool(failures))

        swap(store, of_release, pairs, n_swaps, go_over)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        app.close()
    assert not failures, failures[0]
    assert {*range(6, 6 + n_swaps)} <= seen


def swap(
    store: Store,
    of_release: dict[int, list[float]],
    pairs: dict[tuple[str, str], list[float]],
    n_swaps: int,
    after_each: Callable[[int], object],
) -> None:
    """Publish an earlier pair again and again; ``after_each`` is told the number."""
    first = store.live()
    assert first is not None
    earlier = store.entries()
    for n in range(n_swaps):
        target, number = earlier[n % len(earlier)], first.number + 1 + n
        of_release[number] = pairs[target.trees, target.head]
        result = rollback(store, target.number, first.as_of + timedelta(seconds=n + 1))
        assert (result.status, result.release) == ("published", number)
        after_each(number)


def test_a_server_answers_while_releases_change(filled: Config, tmp_path: Path) -> None:
    swap_server(filled, tmp_path, 15)


@pytest.mark.slow
def test_a_server_answers_while_releases_change_thousands_of_times(filled: Config, tmp_path: Path) -> None:
    swap_server(filled, tmp_path, 1000)


def swap_server(config: Config, folder: Path, n_swaps: int) -> None:
    """The same with a server of two workers that refreshes by itself, over connections that stay."""
    pairs = expected_by_pair(config.store)
    store = Store.open(config.store)
    of_release = {entry.number: pairs[entry.trees, entry.head] for entry in store.entries()}
    ended, failures, seen = threading.Event(), [], set()
    with serving(folder, config.store, "--workers", "2", "--refresh", "0.05s") as server:

        def client(first: int) -> None:
            try:
                with server.connect() as connection:
                    n = first
                    while not ended.is_set():
                        question = QUESTIONS[n % len(QUESTIONS)]
                        n += 1
                        connection.sendall(request(question.path, question.body, content_type=question.kind))
                        seen.add(release_of(reply(connection), question, of_release))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            swap(
                store, of_release, pairs, n_swaps, lambda n: until(lambda: max(seen, default=0) >= n or bool(failures))
            )
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert not failures, failures[0]
        assert max(seen) >= 5 + n_swaps
        assert "serve.fault" not in server.log
        assert "serve.worker_ended" not in server.log
