"""A rank alone: what LightGBM says to its rows, seen from whoever tells it them."""

from __future__ import annotations

import numpy as np

from gbdtlr.engine.process import AHEAD, Process
from gbdtlr.trees.plan import RANK, Plan, Refusal


def test_a_refusal_while_rows_are_told_is_heard_when_they_are_all_told() -> None:
    rank = Process(RANK, 1)
    n_blocks, n = 20 + AHEAD, 50_000  # more than lies between the processes
    try:
        rank.tell(Plan({"verbosity": -1}, ("x", "y"), (), b"no bins", (n_blocks * n, 0), False))
        for _ in range(n_blocks):
            rank.tell((np.zeros((n, 2)), np.zeros(n, np.int8), np.ones(n)))
        (said,) = rank.hear(60.0)
        assert isinstance(said, Refusal)
        assert not said.is_passing
        assert "binary" in said.reason or "file" in said.reason
    finally:
        rank.end()
