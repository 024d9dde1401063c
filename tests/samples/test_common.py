"""One type for the columns of several files: every value of each is in it what it was."""

from __future__ import annotations

import itertools
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.types as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbdtlr.samples.formats.common import common_schema, conformed

INTS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]


def whole(kind: pa.DataType) -> st.SearchStrategy[Any]:
    signed = pt.is_signed_integer(kind)
    bits = kind.bit_width
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(*ends)


VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    **{kind: whole(kind) for kind in INTS},
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(st.characters(codec="utf-8"), max_size=5),
    pa.large_string(): st.text(st.characters(codec="utf-8"), max_size=5),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["a", "b"]),
    pa.binary(): st.binary(max_size=4),
    pa.decimal128(5, 2): st.decimals(-999, 999, places=2),
    pa.decimal128(38, 0): st.integers(-(10**37), 10**37).map(Decimal),
    pa.timestamp("s"): st.datetimes().map(lambda t: t.replace(microsecond=0)),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("ns"): st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
    pa.timestamp("us", "UTC"): st.datetimes(),
    pa.timestamp("ms", "Asia/Tokyo"): st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)).map(
        lambda t: t.replace(microsecond=0)
    ),
    pa.date32(): st.dates(),
    pa.time32("s"): st.times().map(lambda t: t.replace(microsecond=0)),
    pa.time64("us"): st.times(),
    pa.duration("ms"): st.timedeltas().map(lambda d: timedelta(seconds=d // timedelta(seconds=1))),
    pa.duration("us"): st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6)),
    pa.list_(pa.int64()): st.lists(st.integers(-(2**60), 2**60), max_size=3),
    pa.list_(pa.float64()): st.lists(st.floats(allow_nan=False), max_size=3),
    pa.struct([("a", pa.int8())]): st.fixed_dictionaries({"a": st.integers(-5, 5)}),
    pa.struct([("b", pa.string())]): st.fixed_dictionaries({"b": st.sampled_from(["x", None])}),
    pa.null(): st.none(),
}


def holds(tables):
    """As whoever reads files has it: are all values of a column in the type?"""

    def fits(name, kind):
        for table in tables:
            try:
                table.column(name).cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                return False
        return True

    return fits


def same(before: Any, after: Any, kind: pa.DataType) -> bool:
    """Whether a value is what it was, maybe as text."""
    if before is None:
        return after is None
    if isinstance(after, str) and not isinstance(before, str):
        return True  # what the text is, other tests say
    if isinstance(before, list):
        return len(before) == len(after) and all(same(x, y, kind) for x, y in zip(before, after, strict=True))
    if isinstance(before, dict):
        return all(after[name] == value for name, value in before.items())
    if isinstance(before, date) and not isinstance(before, datetime) and isinstance(after, datetime):
        return after == datetime(before.year, before.month, before.day)
    if isinstance(before, Decimal) and isinstance(after, float):
        return after == float(before)
    if isinstance(before, str) and isinstance(after, bytes):
        return after == before.encode()
    return bool(before == after)


@pytest.mark.filterwarnings("ignore:Discarding nonzero nanoseconds")
@settings(max_examples=300, deadline=None)
@given(data=st.data(), kinds=st.lists(st.sampled_from([*VALUES]), min_size=1, max_size=3))
def test_every_value_is_what_it_was(data, kinds):
    columns = [data.draw(st.lists(VALUES[kind] | st.none(), max_size=4)) for kind in kinds]
    tables = [pa.table({"x": pa.array(v, kind)}) for v, kind in zip(columns, kinds, strict=True)]
    schema = common_schema([table.schema for table in tables], holds(tables))
    for table, values, kind in zip(tables, columns, kinds, strict=True):
        found = conformed(table, schema)
        assert found.schema == schema
        before = table["x"].to_pylist()
        assert all(map(same, before, found["x"].to_pylist(), itertools.repeat(kind))), (kind, schema, values)


def test_decimals_beside_floats_are_the_nearest():
    kind = pa.decimal128(5, 2)
    values = [Decimal(i) / 100 for i in range(-99_999, 99_999, 7)]
    found = conformed(pa.table({"x": pa.array([*values, None], kind)}), pa.schema([("x", pa.float64())]))
    assert found["x"].to_pylist() == [*map(float, values), None]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([pa.int8(), pa.int32()], pa.int32()),
        ([pa.int8(), pa.uint8()], pa.int16()),
        ([pa.uint32(), pa.int8()], pa.int64()),
        ([pa.uint64(), pa.int8()], pa.decimal128(20, 0)),
        ([pa.int64(), pa.float64()], pa.float64()),
        ([pa.int16(), pa.float32()], pa.float64()),
        ([pa.float32(), pa.float64()], pa.float64()),
        ([pa.null(), pa.string()], pa.string()),
        ([pa.string(), pa.null()], pa.string()),
        ([pa.string(), pa.int64()], pa.string()),
        ([pa.bool_(), pa.int8()], pa.string()),
        ([pa.string(), pa.large_string()], pa.large_string()),
        ([pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int16(), pa.string())], pa.string()),
        ([pa.timestamp("us"), pa.timestamp("ns")], pa.timestamp("ns")),
        ([pa.timestamp("us"), pa.date32()], pa.timestamp("us")),
        ([pa.timestamp("us", "UTC"), pa.timestamp("ms", "Asia/Tokyo")], pa.timestamp("us", "UTC")),
        ([pa.timestamp("us"), pa.timestamp("us", "UTC")], pa.string()),
        ([pa.decimal128(5, 2), pa.int64()], pa.decimal128(22, 2)),
        ([pa.decimal128(38, 2), pa.decimal128(38, 10)], pa.decimal256(46, 10)),
        ([pa.decimal256(76, 0), pa.decimal128(38, 38)], pa.string()),
        ([pa.list_(pa.int8()), pa.list_(pa.int64())], pa.list_(pa.int64())),
        ([pa.list_(pa.int8()), pa.string()], pa.string()),
        ([pa.struct([("a", pa.int8())]), pa.list_(pa.int8())], pa.string()),
        ([pa.time32("s"), pa.time64("ns")], pa.time64("ns")),
        ([pa.binary(), pa.string()], pa.string()),
    ],
)
def test_types_in_common(kinds, expected):
    schemas = [pa.schema([("x", kind)]) for kind in kinds]
    assert common_schema(schemas, lambda *_: True).field("x").type == expected


def test_what_does_not_fit_is_text():
    big, half = pa.table({"x": [2**60 + 1]}), pa.table({"x": [1.5]})
    schema = common_schema([big.schema, half.schema], holds([big, half]))
    assert [conformed(t, schema)["x"].to_pylist() for t in (big, half)] == [[str(2**60 + 1)], ["1.5"]]
    far = pa.table({"x": pa.array([datetime(9999, 1, 1)], pa.timestamp("us"))})
    fine = pa.table({"x": pa.array([1], pa.timestamp("ns"))})
    schema = common_schema([far.schema, fine.schema], holds([far, fine]))
    expected = [["9999-01-01T00:00:00"], ["1970-01-01T00:00:00.000000001"]]
    assert [conformed(t, schema)["x"].to_pylist() for t in (far, fine)] == expected


def test_columns_of_all_in_the_order_of_the_first():
    a, b = pa.table({"x": [1], "y": ["a"]}), pa.table({"z": [time(1)], "y": ["b"], "x": [2.5]})
    schema = common_schema([a.schema, b.schema], holds([a, b]))
    assert schema.names == ["x", "y", "z"]
    assert conformed(a, schema).to_pylist() == [{"x": 1.0, "y": "a", "z": None}]
    assert conformed(b, schema).to_pylist() == [{"x": 2.5, "y": "b", "z": time(1)}]
