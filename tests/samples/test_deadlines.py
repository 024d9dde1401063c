"""Rows with a deadline: final at it and not before, whatever came sooner; until then, read as they look so far."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples_kit import DAY, FOREVER, FORMATS, config, rows, with_column, write

from gbdtlr.config import AT_ONCE, Config, SamplesConfig
from gbdtlr.engine import LOCAL
from gbdtlr.errors import ConfigError, SamplesError, SchemaError
from gbdtlr.jobs.window_parts import WindowParts
from gbdtlr.samples import Samples, files_of, known_in, read_batches
from gbdtlr.times import to_us

MINUTE, US = timedelta(minutes=1), timedelta(microseconds=1)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STAMP = pa.timestamp("us", "UTC")
WINDOW = 300 * MINUTE
minutes = st.integers(-100, 3000)


def plain(parts: list[Samples]) -> dict[str, list[Any]]:
    if not parts:
        return {}
    samples = Samples.concat(parts)
    assert samples.outcome_us is not None
    names = ("label", "weight", "event_us", "known_us", "outcome_us")
    return {**{name: getattr(samples, name).tolist() for name in names}, **samples.table.to_pydict()}


def final(cfg: SamplesConfig, start: datetime, end: datetime, as_of: datetime, after: datetime | None = None) -> Any:
    return plain(list(read_batches(cfg, start, end, as_of, known_after=after)))


def unfinal(cfg: SamplesConfig, start: datetime, as_of: datetime) -> Any:
    read = WindowParts.read(LOCAL, cfg, (start, as_of + US), as_of, list, unfinal=True)
    return plain([samples for batches in read.parts for samples in batches])


@st.composite
def logs(draw: st.DrawFn) -> pa.Table:
    """Events at any minute, in any order; outcomes never or any time after, too late among them; deadlines likewise."""
    n = draw(st.integers(1, 25))
    events, until = (draw(st.lists(st.integers(0, 2000), min_size=n, max_size=n)) for _ in range(2))
    delays = draw(st.lists(st.none() | st.integers(-50, 800), min_size=n, max_size=n))
    at = [DAY + minute * MINUTE for minute in events]
    came = [None if d is None else t + d * MINUTE for t, d in zip(at, delays, strict=True)]
    table = with_column(rows(n), "at", pa.array(at, STAMP))
    table = with_column(table, "known_at", pa.array(came, STAMP))
    table = with_column(table, "label", pa.array([int(c is not None) for c in came], pa.int8()))
    ends = [t + minute * MINUTE for t, minute in zip(at, until, strict=True)]
    return table.append_column("until", pa.array(ends, STAMP))


def with_deadlines(path: Path, by_column: bool, **changes: Any) -> SamplesConfig:
    keys = {"label_deadline": "until"} if by_column else {"label_window": WINDOW}
    return config(path, **{"unfinal": "weigh", **keys, **changes})


@QUICK
@given(table=logs(), start=minutes, as_of=minutes, group=st.integers(1, 8), by_column=st.booleans())
def test_every_row_is_final_or_not_as_it_was_then(tmp_path, table, start, as_of, group, by_column):
    """Against rows looked at one by one; together they are all that have happened."""
    start, as_of = DAY + start * MINUTE, DAY + as_of * MINUTE
    cfg = with_deadlines(write(table, tmp_path / "x.parquet", row_group_size=group), by_column)
    expected: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for row in table.to_pylist():
        until = max(row["until"], row["at"]) if by_column else row["at"] + WINDOW
        came = None if row["known_at"] is None else max(row["known_at"], row["at"])
        if start <= row["at"] <= as_of:
            is_final = until <= as_of
            label = came is not None and came <= (until if is_final else min(until, as_of))
            expected[is_final].append((row["count"], int(label)))
    found = final(cfg, start, as_of + US, as_of), unfinal(cfg, start, as_of)
    pairs = [list(zip(each.get("count", []), each.get("label", []), strict=True)) for each in found]
    assert pairs == [expected[True], expected[False]]
    assert all(known <= to_us(as_of) for known in found[0].get("known_us", []))
    assert all(known > to_us(as_of) for known in found[1].get("known_us", []))


@QUICK
@given(table=logs(), as_of=minutes, group=st.integers(1, 8), by_column=st.booleans())
def test_what_comes_later_is_never_read(tmp_path, table, as_of, group, by_column):
    """Outcomes after ``as_of``, and the labels of rows without one so far, are replaced; both readings are the same."""
    as_of = DAY + as_of * MINUTE
    cfg = with_deadlines(write(table, tmp_path / "x.parquet", row_group_size=group), by_column)
    honest = final(cfg, DAY, as_of + US, as_of), unfinal(cfg, DAY, as_of)
    known_at, labels = [], []
    for row in table.to_pylist():
        until = max(row["until"], row["at"]) if by_column else row["at"] + WINDOW
        hidden = until > as_of and (row["known_at"] is None or max(row["known_at"], row["at"]) > as_of)
        known_at.append(max(as_of, row["at"]) + US if hidden else row["known_at"])
        labels.append(7 if hidden else row["label"])
    planted = with_column(table, "known_at", pa.array(known_at, STAMP))
    planted = with_column(planted, "label", pa.array(labels, pa.int8()))
    cfg = with_deadlines(write(planted, tmp_path / "y.parquet", row_group_size=group), by_column)
    assert (final(cfg, DAY, as_of + US, as_of), unfinal(cfg, DAY, as_of)) == honest


@QUICK
@given(table=logs(), moments=st.lists(minutes, min_size=2, max_size=5, unique=True), by_column=st.booleans())
def test_every_row_becomes_final_in_exactly_one_interval(tmp_path, table, moments, by_column):
    cfg = with_deadlines(write(table, tmp_path / "x.parquet", row_group_size=3), by_column)
    ends = [DAY + minute * MINUTE for minute in sorted(moments)]
    whole = final(cfg, DAY, FOREVER, ends[-1], ends[0])
    pieces = [final(cfg, DAY, FOREVER, b, a) for a, b in itertools.pairwise(ends)]
    assert sorted(itertools.chain(*(piece.get("count", []) for piece in pieces))) == sorted(whole.get("count", []))


@QUICK
@given(table=logs(), now=minutes, by_column=st.booleans())
def test_a_file_says_when_it_has_something_new(tmp_path, table, now, by_column):
    """Row groups that hold nothing final are left alone, but the moment they do is not missed."""
    path = write(table, tmp_path / "x.parquet", row_group_size=2)
    cfg, now = with_deadlines(path, by_column), DAY + now * MINUTE
    found = [file for file in files_of(cfg, DAY, FOREVER) if file.path == str(path)]
    for file in found:
        tally = known_in(cfg, file, DAY, now, now).tally
        later = final(cfg, DAY, now + US, FOREVER, now).get("known_us", [])
        if later:
            assert tally.next_known_us is not None
            assert tally.next_known_us <= min(later)


def test_at_once_every_label_is_known_as_its_row_happens(tmp_path):
    cfg = with_deadlines(write(rows(), tmp_path / "x.parquet"), False, unfinal=AT_ONCE)
    now = DAY + timedelta(hours=3)
    assert final(cfg, DAY, now + US, now)["label"] == [1, 0, 0, 1]
    waiting = with_deadlines(write(rows(), tmp_path / "x.parquet"), False)
    assert final(waiting, DAY, now + US, now) == {}
    assert final(cfg, DAY, FOREVER, FOREVER)["label"] == final(waiting, DAY, FOREVER, FOREVER)["label"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_agree(tmp_path, suffix):
    table = with_column(
        rows(), "known_at", [None if i % 3 else t for i, t in enumerate(rows()["known_at"].to_pylist())]
    )
    now = DAY + timedelta(hours=7)
    cfg = with_deadlines(write(table, tmp_path / f"x{suffix}"), False)
    assert final(cfg, DAY, now, now)["label"] == [1, 0, 0]
    assert unfinal(cfg, DAY, now)["label"] == [1, 0, 0, 1, 0]


def test_an_outcome_after_the_deadline_is_none(tmp_path):
    late = with_column(rows(), "known_at", pa.array([t + WINDOW + US for t in rows()["at"].to_pylist()], STAMP))
    cfg = with_deadlines(write(late, tmp_path / "x.parquet"), False)
    assert set(final(cfg, DAY, FOREVER, FOREVER)["label"]) == {0}


def test_unsound_rows_are_told(tmp_path):
    table = with_column(rows(), "known_at", pa.nulls(8, STAMP))
    cfg = with_deadlines(write(table, tmp_path / "x.parquet"), False)
    with pytest.raises(SamplesError, match="3 rows with a label of 1 and no known_at, which says when"):
        final(cfg, DAY, FOREVER, FOREVER)
    assert unfinal(cfg, DAY, DAY + timedelta(hours=3))["label"] == [0] * 4
    table = rows().append_column("until", pa.array([None, *rows()["at"].to_pylist()[1:]], STAMP))
    cfg = with_deadlines(write(table, tmp_path / "x.parquet"), True)
    with pytest.raises(SamplesError, match="1 rows with no until"):
        final(cfg, DAY, FOREVER, FOREVER)
    with pytest.raises(SchemaError, match="until is missing"):
        final(with_deadlines(write(rows(), tmp_path / "x.parquet"), True), DAY, FOREVER, FOREVER)


def test_thinned_negatives_make_up_for_the_others_before_they_are_final_too(tmp_path):
    table = with_column(rows(4000, step=MINUTE), "label", np.zeros(4000, np.int8))
    table = with_column(table, "known_at", pa.nulls(4000, STAMP))
    cfg = with_deadlines(write(table, tmp_path / "x.parquet"), False, negative_keep_rate=0.25)
    found = unfinal(cfg, DAY, DAY + 250 * MINUTE)
    assert set(found["weight"]) == {4.0}
    assert sum(found["weight"]) == pytest.approx(251, rel=0.3)


TABLE = {"path": "x", "event_time": "t", "numeric": ["n"]}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"label_delay": "1h", "label_window": "1h"}, "need label_time"),
        ({"label_time": "k", "label_window": "1h", "label_deadline": "u"}, "keep one"),
        ({"label_time": "k", "unfinal": "weigh"}, "needs to know when labels are final"),
        ({"label_time": "k", "label_window": "1h", "unfinal": "guess"}, "choose one of wait, weigh"),
        ({"label_time": "k", "label_window": "1h", "unfinal": AT_ONCE}, "choose one of wait, weigh"),
        ({"label_time": "k", "label_deadline": "n"}, "label_deadline = 'n' cannot be a feature too"),
        ({"label_time": "k", "label_window": "7d"}, r"label_window is 7d, as long as \[head\] window or longer"),
        ({"label_time": "k", "label_window": "28d"}, r"label_window is 28d, as long as \[trees\] window or longer"),
    ],
)
def test_configs_that_cannot_be(keys, said):
    with pytest.raises(ConfigError, match=said):
        Config.from_dict({"samples": {**TABLE, **keys}})
