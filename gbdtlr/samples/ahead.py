"""Ahead: several streams consumed one after the other while the next ones are begun already."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


def in_order_ahead(streams: Iterable[Callable[[], Iterator[Item]]], width: int) -> Iterator[Item]:
    """Items of all streams in order, of which up to ``width`` run in threads, each at most one item ahead.

    A file in a bucket takes its time to answer; the answers to several are waited for together. An error is raised
    in the place of the item that could not be had.
    """
    remaining = iter(streams)
    running: deque[_Ahead[Item]] = deque()
    crew = _Crew(width)
    try:
        while True:
            while len(running) < width and (stream := next(remaining, None)) is not None:
                running.append(_Ahead(stream))
                crew.run(running[-1])
            if not running:
                return
            yield from running[0].items()
            running.popleft()
    finally:
        for one in running:
            one.stop()
        crew.dismiss()


class _Crew:
    """Up to ``width`` threads that run one stream after the other, so that the memory of one serves the next."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._waiting: SimpleQueue[_Ahead[Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def run(self, one: _Ahead[Any]) -> None:
        """Have a stream run, at once where fewer than ``width`` others do."""
        self._waiting.put(one)
        if len(self._threads) < self._width:
            self._threads.append(threading.Thread(target=self._work, name="gbdtlr-ahead", daemon=True))
            self._threads[-1].start()

    def dismiss(self) -> None:
        """Wait for the streams to end, and the threads."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (one := self._waiting.get()) is not None:
            one.run()


@dataclass
class _Ahead(Generic[Item]):
    stream: Callable[[], Iterator[Item]]
    room: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))
    ready: SimpleQueue[tuple[str, Item | BaseException | None]] = field(default_factory=SimpleQueue)
    stopped: bool = False

    def items(self) -> Iterator[Item]:
        while True:
            kind, value = self.ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value  # type: ignore[misc]
            self.room.release()
            yield value  # type: ignore[misc]

    def stop(self) -> None:
        self.stopped = True
        self.room.release()

    def run(self) -> None:
        try:
            with closing(self.stream()) as items:  # type: ignore[type-var]
                for item in items:
                    self.room.acquire()
                    if self.stopped:
                        return
                    self.ready.put(("item", item))
        except BaseException as error:
            self.ready.put(("error", error))
        else:
            self.ready.put(("end", None))
