"""Writes the stores kept in ``golden``: real trees and heads of every kind, and what they gave.

``python golden_store.py FOLDER [METHOD ...]``. A folder that is there is never written again: what was released must
load for ever. A new format gets a new one beside it, with the methods whose files it changed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jobs_kit import at, config_of, write_stream

from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.operate.rollback import rollback
from gbdtlr.scoring import Scorer

METHODS = ("refit", "incremental", "ftrl")
ROWS = [
    {"x": x, "y": y, "c": c, "id": id_, "u": 7}
    for x in (None, -1.5, 0.25, 3.0)
    for y, c, id_ in ((0.5, "red", 3), (None, "green", 49), (2.0, None, None), (9.0, "never seen", 5000))
]


def main(folder: Path, methods: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    write_stream(Path("stream"))
    for method in methods:
        config = config_of(Path("stream"), method, method=method)
        for job, hours in ((train_trees, 0), (update_lr, 6)):
            assert job(config, at(5, hours)).status == "published"
        assert rollback(method, 1, at(5, 7)).status == "published"
        scores = [[Scorer.open(method, number).score_row(row) for row in ROWS] for number in (1, 2, 3)]
        shutil.copytree(method, folder / method)
        (folder / f"{method}.json").write_text(json.dumps(scores) + "\n")


if __name__ == "__main__":
    kept = Path(sys.argv[1]).absolute()
    assert not kept.exists()
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)  # so that manifests hold no path of this machine
        main(kept, sys.argv[2:] or METHODS)
