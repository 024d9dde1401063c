"""Releases that change under load: no request fails, and no answer is made of two releases."""

from __future__ import annotations

import json
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
    values_of,
)

from gbdtlr.config import Config
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store

CLIENTS = 3
PLAIN = [{"x": 0.5, "y": -1.25, "colour": "red", "shop": 3}, {"x": None, "y": 0.0, "colour": "blue", "shop": 4}]
MANY = PLAIN * 1001
"""More rows than are scored in the event loop."""


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes most of the time of a swap; what a power cut would leave is asked elsewhere."""
    monkeypatch.setattr("os.fsync", lambda _: None)


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
    body: bytes
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


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


QUESTIONS = [
    Question("/score", text(PLAIN[0]), own, (0,)),
    Question("/score", text({"rows": PLAIN}), own),
    Question("/score", text({"rows": MANY}), own, (0, 1) * 1001),
    Question("/score", text({"columns": values_of(PLAIN)}), own),
    Question("/score", stream_of(pa.table(values_of(PLAIN))), arrow, kind=ARROW),
    Question("/v2/models/gbdtlr/infer", text(tensors()), inferred),
    Question(
        "/invocations", text({"instances": PLAIN}), lambda reply: (reply.json["predictions"], reply.json["release"])
    ),
    Question("/explain", text(PLAIN[1]), own, (1,)),
]


class Seen:
    """Numbers of the releases that have answered, and whether a client has failed; waited for without asking again."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self.failures: list[BaseException] = []
        self._changed = threading.Condition()

    def add(self, number: int) -> None:
        with self._changed:
            self.numbers.add(number)
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self.failures.append(error)
            self._changed.notify_all()

    def wait(self, met: Callable[[], bool], at_most_s: float = 60) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: met() or bool(self.failures), at_most_s), "it has not come to be"
            if self.failures:
                raise self.failures[0]


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
    ended, seen = threading.Event(), Seen()

    def client(first: int) -> None:
        n = first
        while not ended.is_set():
            question = QUESTIONS[n % len(QUESTIONS)]
            n += 1
            try:
                found = ask(app, question.path, question.body, question.kind)
                seen.add(release_of(found, question, of_release))
            except BaseException as error:
                seen.fail(error)
                return

    threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:

        def go_over(number: int) -> None:
            app._scorer.refresh()
            seen.wait(lambda: number in seen.numbers)

        swap(store, of_release, pairs, n_swaps, go_over)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        app.close()
    assert not seen.failures
    assert {*range(6, 6 + n_swaps)} <= seen.numbers


def swap(
    store: Store,
    of_release: dict[int, list[float]],
    pairs: dict[tuple[str, str], list[float]],
    n_swaps: int,
    after_each: Callable[[int], object],
) -> None:
    """Publish earlier pairs again and again, as a rollback does; ``after_each`` is told the number."""
    first = store.live()
    assert first is not None
    earlier = store.entries()
    for n in range(n_swaps):
        target, number = earlier[n % len(earlier)], first.number + 1 + n
        of_release[number] = pairs[target.trees, target.head]
        pair = {"trees": target.trees, "embeddings": target.embeddings, "head": target.head}
        as_of = first.as_of + timedelta(seconds=n + 1)
        values = {**pair, "why": "rollback", "rolled_back_to": target.number, "as_of": as_of, "base": number - 1}
        assert store.append(values, number).number == number
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
    ended, seen = threading.Event(), Seen()
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
                seen.fail(error)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            swap(store, of_release, pairs, n_swaps, lambda n: seen.wait(lambda: max(seen.numbers, default=0) >= n))
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert not seen.failures
        assert max(seen.numbers) >= 5 + n_swaps
        assert "serve.fault" not in server.log
        assert "serve.worker_ended" not in server.log
