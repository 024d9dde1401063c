"""A worker: the process that ``gbdtlr serve`` starts several of. Spawned, never forked: it inherits no thread or lock.

Its first line of standard input is what it is to do, in JSON; that input ends when its parent does. What happens is
told to the parent on standard output, a line of JSON for each event.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import sys
from typing import Any

from gbdtlr.config import ServeConfig
from gbdtlr.errors import GbdtlrError
from gbdtlr.serving.metrics import SLOT_BYTES

READY, FAILED = "serve.worker_ready", "serve.worker_failed"


def main() -> int:
    """Serve as the line on standard input says, and return the exit code."""
    tell = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not be taken for an event
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)  # not a byte more: the loop waits for the end of the rest
        if not piece:
            return 1
        line += piece
    task = json.loads(line)

    def event(name: str, **fields: Any) -> None:
        try:
            tell.write(json.dumps({"event": name, **fields}) + "\n")
        except OSError:
            return  # the parent is gone, which the loop notices

    from gbdtlr.compute import threads
    from gbdtlr.serving.server import Place, serve

    threads.set_threads(task["threads"])
    memory = mmap.mmap(task["memory"], task["settings"]["workers"] * SLOT_BYTES)
    place = Place(socket.socket(fileno=task["listener"]), memory, task["index"], parent=0)
    try:
        settings = ServeConfig.from_dict(task["settings"])
        serve(task["store"], settings, place, event, lambda release: event(READY, release=release))
    except GbdtlrError as error:
        event(FAILED, error=type(error).__name__, message=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
