"""Plain streams are read where they lie, and mean what Arrow says they do; all others are left to Arrow."""

from __future__ import annotations

import contextlib
import random
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_kit import ARROW, application, ask, stream_of, values_of
from test_service_fuzz import spoil

from gbdtlr.serving import arrow, messages
from gbdtlr.serving.answer import Refusal
from gbdtlr.serving.arrow import MAX_KEPT_ROWS, ScoreStreams, Streams
from gbdtlr.serving.plain_streams import PlainStreams
from gbdtlr.values.lines import Lines

MOST = 1000
ODD = [float("nan"), float("inf"), -0.0, 5e-324, 1e300]


def numbers(n_rows: int, n_columns: int = 3, seed: int = 0) -> pa.Table:
    values = np.random.default_rng(seed).normal(size=(n_columns, n_rows))
    values.ravel()[: len(ODD)] = ODD[: values.size]
    return pa.table({f"x{i}": column for i, column in enumerate(values)})


def bits(column: Any) -> bytes:
    """A column of float64 to the last bit."""
    return np.ascontiguousarray(column).tobytes()


def assert_same(lines: Any, table: pa.Table) -> None:
    assert isinstance(lines, Lines)
    assert list(lines) == table.column_names
    assert (len(lines), lines.n_rows) == (table.num_columns, table.num_rows)
    for name in table.column_names:
        assert bits(lines[name]) == bits(table[name].to_numpy())


@given(st.integers(1, 40), st.integers(1, 600), st.integers(1, 600))
@settings(max_examples=30, deadline=None)
def test_columns_are_those_that_arrow_reads(n_columns: int, n_before: int, n_rows: int) -> None:
    streams = Streams()
    assert not isinstance(streams.read(stream_of(numbers(n_before, n_columns)), MOST).frame, Lines)
    table = numbers(n_rows, n_columns, seed=1)
    for _ in range(2):
        rows = streams.read(stream_of(table), MOST)
        assert rows.n_rows == n_rows
        assert_same(rows.frame, table)
        assert rows.columns({"x0"}) is rows.frame


def test_a_schema_that_is_known_is_read_without_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams()
    streams.read(stream_of(numbers(5)), MOST)
    monkeypatch.setattr(arrow, "pa", None)
    assert_same(streams.read(stream_of(numbers(7)), MOST).frame, numbers(7))
    with pytest.raises(Refusal, match="more than 6 rows"):
        streams.read(stream_of(numbers(7)), 6)


def in_batches(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return bytes(sink.getvalue())


NOT_PLAIN: dict[str, pa.Table] = {
    "a gap": pa.table({"x0": [1.0, None, 3.0], "x1": [1.0, 2.0, 3.0]}),
    "a whole number": pa.table({"x0": [1.0], "x1": [1]}),
    "a single precision number": pa.table({"x0": [1.0], "x1": pa.array([1.0], pa.float32())}),
    "a text": pa.table({"x0": [1.0], "x1": ["a"]}),
    "a category": pa.table({"x0": [1.0], "x1": pa.array(["a"]).dictionary_encode()}),
    "a name twice": pa.table([pa.array([1.0]), pa.array([2.0])], names=["x", "x"]),
    "no row": pa.table({"x0": pa.array([], pa.float64())}),
    "no column": pa.table({}),
    "a list": pa.table({"x0": [[1.0]]}),
}


@pytest.mark.parametrize("what", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_arrow(what: str) -> None:
    table, streams = NOT_PLAIN[what], Streams()
    for _ in range(3):
        rows = streams.read(stream_of(table), MOST)
        assert not isinstance(rows.frame, Lines)
        assert rows.n_rows == table.num_rows
    if what == "a gap":
        whole = table.slice(2)
        assert_same(streams.read(stream_of(whole), MOST).frame, whole)
        np.testing.assert_array_equal(streams.read(stream_of(table), MOST).columns({"x0"})["x0"], [1, np.nan, 3])


def test_streams_that_are_put_together_otherwise_are_left_to_arrow() -> None:
    table = numbers(6)
    plain, streams = stream_of(table), Streams()
    streams.read(plain, MOST)
    without_end = plain[:-8]
    assert_same(streams.read(without_end, MOST).frame, table)
    for body in (in_batches(table), plain + b"more", b"\0" + plain, stream_of(table, compression="zstd"), plain[:-20]):
        with contextlib.suppress(Refusal):
            rows = streams.read(body, MOST)
            assert rows.n_rows == 6
            assert not isinstance(rows.frame, Lines) or body == plain + b"more"
    legacy = stream_of(table, use_legacy_format=True)
    for _ in range(2):
        assert not isinstance(streams.read(legacy, MOST).frame, Lines)
    other = stream_of(table.rename_columns(["a", "b", "c"]), use_legacy_format=True)
    assert streams.read(other, MOST).sent.names == ("a", "b", "c")


def test_numbers_in_the_other_order_of_bytes_are_left_to_arrow() -> None:
    table = numbers(6)
    stream = stream_of(table)
    assert PlainStreams.of(stream, table.schema) is not None
    # Arrow's own streams do not tell the order, which is then this one: tell another, at a number that is there.
    data = bytearray(stream)
    schema = messages.header(stream, messages.BEFORE_METADATA, messages.SCHEMA)
    vtable = schema - struct.unpack_from("<i", data, schema)[0]
    assert messages.field(stream, schema, messages.ENDIANNESS) == 0
    struct.pack_into("<H", data, vtable + 4, next(k for k in range(4, 40) if any(data[schema + k : schema + k + 2])))
    assert messages.field(bytes(data), schema, messages.ENDIANNESS) > 0
    assert PlainStreams.of(bytes(data), table.schema) is None


@pytest.mark.parametrize("seed", range(20))
def test_spoiled_streams_mean_what_arrow_makes_of_them(seed: int) -> None:
    rng = random.Random(seed)
    table = numbers(rng.randrange(1, 30), rng.randrange(1, 6), seed)
    stream, streams = stream_of(table), Streams()
    sent = streams.read(stream, MOST).sent
    assert sent.plain is not None
    schema, start = stream[: messages.metadata_end(stream)], len(stream) - table.nbytes
    for _ in range(60):
        spoiled = (
            spoil(rng, stream) if rng.random() < 0.5 else stream[: start - 300] + spoil(rng, stream[start - 300 :])
        )
        lines = sent.plain.read(spoiled)
        if lines is None or not spoiled.startswith(schema):
            continue
        for name in lines:
            assert len(lines[name]) == lines.n_rows
        try:
            read = pa.ipc.open_stream(spoiled).read_all()
        except (pa.ArrowException, OSError):
            continue
        assert_same(lines, read)


def test_rows_are_scored_the_same(store: str) -> None:
    app = application(store)
    table = pa.table(
        values_of(
            [{"x": x, "y": -x, "colour": float(i), "shop": float(i % 7)} for i, x in enumerate([*ODD, *range(40)])]
        )
    ).cast(pa.schema([(name, pa.float64()) for name in ("x", "y", "colour", "shop")]))
    first, second = (ask(app, "/score", stream_of(table), ARROW) for _ in range(2))
    assert first.status == second.status == 200
    assert first.body == second.body
    reply = ask(app, "/score", stream_of(table.rename_columns(["x", "z", "colour", "shop"])), ARROW)
    again = ask(app, "/score", stream_of(table.rename_columns(["x", "z", "colour", "shop"])), ARROW)
    assert (again.status, again.body) == (reply.status, reply.body)
    assert again.json["problems"].keys() == {"y", "z"}


@pytest.mark.parametrize("n", [0, 1, 2, 7, 500, MAX_KEPT_ROWS, MAX_KEPT_ROWS + 1])
def test_scores_are_a_stream(n: int) -> None:
    scores = ScoreStreams()
    for release in (3, 2**40, 3, 3):
        probability = np.random.default_rng(release % 7).random(n)
        table = pa.ipc.open_stream(scores.write(probability, release)).read_all()
        table.validate(full=True)
        assert bits(table["probability"].to_numpy()) == bits(probability)
        assert table["release"].to_pylist() == [release] * n
