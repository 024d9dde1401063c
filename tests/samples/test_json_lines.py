"""JSON lines: what is needed is read whatever its type, what is not is not looked at; faults are told by their line."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples_kit import DAY, FOREVER, config, rows, write, write_text

import gbdtlr.samples.formats.jsonl
from gbdtlr.errors import SamplesError, SchemaError
from gbdtlr.samples import read
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.json_columns import Columns, Role, json_batches
from gbdtlr.samples.formats.jsonl import blocks
from gbdtlr.values.categories import texts
from gbdtlr.values.numbers import numbers

HERE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
NEEDED = {"at": "2024-03-01T00:00:00Z", "known_at": "2024-03-01T01:00:00Z", "label": 1, "price": 1.5, "count": 2}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(gbdtlr.samples.formats.jsonl, "_BLOCK", 200)


def line(**values):
    return json.dumps({**NEEDED, "shop": "s", "user": "u", **values})


def samples_of(path, *lines, name="x.jsonl", **changes):
    write_text(path / name, "\n".join([*lines, ""]))
    return read(config(path / name, **changes), DAY, FOREVER, FOREVER)


def message(kind, path, *lines, name="x.jsonl", **changes):
    with pytest.raises(kind) as caught:
        samples_of(path, *lines, name=name, **changes)
    assert str(path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value).partition(f"{path / name}: ")[2]


whole = st.integers(-(2**63), 2**64 - 1) | st.integers(-5, 5)
ids = whole | st.integers(-5, 5).map(float) | st.booleans() | st.none() | st.text(st.characters(codec="utf-8"))
real = whole | st.floats(allow_nan=True) | st.booleans() | st.none() | st.integers(10**30, 10**31)


@HERE
@given(values=st.lists(ids, min_size=1, max_size=30))
def test_categories_and_ids_of_any_type_are_the_texts_of_their_values(tmp_path, values):
    samples = samples_of(tmp_path, *(line(shop=v, user=v) for v in [*values, "a"]))
    expected = texts([*values, "a"]).to_pylist()
    for name in ("shop", "user"):
        assert texts(samples.table[name]).to_pylist() == expected


@HERE
@given(values=st.lists(real, min_size=1, max_size=30))
def test_numbers_of_any_type_are_the_numbers_they_are(tmp_path, values):
    samples = samples_of(tmp_path, *(line(price=v) for v in [*values, 1]))
    np.testing.assert_array_equal(numbers(samples.table["price"]), numbers([*values, 1]))


@HERE
@given(values=st.lists(whole | st.none(), min_size=1, max_size=30))
def test_a_number_that_is_an_id_too_is_exact_and_may_be_absent_from_a_block(tmp_path, values):
    rows = [{} if v is None else {"user": v} for v in values]
    samples = samples_of(tmp_path, *(json.dumps({**NEEDED, **row}) for row in [*rows, {"user": 7}]),
                         numeric=("user", "price"), categorical=(), wide=("user",))  # fmt: skip
    expected = [None if v is None else str(v) for v in [*values, 7]]
    assert texts(samples.table["user"]).to_pylist() == expected


def test_ids_beyond_int64_in_one_file_and_below_in_another_keep_their_digits(tmp_path):
    samples_of(tmp_path, line(user=2**63 + 1), name="1.jsonl")
    samples_of(tmp_path, line(user=-(2**53) - 1), name="2.jsonl")
    both = read(config(tmp_path), DAY, FOREVER, FOREVER)
    assert texts(both.table["user"]).to_pylist() == [str(2**63 + 1), str(-(2**53) - 1)]


@pytest.mark.parametrize(
    ("values", "labels"),
    [([1, "0", True, 0.0, "false"], [1, 0, 1, 0, 0]), ([True, False], [1, 0]), (["1", 0], [1, 0])],
)
def test_labels_and_times_may_be_of_several_types(tmp_path, values, labels):
    times = [1709251200, "2024-03-01", 1709251200.5, 1709251200_000, "2024-03-01 00:00:00 UTC"]
    samples = samples_of(tmp_path, *(line(label=v, at=t) for v, t in zip(values, times, strict=False)))
    assert samples.label.tolist() == labels
    assert {us // 1_000_000 for us in samples.event_us.tolist()} == {1709251200}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@HERE
@given(values=st.lists(anything, min_size=1, max_size=20), ids=st.lists(st.sampled_from(["a", 7, 7.0, True, None])))
def test_keys_that_nobody_needs_may_hold_anything(tmp_path, values, ids):
    ids = [*ids, *["a"] * len(values)][: len(values)]
    samples = samples_of(tmp_path, *(line(shop=i, other=v) for i, v in zip(ids, values, strict=True)), line(shop="s"))
    assert texts(samples.table["shop"]).to_pylist() == texts([*ids, "s"]).to_pylist()


@pytest.mark.parametrize("shop", ['"a"', "7"])
@pytest.mark.parametrize(
    "other",
    [
        "[" * 50_000 + "]" * 50_000,
        '{"a":' * 50_000 + "1" + "}" * 50_000,
        '"\\ud800"',
        "1" * 6000,
        "NaN",
        '"\\"["',
        "1e400",
    ],
)
def test_keys_that_nobody_needs_may_hold_what_no_parser_likes(tmp_path, shop, other):
    text = line(shop="b")[:-1] + f', "other": {other}, "price": 3, "shop": {shop}}}'
    samples = samples_of(tmp_path, text, line(shop="c"))
    assert texts(samples.table["shop"]).to_pylist() == [json.loads(shop) if shop == '"a"' else "7", "c"]
    assert samples.table["price"].to_pylist() == [3.0, 1.5]


def test_keys_that_nobody_needs_may_hold_bytes_that_are_no_text(tmp_path):
    data = f"{line(other='CAFÉ')}\n".encode("latin-1").replace(b"\\u00c9", b"\xc9") * 3
    assert b"\xc9" in data
    (tmp_path / "x.jsonl").write_bytes(data)
    assert len(read(config(tmp_path), DAY, FOREVER, FOREVER)) == 3


@pytest.mark.parametrize("shop", ["s", 7])
@pytest.mark.parametrize(("bad", "shown"), [(b"caf\xe9", r"b'caf\xe9'"), (b"x\\ud800", r"b'x\xed\xa0\x80'")])
@pytest.mark.parametrize("at", [0, 1, 9])
def test_texts_that_are_not_utf8_are_told_by_line_and_column(tmp_path, shop, bad, shown, at):
    lines = [line(shop=shop).encode() for _ in range(10)]
    lines[at] = line(shop="BAD").encode().replace(b"BAD", bad)
    (tmp_path / "x.jsonl").write_bytes(b"\n\n".join([*lines, b""]))
    with pytest.raises(SamplesError) as caught:
        read(config(tmp_path), DAY, FOREVER, FOREVER)
    assert str(caught.value) == f"{tmp_path}/x.jsonl: line {2 * at + 1}, column shop: {shown} is not UTF-8; mend it"


@pytest.mark.parametrize("at", [1, 2, 17, 40])
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ('{"at": oops}', "is not JSON: expecting value at character 8; mend or remove it"),
        ('{"at": 1} {"at": 2}', "is not JSON: more than one value at character 10; mend or remove it"),
        ("[1]", "is a JSON array, expected a JSON object"),
        ("null", "is null, expected a JSON object"),
        ('"at"', "is a text, expected a JSON object"),
        ("7", "is a number, expected a JSON object"),
        ("{", "ends within its object, expected one whole JSON object per line; jq -c . writes them so"),
    ],
)
def test_lines_that_are_no_objects_are_told_by_their_number_in_the_file(tmp_path, at, bad, words):
    lines = [line() if i % 3 else "  " for i in range(40)]
    lines[0] = line()
    text = message(SamplesError, tmp_path, *lines[:at], bad, *lines[at:])
    assert text == f"line {at + 1} {words}"


def test_what_is_no_json_lines_is_said_to_be(tmp_path):
    array = json.dumps([json.loads(line())] * 3)
    for text in (array, json.dumps([json.loads(line())], indent=2)):
        with pytest.raises(SamplesError, match=r"is a JSON array, expected one JSON object per line; jq -c '\.\[\]'"):
            samples_of(tmp_path, text)
    for indented in (json.dumps(json.loads(line()), indent=2), json.dumps(json.loads(line()), indent=2)[:-2] + "\n\n}"):
        assert message(SamplesError, tmp_path, indented).startswith("line 1 ends within its object, expected one whole")
    for data, words in (
        ("at,label\n".encode("utf-16"), "is UTF-16 text, expected UTF-8; iconv"),
        (b"\x1f\x8b\x08", r"is compressed; give it a name that ends in \.gz"),
        (b"PAR1", r"is a parquet file; give it a name that ends in \.parquet"),
        (b"at,label\n1,2\n", "does not begin with {, expected one JSON object per line"),
    ):
        (tmp_path / "x.jsonl").write_bytes(data)
        with pytest.raises(SamplesError, match=words):
            read(config(tmp_path), DAY, FOREVER, FOREVER)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    assert len(samples_of(tmp_path, "\ufeff" + line(), line())) == 2
    assert len(samples_of(tmp_path, "\ufeff\n" + line(shop=7), line())) == 2


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "\ufeff\n\n", " \r\n"])
def test_a_file_without_lines_is_no_fault(tmp_path, text):
    samples_of(tmp_path, line(), name="a.jsonl")
    write_text(tmp_path / "b.jsonl", text)
    assert len(read(config(tmp_path), DAY, FOREVER, FOREVER)) == 1


@pytest.mark.parametrize("shop", ["café", 7])
def test_a_last_line_that_is_cut_anywhere_is_left_for_the_next_time(tmp_path, shop):
    lines = "".join(f"{line(shop=s)}\n" for s in ("a", "b")).encode()
    last = line(shop=shop).encode()
    for end in range(len(last) + 1):
        (tmp_path / "x.jsonl").write_bytes(lines + last[:end])
        assert len(read(config(tmp_path), DAY, FOREVER, FOREVER)) == (3 if end == len(last) else 2)


def test_a_cut_line_of_a_file_that_is_whole_is_told(tmp_path):
    text = message(SamplesError, tmp_path, line(), line()[:-20], name="x.jsonl.gz")
    assert text == "line 2 is not JSON: unterminated string starting at character 106; mend or remove it"
    write_text(tmp_path / "x.jsonl.gz", f"{line()}\n{line()[:-20]}")
    with pytest.raises(SamplesError, match=r"line 2, the last one, is cut off or not JSON: .*; complete or remove it"):
        read(config(tmp_path), DAY, FOREVER, FOREVER)


@pytest.mark.parametrize("shop", ["s", 7])
def test_lines_may_be_longer_than_any_block(tmp_path, monkeypatch, shop):
    monkeypatch.setattr(gbdtlr.samples.formats.jsonl, "_BLOCK", 8 << 20)
    long = "x" * (3 << 20)
    samples = samples_of(tmp_path, line(shop=shop), line(shop=long, other=long), line(other="y" * (9 << 20)))
    assert [None if t is None else len(t) for t in texts(samples.table["shop"]).to_pylist()] == [1, 3 << 20, 1]


def test_lines_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(gbdtlr.samples.formats.jsonl, "LONGEST", 5000)
    assert len(samples_of(tmp_path, line(other="x" * 4000), line())) == 2
    text = message(SamplesError, tmp_path, line(), "", line(other="x" * 6000), line())
    assert text == "line 3 is longer than 64 MB; mend the file"


def test_values_that_are_something_else_are_told_by_line_and_column(tmp_path):
    lines = [line(), line(price="7", shop=[1]), line(price={})]
    text = message(SchemaError, tmp_path, *lines)
    assert text.startswith("line 2, column price is '7' (str), a number expected; line 2, column shop is [1] (list), ")
    assert text.endswith("; mend the file, or the config")
    text = message(
        SchemaError, tmp_path, line(), line(user=1.5), numeric=("user", "price"), wide=("user",), categorical=()
    )
    assert text.startswith("line 1, column user is 'u' (str), a number expected")


@HERE
@given(values=st.lists(ids, min_size=1, max_size=30), block=st.integers(20, 400))
def test_where_blocks_end_does_not_matter(tmp_path, values, block):
    path = write_text(tmp_path / "x.jsonl", "\n\n".join(json.dumps({"c": v, "n": i}) for i, v in enumerate(values)))
    roles = {"c": Role.TEXT, "n": Role.NUMBER}

    def read_in(size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gbdtlr.samples.formats.jsonl, "_BLOCK", size)
            columns = Columns(roles)
            batches = [columns.of(each) for each in blocks(File(str(path)))]
        return [t for b in batches for t in texts(b["c"]).to_pylist()], [n for b in batches for n in b["n"].to_pylist()]

    assert read_in(block) == read_in(1 << 20) == (texts(values).to_pylist(), [float(i) for i in range(len(values))])


def test_columns_that_never_have_a_value_are_told_of_all_files_together(tmp_path):
    seen = set()
    path = write_text(tmp_path / "x.jsonl", json.dumps(NEEDED) + "\n")
    assert [len(batch) for batch in json_batches(File(str(path)), config(path), seen)] == [1]
    assert seen == {"at", "known_at", "label", "price", "count"}


def test_json_lines_of_every_writer_are_the_same_samples(tmp_path):
    table = rows(50, step=timedelta(minutes=5))
    expected = read(config(write(table, tmp_path / "x.parquet")), DAY, FOREVER, FOREVER)
    lines = (write(table, tmp_path / "x.jsonl")).read_text().splitlines()
    shuffled = [
        json.dumps(dict(sorted(json.loads(text).items(), reverse=True)), separators=(",", ":")) for text in lines
    ]
    for name, text in (("a", "\r\n".join(shuffled)), ("b", "\n\n\n".join(lines)), ("c", "  \n".join(lines) + " \t\n")):
        write_text(tmp_path / f"{name}.jsonl", text)
        found = read(config(tmp_path / f"{name}.jsonl"), DAY, FOREVER, FOREVER)
        assert texts(found.table["shop"]).to_pylist() == texts(expected.table["shop"]).to_pylist()
        assert found.event_us.tolist() == expected.event_us.tolist()
