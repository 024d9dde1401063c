"""Objects as files give the bytes that are there, in ranges that are fetched together."""

from __future__ import annotations

import io

import obstore
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.exceptions import GenericError, PermissionDeniedError
from obstore.store import MemoryStore
from pyarrow import parquet

from gbdtlr.buckets import objects
from gbdtlr.buckets.objects import ObjectFile, os_error
from gbdtlr.buckets.unanswered import Unanswered
from gbdtlr.buckets.urls import Place, is_remote, place_of, plain_url
from gbdtlr.errors import ConfigError

DATA = bytes(range(256)) * 40


def opened(data=DATA):
    store = MemoryStore()
    obstore.put(store, "x", data)
    return ObjectFile(store, "x", len(data))


@pytest.fixture
def requests(monkeypatch):
    """The ranges asked for, a list for every request."""
    asked = []

    def get_ranges(store, key, *, starts, ends):
        asked.append(list(zip(starts, ends, strict=True)))
        return obstore.get_ranges(store, key, starts=starts, ends=ends)

    class Spied:
        def __getattr__(self, name):
            return get_ranges if name == "get_ranges" else getattr(obstore, name)

    monkeypatch.setattr(objects, "obstore", Spied())
    return asked


steps = st.lists(
    st.tuples(st.sampled_from(["read", "set", "cur", "end", "readinto"]), st.integers(-len(DATA) - 9, len(DATA) + 9)),
    max_size=12,
)
spans = st.lists(
    st.tuples(st.integers(0, len(DATA) - 1), st.integers(1, 3000)).map(lambda s: (s[0], min(sum(s), len(DATA)))),
    min_size=1,
    max_size=4,
)


@given(steps, st.lists(spans, max_size=3), st.sampled_from([1 << 20, 1000, 7]))
def test_an_object_reads_as_a_file(steps, groups, part):
    ours, theirs = opened(), io.BytesIO(DATA)
    ours.plan(groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "PART", part)
        patch.setattr(objects, "_AHEAD", 500)
        patch.setattr(objects, "_TAIL", 100)
        for step, n in steps:
            if step == "read":
                assert bytes(ours.read(n)) == theirs.read(n)
            elif step == "readinto":
                a, b = bytearray(abs(n)), bytearray(abs(n))
                assert ours.readinto(a) == theirs.readinto(b)
                assert a == b
            else:
                whence = {"set": io.SEEK_SET, "cur": io.SEEK_CUR, "end": io.SEEK_END}[step]
                if whence == io.SEEK_SET:
                    n = abs(n)
                assert ours.seek(n, whence) == theirs.seek(n, whence)
            assert ours.tell() == theirs.tell()


def test_what_is_planned_together_is_one_request(requests):
    file = opened()
    file.plan([[(0, 100), (500, 600)], [(1000, 1100)]])
    for start, stop in [(0, 100), (520, 600), (10, 20)]:
        file.seek(start)
        assert bytes(file.read(stop - start)) == DATA[start:stop]
    assert requests == [[(0, 100), (500, 600)]]


def test_bytes_in_order_come_in_few_requests(requests):
    data = DATA * 1000
    stream = pa.PythonFile(opened(data), "r")
    assert b"".join(iter(lambda: stream.read(1 << 16), b"")) == data
    assert len(requests) == -(-len(data) // objects._AHEAD)


def test_a_large_range_is_fetched_in_parts(requests, monkeypatch):
    monkeypatch.setattr(objects, "PART", 4000)
    assert bytes(opened().read()) == DATA
    assert requests == [[(0, 4000), (4000, 8000), (8000, len(DATA))]]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(PermissionDeniedError, PermissionError), (FileNotFoundError, FileNotFoundError), (GenericError, Unanswered)],
)
def test_what_a_bucket_did_not_say_is_told_from_what_it_said(theirs, ours):
    """Only what it said tells anything of the object."""
    assert type(os_error(theirs("words"))) is ours


def test_only_the_chunks_that_are_needed_are_fetched(requests):
    """Two of five columns of one row group in three, and the end, where the file says what it holds."""
    from gbdtlr.samples.formats.file import File
    from gbdtlr.samples.formats.parquet import fetch_together, sparing

    sink = io.BytesIO()
    table = pa.table({name: range(30_000) for name in "abcde"})
    parquet.write_table(table, sink, row_group_size=10_000, compression=None, use_dictionary=False)
    remote = File("s3://b/x.parquet")
    with opened(sink.getvalue()) as source:
        reader = parquet.ParquetFile(source, **sparing(remote))
        fetch_together(remote, source, reader.metadata, [1], ["b", "d"])
        assert pa.Table.from_batches(reader.iter_batches(row_groups=[1], columns=["b", "d"])).equals(
            table.select(["b", "d"]).slice(10_000, 10_000).combine_chunks()
        )
    chunks = [reader.metadata.row_group(1).column(i) for i in (1, 3)]
    assert requests[1:] == [[(c.data_page_offset, c.data_page_offset + c.total_compressed_size) for c in chunks]]
    assert len(requests[0]) == 1


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://b/x/y.csv", ("s3", "b", "", "x/y.csv")),
        ("S3://b//x/", ("s3", "b", "", "x")),
        ("gcs://b", ("gs", "b", "", "")),
        ("abfss://c@a.dfs.core.windows.net/x", ("az", "c", "a", "x")),
        ("az://c/x", ("az", "c", "", "x")),
    ],
)
def test_places(url, place):
    assert is_remote(url)
    assert place_of(url) == Place(*place)
    assert place_of(plain_url(url)) == Place(*place)


@pytest.mark.parametrize("url", ["s3://", "gs:///x", "az://@a.dfs.core.windows.net/x"])
def test_no_bucket(url):
    with pytest.raises(ConfigError, match="names no bucket; write"):
        place_of(url)
