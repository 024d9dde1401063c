"""Stored documents: what is not exactly one is refused by one error that says which document and which field."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gbdtlr.codec.documents import (
    Document,
    Finite,
    Measure,
    Time,
    Whole,
    Word,
    decode,
    encode,
    parse,
    read,
    table,
    typed,
)
from gbdtlr.errors import DamagedError, FormatError, StoreError


@dataclass(frozen=True)
class Part:
    n: Whole
    share: Finite = 0.0


class Sheet(Document, frozen=True):
    made: Time
    parts: dict[str, Part]
    pairs: tuple[tuple[str | Word | Finite, Whole], ...] = ()
    seconds: Measure = 0.0
    only: str | None = None

    def __post_init__(self) -> None:
        if self.only == "fault":
            raise StoreError("it is a fault")


@dataclass(frozen=True)
class Numbers:
    values: NDArray[np.float64]


GOOD = {"made": "2024-03-05T06:00:00Z", "parts": {"a": {"n": 3, "share": 1}}, "pairs": [["x", 1], [7, 2], [0.5, 3]]}


def test_a_document_comes_back() -> None:
    sheet = read({**GOOD, "unknown": [1]}, Sheet, "it")
    assert sheet == Sheet(datetime(2024, 3, 5, 6, tzinfo=UTC), {"a": Part(3, 1.0)}, (("x", 1), (7, 2), (0.5, 3)))
    assert decode(encode(sheet), Sheet, "it") == sheet
    assert table(sheet)["made"] == GOOD["made"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"made": "2024-03-05T06:00:00"}, "made"),
        ({"made": "2024-03-05T06:00:00+01:00"}, "not in UTC"),
        ({"made": "0001-01-01T00:00:00+23:59"}, "not in UTC"),
        ({"made": 5}, "made"),
        ({"made": None}, "made"),
        ({"parts": []}, "parts"),
        ({"parts": {"a": {"n": -1}}}, r"parts\[\.\.\.\]\.n"),
        ({"parts": {"a": {"n": True}}}, "n: "),
        ({"parts": {"a": {"n": 1.0}}}, "n: "),
        ({"parts": {"a": {"n": 2**63}}}, "n: "),
        ({"parts": {"a": {"n": 1, "share": float("inf")}}}, "share"),
        ({"parts": {"a": {"n": 1, "share": 10**400}}}, "share"),
        ({"pairs": [["x"]]}, r"pairs\[0\]"),
        ({"pairs": [[True, 1]]}, r"pairs\[0\]\[0\]"),
        ({"pairs": [[2**63, 1]]}, r"pairs\[0\]\[0\]"),
        ({"seconds": -1}, "seconds"),
        ({"seconds": 1e31}, "seconds"),
        ({"only": "fault"}, "it is a fault"),
    ],
)
def test_the_field_that_is_wrong_is_named(change: dict[str, object], place: str) -> None:
    with pytest.raises(DamagedError, match=rf"^the sheet is damaged: .*{place}"):
        read({**GOOD, **change}, Sheet, "the sheet")
    with pytest.raises(ValueError, match=place):
        typed({**GOOD, **change}, Sheet)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(DamagedError, match="`parts`"):
        read({"made": GOOD["made"]}, Sheet, "the sheet")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b'{"a": Infinity}',
        b'{"a": 1, "a": 1}',
        b'[{"b": {"a": 1, "c": 2, "a": 3}}]',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
        '{"a": 1}'.encode("utf-16"),
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedError, match=r"^the sheet is damaged: not JSON"):
        parse(data, "the sheet")


def test_halves_of_surrogates_are_text_as_any_other() -> None:
    """Names of files may hold them, and what was written once is read for ever."""
    assert typed(
        parse(b'{"made": "2024-03-05T06:00:00Z", "parts": {"\\ud800": {"n": 1}}, "only": "\\udcff"}', ""), Sheet
    )


@pytest.mark.parametrize("number", [0, -1, True, "1", 1.0, None, [1]])
def test_a_format_is_a_number_from_one(number: object) -> None:
    with pytest.raises(DamagedError, match="its format is"):
        decode(json.dumps({**GOOD, "format": number}).encode(), Sheet, "the sheet", 2)


def test_a_newer_format_is_refused_by_name_whatever_follows() -> None:
    for number in (1, 2):
        assert decode(json.dumps({**GOOD, "format": number}).encode(), Sheet, "the sheet", 2).parts
    with pytest.raises(FormatError, match=r"^the sheet has format 3, newer than the 2 this gbdtlr reads; upgrade"):
        decode(b'{"format": 3, "parts": "who knows"}', Sheet, "the sheet", 2)
    with pytest.raises(DamagedError, match="expected a JSON object, found list"):
        decode(b"[3]", Sheet, "the sheet", 2)


@pytest.mark.parametrize("values", [[1.0, 2.5, 3.0], [[1.0, 2.0], [3.0, 4.0]], []])
def test_arrays_come_back(values: list[object]) -> None:
    numbers = decode(encode(Numbers(np.array(values))), Numbers, "it")
    assert numbers.values.dtype == np.float64
    np.testing.assert_array_equal(numbers.values, np.array(values))


@pytest.mark.parametrize("values", [[[1], [2, 3]], ["1"], [True], [float("inf")], "1", None, {}, 1, [[[1]]]])
def test_what_is_no_array_is_refused(values: object) -> None:
    with pytest.raises(DamagedError, match="values"):
        read({"values": values}, Numbers, "it")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "n", "a"]), inner, max_size=3),
    max_leaves=9,
)


@given(value=json_values)
def test_any_value_is_a_document_or_damaged(value: object) -> None:
    for kind in (Sheet, Part, Numbers):
        try:
            read(value, kind, "it")
        except DamagedError:
            continue


def test_equal_documents_have_equal_bytes() -> None:
    sheets = [read({**GOOD, "parts": {name: {"n": 1} for name in names}}, Sheet, "") for names in ("ab", "ba")]
    assert encode(sheets[0]) == encode(sheets[1])
    with pytest.raises(ValueError, match="JSON"):
        encode(Part(1, float("nan")))


@dataclass(frozen=True)
class Inner:
    n: int
    forced: bool = False


@dataclass(frozen=True)
class Outer:
    inner: Inner
    base: int | None = None


def test_defaults_that_were_filled_in_are_written_too() -> None:
    outer = read({"inner": {"n": 1}}, Outer, "it")
    assert table(outer) == {"inner": {"n": 1, "forced": False}, "base": None}
