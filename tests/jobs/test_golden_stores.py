"""Stores of real models that format 1 wrote: they load, score as they did and are built on, for ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from golden_store import ROWS
from jobs_kit import at, config_of, whole

from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.operate.verify import verify
from gbdtlr.release import Release
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(params=sorted(f"{found.parts[-2]}/{found.stem}" for found in GOLDEN.glob("*/*.json")))
def kept(request):
    return GOLDEN / request.param


def test_is_whole_and_scores_as_it_did(kept):
    assert verify(str(kept)).ok
    expected = json.loads(kept.with_suffix(".json").read_text())
    for number, scores in enumerate(expected, start=1):
        scorer = Scorer.open(str(kept), number)
        np.testing.assert_allclose([scorer.score_row(row) for row in ROWS], scores, rtol=1e-12)
        np.testing.assert_allclose(scorer.score(pd.DataFrame(ROWS)), scores, rtol=1e-12)
    assert expected[0] == expected[2] != expected[1]


def test_the_counts_of_files_are_found(kept):
    """In a file of the head, or in its manifest, where they were first."""
    store = Store.open(str(kept))
    base = Release.load(store, store.entry(2))
    ledger = Ledger.of(base, config_of(Path("nowhere"), method=kept.name))
    if kept.parent.name == "format1":  # the first days' heads kept none
        assert ledger.counted is None
    else:
        assert (base.counts is None) == (kept.parent.name == "format1-counted")
        assert len(ledger.counted) == 9
        assert sum(count.known for count in ledger.counted.values()) == 2500


def test_is_built_on(kept, stream, tmp_path):
    store = str(shutil.copytree(kept, tmp_path / "store"))
    config = config_of(stream, store, method=kept.name)
    for job, hours in ((update_lr, 12), (train_trees, 18), (update_lr, 24)):
        result = job(config, at(5, hours))
        assert (result.status, result.reason) == ("published", "")
    assert whole(Store.open(store)).number == 6
