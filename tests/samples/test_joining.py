"""Impressions joined with their outcomes are the samples that looking at every pair finds, however they lie."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from gbdtlr.compute.threads import limited
from gbdtlr.errors import ConfigError, GbdtlrError, NoSamplesError, SamplesError, SchemaError
from gbdtlr.samples import Samples, Tally, opening, read, read_batches
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.opening import read_together
from gbdtlr.times import from_us
from tests.samples.outcomes_kit import MINUTE, STAMP, by_hand, clicks, minutes, samples_config, shown
from tests.samples.samples_kit import DAY, FORMATS, write, write_text

HOUR = timedelta(hours=1)


def joined(folder: Path, as_of: datetime = DAY + 24 * HOUR, **changes: object) -> tuple[list[tuple[float, int]], Tally]:
    """The x and label of every sample of a day, and what was come across."""
    tally = Tally()
    samples = read(samples_config(folder, **changes), DAY, DAY + 24 * HOUR, as_of, tally=tally)  # type: ignore[arg-type]
    return pairs(samples), tally


def pairs(samples: Samples) -> list[tuple[float, int]]:
    """The x and label of every sample."""
    return list(zip(samples.table["x"].to_pylist(), samples.label.tolist(), strict=True))


def test_a_label_is_whether_an_outcome_came_within_the_window(tmp_path):
    write(shown(minutes(0, 0, 0, 0, 10), ["on", "end", "late", "none", "early"]), tmp_path / "shown/a.parquet")
    times = [*minutes(0, 60, 9), DAY + 60 * MINUTE + timedelta(microseconds=1)]
    write(clicks(times, ["on", "end", "early", "late"]), tmp_path / "clicks/a.parquet")
    found, tally = joined(tmp_path)
    assert dict(found) == {0.0: 1, 1.0: 1, 2.0: 0, 3.0: 0, 4.0: 0}
    assert tally.joined is not None
    assert (tally.joined.late, tally.joined.unmatched, tally.joined.positives) == (1, 1, 2)


def test_an_impression_matures_when_its_window_is_over(tmp_path):
    write(shown(minutes(0, 10), ["a", "b"]), tmp_path / "shown/a.parquet")
    write(clicks(minutes(5, 15), ["a", "b"]), tmp_path / "clicks/a.parquet")
    tally = Tally()
    samples = read(samples_config(tmp_path), DAY, DAY + HOUR, DAY + 65 * MINUTE, tally=tally)
    assert pairs(samples) == [(0.0, 1)]
    assert from_us(int(samples.known_us[0])) == DAY + HOUR
    assert tally.next_known_us is not None
    assert from_us(tally.next_known_us) == DAY + 70 * MINUTE
    with pytest.raises(NoSamplesError, match="the next one becomes known at 2024-03-01T01:00"):
        read(samples_config(tmp_path), DAY, DAY + HOUR, DAY + 59 * MINUTE)


def test_an_outcome_counts_from_when_it_landed(tmp_path):
    write(shown(minutes(0, 0), ["a", "b"]), tmp_path / "shown/a.parquet")
    landed = pa.array([DAY + 80 * MINUTE, None], STAMP)
    write(clicks(minutes(5, 5), ["a", "b"], landed=landed), tmp_path / "clicks/a.parquet")
    changes = {"outcomes": {"landed_time": "landed"}}
    just_before = DAY + 80 * MINUTE - timedelta(microseconds=1)
    assert sorted(joined(tmp_path, just_before, **changes)[0]) == [(0.0, 0), (1.0, 0)]
    # What never landed never counts.
    assert sorted(joined(tmp_path, DAY + 80 * MINUTE, **changes)[0]) == [(0.0, 1), (1.0, 0)]
    assert sorted(joined(tmp_path, just_before)[0]) == [(0.0, 1), (1.0, 1)]


def test_the_earliest_outcome_says_the_label_and_weighs_it(tmp_path):
    write(shown(minutes(0, 0, 0, 0), ["a", "b", "c", "d"]), tmp_path / "shown/a.parquet")
    write(
        clicks(
            minutes(9, 5, 5, 9, 7, 7),
            ["a", "a", "b", "b", "c", "c"],
            yes=[1, 0, 1, 0, 0, 1],
            euros=[9, 2, 3, 4, 6, 5.5],
        ),
        tmp_path / "clicks/a.csv",
    )
    changes = {"outcomes": {"value": "yes", "weight": "euros"}}
    samples = read(samples_config(tmp_path, **changes), DAY, DAY + HOUR, DAY + 9 * HOUR)
    # Of two at once, a 1 counts.
    found = [(*pair, weight) for pair, weight in zip(pairs(samples), samples.weight.tolist(), strict=True)]
    assert sorted(found) == [(0.0, 0, 2.0), (1.0, 1, 3.0), (2.0, 1, 5.5), (3.0, 0, 1.0)]


@pytest.mark.parametrize("wrong", [{"value": "yes"}, {"weight": "yes"}])
def test_outcomes_that_cannot_be_are_errors(tmp_path, wrong):
    write(shown(minutes(0), ["a"]), tmp_path / "shown/a.parquet")
    write(clicks(minutes(5), ["a"], yes=[-2]), tmp_path / "clicks/a.parquet")
    with pytest.raises(SamplesError, match=r"clicks/a\.parquet: 1 rows with a yes"):
        joined(tmp_path, outcomes=wrong)
    with pytest.raises(
        SchemaError, match=r"clicks/a\.parquet: no is missing, expected text.*or \[outcomes\] in the config"
    ):
        joined(tmp_path, outcomes={"key": "no"})
    with pytest.raises(SchemaError, match=r"shown/a\.parquet: no is missing.*or \[samples\] in the config"):
        joined(tmp_path, samples={"key": "no"})


def test_paths_of_outcomes_that_lead_nowhere_are_told_by_their_key(tmp_path):
    write(shown(minutes(0), ["a"]), tmp_path / "shown/a.parquet")
    for path, told in (
        ("clicks/*.csv", "no files match 'clicks/*.csv'"),
        ("ftp://x/y", "'ftp://x/y': expected a path of this machine"),
        ("delta+clicks", "there is no Delta table at delta+clicks; check [outcomes] path"),
        ("iceberg+x", "'iceberg+x': expected iceberg+CATALOG"),
        ("sql:SELEC 1", "sql:SELEC 1: Parser Error"),
    ):
        with pytest.raises(GbdtlrError) as caught:
            joined(tmp_path, outcomes={"path": path})
        assert told in str(caught.value)
        assert "[outcomes] path" in str(caught.value)
        assert "[samples]" not in str(caught.value)


@pytest.mark.parametrize("of_shown", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("of_clicks", FORMATS)
def test_a_key_is_one_in_every_format_and_type(tmp_path, of_shown, of_clicks):
    write(shown(minutes(0, 0, 0), [7, 8, 9]), tmp_path / f"shown/a{of_shown}")
    write(clicks(minutes(5, 5), ["7", "9"]), tmp_path / f"clicks/a{of_clicks}")
    assert sorted(joined(tmp_path)[0]) == [(0.0, 1), (1.0, 0), (2.0, 1)]
    key = pa.array([7.0, 9.0])
    write(clicks(minutes(5, 5), key), tmp_path / f"clicks/a{of_clicks}")
    assert sorted(joined(tmp_path)[0]) == [(0.0, 1), (1.0, 0), (2.0, 1)]


def test_keys_that_are_no_ids_are_refused(tmp_path):
    write(shown(minutes(0), [0.5]), tmp_path / "shown/a.parquet")
    write(clicks(minutes(5), ["7"]), tmp_path / "clicks/a.parquet")
    with pytest.raises(SchemaError, match=r"shown/a\.parquet: the key request holds 0\.5"):
        joined(tmp_path)


moment = st.integers(0, 36).map(lambda n: DAY + n * 5 * MINUTE)
impression = st.tuples(moment, st.sampled_from(["a", "b", "c", "d", None]))
outcome = st.tuples(moment, st.sampled_from(["a", "b", "c", "d", "z", None]), st.integers(0, 40), st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    impressions=st.lists(impression, min_size=1, max_size=14),
    outcomes=st.lists(outcome, min_size=1, max_size=14),
    as_of=moment,
    after=st.none() | moment,
    batch_rows=st.sampled_from([1, 3, 1000]),
    seed=st.integers(0, 99),
)
def test_samples_are_those_that_looking_at_every_pair_finds(
    tmp_path, impressions, outcomes, as_of, after, batch_rows, seed
):
    window, start, end = timedelta(minutes=30), DAY + 15 * MINUTE, DAY + 150 * MINUTE
    rng = np.random.default_rng(seed)
    for folder in ("shown", "clicks"):
        for path in (tmp_path / folder).glob("*"):
            path.unlink()
    at, key = (list(each) for each in zip(*impressions, strict=True))
    # Repeats that share time and key hold the same: which of them stays is no question here.
    table = shown(at, pa.array(key, pa.string()), [float((t - DAY) / MINUTE) for t in at])
    split(table, tmp_path / "shown", rng)
    click_at, click_key, wait, value = (list(each) for each in zip(*outcomes, strict=True))
    landed = [t + n * MINUTE for t, n in zip(click_at, wait, strict=True)]
    more = {"landed": pa.array(landed, STAMP), "yes": value}
    split(clicks(click_at, pa.array(click_key, pa.string()), **more), tmp_path / "clicks", rng)

    cfg = samples_config(tmp_path, outcomes={"window": "30m", "landed_time": "landed", "value": "yes"})
    tally = Tally()
    batches = list(read_batches(cfg, start, end, as_of, known_after=after, batch_rows=batch_rows, tally=tally))
    events = pd.DataFrame({"at": at, "key": key})
    came = pd.DataFrame({"at": click_at, "key": click_key, "landed": landed, "value": value})
    expected = by_hand(events, came, start, end, as_of, window, after)
    assert all(len(batch) == batch_rows for batch in batches[:-1])
    got = [(from_us(t), x, y) for b in batches for t, (x, y) in zip(b.event_us.tolist(), pairs(b), strict=True)]
    assert sorted((t, y) for t, _, y in got) == sorted(zip(expected["at"], expected["label"], strict=True))
    assert [t for t, _, _ in got] == sorted(t for t, _, _ in got)
    assert tally.joined is not None
    assert tally.joined.positives == sum(y for _, _, y in got)
    assert tally.joined.impressions - tally.joined.keyless - tally.joined.repeated == len(got)


def split(table: pa.Table, folder: Path, rng: np.random.Generator) -> None:
    """The rows, in any order, in up to three files."""
    table = table.take(rng.permutation(len(table)))
    bounds = [0, *sorted(rng.integers(0, len(table) + 1, 2).tolist()), len(table)]
    for i, (low, high) in enumerate(pairwise(bounds)):
        write(table.slice(low, high - low), folder / f"{rng.integers(100)}-{i}.parquet")


def counted(folder: Path, **changes: object) -> dict[str, int]:
    tally = joined(folder, **changes)[1]
    assert tally.joined is not None
    return tally.joined.remarks()


def test_what_is_odd_is_counted(tmp_path):
    write(
        shown(minutes(0, 1, 2, 30, 100, 300), ["a", "a", None, "b", "a", "c"]),
        tmp_path / "shown/a.parquet",
    )
    write(
        clicks(minutes(5, 5, 8, 9, 95, 20, 290), ["a", "a", "a", None, "b", "b", "c"]),
        tmp_path / "clicks/a.parquet",
    )
    assert counted(tmp_path) == {
        "impressions": 6,
        "keyless": 1,
        "repeated": 1,
        "positives": 1,
        "outcomes": 7,
        "outcomes_keyless": 1,
        "outcomes_repeated": 2,
        "unmatched": 2,  # b before its impression, c too
        "late": 1,
    }


def test_outcomes_of_the_impressions_before_a_window_are_not_unmatched(tmp_path):
    """They are counted in the time only of which all impressions are read."""
    write(shown([DAY - 30 * MINUTE, *minutes(10)], ["a", "b"]), tmp_path / "shown/a.parquet")
    write(clicks([DAY - 5 * MINUTE, *minutes(10, 20)], ["z", "a", "b"]), tmp_path / "clicks/a.parquet")
    assert counted(tmp_path) == {"impressions": 1, "positives": 1, "outcomes": 2}


def test_an_impression_repeats_one_before_the_window(tmp_path):
    write(shown([DAY - MINUTE, *minutes(58, 59.5)], ["a", "a", "a"]), tmp_path / "shown/a.parquet")
    write(clicks(minutes(5), ["a"]), tmp_path / "clicks/a.parquet")
    with pytest.raises(NoSamplesError):
        joined(tmp_path)
    write(shown([DAY - 3 * MINUTE, *minutes(58, 59.5)], ["a", "a", "a"]), tmp_path / "shown/a.parquet")
    assert joined(tmp_path)[0] == [(1.0, 0)]


def spied(monkeypatch) -> list[str]:
    """Names of the files that are opened from now on."""
    opened: list[str] = []
    real = opening.Reading._batches

    def spy(self):
        opened.append("/".join(Path(self.file.path).parts[-2:]))
        yield from real(self)

    monkeypatch.setattr(opening.Reading, "_batches", spy)
    return opened


def hours(opened: list[str], folder: str) -> set[str]:
    return {name[-10:-8] for name in opened if name.startswith(folder)}


def test_files_that_cannot_matter_are_not_opened(tmp_path, monkeypatch):
    for hour in range(24):
        at = [DAY + hour * HOUR + 30 * MINUTE]
        write(shown(at, [f"k{hour}"]), tmp_path / f"shown/{DAY + hour * HOUR:%Y-%m-%dT%H}.parquet")
        write(clicks(at, [f"k{hour}"]), tmp_path / f"clicks/{DAY + hour * HOUR:%Y-%m-%dT%H}.parquet")
    partition = {"partition": "%Y-%m-%dT%H"}
    cfg = samples_config(tmp_path, partition, partition)
    opened = spied(monkeypatch)
    start, end = DAY + 10 * HOUR, DAY + 12 * HOUR
    assert pairs(read(cfg, start, end, end + 9 * HOUR)) == [(0.0, 1), (0.0, 1)]
    # Impressions of a window before, that others may repeat; outcomes of theirs, and of a window after.
    assert hours(opened, "shown") == {"09", "10", "11"}
    assert hours(opened, "clicks") == {"09", "10", "11", "12"}
    opened.clear()
    assert len(list(read_batches(cfg, DAY, end, end, known_after=DAY + 11 * HOUR))) == 1
    assert hours(opened, "shown") == {"09", "10", "11"}
    assert hours(opened, "clicks") == {"09", "10", "11", "12"}


def test_only_key_and_time_of_outcomes_are_read(tmp_path, monkeypatch):
    write(shown(minutes(0), ["a"]), tmp_path / "shown/a.parquet")
    write(clicks(minutes(5), ["a"], other=["x"]), tmp_path / "clicks/a.parquet")
    asked: list[list[str]] = []
    real = parquet.ParquetFile.iter_batches

    def spy(self, *args, **options):
        asked.append(sorted(options["columns"]))
        return real(self, *args, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", spy)
    joined(tmp_path)
    assert asked == [["clicked_at", "request_id"], ["at", "kind", "request", "x"]]


def test_more_outcomes_than_allowed_are_refused_with_the_number(tmp_path):
    write(shown(minutes(0), ["a"]), tmp_path / "shown/a.parquet")
    write(clicks(minutes(1, 2, 3), ["a", "b", "c"]), tmp_path / "clicks/a.parquet")
    with pytest.raises(SamplesError, match=r"more than 2 outcomes from 2024-02-29T23.* max_outcomes allows no more"):
        joined(tmp_path, outcomes={"max_outcomes": 2})
    assert joined(tmp_path, outcomes={"max_outcomes": 3})[0] == [(0.0, 1)]


def test_a_partition_that_says_no_time_names_its_table(tmp_path):
    write(shown(minutes(0), ["a"]), tmp_path / "shown/a.parquet")
    write(clicks(minutes(1), ["a"]), tmp_path / "clicks/a.parquet")
    with pytest.raises(ConfigError, match=r"\[outcomes\] partition '%Y-%m-%d' is found in the path of none"):
        joined(tmp_path, outcomes={"partition": "%Y-%m-%d"})


def test_a_torn_line_of_outcomes_is_left_alone(tmp_path):
    write(shown(minutes(0, 0), ["a", "b"]), tmp_path / "shown/a.parquet")
    (tmp_path / "clicks").mkdir()
    write_text(tmp_path / "clicks/a.csv", "request_id,clicked_at\na,2024-03-01T00:05:00Z\nb,2024-03-01T0")
    found, tally = joined(tmp_path)
    assert sorted(found) == [(0.0, 1), (1.0, 0)]
    assert tally.unfinished == 1


def test_local_times_are_those_of_the_samples_zone(tmp_path):
    table = pa.table({"at": ["2024-03-01 05:00"], "request": ["a"], "x": [0.0], "kind": ["a"]})
    write(table, tmp_path / "shown/a.csv")
    write(pa.table({"request_id": ["a"], "clicked_at": ["2024-03-01 05:59"]}), tmp_path / "clicks/a.csv")
    zone = {"timezone": "America/New_York"}
    assert joined(tmp_path, samples=zone)[0] == [(0.0, 1)]


class _Read:
    """What is read of a file, in place of it."""

    def __init__(self, *items: str) -> None:
        self.file, self.alone = File("nowhere.parquet"), True
        self._items = items

    def items(self) -> Iterator[str]:
        yield from self._items


def test_files_are_read_together_and_come_in_their_order():
    """Arrow has threads of its own for a file that is read alone."""
    several = [_Read("a", "b"), _Read(), _Read("c"), *(_Read(str(i)) for i in range(9))]
    expected = [(0, "a"), (0, "b"), (2, "c"), *((i + 3, str(i)) for i in range(9))]
    for n in (1, 3, 16):
        with limited(n):
            assert list(read_together(several)) == expected
    assert not any(one.alone for one in several)
    one = _Read("a")
    assert list(read_together([one])) == [(0, "a")]
    assert one.alone
    assert not list(read_together([]))
