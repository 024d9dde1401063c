"""The click stream with its clicks late: the same rows and labels, each click so many times as long after its view."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import clickstream, labels
from gbdtlr.config import AT_ONCE
from gbdtlr.metrics import Quality
from gbdtlr.replay import ReplayResult
from gbdtlr.replay.rows import Rows, read_all

HOUR = timedelta(hours=1)


def whole(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("dt=*/hour=*.parquet"))])


def test_clicks_are_so_many_times_as_late(tmp_path: Path) -> None:
    clickstream.write(tmp_path / "clicks", 3000, 1)
    labels.write_late(tmp_path / "clicks", tmp_path / "late", 6)
    before, late = whole(tmp_path / "clicks"), whole(tmp_path / "late")
    assert before.drop_columns("label_ts") == late.drop_columns("label_ts")
    clicked = before["label"].to_numpy() == 1
    assert late["label_ts"].null_count == (~clicked).sum()
    at, came, then = (
        table[name].cast(pa.int64()).filter(pa.array(clicked)).to_numpy()
        for table, name in ((before, "ts"), (before, "label_ts"), (late, "label_ts"))
    )
    np.testing.assert_array_equal(then - at, 6 * (came - at))
    samples = labels.config_of(tmp_path / "late", 6 * HOUR).samples
    found = read_all(samples, clickstream.START, clickstream.START + timedelta(days=1))
    assert found is not None
    assert found.label.sum() == clicked.sum()


def test_the_gap_is_between_waiting_and_knowing_at_once() -> None:
    rng = np.random.default_rng(0)
    label = (rng.random(4000) < 0.3).astype(np.int8)
    rows = Rows(np.arange(4000), label, np.ones(4000))
    margins = {
        name: by * (label - 0.3) for name, by in (("wait", 0.0), ("weigh", 0.6), (AT_ONCE, 1.0), ("two-speed", 0.6))
    }
    told = {"labels": [{"name": name, "unfinal": 0.25} for name in labels.STRATEGIES]}
    naive = ReplayResult(rows, {"two-speed": margins["wait"]}, {})
    found = labels.figures(ReplayResult(rows, margins, told), naive)
    ne = {name: Quality.of(margin, label).ne or 0.0 for name, margin in margins.items()}
    assert {name: each["gap closed"] for name, each in found.items()} == {
        "wait": "0%",
        "naive": "0%",
        "weigh": f"{(ne['wait'] - ne['weigh']) / (ne['wait'] - ne[AT_ONCE]):.0%}",
        AT_ONCE: "100%",
    }
    assert found["weigh"]["NE"] == pytest.approx(ne["weigh"])
