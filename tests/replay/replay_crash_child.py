"""A replay that kills itself: ``python replay_crash_child.py FOLDER OUT POINT``, with SIGKILL, at one of ``POINTS``.

published: a head is live, and the journal does not know of it yet
trees: new trees are in the store, and not yet live
line: half of a line of the journal is written
arrays: the margins of a day are beside their place, not in it
rival: likewise, of a rival
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from replay_kit import DAY, HOUR, START, config

from gbdtlr.replay import journal, replay
from gbdtlr.store import Store

POINTS = ("published", "trees", "line", "arrays", "rival")
STRATEGIES = ("two-speed", "lightgbm-refit")


def run(folder: Path, out: Path) -> Any:
    """The replay that is killed, or goes on."""
    kept = config(folder / "stream.parquet")
    return replay(kept, START + DAY, START + 3 * DAY, DAY, 4 * HOUR, strategies=STRATEGIES, out=out)


def killed(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    """Have the point reached end the process."""
    real_append, real_write, real_line, real_replace = (
        Store.append,
        Store.write_version,
        journal.Journal.append,
        os.replace,
    )

    def append(self: Store, entry: Any, number: int) -> Any:
        done = real_append(self, entry, number)
        return killed() if number == 3 else done

    def write_version(self: Store, kind: str, files: Any, manifest: Any, as_of: Any, under: Any = None) -> Any:
        done = real_write(self, kind, files, manifest, as_of, under)
        return killed() if kind == "trees" and as_of > START + DAY + timedelta(hours=1) else done

    def line(self: journal.Journal, record: Any) -> None:
        if len(self.lines()) < 4:
            return real_line(self, record)
        text = json.dumps(record)
        with open(self.folder / "steps.jsonl", "a") as file:
            file.write(text[: len(text) // 2])
        return killed()

    def replace(source: Any, target: Any) -> None:
        rival = "lightgbm-refit" in str(target)
        if str(target).endswith("segment-00001.npz") and rival == (point == "rival"):
            killed()
        real_replace(source, target)

    if point == "published":
        Store.append = append  # type: ignore[method-assign]
    elif point == "trees":
        Store.write_version = write_version  # type: ignore[method-assign]
    elif point == "line":
        journal.Journal.append = line  # type: ignore[method-assign, assignment]
    else:
        os.replace = replace  # type: ignore[assignment]


if __name__ == "__main__":
    arm(sys.argv[3])
    run(Path(sys.argv[1]), Path(sys.argv[2]))
