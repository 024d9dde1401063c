"""The benchmark of the prior: rows are fitted once they are known, and the intervals are of what is compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import heads, served
from gbdtlr.config import Config
from gbdtlr.metrics import Quality
from gbdtlr.samples import Samples
from gbdtlr.times import to_us

CONFIG = {"samples": {"path": "-", "event_time": "-", "label_delay": "6h", "numeric": ["x"]}}
START, HOUR = datetime(2024, 3, 1, tzinfo=UTC), timedelta(hours=1)


class Rows:
    """Rows that no trees have coded: the one piece that they are in."""

    def __init__(self, rows, model):
        self.rows, self.model = rows, model


@pytest.fixture(scope="module")
def samples():
    """A day of rows, known up to six hours later."""
    rng = np.random.default_rng(0)
    event = np.sort(rng.integers(0, 24 * 3_600_000_000, 2000)) + to_us(START)
    known = event + rng.integers(0, 6 * 3_600_000_000, 2000)
    label = (rng.random(2000) < 0.3).astype(np.int8)
    return Samples(pa.table({"x": rng.normal(size=2000)}), label, np.ones(2000), event, known)


def test_every_row_is_judged_once_by_what_was_live_when_it_happened(samples):
    stream, judged = served.Stream(None, samples), []
    moments = [START + hours * HOUR for hours in range(0, 31, 3)]
    for i in range(1, len(moments)):
        for start, end in zip(moments[:i], [*moments[1:i], moments[i]], strict=True):
            rows = stream.newly_known(moments[i - 1], moments[i], start, end)
            assert (samples.event_us[rows] >= to_us(start)).all()
            assert (samples.event_us[rows] < to_us(end)).all()
            assert (samples.known_us[rows] <= to_us(moments[i])).all()
            judged.append(rows)
    assert np.sort(np.concatenate(judged)).tolist() == list(range(2000))


def test_the_difference_is_that_of_both_ne_and_its_error_that_of_blocks(samples):
    rng = np.random.default_rng(1)
    one, other = rng.normal(-0.8, 0.3, (2, 2000))
    apart, error = served.difference(samples, one, other)
    ne = [Quality.of(margin, samples.label, samples.weight).ne for margin in (one, other)]
    assert apart == pytest.approx(ne[0] - ne[1])
    assert 0 < error < 0.05
    assert served.difference(samples, one, one) == (0.0, 0.0)


def test_the_old_head_judges_by_what_was_live_last(samples, monkeypatch):
    monkeypatch.setattr(heads, "pieces", list)
    stream = served.Stream(Config.from_dict(CONFIG), samples)
    old, blend = heads.Old(), heads.Blend()
    old.codes = blend.codes = lambda _, model, rows: Rows(rows, model)
    old.live = blend.live = [(START + hours * HOUR, f"trees {hours}", f"fits {hours}") for hours in (3, 6, 9)]
    rows = {
        name: [(rows, candidates) for (rows,), candidates in system._served(stream, START + 12 * HOUR)]
        for name, system in {"old": old, "blend": blend}.items()
    }
    assert [candidates for _, candidates in rows["blend"]] == ["fits 3", "fits 6", "fits 9"]
    ((judged, candidates),) = rows["old"]
    assert (candidates, judged.model) == ("fits 9", "trees 9")
    by_blend = np.concatenate([each.rows for each, _ in rows["blend"]])
    assert by_blend.tolist() == judged.rows.tolist()
    assert len(by_blend)


def test_a_store_is_begun_anew_when_its_time_is_over(monkeypatch):
    served_by = []
    monkeypatch.setattr(heads.Blend, "serve", lambda blend, *_: served_by.append(blend))
    renewed = heads.Renewed(6 * HOUR, with_hindsight=False)
    for hours in range(0, 18, 3):
        renewed.serve(None, None, START + hours * HOUR, None)
    by = [id(each) for each in served_by]
    assert [by.index(each) for each in by] == [0, 0, 2, 2, 4, 4]
    assert not any(each.with_hindsight for each in served_by)
