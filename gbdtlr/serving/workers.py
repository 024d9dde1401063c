"""The workers of a service: started, watched, replaced when they die, and ended together."""

from __future__ import annotations

import json
import mmap
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gbdtlr import errors
from gbdtlr.config import ServeConfig
from gbdtlr.errors import GbdtlrError
from gbdtlr.serving.application import OnEvent
from gbdtlr.serving.metrics import SLOT_BYTES, Slot
from gbdtlr.serving.worker import FAILED, READY

LONGEST_PAUSE_S = 30.0
PATIENCE_S = 5.0
"""How much longer than it may take a worker has to end before it is killed."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Workers:
    """Processes that serve the same store at the same socket."""

    def __init__(
        self,
        store: str,
        settings: ServeConfig,
        listener: socket.socket,
        threads: int,
        on_event: OnEvent,
        on_ready: Callable[[int], object],
    ) -> None:
        self._task = {"store": store, "settings": settings.as_dict(), "threads": threads, "listener": listener.fileno()}
        self._settings = settings
        self._on_event, self._on_ready = on_event, on_ready
        self._file = _shared_file(settings.workers * SLOT_BYTES)
        self._memory = mmap.mmap(self._file.fileno(), settings.workers * SLOT_BYTES)
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, _Worker] = {}
        self._pauses_s = [0.0] * settings.workers
        self._due_s: dict[int, float] = {}
        self._served = False
        self._end_by_s: float | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, and return when all workers have answered what they had begun.

        Raises
        ------
        GbdtlrError
            What the first worker to fail said, where none had served yet. Later on they are started again.
        """
        with _signals() as asked, self._file:
            self._selector.register(asked, selectors.EVENT_READ)
            try:
                for index in range(self._settings.workers):
                    self._start(index)
                while self._workers or (self._due_s and self._end_by_s is None):
                    for key, _ in self._selector.select(self._wait_s()):
                        if key.fileobj is asked:
                            self._ask_to_end(signal.Signals(os.read(asked, 1)[0]))
                        else:
                            self._listen(key.data)
                    self._start_those_due()
                    self._kill_late_ones()
            finally:
                for worker in self._workers.values():
                    worker.process.kill()
                    worker.process.wait()
                self._selector.close()

    def _start(self, index: int) -> None:
        worker = _Worker(index, {**self._task, "index": index, "memory": self._file.fileno()})
        self._workers[index] = worker
        self._selector.register(worker.output, selectors.EVENT_READ, worker)

    def _listen(self, worker: _Worker) -> None:
        """Take what a worker says, or its end."""
        for event in worker.events():
            name = event.pop("event")
            if name == READY:
                worker.ready = True
                self._pauses_s[worker.index] = 0.0
                self._on_event(name, worker=worker.index, **event)
                self._tell_ready(event["release"])
            elif name == FAILED:
                worker.failure = event
            else:
                self._on_event(name, worker=worker.index, **event)
        if worker.ended:
            self._bury(worker)

    def _tell_ready(self, release: int) -> None:
        if not self._served and all(worker.ready for worker in self._workers.values()):
            self._served = True
            self._on_ready(release)

    def _bury(self, worker: _Worker) -> None:
        self._selector.unregister(worker.output)
        code = worker.close()
        del self._workers[worker.index]
        Slot(self._memory, worker.index).clear_gauges()
        if self._end_by_s is not None:
            return
        if not self._served:
            failure = worker.failure or {"error": "GbdtlrError", "message": f"a worker ended with {code} as it began"}
            raise getattr(errors, failure["error"], GbdtlrError)(failure["message"])
        pause_s = self._pauses_s[worker.index]
        told = {"error": worker.failure["message"]} if worker.failure else {}
        self._on_event("serve.worker_ended", worker=worker.index, code=code, again_in_s=pause_s, **told)
        self._due_s[worker.index] = time.monotonic() + pause_s
        self._pauses_s[worker.index] = min(LONGEST_PAUSE_S, 2 * pause_s or 1.0)

    def _wait_s(self) -> float | None:
        moments = [*self._due_s.values(), *([self._end_by_s] if self._end_by_s is not None else [])]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _start_those_due(self) -> None:
        for index in [index for index, due_s in self._due_s.items() if due_s <= time.monotonic()]:
            del self._due_s[index]
            if self._end_by_s is None:
                self._start(index)

    def _ask_to_end(self, which: signal.Signals) -> None:
        for worker in self._workers.values():
            worker.process.send_signal(which)
        may_take = self._settings.grace + self._settings.drain
        self._end_by_s = time.monotonic() + may_take.total_seconds() + PATIENCE_S
        self._due_s.clear()

    def _kill_late_ones(self) -> None:
        if self._end_by_s is not None and time.monotonic() > self._end_by_s:
            for worker in self._workers.values():
                worker.process.kill()


class _Worker:
    """One process, and what it says."""

    def __init__(self, index: int, task: dict[str, Any]) -> None:
        self.index = index
        self.ready = self.ended = False
        self.failure: dict[str, Any] | None = None
        self._rest = b""
        package = str(Path(errors.__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gbdtlr.serving.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(task["listener"], task["memory"]),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            process_group=0,  # Ctrl-C goes to the parent alone, which asks them to end
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.output = self.process.stdout
        self.process.stdin.write(json.dumps(task).encode() + b"\n")
        self.process.stdin.flush()

    def events(self) -> Iterator[dict[str, Any]]:
        """What it has said since; sets ``ended`` once it says no more."""
        piece = os.read(self.output.fileno(), 1 << 16)
        self.ended = not piece
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def close(self) -> int:
        """Wait for its end, and return its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.output.close()
        return self.process.wait()


@contextmanager
def _signals() -> Iterator[int]:
    """While inside, signals to end interrupt nothing: their numbers are what the yielded file descriptor gives."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = {each: signal.signal(each, lambda *_: None) for each in _SIGNALS}
    woken = signal.set_wakeup_fd(write)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(woken)
        for each, handler in before.items():
            signal.signal(each, handler)
        os.close(read)
        os.close(write)


def _shared_file(n_bytes: int) -> IO[bytes]:
    """Memory that workers are handed by its file descriptor, and that no name leads to."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("gbdtlr-metrics"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the workers' run
    file.truncate(n_bytes)
    return file
