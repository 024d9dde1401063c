"""One of many processes that run the real jobs at once: ``python job_race_child.py FOLDER URL I N``.

Runs N jobs, every third a training, each a little later in the data's time than its last. Waits for a line on
stdin, so that all begin together, and prints as JSON how each ended.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jobs_kit import at, config_of

from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.store import Store


def main(folder: Path, url: str, i: int, n: int) -> None:
    config = config_of(folder, url)
    Store.open(url).live()
    train_trees(config_of(folder, f"memory://{i}"), at(5))  # compiled and imported before the race
    print("ready", flush=True)
    sys.stdin.readline()
    ends = []
    for k in range(n):
        job = train_trees if (i + k) % 3 == 0 else update_lr
        ends.append({**job(config, at(5, 1 + 4 * k + i / 8)).as_dict(), "job": job.__name__})
    print(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
