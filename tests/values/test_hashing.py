"""Hashes of texts: as the docs state them, one text or many, and as even as chance would have them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gbdtlr.errors import FormatError
from gbdtlr.head import WideColumns
from gbdtlr.values import hashing
from gbdtlr.values.arrays import from_texts
from gbdtlr.values.hashing import BLAKE2B, CURRENT, SPLITMIX64, hash_of, hash_texts, mix

PAGE = (Path(__file__).parents[2] / "docs" / "values.md").read_text("utf-8").partition("## Hash of ids")[2]
TEXTS = st.one_of(st.none(), st.text(max_size=40), st.integers(0, 2**64 - 1).map(str))


def told() -> dict[str, Any]:
    """What the docs' own code defines."""
    found: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], found)
    return found


DOCS = told()


def rows(heading: str) -> list[list[str]]:
    """Cells of the docs' table with that first heading."""
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table]


def test_the_vectors_of_the_docs() -> None:
    table = rows("text")
    assert len(table) >= 7
    for text, value in table:
        text = "" if text == "(empty)" else text
        assert hash_of(CURRENT)(text) == DOCS["hash_text"](text) == int(value, 16)


def test_the_buckets_of_the_docs() -> None:
    table = rows("column")
    assert len(table) >= 4
    for column, ids, bucket in table:
        texts = [None if text.strip() == "(missing)" else text.strip("` ") for text in ids.split(",")]
        row = dict(zip(column.split(":"), texts, strict=True))
        assert WideColumns((column,), 2**18).row_buckets(row) == [int(bucket)]
        assert DOCS["bucket"](column, texts, 2**18) == int(bucket)


@settings(deadline=None)  # the first compiles
@given(texts=st.lists(TEXTS, max_size=8), start=st.integers(0, 3), encoded=st.booleans())
@example(texts=["", "a", "a\0", None], start=0, encoded=False)
@example(texts=["x" * n for n in range(40)], start=3, encoded=True)
def test_many_texts_are_hashed_as_each(texts: list[str | None], start: int, encoded: bool) -> None:
    expected = np.array([5 if text is None else DOCS["hash_text"](text) for text in texts[start:]], np.uint64)
    column = pa.array(texts, pa.string())
    if encoded:  # a dictionary with more in it than is used
        column = pa.DictionaryArray.from_arrays(
            column.dictionary_encode().indices, column.dictionary_encode().dictionary
        )
    column = column.slice(start)
    np.testing.assert_array_equal(hash_texts(column, 5), expected)
    assert [hash_of(SPLITMIX64)(text) for text in texts[start:] if text is not None] == [
        DOCS["hash_text"](text) for text in texts[start:] if text is not None
    ]


def test_texts_from_anywhere_are_hashed_by_the_same_code() -> None:
    for texts in (pa.array(["a", None]), pa.array([""]), pc.utf8_upper(pa.array(["a", "b"])), from_texts(["a", "b"])):
        hash_texts(texts, 7)
    assert len(hashing._hash_pieces.signatures) == 1  # type: ignore[attr-defined]


@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_the_first_hash_hashes_one_and_many_alike(texts: list[str | None]) -> None:
    expected = [5 if text is None else hash_of(BLAKE2B)(text) for text in texts]
    for column in (pa.array(texts, pa.string()), pa.array(texts, pa.string()).dictionary_encode()):
        assert hash_texts(column, 5, BLAKE2B).tolist() == expected
    assert hash_of(BLAKE2B)("7") == 0x828F78CECA1750E7


@given(values=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5))
def test_numbers_are_mixed_as_each(values: list[int]) -> None:
    assert mix(np.array(values, np.uint64)).tolist() == [DOCS["mix"](value) for value in values]


def test_half_a_character_has_a_hash() -> None:
    assert hash_of(CURRENT)("\ud800") != hash_of(CURRENT)("\ud801")


def test_a_hash_of_a_newer_version_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match=r"'siphash'.*upgrade"):
        hash_of("siphash")


N = 400_000
KINDS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "numbers": lambda digits: digits,
    "users": lambda digits: pc.binary_join_element_wise("user_", digits, ""),
    "addresses": lambda digits: pc.binary_join_element_wise("https://shop.example/item/", digits, "?ref=mail", ""),
    "spread": lambda digits: pc.cast(pc.multiply(pc.cast(digits, pa.int64()), 4096), pa.string()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_that_count_up_collide_as_often_as_chance_has_it(kind: str) -> None:
    hashes = hash_texts(KINDS[kind](pc.cast(pa.array(np.arange(N)), pa.string())), 0)
    assert len(np.unique(hashes)) == N
    for half in (hashes & np.uint64(2**32 - 1), hashes >> np.uint64(32)):
        n_collisions = N - len(np.unique(half))
        assert abs(n_collisions - N * N / 2**33) < 5 * np.sqrt(N * N / 2**33)  # Poisson


@pytest.mark.parametrize("length", [4, 8, 9, 23])
def test_every_bit_of_a_text_moves_half_of_the_bits_of_its_hash(length: int) -> None:
    n = 4000
    texts = np.random.default_rng(length).integers(0, 256, (n, length), np.uint8)

    def hashed(data: np.ndarray) -> np.ndarray:
        offsets = np.arange(0, (n + 1) * length, length, np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
        return hash_texts(pa.Array.from_buffers(pa.string(), n, buffers), 0)

    before = hashed(texts)
    for bit in range(8 * length):
        flipped = texts.copy()
        flipped[:, bit // 8] ^= np.uint8(1 << bit % 8)
        moved = (before ^ hashed(flipped))[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
        assert np.abs(moved.mean(axis=0) - 0.5).max() < 5.5 * 0.5 / np.sqrt(n)
