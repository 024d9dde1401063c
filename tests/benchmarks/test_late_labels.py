"""The click stream with its clicks late: the same rows and labels, each click so many times as long after its view."""

from __future__ import annotations

import re
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
    truth = rng.choice([0.1, 0.6], 4000)
    label = (rng.random(4000) < truth).astype(np.int8)
    rows = Rows(np.arange(4000) * labels.BLOCK_US // 100, label, np.ones(4000))
    margins = {
        name: by * np.log(truth / (1 - truth))
        for name, by in (("wait", 0.3), ("weigh", 0.6), (AT_ONCE, 1.0), ("two-speed", 0.6))
    }
    told = {"labels": [{"name": name, "unfinal": 0.25} for name in labels.STRATEGIES]}
    naive = ReplayResult(rows, {"two-speed": margins["wait"]}, {})
    found = labels.figures(ReplayResult(rows, margins, told), naive, truth)
    ne = {name: Quality.of(margin, truth).ne or 0.0 for name, margin in margins.items()}
    assert found["weigh"]["NE of the truth"] == pytest.approx(ne["weigh"])
    assert found["weigh"]["NE"] == pytest.approx(Quality.of(margins["weigh"], label).ne)
    share = (ne["wait"] - ne["weigh"]) / (ne["wait"] - ne[AT_ONCE])
    point, low, high = (float(each) / 100 for each in re.findall(r"\d+", found["weigh"]["gap closed"]))
    assert point == pytest.approx(share, abs=0.01)
    assert share - 0.05 < low <= point <= high < share + 0.05
    assert [found[name]["gap closed"] for name in ("wait", "naive")] == 2 * ["0% (0% to 0%)"]
    assert found[AT_ONCE]["gap closed"] == "100% (100% to 100%)"


def test_where_chance_may_leave_no_gap_any_share_of_it_may_be_closed() -> None:
    rng = np.random.default_rng(0)
    event_us, gap = np.arange(4000) * labels.BLOCK_US // 100, rng.normal(0.01, 1.0, 4000)
    assert "(-inf% to inf%)" in labels.gap_closed(event_us, gap / 2, gap - gap.mean() + 0.001)
    assert labels.gap_closed(event_us, gap, -np.ones(4000)) == "no gap"


def test_what_is_judged_is_judged_by_its_own_truth(tmp_path: Path) -> None:
    clickstream.write(tmp_path / "clicks", 3000, 2)
    config, table = labels.config_of(tmp_path / "clicks", HOUR), whole(tmp_path / "clicks")
    samples = read_all(config.samples, clickstream.START, clickstream.START + timedelta(days=2))
    assert samples is not None
    result = ReplayResult(Rows(samples.event_us, samples.label, samples.weight), {}, {})
    np.testing.assert_array_equal(labels.truth_of(config, result, (0, 2)), table["true_probability"].to_numpy())
    with pytest.raises(SystemExit, match="not those of the stream"):
        labels.truth_of(config, result, (0, 1))


def test_one_window_of_one_stream_can_be_asked_for() -> None:
    assert labels.asked(None) == ((1, 6, 24), 1)
    assert labels.asked("6h") == ((6,), 1)
    assert labels.asked("24h/3") == ((24,), 3)
    for wrong in ("", "2h", "6h/x", "6"):
        with pytest.raises(SystemExit, match="1h, 6h, 24h"):
            labels.asked(wrong)
