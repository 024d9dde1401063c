"""Dealing: every file is in one share, in order; read share by share, rows are those of one reading."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from samples_kit import DAY, FOREVER, config, rows

from gbdtlr.samples import Found, Samples, dealing, read, read_shares
from gbdtlr.samples.dealing import deal
from gbdtlr.samples.formats.file import File


def files(sizes):
    """Files of a bucket, whose listing says how large they are."""
    return [File(f"s3://b/{i:05d}.parquet", f"{size}-17") for i, size in enumerate(sizes)]


@given(st.lists(st.integers(0, 1000), max_size=80), st.integers(1, 3000), st.integers(1, 9))
def test_each_file_is_in_one_share_in_order_and_no_share_is_much_too_large(sizes, share_bytes, most):
    with patch.multiple(dealing, SHARE_BYTES=share_bytes, MOST_SHARES=most):
        shares = deal(files(sizes))
    assert [file for share in shares for file in share] == files(sizes)
    assert all(shares)
    assert len(shares) <= min(most, len(sizes)) or not sizes
    bound = max(share_bytes, -(-sum(sizes) // most)) + max(sizes, default=0)
    assert all(sum(file.n_bytes for file in share) <= bound for share in shares)


def test_sizes_are_those_of_the_disk_or_of_the_listing(tmp_path):
    (tmp_path / "a.csv").write_text("12345")
    assert File(str(tmp_path / "a.csv")).n_bytes == 5
    assert File(str(tmp_path / "none.csv")).n_bytes == 0
    assert File("s3://b/a.csv", "77-1234").n_bytes == 77
    assert File("s3://b/a.csv", "None-None").n_bytes == 0


def test_rows_read_share_by_share_are_those_of_one_reading(tmp_path):
    for i, n in enumerate([30, 0, 700, 5, 5, 200]):
        pq.write_table(rows(n, DAY + timedelta(days=i)), tmp_path / f"{i}.parquet")
    cfg = config(tmp_path)
    found = Found.of(cfg, DAY, FOREVER, FOREVER)
    whole = read(cfg, DAY, FOREVER, FOREVER)
    for size in (1, 20_000, 10**9):
        with patch.object(dealing, "SHARE_BYTES", size):
            shares = deal(found.files)
        batches, n_rows = [], 0
        for share in read_shares(shares, cfg, found.window):
            own = list(share.batches)
            assert sum(map(len, own)) == share.tally.n_mature
            n_rows += share.tally.n_rows
            batches += own
        assert n_rows == 940
        together = Samples.concat(batches)
        assert together.table.equals(whole.table)
        np.testing.assert_array_equal(together.event_us, whole.event_us)
