"""Thinned negatives: always the same ones, and the expected loss stays that of the full stream."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples_kit import DAY, FOREVER, config, rows, with_column, write

from gbdtlr.errors import NoSamplesError
from gbdtlr.jobs.counted import Counted
from gbdtlr.samples import Found, Samples, deal, read, read_batches, read_shares

PINNED = [3, 5, 6, 7, 9, 10, 12, 17, 20, 23, 27, 43, 48, 50, 53, 55]


def stream(n: int, positive: float, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    table = rows(n, step=timedelta(seconds=1))
    table = with_column(table, "label", (rng.random(n) < positive).astype(np.int8))
    return with_column(table, "price", rng.normal(size=n))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rate=st.floats(0.05, 1), positive=st.floats(0.01, 0.6), seed=st.integers(0, 2**32 - 1))
def test_probabilities_are_those_of_the_full_stream(tmp_path, rate, positive, seed):
    n = 2000
    path = write(stream(n, positive, seed), tmp_path / "x.parquet")
    full = read(config(path), DAY, FOREVER, FOREVER)
    thin = read(config(path, negative_keep_rate=rate), DAY, FOREVER, FOREVER)
    n_positive, n_negative = int(full.label.sum()), int((full.label == 0).sum())
    # Every positive stays, at its weight; kept negatives weigh 1 / rate.
    assert thin.label.sum() == n_positive
    assert (thin.weight[thin.label == 1] == 1).all()
    assert thin.weight[thin.label == 0] == pytest.approx(1 / rate)
    # The number kept is binomial, and with it the weight of the negatives, around that of all of them.
    spread = np.sqrt(n_negative * rate * (1 - rate))
    assert abs((thin.label == 0).sum() - n_negative * rate) <= 5 * spread + 1e-9
    base_rate = n_positive / n
    thinned_base_rate = thin.weight[thin.label == 1].sum() / thin.weight.sum()
    error = base_rate * (1 - base_rate) * spread / rate / max(n_negative, 1)
    assert thinned_base_rate == pytest.approx(base_rate, abs=6 * error + 1e-9)


def test_which_negatives_stay_depends_on_nothing_but_the_row(tmp_path):
    table = stream(1000, 0.1, 1)
    # In float32 and in decimal text alike.
    table = with_column(
        table, "price", [round(p, 1) if i % 7 else None for i, p in enumerate(table["price"].to_pylist())]
    )
    table = with_column(table, "price", pa.array(np.round(np.nan_to_num(table["price"].to_numpy()) * 4) / 4))
    keys = {"negative_keep_rate": 0.3}
    whole = read(config(write(table, tmp_path / "x.parquet"), **keys), DAY, FOREVER, FOREVER)
    expected = whole.table["count"].to_pylist()
    assert 250 < len(expected) < 500

    narrow = with_column(table, "price", table["price"].cast(pa.float32()))
    narrow = with_column(narrow, "shop", narrow["shop"].dictionary_encode())
    variants = {
        "narrow.parquet": write(narrow, tmp_path / "narrow.parquet", row_group_size=64),
        "x.csv": write(table, tmp_path / "x.csv"),
        "x.jsonl.gz": write(table, tmp_path / "x.jsonl.gz"),
    }
    for path in variants.values():
        batches = list(read_batches(config(path, **keys), DAY, FOREVER, FOREVER, batch_rows=50))
        assert Samples.concat(batches).table["count"].to_pylist() == expected

    shuffled = table.take(np.random.default_rng(2).permutation(len(table)))
    cfg = config(write(shuffled, tmp_path / "shuffled.parquet"), **{**keys, "numeric": ("count", "price")})
    assert sorted(read(cfg, DAY, FOREVER, FOREVER).table["count"].to_pylist()) == expected


def test_the_choice_is_the_same_on_every_machine_and_in_every_version(tmp_path):
    table = with_column(rows(60), "label", [0] * 60)
    cfg = config(write(table, tmp_path / "x.parquet"), negative_keep_rate=0.25)
    assert read(cfg, DAY, FOREVER, FOREVER).table["count"].to_pylist() == PINNED


def test_whole_numbers_as_ids_count_as_their_text(tmp_path):
    table = with_column(stream(300, 0.1, 3), "user", pa.array(range(300)))
    text = with_column(table, "user", [str(i) for i in range(300)])
    kept = [
        read(config(write(t, tmp_path / "x.parquet"), negative_keep_rate=0.5), DAY, FOREVER, FOREVER).event_us.tolist()
        for t in (table, text)
    ]
    assert kept[0] == kept[1]


def test_a_lower_rate_keeps_some_of_what_a_higher_one_keeps(tmp_path):
    path = write(stream(1000, 0.1, 4), tmp_path / "x.parquet")
    kept = [
        set(read(config(path, negative_keep_rate=rate), DAY, FOREVER, FOREVER).table["count"].to_pylist())
        for rate in (0.1, 0.2, 0.8)
    ]
    assert kept[0] < kept[1] < kept[2]


def test_weights_of_the_file_are_kept_in_proportion(tmp_path):
    table = stream(200, 0.2, 5).append_column("w", pa.array(np.arange(200) / 10))
    samples = read(
        config(write(table, tmp_path / "x.parquet"), negative_keep_rate=0.5, weight="w"), DAY, FOREVER, FOREVER
    )
    factor = np.where(samples.label == 0, 2, 1)
    assert samples.weight == pytest.approx(samples.table["count"].to_numpy() / 10 * factor)


def test_dense_columns_count_and_lists_that_are_missing_do_so_alike_in_every_batch(tmp_path):
    table = stream(1000, 0.1, 6)
    lists = [None if i < 200 or i % 7 == 0 else [float(i % 5), None if i % 3 else 0.5] for i in range(1000)]
    table = table.append_column("vec", pa.array(lists, pa.list_(pa.float64())))
    keys = {"negative_keep_rate": 0.3, "dense": ("vec",)}
    path = write(table, tmp_path / "x.parquet", row_group_size=50)
    kept = []
    for batch_rows in (50, 64, 5000):
        batches = list(read_batches(config(path, **keys), DAY, FOREVER, FOREVER, batch_rows=batch_rows))
        kept.append(Samples.concat(batches).table)
    assert all(each.equals(kept[0]) for each in kept)
    assert kept[0].column("vec").type == pa.list_(pa.float64(), 2)
    without = read(config(path, negative_keep_rate=0.3), DAY, FOREVER, FOREVER).table
    assert without["count"].to_pylist() != kept[0]["count"].to_pylist()


def test_a_file_of_which_nothing_is_left_gives_no_batches(tmp_path):
    write(stream(30, 0.0, 1), tmp_path / "a.parquet")
    c = config(str(tmp_path), negative_keep_rate=1e-9)
    assert list(read_batches(c, DAY, FOREVER, FOREVER)) == []
    found = Found.of(c, DAY, FOREVER, FOREVER)
    counted = [Counted.of(share.batches, c) for share in read_shares(deal(found.files), c, found.window)]
    assert [len(each.chance) for each in counted] == [0]
    with pytest.raises(NoSamplesError, match=r"30 samples .* all are negatives, of which .* leaves 1e-09"):
        read(c, DAY, FOREVER, FOREVER)
