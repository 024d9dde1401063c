"""The table of docs/values.md says of every type what is so."""

from __future__ import annotations

import math
import re
import uuid
from datetime import date, datetime, timedelta
from decimal import Decimal as D
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gbdtlr.errors import SchemaError
from gbdtlr.values import scalars
from gbdtlr.values.categories import texts
from gbdtlr.values.numbers import read_numbers

PAGE = (Path(__file__).parents[2] / "docs" / "values.md").read_text("utf-8")
ID = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")
OTHERS = [
    b"a",
    datetime(2024, 1, 1),
    date(2024, 1, 1),
    timedelta(1),
    pd.Period("2024", "Y"),
    pd.Interval(0, 1),
    [1],
    {},
    1j,
]
MISSING = [None, math.nan, np.float32("nan"), D("NaN"), pd.NaT, np.datetime64("NaT"), pd.NA, np.ma.masked]
# For each row of the table: values that are taken as a number, as a category or id and as a label, and refused ones.
TAKEN: dict[str, tuple[list[Any], list[Any], list[Any]]] = {
    "whole numbers": ([7, np.int8(7), np.uint64(2**64 - 1), 2**70], [7, np.int8(7), 2**70], [0, 1]),
    "floats": ([7.0, 0.5, -0.0, math.inf, np.float16(7)], [7.0, -0.0, np.float32(7), 2.0**53 - 1], [0.0, 1.0]),
    "decimals": ([D("7.00"), D("0.1"), Fraction(1, 3)], [D("7.00"), D(2**70), Fraction(7)], [D(0), D("1.00")]),
    "truth values": ([True, np.False_], [True, np.False_], [True, False]),
    "text": ([], ["a", "007", "7.0"], ["0", "1", "true", "FALSE", "1.0", "0.00"]),
    "UUIDs": ([], [ID], []),
    "bytes": ([], [], []),
    "null": (MISSING, [*MISSING, ""], [*MISSING, ""]),
}
REFUSED: dict[str, tuple[list[Any], list[Any], list[Any]]] = {
    "whole numbers": ([], [], [2]),
    "floats": ([], [0.5, math.inf, 2.0**53, np.float32(2**24), np.float16(2**11)], [0.5]),
    "decimals": ([], [D("7.5"), Fraction(1, 2)], [D("0.5")]),
    "truth values": ([], [], []),
    "text": (["7", "a"], [], ["yes", "2"]),
    "UUIDs": ([ID], [], [ID]),
    "bytes": (OTHERS, OTHERS, OTHERS),
    "null": ([""], [], []),
}


def table() -> dict[str, list[str]]:
    begin = PAGE.index("| type |")
    rows = [line.strip("| ").split(" | ") for line in PAGE[begin : PAGE.index("\n\n", begin)].splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) == 4}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_the_table_takes_and_refuses(kind: str) -> None:
    (cells,) = [cells for name, cells in table().items() if re.match(rf"{kind}\b(?! in CSV)", name)]
    for cell, read, taken, refused in zip(
        cells, (scalars.number, scalars.text, scalars.truth), TAKEN[kind], REFUSED[kind], strict=True
    ):
        for value in taken:
            found = read(value)
            assert cell != "refused"
            assert (cell in ("missing", "not known")) is (found is None or found != found)
        for value in refused:
            with pytest.raises(SchemaError):
                read(value)
        assert bool(taken) is (cell != "refused")


def test_the_table_has_no_other_rows() -> None:
    assert len(table()) == 1 + len(TAKEN) + 1, "its header, and text in CSV"


def test_the_examples_of_spellings() -> None:
    listed = PAGE[PAGE.index("has one spelling, the") : PAGE.index("Whole numbers above 2^53")]
    bullets = [re.findall(r"`([^`]+)`", bullet) for bullet in listed.split("\n- ")[1:]]
    truths, floats, themselves, _ = bullets
    assert {scalars.text(text) for text in truths[:3]} == {"true"}
    assert [scalars.text(text) for text in truths[4:]] == truths[4:]
    assert [scalars.text(text) for text in floats[:4]] == floats[4:8] == ["7", "7", "100000", "12000000"]
    with pytest.raises(SchemaError):
        scalars.text(floats[8])
    assert texts(pa.array(themselves)).to_pylist() == themselves
    assert len(themselves) == 5


def test_the_examples_of_numbers_in_csv() -> None:
    (listed,) = re.findall(r"In CSV a number may(.*?)are none\.", PAGE, re.DOTALL)
    found, wrong = read_numbers(pa.array(re.findall(r"`([^`]+)`", listed)))
    assert wrong.tolist() == [False, False, True, True, True]
    assert found[:2].tolist() == [1000.0, math.inf]
