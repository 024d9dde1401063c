"""A process of its own beside a worker: it is told values and says some, and ends with whoever began it.

What may not be left waiting, or take others with it when it dies, works there: it can be ended at any time.
"""

from __future__ import annotations

import contextlib
import os
import queue
import struct
import subprocess
import sys
import threading
from typing import Any, BinaryIO
from weakref import finalize

from gbdtlr.engine.wire import packed, unpacked

AHEAD = 2
"""Values that have come and are not asked for yet; more wait where they are told."""
_LENGTH = struct.Struct("=Q")


class ProcessEnded(Exception):
    """The process is gone; the message says how it ended."""


class Process:
    """A module of Python's that runs on its own, seen from whoever began it."""

    def __init__(self, module: str, threads: int) -> None:
        """Begin it; ``threads`` are those of OpenMP there."""
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", module]
        # A session of its own: what is typed at a terminal is for the job, which ends its processes itself.
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, start_new_session=True
        )
        self._said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(self._child.stdout, self._said), daemon=True).start()
        self.end = finalize(self, _end, self._child)
        """End it; nothing where it has ended."""

    def tell(self, value: Any) -> None:
        """Tell a value, once there is room for it there; raise ProcessEnded if it is gone."""
        assert self._child.stdin is not None
        try:
            _write(self._child.stdin, value)
        except (OSError, ValueError):
            raise ProcessEnded(self._how()) from None

    def hear(self, wait_s: float) -> tuple[Any, ...]:
        """The next value it says, in a tuple, empty if none comes so soon; raise ProcessEnded if it is gone."""
        try:
            data = self._said.get(timeout=wait_s)
        except queue.Empty:
            return ()
        if data is None:
            self._said.put(None)
            raise ProcessEnded(self._how())
        return (unpacked(data),)

    def _how(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._child.wait(10)
            return f"it was killed by signal {-code}" if code < 0 else f"it ended with exit code {code}"
        return "it does not listen any more"


class Inbox:
    """What this process is told, seen from inside; where nobody is left to tell it anything, it ends at once."""

    def __init__(self) -> None:
        # Libraries print to what is called 1; what is said goes another way.
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._told: queue.Queue[bytes] = queue.Queue(AHEAD)
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Any:
        """The next value, once it is there."""
        return unpacked(self._told.get())

    def say(self, value: Any) -> None:
        """Say a value to whoever began this process."""
        _write(self._out, value)

    def _read(self) -> None:
        with os.fdopen(0, "rb", closefd=False) as file:
            while (data := _frame(file)) is not None:
                self._told.put(data)
        os._exit(1)  # the main thread may wait for others, in a library, for ever


def _listen(file: BinaryIO, said: queue.SimpleQueue[bytes | None]) -> None:
    with file:
        while (data := _frame(file)) is not None:
            said.put(data)
    said.put(None)


def _frame(file: BinaryIO) -> bytes | None:
    """The next value's bytes; None at the end, and where they are cut short."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = file.read(length)
    return data if len(data) == length else None


def _write(file: Any, value: Any) -> None:
    data = packed(value)
    file.write(_LENGTH.pack(len(data)))
    file.write(data)
    file.flush()


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    assert child.stdin is not None
    with contextlib.suppress(OSError):
        child.stdin.close()
