"""Plain texts are left as they stand; whatever may be spelled otherwise, or is no text, is not plain."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gbdtlr.values.categories import one_spelling, texts_of
from gbdtlr.values.plain import is_ascii, is_plain

# Of what floats and truth values are made, and of anything.
TEXTS = st.one_of(
    st.text("0179.+-eE", max_size=6), st.sampled_from(["true", "False", "TRUE", "axle", "", "7.0"]), st.text()
)


@given(st.lists(st.one_of(st.none(), TEXTS), max_size=6), st.integers(0, 2), st.integers(0, 2))
@example(["a", "b", "1e5"], 1, 0)
@example(["", "a"], 1, 0)
@example(["é", "a"], 1, 0)
@example(["é", "a"], 0, 1)
def test_what_is_plain_has_one_spelling(texts: list[str | None], skipped: int, dropped: int) -> None:
    there = texts[skipped : max(skipped, len(texts) - dropped)]
    array = pa.array(texts, pa.string()).slice(skipped, len(there))
    assert is_ascii(array) or not all((text or "").isascii() for text in there)
    if is_ascii(array):
        assert all((text or "").isascii() for text in there)
    if is_plain(array):
        assert one_spelling(array).to_pylist() == there == texts_of(array).to_pylist()
        assert None not in there


@pytest.mark.parametrize("texts", [[], ["a"], ["00ff01", "user_7"], ["-1", "12345"], ["x" * 300]])
def test_ids_are_plain(texts: list[str]) -> None:
    assert is_plain(pa.array(texts, pa.string()))


@pytest.mark.parametrize("texts", [["a", ""], ["a", None], ["7.0"], ["1e+5"], ["a", "true"], ["FALSE"], ["é"]])
def test_what_may_have_another_spelling_is_not_plain(texts: list[str | None]) -> None:
    assert not is_plain(pa.array(texts, pa.string()))


@pytest.mark.parametrize("offsets", [[0, 4, 3], [0, 400, 404], [-4, 0, 4], [4, 0, 4]])
def test_an_array_that_nobody_could_make_is_not_plain(offsets: list[int]) -> None:
    there = np.array([0, 3, 8], np.int32)
    array = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(there), pa.py_buffer(b"abcdefgh")])
    assert is_plain(array)
    there[:] = offsets
    assert not is_plain(array)
