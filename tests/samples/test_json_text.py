"""JSON of every Arrow value, against what Python makes of them."""

from __future__ import annotations

import base64
import json
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbdtlr.samples.formats.json_text import json_lines, json_texts, plain_texts

texts = st.text(st.characters(codec="utf-8"), max_size=6)
SCALARS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.bool_(): st.booleans(),
    pa.string(): texts,
    pa.large_string(): texts,
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["a", '"']),
    pa.binary(): st.binary(max_size=5),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.decimal128(20, 3): st.decimals(-(10**16), 10**16, places=3),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("s"): st.datetimes().map(lambda t: t.replace(microsecond=0)),
    pa.timestamp("us", "Asia/Tokyo"): st.datetimes(),
    pa.date32(): st.dates(),
    pa.date64(): st.dates(),
    pa.time64("us"): st.times(),
    pa.duration("us"): st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6)),
    pa.null(): st.none(),
}


def nested(kind: pa.DataType, values: st.SearchStrategy[Any]) -> list[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    values = values | st.none()
    return [
        (pa.list_(kind), st.lists(values, max_size=3)),
        (pa.large_list(kind), st.lists(values, max_size=3)),
        (pa.list_(kind, 2), st.lists(values, min_size=2, max_size=2)),
        (pa.struct([("a", kind), ('b"%s', pa.int8())]), st.fixed_dictionaries({"a": values, 'b"%s': st.just(1)})),
        (pa.map_(pa.string(), kind), st.dictionaries(texts, values, max_size=3).map(lambda d: [*d.items()])),
    ]


CASES = [*SCALARS.items(), *(case for kind, values in SCALARS.items() for case in nested(kind, values))]
CASES += [case for kind, values in nested(pa.timestamp("us"), st.datetimes()) for case in nested(kind, values)]


def expected(value: Any, kind: pa.DataType) -> Any:
    """What a parser should make of the JSON."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {key: expected(item, kind.item_type) for key, item in value}
    if pa.types.is_struct(kind):
        return {field.name: expected(value[field.name], field.type) for field in kind}
    if isinstance(value, list):
        return [expected(item, kind.value_type) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value / timedelta(seconds=1)
    return value


@settings(max_examples=400, deadline=None)
@given(data=st.data(), case=st.sampled_from(CASES))
def test_json_is_what_python_makes_of_a_value(data, case):
    kind, values = case
    column = pa.array(data.draw(st.lists(values | st.none(), max_size=5)), kind)
    start = data.draw(st.integers(0, len(column)))
    column = column.slice(start)
    found = [json.loads(text, parse_constant=pytest.fail) for text in json_texts(column)]
    assert found == [expected(value, kind) for value in column.to_pylist()]
    table = pa.table({"x": column, '%s "': column})
    lines = json_lines(table).decode().split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == [{"x": value, '%s "': value} for value in found]
    plain = plain_texts(column).to_pylist()
    assert [value if isinstance(value, str) else None for value in found] == [
        text if isinstance(value, str) else None for text, value in zip(plain, found, strict=True)
    ]


def test_numbers_have_all_their_digits():
    digits = [Decimal("1.10"), Decimal("-0.00"), Decimal("12345678901234567890.12")]
    assert json_texts(pa.array(digits, pa.decimal128(30, 2))) == ["1.10", "0.00", "12345678901234567890.12"]
    assert json_texts(pa.array([2**64 - 1], pa.uint64())) == ["18446744073709551615"]
    assert json_texts(pa.array([0.1 + 0.2])) == ["0.30000000000000004"]
    assert json_texts(pa.array([1, -1_500_000_000], pa.duration("ns"))) == ["0.000000001", "-1.5"]


def test_times_are_written_whatever_their_year_and_unit():
    assert json_texts(pa.array([10**13, -(10**12)], pa.timestamp("s"))) == [
        '"318857-05-20T17:46:40"',
        '"-29719-04-05T22:13:20"',
    ]
    assert json_texts(pa.array([1], pa.timestamp("ns", "UTC"))) == ['"1970-01-01T00:00:00.000000001+00:00"']
    assert json_texts(pa.array([1500], pa.time32("ms"))) == ['"00:00:01.500"']


def test_other_types():
    one = uuid.UUID(int=1)
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([one.bytes, None], pa.binary(16)))
    assert json_texts(ids) == [f'"{one}"', "null"]
    assert json_texts(pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8()))) == ["true", "false"]
    assert json_texts(pa.array([(1, 2, 3)], pa.month_day_nano_interval())) == [
        '{"months": 1, "days": 2, "nanoseconds": 3}'
    ]
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["a"]))
    assert json_texts(runs) == ['"a"', '"a"']
    assert json_texts(pa.array([[1], None], pa.list_view(pa.int8()))) == ["[1]", "null"]
    assert json_texts(pa.array([[(1, "x")]], pa.map_(pa.int8(), pa.string()))) == ['{"1": "x"}']
    assert json_texts(pa.array([{}, None], pa.struct([]))) == ["{}", "null"]
    assert json_texts(pa.array(np.array([1.5], np.float16))) == ["1.5"]
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])
    assert json_texts(union) == ["1", '"b"']
