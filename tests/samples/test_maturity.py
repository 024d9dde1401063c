"""No sample is used before its label is known: whatever is planted in what is not known yet changes nothing."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples_kit import DAY, FOREVER, config, rows, with_column, write

from gbdtlr.errors import SamplesError
from gbdtlr.samples import Samples, read_batches
from gbdtlr.times import to_us

MINUTE = timedelta(minutes=1)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
minutes = st.integers(-100, 3000)


def everything(cfg, start, end, as_of, known_after=None) -> dict[str, list[object]]:
    parts = list(read_batches(cfg, start, end, as_of, known_after=known_after))
    if not parts:
        return {}
    samples = Samples.concat(parts)
    assert samples.known_us.max() <= to_us(as_of)
    assert (samples.known_us >= samples.event_us).all()
    arrays = {name: getattr(samples, name).tolist() for name in ("label", "weight", "event_us", "known_us")}
    return {**arrays, **samples.table.to_pydict()}


@st.composite
def logs(draw: st.DrawFn) -> pa.Table:
    """Events at any minute, in any order, with labels known any time later, never, or (a wrong clock) before."""
    n = draw(st.integers(1, 30))
    events = draw(st.lists(st.integers(0, 2000), min_size=n, max_size=n))
    delays = draw(st.lists(st.none() | st.integers(-50, 800), min_size=n, max_size=n))
    table = rows(n)
    at = [DAY + minute * MINUTE for minute in events]
    known = [None if d is None else t + d * MINUTE for t, d in zip(at, delays, strict=True)]
    table = with_column(table, "at", pa.array(at, pa.timestamp("us", "UTC")))
    return with_column(table, "known_at", pa.array(known, pa.timestamp("us", "UTC")))


def known_rows(table: pa.Table, as_of: datetime) -> np.ndarray:
    pairs = zip(table["at"].to_pylist(), table["known_at"].to_pylist(), strict=True)
    known = [k is not None and max(k, t) <= as_of for t, k in pairs]
    return np.array(known)


@QUICK
@given(table=logs(), start=minutes, end=minutes, as_of=minutes, group=st.integers(1, 8))
def test_a_planted_leak_is_never_read(tmp_path, table, start, end, as_of, group):
    """Everything that a job could not have known yet is replaced, and it reads the same."""
    start, end, as_of = (DAY + minute * MINUTE for minute in (start, end, as_of))
    cfg = config(write(table, tmp_path / "x.parquet", row_group_size=group))
    honest = everything(cfg, start, end, as_of)

    unknown = ~known_rows(table, as_of)
    labels = [None if u else v for u, v in zip(unknown, table["label"].to_pylist(), strict=True)]
    planted = with_column(table, "label", pa.array([7 if v is None else v for v in labels], pa.int8()))
    planted = with_column(planted, "price", pa.array(np.where(unknown, 1e9, 1.0)))
    planted = with_column(planted, "shop", ["leak" if u else "shop" for u in unknown])
    expected = with_column(table, "price", pa.array(np.ones(len(table))))
    expected = with_column(expected, "shop", ["shop"] * len(table))
    cfg_leak = config(write(planted, tmp_path / "leak.parquet", row_group_size=group))
    cfg_none = config(write(expected, tmp_path / "none.parquet", row_group_size=group))
    assert everything(cfg_leak, start, end, as_of) == everything(cfg_none, start, end, as_of)

    at = np.array([start <= t < end for t in table["at"].to_pylist()])
    assert len(honest.get("label", [])) == int((at & ~unknown).sum())


@QUICK
@given(
    table=logs(),
    moments=st.lists(minutes, min_size=2, max_size=5, unique=True),
    delay=st.none() | st.integers(1, 600),
)
def test_every_label_is_read_in_exactly_one_interval(tmp_path, table, moments, delay):
    keys = {} if delay is None else {"label_time": None, "label_delay": delay * MINUTE}
    cfg = config(write(table, tmp_path / "x.parquet", row_group_size=3), **keys)
    ends = [DAY + minute * MINUTE for minute in sorted(moments)]
    whole = everything(cfg, DAY, FOREVER, ends[-1], ends[0])
    pieces = [everything(cfg, DAY, FOREVER, b, a) for a, b in itertools.pairwise(ends)]
    counts = [piece.get("count", []) for piece in pieces]
    assert sorted(itertools.chain(*counts)) == sorted(whole.get("count", []))


def test_a_label_is_mature_a_delay_after_its_event(tmp_path):
    cfg = config(write(rows(), tmp_path / "x.parquet"), label_time=None, label_delay=timedelta(hours=2))
    assert everything(cfg, DAY, FOREVER, DAY + timedelta(hours=4))["count"] == [0, 1, 2]
    assert everything(cfg, DAY, FOREVER, DAY + timedelta(hours=4) - timedelta(microseconds=1))["count"] == [0, 1]


def test_a_label_that_should_be_known_must_be_there(tmp_path):
    table = with_column(rows(), "label", [0, 1, None, 0, 1, None, 0, 1])
    cfg = config(write(table, tmp_path / "x.parquet"))
    assert everything(cfg, DAY, FOREVER, DAY + timedelta(hours=2))["label"] == [0, 1]
    with pytest.raises(SamplesError, match=r"x\.parquet: 2 rows with no label though it should be known by now"):
        everything(cfg, DAY, FOREVER, FOREVER)
