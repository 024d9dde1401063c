"""Tables for a terminal: aligned, safe and short enough to read."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr import tables
from gbdtlr.tables import age, cell, clean, flat, pairs, size, table


def test_numbers_stand_to_the_right_and_texts_to_the_left() -> None:
    assert table(["name", "n"], [["a", "1"], ["long name", "1,234.5"], ["none", "-"]]) == "\n".join(
        [
            "name             n",
            "---------  -------",
            "a                1",
            "long name  1,234.5",
            "none             -",
        ]
    )


def test_a_table_without_rows_has_its_headings() -> None:
    assert table(["a", "bc"], []) == "a  bc\n-  --"


def test_values_stand_below_each_other() -> None:
    assert pairs([("a", "1"), ("longer", "2")]) == "a       1\nlonger  2"
    assert pairs([]) == ""


TEXTS = st.text(max_size=30)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5), st.integers(10, 60))
def test_no_text_breaks_a_line_or_exceeds_the_width(rows: list[tuple[str, str]], width: int) -> None:
    lines = table(["one", "two"], rows, width).split("\n")
    assert len(lines) == 2 + len(rows)
    for line in [*lines, *pairs(rows, width).split("\n")]:
        assert line.isprintable()
        wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in line)
        assert sum(not unicodedata.combining(letter) for letter in line) + wide <= width


def test_columns_of_wide_letters_stay_aligned() -> None:
    lines = table(["a", "b"], [["東京", "x"], ["city", "x"]]).split("\n")
    assert lines[2] == "東京  x"
    assert lines[3] == "city  x"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert clean("a\x1b[31mb\nc\x00\x9b") == "a [31mb c  "


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        (True, "yes"),
        (1234567, "1,234,567"),
        (0.86434, "0.8643"),
        (0.0, "0.0000"),
        (-1.5, "-1.5000"),
        (1e-9, "1e-09"),
        (float("nan"), "-"),
        ("x", "x"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert cell(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.6, "1m"),
        (61, "1m 1s"),
        (3600, "1h"),
        (3605, "1h"),
        (11520, "3h 12m"),
        (100 * 86400 + 7200, "100d 2h"),
        (-90, "-1m 30s"),
    ],
)
def test_ages_are_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2 * 10**9, "2.0 GB"), (10**15, "1000.0 TB")],
)
def test_sizes(n_bytes: int, text: str) -> None:
    assert size(n_bytes) == text


def test_counts_and_signs_and_long_texts() -> None:
    assert [tables.count(n, "row") for n in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    assert [tables.signed(x, 3) for x in (-0.0004, 0.0, -0.0006, 2.5)] == ["+0.000", "+0.000", "-0.001", "+2.500"]
    assert tables.shortened("as it is", 8) == "as it is"
    assert tables.shortened("longer than that", 9) == "longer..."


def test_nested_values_are_named_by_their_path() -> None:
    values = {"fresh_rows": 57, "fit": {"ne": 0.5, "list": [1]}, "none": None}
    assert flat(values) == [("fresh rows", "57"), ("fit.ne", "0.5000")]
