"""The benchmark of the prior: rows are fitted once they are known, and the intervals are of what is compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import served
from gbdtlr.metrics import Quality
from gbdtlr.samples import Samples
from gbdtlr.times import to_us

START, HOUR = datetime(2024, 3, 1, tzinfo=UTC), timedelta(hours=1)


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
