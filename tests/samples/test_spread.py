"""A join over parts that are in many places gives the batches, and the counts, of one that reads in order of time."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gbdtlr.compute import threads
from gbdtlr.compute.parts import Parts
from gbdtlr.config import SamplesConfig
from gbdtlr.errors import SamplesError
from gbdtlr.samples import Plan, Samples, Tally, Window, deal, joined_batches, read_blocks
from gbdtlr.samples.batch import Samples as Batch
from gbdtlr.samples.join import spread
from gbdtlr.samples.join.blocks import joined_impressions
from gbdtlr.samples.join.key_times import KeyTimes, are_among, repeats_in
from tests.samples.outcomes_kit import MINUTE, STAMP, clicks, samples_config, shown
from tests.samples.samples_kit import DAY, write

moment = st.integers(0, 36).map(lambda n: DAY + n * 5 * MINUTE)
impression = st.tuples(moment, st.sampled_from(["a", "b", "c", "d", None]), st.integers(0, 2))
outcome = st.tuples(moment, st.sampled_from(["a", "b", "c", "z", None]), st.integers(0, 40), st.booleans())


def plain(batches: list[Samples]) -> list[dict[str, Any]]:
    names = ("label", "weight", "event_us", "known_us", "outcome_us")
    return [{**{name: getattr(each, name).tolist() for name in names}, **each.table.to_pydict()} for each in batches]


def both(cfg: SamplesConfig, window: Window, batch_rows: int) -> tuple[Any, Any]:
    """What the two ways give: batches and tally, or the error."""
    found = []
    for is_spread in (False, True):
        tally = Tally()
        if is_spread:
            plan = Plan.of(cfg, window, None)
            shares = list(read_blocks(deal(plan.files), cfg, window, plan.reach, batch_rows))
            batches, tally = list(plan.samples(Parts(shares), batch_rows)), plan.tally
        else:
            batches = list(joined_batches(cfg, window, batch_rows, tally, None))
        found.append((plain(batches), asdict(tally)))
    return found[0], found[1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    impressions=st.lists(impression, min_size=1, max_size=20),
    outcomes=st.lists(outcome, min_size=1, max_size=14),
    as_of=moment,
    after=st.none() | moment,
    unfinal=st.booleans(),
    batch_rows=st.sampled_from([1, 3, 1000]),
    rows=st.sampled_from([1, 4, 1000]),
    seed=st.integers(0, 99),
)
def test_the_same_batches_and_counts(tmp_path, impressions, outcomes, as_of, after, unfinal, batch_rows, rows, seed):
    rng = np.random.default_rng(seed)
    for path in tmp_path.rglob("*.parquet"):
        path.unlink()
    at, key, x = (list(each) for each in zip(*impressions, strict=True))
    split(shown(at, pa.array(key, pa.string()), [float(each) for each in x]), tmp_path / "shown", rng)
    click_at, click_key, wait, value = (list(each) for each in zip(*outcomes, strict=True))
    landed = pa.array([t + n * MINUTE for t, n in zip(click_at, wait, strict=True)], STAMP)
    split(clicks(click_at, pa.array(click_key, pa.string()), landed=landed, yes=value), tmp_path / "clicks", rng)
    told = {"window": "30m", "landed_time": "landed", "value": "yes"}
    cfg = samples_config(tmp_path, {"negative_keep_rate": 0.7}, told)
    after = None if unfinal else after
    window = Window.of(cfg, DAY + 15 * MINUTE, DAY + 150 * MINUTE, as_of, after, unfinal=unfinal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread, "ROWS", rows)
        patch.setattr("gbdtlr.samples.dealing.SHARE_BYTES", 3000)
        one, other = both(cfg, window, batch_rows)
    assert other == one


def split(table: pa.Table, folder: Path, rng: np.random.Generator) -> None:
    """The rows in any order in a few files."""
    table = table.take(rng.permutation(len(table)))
    cuts = [0, *sorted(rng.integers(0, len(table) + 1, 3).tolist()), len(table)]
    for i, (start, stop) in enumerate(pairwise(cuts)):
        if start < stop:
            write(table.slice(start, stop - start), folder / f"{i}.parquet")


def test_what_repeats_is_told_by_key_and_time():
    key = np.array([1, 1, 2, 1, 2, 3], np.uint64)
    moments = KeyTimes(key, np.array([0, 10, 5, 31, 5, 0]))
    found = repeats_in(moments, 20)
    assert (found.key.tolist(), found.event_us.tolist()) == ([1], [10])
    found = repeats_in(moments, 21)
    assert (found.key.tolist(), found.event_us.tolist()) == ([1, 1], [10, 31])
    assert are_among(moments, found).tolist() == [False, True, False, True, False, False]
    assert not are_among(moments, KeyTimes.join([])).any()
    assert not len(are_among(KeyTimes.join([]), found))


def test_what_travels_has_no_more_texts_than_rows(tmp_path):
    n = 500
    at = [DAY + timedelta(seconds=i) for i in range(n)]
    table = shown(at, [f"k{i}" for i in range(n)]).append_column("shop", pa.array([f"shop {i}" for i in range(n)]))
    write(table, tmp_path / "shown/a.parquet")
    write(clicks([DAY], ["k0"]), tmp_path / "clicks/a.parquet")
    cfg = samples_config(tmp_path, {"wide": ["shop"]})
    window = Window.of(cfg, DAY, DAY + timedelta(hours=1), DAY + timedelta(hours=9), None)
    plan = Plan.of(cfg, window, None)
    (block,) = read_blocks(deal(plan.files), cfg, window, plan.reach, 1 << 16)
    some = joined_impressions(block.slices(100, 110))
    assert some.samples is not None
    column = some.samples.table["shop"]
    assert sum(len(chunk.dictionary) for chunk in column.chunks) == 10
    assert column.to_pylist() == [f"shop {i}" for i in range(100, 110)]
    whole = joined_impressions([*block.slices(0, 100), (some, 0, 10), *block.slices(110, n)])
    assert isinstance(whole.samples, Batch)
    assert whole.samples.table["shop"].to_pylist() == table["shop"].to_pylist()


def test_impressions_are_looked_up_side_by_side(tmp_path, monkeypatch):
    """What one part notes of the outcomes is no other's, and all of it is counted."""
    n = 2000
    at = [DAY + timedelta(seconds=i) for i in range(n)]
    write(shown(at, [f"k{i}" for i in range(n)]), tmp_path / "shown/a.parquet")
    write(clicks(at[::2], [f"k{i}" for i in range(0, n, 2)]), tmp_path / "clicks/a.parquet")
    monkeypatch.setattr(spread, "ROWS", 50)
    cfg = samples_config(tmp_path)
    window = Window.of(cfg, DAY, DAY + timedelta(hours=1), DAY + timedelta(hours=9), None)
    with threads.limited(4):
        one, other = both(cfg, window, 300)
    assert other == one
    assert other[1]["joined"]["positives"] == n // 2
    assert (other[1]["joined"]["unmatched"], other[1]["joined"]["outcomes"]) == (0, n // 2)


def test_repeats_without_end_are_an_error(tmp_path):
    write(clicks([DAY], ["same"]), tmp_path / "clicks/a.parquet")
    cfg = samples_config(tmp_path, None, {"max_outcomes": 1})
    at = [DAY + timedelta(seconds=i) for i in range(9)]
    write(shown(at, ["same"] * 9), tmp_path / "shown/a.parquet")
    window = Window.of(cfg, DAY, DAY + timedelta(hours=1), DAY + timedelta(hours=9), None)
    plan = Plan.of(cfg, window, None)
    blocks = Parts(list(read_blocks(deal(plan.files), cfg, window, plan.reach, 100)))
    with pytest.raises(SamplesError, match=r"8 impressions have a key .* max_outcomes allows 1; check \[samples\] key"):
        plan.samples(blocks, 100)
