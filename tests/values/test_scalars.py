"""One Python value: its number, its text, its truth; whatever wraps it."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from decimal import Decimal as D
from enum import Enum, IntEnum, IntFlag, StrEnum
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.errors import SchemaError
from gbdtlr.values import scalars

NO = "<refused>"
U = uuid.UUID(int=255)


class Word(str, Enum):  # noqa: UP042 - its members' str() is not their text, as that of StrEnum is
    RED = "red"


class Plain(Enum):
    SEVEN = 7
    NONE = None
    NESTED = Word.RED


class Strings(StrEnum):
    RED = "red"


class Ints(IntEnum):
    SEVEN = 7


class Flags(IntFlag):
    FOUR = 4


class Text(str):
    def __str__(self) -> str:
        return "another"


class Int(int):
    def __repr__(self) -> str:
        return "another"


MEANINGS: list[tuple[Any, Any, Any]] = [
    # value, number, text
    (7, 7.0, "7"),
    (Int(7), 7.0, "7"),
    (-(2**70), -(2.0**70), str(-(2**70))),
    (7.0, 7.0, "7"),
    (-0.0, 0.0, "0"),
    (7.5, 7.5, NO),
    (2.0**53, 2.0**53, NO),
    (2.0**53 - 1, 2.0**53 - 1, "9007199254740991"),
    (math.inf, math.inf, NO),
    (np.float32(7), 7.0, "7"),
    (np.float32(2**24), 2.0**24, NO),
    (np.float16(2**11), 2.0**11, NO),
    (np.float64(2**24), 2.0**24, "16777216"),
    (np.longdouble(7), 7.0, "7"),
    (np.int8(7), 7.0, "7"),
    (np.uint64(2**64 - 1), 2.0**64, "18446744073709551615"),
    (True, 1.0, "true"),
    (np.False_, 0.0, "false"),
    ("red", NO, "red"),
    ("True", NO, "true"),
    ("fALSE", NO, "false"),
    ("7.0", NO, "7"),
    ("-7.000", NO, "-7"),
    ("-0.0", NO, "0"),
    ("1e+05", NO, "100000"),
    ("1.5E+3", NO, "1500"),
    ("1.2E7", NO, "12000000"),
    ("1e+16", NO, NO),
    ("9007199254740992.0", NO, NO),
    ("9007199254740993.00", NO, "9007199254740993"),
    ("9.2e+18", NO, NO),
    ("1.5e+00", NO, "1.5e+00"),
    *(
        (text, NO, text)
        for text in ("007", "7.50", "1.10", "1e5", "12E45", "1e16", " 7", "7 ", "+7", "07.0", "7.", ".0")
    ),
    *(
        (text, NO, text)
        for text in ("yes", "t", "truely", "nan", "NA", "null", "None", " ", "é", "1.0.0", "1,0", "0x10")
    ),
    ("", NO, None),
    ("a\ud800", NO, NO),
    (np.str_("red"), NO, "red"),
    (Text("red"), NO, "red"),
    (Word.RED, NO, "red"),
    (Strings.RED, NO, "red"),
    (Ints.SEVEN, 7.0, "7"),
    (Flags.FOUR, 4.0, "4"),
    (Plain.SEVEN, 7.0, "7"),
    (Plain.NONE, math.nan, None),
    (Plain.NESTED, NO, "red"),
    (D("7.00"), 7.0, "7"),
    (D("7E3"), 7000.0, "7000"),
    (D("-0"), 0.0, "0"),
    (D("7.5"), 7.5, NO),
    (D("0.1"), 0.1, NO),
    (D(2**53 + 1), 2.0**53, "9007199254740993"),
    (D("NaN"), math.nan, None),
    (D("sNaN"), math.nan, None),
    (D("-Infinity"), -math.inf, NO),
    (D("1e999999999"), math.inf, NO),
    (Fraction(14, 2), 7.0, "7"),
    (Fraction(1, 3), 1 / 3, NO),
    (10**400, NO, str(10**400)),
    (10**5000, NO, NO),
    (U, NO, str(U)),
    (np.array(7), 7.0, "7"),
    (np.array("red"), NO, "red"),
    (np.ma.masked_array(7, True), math.nan, None),
    (pa.scalar(7), 7.0, "7"),
    (pa.scalar(None, pa.int8()), math.nan, None),
    (pa.scalar(2.0**24, pa.float32()), 2.0**24, NO),
    *((value, math.nan, None) for value in (None, math.nan, np.float32("nan"), pd.NA, pd.NaT, np.ma.masked)),
    *((value, math.nan, None) for value in (np.datetime64("NaT"), np.timedelta64("NaT", "s"))),
    *((value, NO, NO) for value in (b"a", bytearray(b"a"), 1j, np.complex64(1), [1], (1,), {1}, {"a": 1}, object())),
    *((value, NO, NO) for value in (dt.datetime(2024, 1, 1), dt.date(2024, 1, 1), dt.time(1), dt.timedelta(1))),
    *((value, NO, NO) for value in (np.datetime64("2024"), np.timedelta64(1, "s"), pd.Timestamp(0), pd.Interval(0, 1))),
    *((value, NO, NO) for value in (np.bytes_(b"a"), np.array([1]), np.void(b"a"), int, pd.Period("2024", "Y"))),
]


def meaning(read: Any, value: Any) -> Any:
    try:
        return read(value)
    except SchemaError:
        return NO


@pytest.mark.parametrize(("value", "number", "text"), MEANINGS, ids=range(len(MEANINGS)))
def test_a_value_means(value: Any, number: Any, text: Any) -> None:
    found = meaning(scalars.number, value)
    assert found == number or (found != found and number != number)
    assert isinstance(found, float | str)
    assert meaning(scalars.text, value) == text
    if text is not None and text is not NO:
        assert type(meaning(scalars.text, value)) is str


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        *(
            (value, 1.0)
            for value in (1, 1.0, True, np.int8(1), np.True_, "1", " 1 ", "1.0", "1.00", "TRUE", "true", D(1))
        ),
        *(
            (value, 0.0)
            for value in (0, -0.0, False, np.float32(0), "0", "0.0", "False", "false ", D("0.00"), Ints(7) - 7)
        ),
        *((value, math.nan) for value in (None, math.nan, "", "  ", pd.NA, D("NaN"))),
        *((value, NO) for value in (2, -1, 0.5, "yes", "t", "2", "a\ud800", b"1", [1], dt.date(2024, 1, 1), "9.2e+18")),
    ],
    ids=repr,
)
def test_an_outcome_is_true_or_false_in_any_spelling(value: Any, truth: Any) -> None:
    found = meaning(scalars.truth, value)
    assert found == truth or (found != found and truth != truth)


@given(st.text())
def test_a_spelling_is_its_own_spelling(text: str) -> None:
    try:
        once = scalars.text(text)
    except SchemaError:
        return
    assert once is None or scalars.text(once) == once


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_whole_number_is_one_id_in_every_type(value: int) -> None:
    spellings = [value, float(value), str(value), str(float(value)), D(value), D(f"{value}.00"), Fraction(value)]
    spellings += [f"{float(value):.17g}" if abs(value) < 10**15 else str(value), np.float64(value), np.int64(value)]
    assert {scalars.text(each) for each in spellings} == {str(value)}


@given(st.floats(2.0**53, allow_nan=False) | st.floats(max_value=-(2.0**53), allow_nan=False))
def test_floats_too_large_to_tell_ids_apart_are_refused_as_numbers_and_as_texts(value: float) -> None:
    for each in (value, str(value)):
        if each not in ("inf", "-inf"):
            with pytest.raises(SchemaError, match="too large"):
                scalars.text(each)


def test_messages_tell_what_to_do() -> None:
    with pytest.raises(SchemaError, match=r"^is 7\.5 \(float\), no whole number; write fractions as texts$"):
        scalars.text(7.5)
    with pytest.raises(SchemaError, match=r"^is 9\.2e\+18 \(float\), too large for a float to .*; give ids as whole"):
        scalars.text(9.2e18)
    with pytest.raises(SchemaError, match=r"^is '7' \(str\), a number expected$"):
        scalars.number("7")
    with pytest.raises(SchemaError, match="is a number too large for a float"):
        scalars.number(10**400)
    with pytest.raises(SchemaError, match="cannot be written as UTF-8"):
        scalars.text("a\udc80")
