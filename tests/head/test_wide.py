"""Wide columns: the same bucket for the same id, on every machine, in every kind of frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbdtlr.errors import FormatError, SchemaError
from gbdtlr.head import WideColumns
from gbdtlr.values.hashing import BLAKE2B, SPLITMIX64

IDS = ["c1", "c2", None, "c1", "käse"]
BUCKETS = {
    BLAKE2B: [[236932, 218544, 97172, 236932, 88971], [81102, 20184, 152985, 81102, 217244]],
    SPLITMIX64: [[237311, 63409, 74198, 237311, 243181], [181852, 89549, 141218, 181852, 224774]],
}


@pytest.mark.parametrize("algorithm", BUCKETS)
def test_buckets_never_change(algorithm):
    """These numbers are in every store that has wide columns: a change of the hash loses what heads learned."""
    columns = WideColumns(("id", "id:n"), 2**18, algorithm)
    found = columns.buckets({"id": pa.array(IDS), "n": pa.array([1, 2, 3, 1, None])})
    assert found.tolist() == BUCKETS[algorithm]


def test_the_arrays_of_a_head_say_what_hashes_its_ids():
    for columns in (WideColumns((), 2), WideColumns(("a", "b:c"), 7), WideColumns(("a",), 7, BLAKE2B)):
        assert WideColumns.from_arrays(columns.to_arrays()) == columns
    arrays = WideColumns(("a",), 7).to_arrays()
    assert WideColumns.from_arrays({name: arrays[name] for name in ("wide_names", "n_buckets")}).hash == BLAKE2B
    with pytest.raises(FormatError, match="'sha0'"):
        WideColumns.from_arrays({**arrays, "wide_hash": np.frombuffer(b"sha0", np.uint8)})


@pytest.mark.parametrize("algorithm", BUCKETS)
@pytest.mark.parametrize(
    "frame",
    [
        {"id": pa.array(IDS), "n": pa.array([7, 8, None, 7, 9])},
        {"id": pa.array(IDS).dictionary_encode(), "n": pa.array([7.0, 8.0, np.nan, 7.0, 9.0], from_pandas=True)},
        pa.table({"id": pa.chunked_array([IDS[:2], IDS[2:]]), "n": pa.array(["7", "8", None, "7", "9"])}),
        pd.DataFrame({"id": IDS, "n": [7, 8, None, 7, 9]}),
        pd.DataFrame({"id": pd.Categorical(IDS), "n": pd.array([7, 8, None, 7, 9], dtype="Int64")}),
    ],
    ids=["arrays", "dictionary", "table", "pandas", "categories"],
)
def test_every_kind_of_frame_gives_the_same(frame, algorithm):
    columns = WideColumns(("id", "n", "id:n", "n:id"), 1000, algorithm)
    rows = [{"id": i, "n": n} for i, n in zip(IDS, [7, 8, None, 7, 9], strict=True)]
    expected = np.array([columns.row_buckets(row) for row in rows]).T
    np.testing.assert_array_equal(columns.buckets(frame), expected)


@given(ids=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6))
def test_an_unsigned_id_is_its_digits_in_a_row_and_in_any_column(ids):
    columns = WideColumns(("id",), 2**20)
    expected = columns.buckets({"id": pa.array([str(each) for each in ids])})
    for column in (ids, np.array(ids, np.uint64), np.array(ids, object), pa.array(ids, pa.uint64())):
        np.testing.assert_array_equal(columns.buckets({"id": column}), expected)
    np.testing.assert_array_equal([columns.row_buckets({"id": each}) for each in ids], expected.T)
    np.testing.assert_array_equal([columns.row_buckets({"id": np.uint64(each)}) for each in ids], expected.T)


def test_missing_ids_share_a_bucket_and_crosses_have_an_order():
    columns = WideColumns(("a:b", "b:a", "a"), 2**28)
    found = columns.buckets({"a": pa.array(["x", "y", None, None]), "b": pa.array(["y", "x", "q", "q"])})
    assert found[0, 2] == found[0, 3]
    assert found[0, 0] != found[1, 1]
    assert found[2, 2] == found[2, 3] != found[2, 0]


def test_buckets_spread_evenly():
    n = 100_000
    found = WideColumns(("id",), 64).buckets({"id": pa.array(np.arange(n))})
    counts = np.bincount(found[0], minlength=64)
    assert ((counts - n / 64) ** 2 / (n / 64)).sum() < 120  # chi-square with 63 degrees of freedom, p about 1e-5


def test_missing_columns_are_listed():
    with pytest.raises(SchemaError, match="a, c"):
        WideColumns(("a", "b:c"), 10).buckets({"b": pa.array([1])})
    with pytest.raises(SchemaError, match="c"):
        WideColumns(("b:c",), 10).row_buckets({"b": 1})
