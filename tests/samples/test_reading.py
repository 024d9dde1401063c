"""Reading windows out of files of every format, and of nothing else."""

from __future__ import annotations

import itertools
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from samples_kit import DAY, FOREVER, FORMATS, config, rows, with_column, write, write_text

from gbdtlr.errors import ConfigError, NoSamplesError
from gbdtlr.samples import Samples, Tally, read, read_batches
from gbdtlr.samples.formats.columns import TEXT_DICTIONARY, to_text_dictionary
from gbdtlr.times import from_us
from gbdtlr.values.categories import texts

HOUR = timedelta(hours=1)


def plain(samples: Samples) -> dict[str, list[object]]:
    spelled = {
        name: [None if v is None else str(v) for v in samples.table[name].to_pylist()] for name in ("shop", "user")
    }
    numbers = {name: samples.table[name].cast(pa.float64()).to_pylist() for name in ("price", "count")}
    arrays = {name: getattr(samples, name).tolist() for name in ("label", "weight", "event_us", "known_us")}
    return {**spelled, **numbers, **arrays}


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_samples(tmp_path, suffix):
    expected = read(config(write(rows(), tmp_path / "a" / "x.parquet")), DAY, FOREVER, FOREVER)
    samples = read(config(write(rows(), tmp_path / "b" / f"x{suffix}")), DAY, FOREVER, FOREVER)
    assert plain(samples) == plain(expected)
    assert samples.table["shop"].to_pylist() == ["NA", "007", "café", None, "007", "café", "NA", None]
    assert samples.label.tolist() == [1, 0, 0, 1, 0, 0, 1, 0]
    assert samples.label.dtype == np.int8
    assert samples.event_us[1] - samples.event_us[0] == 3_600_000_000
    assert (samples.known_us - samples.event_us == 1_800_000_000).all()


def test_formats_mix_and_files_come_in_order_of_path(tmp_path):
    for i, suffix in enumerate(FORMATS):
        write(rows(2, DAY + (len(FORMATS) - i) * HOUR), tmp_path / f"{i}{suffix}")
    write(with_column(rows(1), "user", pa.array([7])), tmp_path / "99.parquet")
    samples = read(config(tmp_path), DAY, FOREVER, FOREVER)
    hours = ((samples.event_us - samples.event_us.min()) // 3_600_000_000).tolist()
    assert hours == [h for i in range(len(FORMATS)) for h in (len(FORMATS) - i, len(FORMATS) - i + 1)] + [0]
    assert samples.table["user"].to_pylist()[-2:] == ["u1", "7"]


def test_only_columns_of_the_config_are_kept(tmp_path):
    samples = read(config(write(rows(), tmp_path / "x.parquet")), DAY, FOREVER, FOREVER)
    assert samples.table.column_names == ["price", "count", "shop", "user"]
    assert samples.table["shop"].type == pa.dictionary(pa.int32(), pa.string())
    assert samples.table["count"].type == pa.int32()


def test_the_window_is_half_open_and_as_of_inclusive(tmp_path):
    cfg = config(write(rows(), tmp_path / "x.parquet"))
    assert (read(cfg, DAY + HOUR, DAY + 3 * HOUR, FOREVER).event_us // 3_600_000_000 % 24).tolist() == [1, 2]
    known = DAY + 2.5 * HOUR
    assert len(read(cfg, DAY, FOREVER, known)) == 3
    assert len(read(cfg, DAY, FOREVER, known - timedelta(microseconds=1))) == 2
    assert len(read(cfg, DAY, FOREVER, known + 2 * HOUR, known_after=known)) == 2


def test_intervals_of_maturity_neither_repeat_nor_skip_a_row(tmp_path):
    cfg = config(write(rows(48), tmp_path / "x.parquet", row_group_size=5))
    moments = [DAY, DAY + HOUR, DAY + 7.5 * HOUR, DAY + 7.6 * HOUR, DAY + 30 * HOUR, FOREVER]
    pieces = [
        batch.table["count"].to_pylist()
        for after, until in itertools.pairwise(moments)
        for batch in read_batches(cfg, DAY, FOREVER, until, known_after=after)
    ]
    assert list(itertools.chain(*pieces)) == list(range(48))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_batches_are_of_about_the_size_asked_for_and_concatenate_to_the_whole(tmp_path, suffix):
    for i in range(30):
        write(rows(20, DAY + i * 20 * HOUR), tmp_path / f"{i:02}{suffix}")
    cfg = config(tmp_path)
    whole = read(cfg, DAY, FOREVER, FOREVER)
    batches = list(read_batches(cfg, DAY, FOREVER, FOREVER, batch_rows=100))
    assert all(50 < len(batch) <= 150 for batch in batches[:-1])
    assert plain(Samples.concat(batches)) == plain(whole)
    assert whole.event_us.tolist() == sorted(whole.event_us.tolist())
    assert len(whole) == 600


def test_files_that_the_partition_places_elsewhere_are_not_opened(tmp_path):
    for day in range(1, 29):
        folder = tmp_path / f"date=2024-03-{day:02}"
        for hour in range(24):
            if (day, hour) in {(9, 23), (10, 0), (10, 1)}:
                write(rows(4, DAY + timedelta(days=day - 1, hours=hour), HOUR / 4), folder / f"{hour:02}.parquet")
            else:
                write_text_in(folder, f"{hour:02}.parquet")
    cfg = config(tmp_path, partition="date=%Y-%m-%d/%H")
    tally = Tally()
    start = DAY + timedelta(days=8, hours=23)
    samples = read(cfg, start, start + 3 * HOUR, FOREVER, tally=tally)
    assert len(samples) == 12
    assert len(tally.mature) == 3
    assert tally.n_files == 28 * 24


def write_text_in(folder, name):
    folder.mkdir(exist_ok=True)
    write_text(folder / name, "not parquet, and never opened")


def test_a_partition_that_is_in_no_path_is_an_error(tmp_path):
    write(rows(), tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match=r"%Y/%m/%d.*none of 1 files, such as .*x.parquet"):
        read(config(tmp_path, partition="%Y/%m/%d"), DAY, FOREVER, FOREVER)


def test_row_groups_outside_of_the_window_are_not_read(tmp_path):
    path = write(rows(100), tmp_path / "x.parquet", row_group_size=10)
    meta = parquet.ParquetFile(path).metadata
    data = bytearray(path.read_bytes())
    for group in (*range(3), *range(5, 10)):
        for column in range(meta.num_columns):
            chunk = meta.row_group(group).column(column)
            first = chunk.dictionary_page_offset or chunk.data_page_offset
            data[first : first + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(data)
    cfg = config(path)
    tally = Tally()
    samples = read(cfg, DAY + 32 * HOUR, DAY + 48 * HOUR, FOREVER, tally=tally)
    assert samples.table["count"].to_pylist() == list(range(32, 48))
    assert tally.n_rows == 20
    # Labels that became known before are not read either.
    assert len(read(cfg, DAY, DAY + 50 * HOUR, FOREVER, known_after=DAY + 30.5 * HOUR)) == 19
    by_delay = config(path, label_time=None, label_delay=timedelta(minutes=30))
    assert len(read(by_delay, DAY, DAY + 50 * HOUR, FOREVER, known_after=DAY + 33.5 * HOUR)) == 16


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ns"), pa.int64()])
def test_row_groups_are_left_by_statistics_of_any_kind_of_time(tmp_path, kind):
    table = rows(40)
    table = with_column(table, "at", table["at"].cast(pa.timestamp("us")).cast(kind if kind != pa.int64() else "int64"))
    tally = Tally()
    path = write(table, tmp_path / "x.parquet", row_group_size=4)
    samples = read(config(path), DAY + 8 * HOUR, DAY + 16 * HOUR, FOREVER, tally=tally)
    assert samples.table["count"].to_pylist() == list(range(8, 16))
    assert tally.n_rows == 8


def test_weights_are_read_and_ones_where_there_are_none(tmp_path):
    table = rows().append_column("w", pa.array([0, 1, 2, 3, 4, 5, 6, 7.5]))
    path = write(table, tmp_path / "x.csv")
    assert read(config(path, weight="w"), DAY, FOREVER, FOREVER).weight.tolist() == [0, 1, 2, 3, 4, 5, 6, 7.5]
    assert read(config(path), DAY, FOREVER, FOREVER).weight.tolist() == [1] * 8


@pytest.mark.parametrize(
    ("labels", "suffix"),
    [
        ([True, False, None], ".parquet"),
        ([1.0, 0.0, None], ".parquet"),
        (["1", "0", None], ".parquet"),
        (["true", "False", None], ".csv"),
        ([1, 0, None], ".csv"),
        ([True, False, None], ".jsonl"),
        ([1.0, 0.0, None], ".jsonl"),
    ],
)
def test_labels_may_be_numbers_truths_or_texts_and_missing_while_unknown(tmp_path, labels, suffix):
    table = with_column(rows(3), "label", labels)
    table = with_column(table, "known_at", [*table["known_at"].to_pylist()[:2], None])
    assert read(config(write(table, tmp_path / f"x{suffix}")), DAY, FOREVER, FOREVER).label.tolist() == [1, 0]


def test_numbers_of_any_kind_are_numeric(tmp_path):
    for i, kind in enumerate(["bool", "int8", "uint64", "float16", "float32", "decimal", "null", "dictionary"]):
        values = pa.array([1.0, 0.0, None])
        if kind == "decimal":
            values = values.cast(pa.decimal128(5, 2))
        elif kind == "null":
            values = pa.nulls(3)
        elif kind == "dictionary":
            values = pa.array([1, 0, None]).dictionary_encode()
        elif kind == "bool":
            values = pa.array([True, False, None])
        else:
            values = pa.array([1.0, 0.0, None]).cast(kind) if kind != "float16" else values.cast(pa.float16())
        write(with_column(rows(3), "price", values), tmp_path / f"{i}.parquet")
    samples = read(config(tmp_path), DAY, FOREVER, FOREVER)
    one = [1.0, 0.0, None]
    assert samples.table["price"].cast(pa.float64()).to_pylist() == one * 6 + [None] * 3 + one


def test_whole_numbers_may_be_categories_and_ids(tmp_path):
    table = with_column(with_column(rows(3), "shop", [7, 8, None]), "user", [1, 2, 3])
    for suffix in (".parquet", ".jsonl"):
        samples = read(config(write(table, tmp_path / f"x{suffix}")), DAY, FOREVER, FOREVER)
        assert samples.table["shop"].to_pylist() == [7, 8, None]
        assert samples.table["user"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_unsigned_categories_and_ids_keep_their_digits(tmp_path, suffix):
    big = [2**64 - 1, 2**63, 3, None]
    table = with_column(rows(4), "shop", pa.array(big, pa.uint64()))
    table = with_column(table, "user", pa.array(big[::-1], pa.uint64()))
    samples = read(config(write(table, tmp_path / f"x{suffix}")), DAY, FOREVER, FOREVER)
    digits = [None if value is None else str(value) for value in big]
    assert texts(samples.table["shop"]).to_pylist() == digits
    assert texts(samples.table["user"]).to_pylist() == digits[::-1]


def test_a_number_that_is_wide_too_stays_exact_in_csv(tmp_path):
    big = 2**53 + 1
    table = with_column(rows(2), "user", [big, 5])
    cfg = config(write(table, tmp_path / "x.csv"), numeric=("user",), categorical=())
    assert read(cfg, DAY, FOREVER, FOREVER).table["user"].to_pylist() == [big, 5]


def test_json_keys_may_come_and_go_and_change_their_type_between_files(tmp_path):
    write_text(
        tmp_path / "1.jsonl",
        '{"at": "2024-03-01T00:00:00Z", "label": 0, "known_at": "2024-03-01T00:30Z", "count": 1, "user": 5}\n\n'
        '{"at": "2024-03-01T01:00:00Z", "label": 1, "known_at": "2024-03-01T01:30Z", "count": 2.5, "shop": "a"}',
    )
    write_text(
        tmp_path / "2.jsonl",
        '{"at": 1709258400, "label": true, "known_at": 1709258460123, "price": 1, "shop": "2024-03-01", "user": "x"}\n',
    )
    samples = read(config(tmp_path), DAY, FOREVER, FOREVER)
    assert samples.table["count"].to_pylist() == [1, 2.5, None]
    assert samples.table["price"].to_pylist() == [None, None, 1]
    assert samples.table["shop"].to_pylist() == [None, "a", "2024-03-01"]
    assert samples.table["user"].to_pylist() == ["5", None, "x"]
    assert samples.event_us[2] == 1709258400_000_000
    assert samples.known_us[2] == 1709258460_123_000


def test_csv_may_have_a_byte_order_mark_quotes_and_line_breaks_within(tmp_path):
    path = write_text(
        tmp_path / "x.csv",
        '\ufeff"at",known_at,label,price,count,shop,user\r\n'
        '2024-03-01,2024-03-02,1,NA,1,"a\nb","say ""hi"""\r\n2024-03-01,2024-03-02,0,,2,,u\r\n',
    )
    samples = read(config(path), DAY, FOREVER, FOREVER)
    assert samples.table["shop"].to_pylist() == ["a\nb", None]
    assert samples.table["user"].to_pylist() == ['say "hi"', "u"]
    assert samples.table["price"].null_count == 2


def test_large_texts_stream_in_blocks(tmp_path, monkeypatch):
    import gbdtlr.samples.formats.csv
    import gbdtlr.samples.formats.jsonl

    monkeypatch.setattr(gbdtlr.samples.formats.csv, "_BLOCK", 500)
    monkeypatch.setattr(gbdtlr.samples.formats.jsonl, "_BLOCK", 500)
    whole = read(config(write(rows(300), tmp_path / "x.parquet")), DAY, FOREVER, FOREVER)
    for suffix in (".csv", ".jsonl.gz"):
        samples = read(config(write(rows(300), tmp_path / f"x{suffix}")), DAY, FOREVER, FOREVER)
        assert plain(samples) == plain(whole)


def test_no_files_is_an_error_but_no_rows_are_no_batches(tmp_path):
    with pytest.raises(NoSamplesError, match=r"^\[samples\] path: no files match"):
        list(read_batches(config(tmp_path / "*.parquet"), DAY, FOREVER, FOREVER))
    cfg = config(write(rows(), tmp_path / "x.parquet"))
    assert list(read_batches(cfg, DAY - 5 * HOUR, DAY, FOREVER)) == []
    assert list(read_batches(cfg, DAY, FOREVER, DAY)) == []


def test_a_label_is_never_early_when_clocks_go_back(tmp_path):
    """Shown at 0:50, clicked at 1:30: the first or the second 1:30? And 30 minutes after 1:10?"""
    at = [datetime(2013, 11, 3, 0, 50), datetime(2013, 11, 3, 1, 10)]
    table = with_column(rows(2), "at", pa.array(at, pa.timestamp("us")))
    table = with_column(table, "known_at", pa.array([datetime(2013, 11, 3, 1, 30)] * 2, pa.timestamp("us")))
    path = write(table, tmp_path / "x.parquet")
    start, end = datetime(2013, 11, 1, tzinfo=UTC), datetime(2013, 11, 9, tzinfo=UTC)
    samples = read(config(path, timezone="America/New_York"), start, end, end)
    assert [str(from_us(t)) for t in samples.event_us] == [
        "2013-11-03 04:50:00+00:00",
        "2013-11-03 05:10:00+00:00",
    ]
    assert {str(from_us(t)) for t in samples.known_us} == {"2013-11-03 06:30:00+00:00"}
    delayed = config(path, timezone="America/New_York", label_time=None, label_delay=timedelta(minutes=30))
    samples = read(delayed, start, end, end)
    assert [str(from_us(t)) for t in samples.known_us] == [
        "2013-11-03 05:20:00+00:00",
        "2013-11-03 06:40:00+00:00",
    ]


def test_by_maturity_sorts_and_keeps_ties(tmp_path):
    table = rows(4)
    late = table["known_at"].to_pylist()[3]
    table = with_column(table, "known_at", pa.array([late, DAY + HOUR, late, DAY + HOUR], pa.timestamp("us", "UTC")))
    samples = read(config(write(table, tmp_path / "x.parquet")), DAY, FOREVER, FOREVER).by_maturity()
    # Row 3 happened after its label time, so that it became known when it happened.
    assert samples.table["count"].to_pylist() == [1, 3, 0, 2]
    assert (samples.known_us >= samples.event_us).all()


def test_ties_of_maturity_keep_their_order(tmp_path):
    table = rows(500)
    known = [DAY + timedelta(days=30 - i % 3) for i in range(500)]
    table = with_column(table, "known_at", pa.array(known, pa.timestamp("us", "UTC")))
    ordered = read(config(write(table, tmp_path / "x.parquet")), DAY, FOREVER, FOREVER).by_maturity()
    expected = sorted(range(500), key=lambda i: (known[i], i))
    assert ordered.table["count"].to_pylist() == expected


def test_nulls_within_a_dictionary_are_missing():
    for kind in (pa.int8(), pa.int32()):
        indices = pa.array([0, 1, None, 1], kind)
        column = to_text_dictionary(pa.DictionaryArray.from_arrays(indices, pa.array(["a", None])))
        assert column.type == TEXT_DICTIONARY
        assert column.null_count == 3
        assert column.to_pylist() == ["a", None, None, None]


def test_reading_does_not_import_what_it_does_not_need(tmp_path):
    for suffix in (".parquet", ".csv", ".jsonl"):
        table = rows().append_column("w", pa.array([1.0] * 8))
        table = with_column(table, "known_at", [*table["known_at"].to_pylist()[:7], None])
        write(table, tmp_path / f"x{suffix}")
    script = (
        "import sys; from datetime import *\n"
        "from gbdtlr.config import SamplesConfig; from gbdtlr.samples import read\n"
        "cfg = SamplesConfig(path=(sys.argv[1],), event_time='at', label_time='known_at', weight='w',"
        " numeric=('price', 'count'), categorical=('shop',), wide=('user',), negative_keep_rate=0.5)\n"
        "then, now = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)\n"
        "assert len(read(cfg, then, now, now))\n"
        "heavy = ['pandas', 'pyarrow.dataset', 'lightgbm', 'sklearn']\n"
        "sys.exit(' '.join(name for name in heavy if name in sys.modules) or 0)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)


def test_row_groups_are_never_in_memory_whole(tmp_path):
    n = 1_000_000
    at = pa.array(np.full(n, np.datetime64("2024-03-01T12:00", "us")), pa.timestamp("us", "UTC"))
    table = pa.table({"at": at, "label": np.zeros(n, np.int8), "price": np.random.default_rng(0).random(n)})
    write(table, tmp_path / "x.parquet", row_group_size=n, use_dictionary=False)
    delay = {"label_time": None, "label_delay": HOUR}
    pool, cfg = pa.default_memory_pool(), config(tmp_path, **delay, numeric=("price",), categorical=(), wide=())
    del table, at
    before = pool.bytes_allocated()
    most = max(pool.bytes_allocated() - before for _ in read_batches(cfg, DAY, FOREVER, FOREVER))
    assert most < 4e6 < 8 * n
