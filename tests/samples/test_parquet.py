"""Parquet: times of any year, texts that are none, files without rows, rows of any length."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from samples_kit import DAY, FOREVER, config, rows, with_column, write

import gbdtlr.samples.formats.parquet
from gbdtlr.errors import NoSamplesError, SamplesError
from gbdtlr.samples import Tally, read, read_batches
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.parquet import parquet_batches
from gbdtlr.samples.tables import read_tables
from gbdtlr.samples.window import Window
from gbdtlr.times import to_us
from gbdtlr.values.times import times

HERE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
# INT96 counts days from 4713 BC in 32 bits.
far = st.integers(-(10**11), 10**14)


def known_of(path, **changes):
    cfg = config(path, **changes)
    window = Window.of(cfg, DAY - timedelta(days=1), FOREVER, FOREVER, None)
    (batch,) = parquet_batches(File(str(path)), cfg, window, Tally(), 1000, set())
    return times(batch.column("known_at"), UTC)[0].tolist()


@HERE
@given(seconds=st.lists(far, min_size=1, max_size=8))
def test_int96_of_any_year_are_the_times_they_are(tmp_path, seconds):
    table = with_column(rows(len(seconds)), "known_at", pa.array([*seconds], pa.timestamp("s")))
    path = write(table, tmp_path / "x.parquet", use_deprecated_int96_timestamps=True)
    edge = 2**62 // 10**6
    expected = [min(max(s, -edge), edge) * 10**6 for s in seconds]
    # As far as a moment can be told at all: what is beyond stays at the edge, on its side of now.
    assert [us if abs(us) < 2**61 else (us > 0) for us in known_of(path)] == [
        us if abs(us) < 2**61 else (us > 0) for us in expected
    ]


@HERE
@given(moments=st.lists(st.datetimes() | st.none(), min_size=1, max_size=8))
def test_int96_keep_their_microseconds_and_their_nulls(tmp_path, moments):
    table = with_column(rows(len(moments)), "known_at", pa.array(moments, pa.timestamp("us")))
    path = write(table, tmp_path / "x.parquet", use_deprecated_int96_timestamps=True, row_group_size=3)
    cfg = config(path)
    window = Window.of(cfg, DAY - timedelta(days=1), FOREVER, FOREVER, None)
    found = [
        t
        for batch in parquet_batches(File(str(path)), cfg, window, Tally(), 2, set())
        for t in batch.column("known_at").to_pylist()
    ]
    assert found == moments
    assert [t for table in read_tables(str(path)) for t in table["known_at"].to_pylist()] == moments


@pytest.mark.parametrize("int96", [False, True])
def test_a_label_that_is_never_known_is_never_learned(tmp_path, int96):
    never = datetime(9999, 12, 31, tzinfo=UTC)
    table = rows(8)
    known = [never if i % 2 else t for i, t in enumerate(table["known_at"].to_pylist())]
    table = with_column(table, "known_at", pa.array(known, pa.timestamp("us", "UTC")))
    path = write(table, tmp_path / "x.parquet", use_deprecated_int96_timestamps=int96, row_group_size=2)
    tally = Tally()
    samples = read(config(path), DAY, FOREVER, FOREVER, tally=tally)
    assert samples.table["count"].to_pylist() == [0, 2, 4, 6]
    assert tally.next_known_us == to_us(never)
    assert len(read(config(path), DAY, FOREVER, FOREVER, known_after=DAY + timedelta(hours=3))) == 2


def broken_texts(table, name, at, dictionary=False):
    """The table with a text that is not UTF-8 in one row."""
    raw = [v.encode() if v is not None else None for v in table[name].to_pylist()]
    raw[at] = b"caf\xe9"
    array = pa.array(raw, pa.binary())
    if dictionary:
        encoded = array.dictionary_encode()
        texts = pa.Array.from_buffers(pa.string(), len(encoded.dictionary), encoded.dictionary.buffers())
        return with_column(table, name, pa.DictionaryArray.from_arrays(encoded.indices, texts))
    return with_column(table, name, pa.Array.from_buffers(pa.string(), len(array), array.buffers()))


@pytest.mark.parametrize("name", ["shop", "user"])
@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize(("at", "groups"), [(0, 100), (57, 10), (99, 30), (57, 100)])
def test_texts_that_are_not_utf8_are_told_by_row_and_column(tmp_path, name, dictionary, at, groups):
    table = broken_texts(rows(100, step=timedelta(minutes=1)), name, at, dictionary)
    path = write(table, tmp_path / "x.parquet", row_group_size=groups)
    words = rf"^{path}: row {at + 1}, column {name}: b'caf\\xe9' is not UTF-8; mend it$"
    with pytest.raises(SamplesError, match=words):
        list(read_batches(config(path), DAY, FOREVER, FOREVER, batch_rows=7))
    with pytest.raises(SamplesError, match=words):
        list(read_tables(str(path)))


def test_texts_that_are_not_utf8_matter_where_they_are_needed(tmp_path):
    path = write(broken_texts(rows(), "unused", 3), tmp_path / "x.parquet")
    assert len(read(config(path), DAY, FOREVER, FOREVER)) == 8
    with pytest.raises(SamplesError, match=r"row 4, column unused: b'caf\\xe9' is not UTF-8"):
        list(read_tables(str(path)))


def test_texts_within_lists_are_looked_at_where_all_is_kept(tmp_path):
    texts = broken_texts(rows(4), "unused", 2)["unused"].combine_chunks()
    path = write(
        with_column(rows(4), "unused", pa.ListArray.from_arrays([0, 1, 2, 3, 4], texts)), tmp_path / "x.parquet"
    )
    with pytest.raises(SamplesError, match=r"row 3, column unused: b'caf\\xe9' is not UTF-8"):
        list(read_tables(str(path)))


def test_a_broken_text_in_a_dictionary_that_no_row_has_is_no_fault(tmp_path):
    good = rows(40, step=timedelta(minutes=1))
    path = write(broken_texts(good, "shop", 0), tmp_path / "x.parquet", row_group_size=40)
    cfg = config(path)
    broken = next(iter(parquet.ParquetFile(path, read_dictionary=["shop"]).iter_batches(40)))
    later = broken.slice(1)
    checked = gbdtlr.samples.formats.parquet.checked
    with pytest.raises(SamplesError, match="row 1, column shop"):
        checked(later, File(str(path)))  # the file has it, whichever rows are wanted
    clean = write(good, tmp_path / "y.parquet")
    assert checked(later, File(str(clean))).column("shop").to_pylist() == good["shop"].to_pylist()[1:]
    assert cfg.categorical == ("shop",)


@pytest.mark.parametrize("table", [rows(0), pa.table({}), pa.table({"other": pa.nulls(0)}),
                                   with_column(rows(0), "price", pa.array([], pa.string()))])  # fmt: skip
def test_a_file_without_rows_is_no_fault(tmp_path, table):
    write(table, tmp_path / "x.parquet")
    with pytest.raises(NoSamplesError, match="1 files with no rows at all"):
        read(config(tmp_path), DAY, FOREVER, FOREVER)
    write(rows(), tmp_path / "y.parquet")
    assert len(read(config(tmp_path), DAY, FOREVER, FOREVER)) == 8


def test_long_rows_are_read_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(gbdtlr.samples.formats.parquet, "_BATCH_BYTES", 100_000)
    table = with_column(rows(200, step=timedelta(minutes=1)), "shop", [f"{i:05}" * 1000 for i in range(200)])
    table = with_column(table, "unused", [f"{i:05}" * 100_000 for i in range(200)])
    path = write(table, tmp_path / "x.parquet", use_dictionary=False, row_group_size=50)
    cfg = config(path)
    window = Window.of(cfg, DAY, FOREVER, FOREVER, None)
    batches = [len(b) for b in parquet_batches(File(str(path)), cfg, window, Tally(), 65536, set())]
    assert sum(batches) == 200
    assert 10 <= max(batches) <= 25
    assert max(map(len, read_tables(str(path)))) == 1


def test_only_texts_that_repeat_are_read_as_dictionaries(tmp_path):
    n = 20_000
    table = with_column(rows(n, step=timedelta(seconds=1)), "user", [f"a user of a long name, {i}" for i in range(n)])
    path = write(table, tmp_path / "x.parquet", row_group_size=n // 2)
    cfg = config(path)
    window = Window.of(cfg, DAY - timedelta(days=1), FOREVER, FOREVER, None)
    batches = list(parquet_batches(File(str(path)), cfg, window, Tally(), n, set()))
    assert {pa.types.is_dictionary(batch.schema.field("shop").type) for batch in batches} == {True}
    assert {pa.types.is_dictionary(batch.schema.field("user").type) for batch in batches} == {False}
    assert pa.Table.from_batches(batches).column("user").to_pylist() == table.column("user").to_pylist()
