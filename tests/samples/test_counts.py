"""Counts of files: any number of them comes back as it was, and bytes that are no counts are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.codec.npz import from_npz, to_npz
from gbdtlr.errors import DamagedError, FormatError
from gbdtlr.samples import Count, counts_from_bytes, counts_to_bytes
from gbdtlr.times import to_us

times = st.integers(to_us(datetime.min.replace(tzinfo=UTC)), to_us(datetime.max.replace(tzinfo=UTC)))
numbers = st.none() | st.integers(-(2**63) + 1, 2**63 - 1)
texts = st.text(st.characters(), max_size=12)  # halves of surrogates too: names of files may be no UTF-8
knowns = st.integers(0, 2**63 - 1)
counts = st.dictionaries(
    texts, st.builds(Count, texts, times, knowns, numbers, numbers, st.none() | knowns), max_size=8
)
KEPT = {f"data/{i}.parquet": Count(f"stamp {i}", i, i, None if i % 2 else i, i) for i in range(5)}


@given(counts)
def test_what_is_written_is_read(given_counts):
    assert counts_from_bytes(counts_to_bytes(given_counts)) == given_counts


@given(counts)
def test_counts_of_files_with_labels_are_of_the_first_format(given_counts):
    """So that an older version goes on from a store whose labels stand in the files."""
    joined = any(count.positives is not None for count in given_counts.values())
    arrays = from_npz(counts_to_bytes(given_counts), newest=2)
    assert (int(arrays["format"][0]) if "format" in arrays else None) in ((2,) if joined else (1, None))
    assert arrays["numbers"].shape == (len(given_counts), 5 if joined else 4)


@given(counts)
def test_the_same_counts_are_the_same_bytes(given_counts):
    other_way_round = dict(reversed(given_counts.items()))
    assert counts_to_bytes(other_way_round) == counts_to_bytes(given_counts)


@given(st.data())
def test_changed_bytes_are_damage_or_other_counts(data):
    changed = bytearray(counts_to_bytes(KEPT))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = counts_from_bytes(bytes(changed))
    except (DamagedError, FormatError):
        return
    assert counts_from_bytes(counts_to_bytes(found)) == found


def changed(**arrays):
    return to_npz({**from_npz(counts_to_bytes(KEPT)), **arrays})


@pytest.mark.parametrize(
    "arrays",
    [
        {"format": np.array([0])},
        {"format": np.array([1, 1])},
        {"format": np.array([1.0])},
        {"numbers": np.zeros((4, 4), np.int64)},
        {"numbers": np.zeros((5, 4))},
        {"numbers": np.full((5, 4), -1)},
        {"numbers": np.full((5, 4), 2**62)},
        {"path_lengths": np.full(5, 2**32 - 1, np.uint32)},
        {"path_lengths": np.full(5, 1, np.uint32)},
        {"path_lengths": np.array([75, 0, 0, 0, 0], np.uint32)},
        {"paths": np.full(75, 0xFF, np.uint8)},
        {"paths": np.full(75, ord("a"), np.uint8)},
        {"stamps": np.zeros(0, np.uint8)},
    ],
    ids=repr,
)
def test_arrays_that_are_no_counts_are_damage(arrays):
    with pytest.raises(DamagedError, match=r"the counts of files are damaged|the format of counts.npz is no number"):
        counts_from_bytes(changed(**arrays))


def test_a_newer_format_is_refused_by_name():
    with pytest.raises(FormatError, match=r"counts.npz has format 3, newer than the 2 .*upgrade"):
        counts_from_bytes(changed(format=np.array([3])))


def test_nothing_is_damage():
    for data in (b"", to_npz({}), b"{}"):
        with pytest.raises(DamagedError):
            counts_from_bytes(data)
