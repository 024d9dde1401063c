from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks import clickstream
from benchmarks.clickstream import SALE_ODDS, START, WAIT, generate, hours, main, sale_day, write
from benchmarks.clickworld import pick, presence
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError

N_ROWS, DAYS = 150_000, 7
CONFIG = Path(__file__).parents[2] / "configs" / "clickstream.toml"


@pytest.fixture(scope="module")
def log() -> pa.Table:
    return generate(N_ROWS, DAYS, seed=1)


def us(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.int64()).to_numpy()


def test_same_arguments_same_rows():
    assert generate(3000, 2, seed=5).equals(generate(3000, 2, seed=5))
    assert not generate(3000, 2, seed=5).equals(generate(3000, 2, seed=6))


def test_rows_are_complete_and_in_order_of_time(log):
    assert log.num_rows == N_ROWS
    assert log.schema.equals(clickstream.SCHEMA)
    ts = us(log["ts"])
    assert (np.diff(ts) >= 0).all()
    assert log["ts"][0].as_py() >= START
    assert log["ts"][-1].as_py() < START + timedelta(days=DAYS)
    with_nulls = {name for name in log.column_names if log[name].null_count}
    assert with_nulls == {"user_idle_m"}
    assert not pc.is_nan(log["user_idle_m"]).to_numpy(zero_copy_only=False).any()


def test_hours_hold_their_own_rows_and_make_up_the_table():
    parts = list(hours(5000, 1, seed=2))
    assert [hour for hour, _ in parts] == [START + timedelta(hours=h) for h in range(24)]
    for hour, table in parts:
        if table.num_rows:
            assert hour <= table["ts"][0].as_py() <= table["ts"][-1].as_py() < hour + timedelta(hours=1)
            assert set(table["hour_of_day"].to_pylist()) == {hour.hour}
    assert pa.concat_tables([table for _, table in parts]).combine_chunks().equals(generate(5000, 1, seed=2))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_click_rate_and_room_to_learn_are_those_of_ads(seed):
    table = generate(60_000, 4, seed=seed)
    y, p = table["label"].to_numpy(), table["true_probability"].to_numpy()
    rate = y.mean()
    assert 0.01 < rate < 0.05
    loss = -np.log(np.where(y == 1, p, 1 - p)).mean()
    ne = loss / -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert 0.75 < ne < 0.88


def test_labels_follow_the_true_probability(log):
    y, p = log["label"].to_numpy(), log["true_probability"].to_numpy()
    assert (p > 0).all()
    assert (p < 1).all()
    chi2 = [
        (y[part].sum() - p[part].sum()) ** 2 / (p[part] * (1 - p[part])).sum()
        for part in np.array_split(np.argsort(p), 20)
    ]
    assert sum(chi2) < 45  # 20 degrees of freedom: 45 is passed once in a thousand


def test_labels_become_known_within_the_wait(log):
    y = log["label"].to_numpy() == 1
    delay = us(log["label_ts"]) - us(log["ts"])
    wait = WAIT // timedelta(microseconds=1)
    assert (delay[~y] == wait).all()
    assert (delay[y] >= 0).all()
    assert (delay[y] <= wait).all()
    assert 200e6 < np.median(delay[y]) < 400e6  # five minutes, less those lost
    assert (delay[y] > 30 * 60e6).any()


def test_campaigns_appear_and_fade(log):
    hour = (us(log["ts"]) - us(log["ts"])[0]) // 3_600_000_000
    campaign = log["campaign"].dictionary_encode().combine_chunks().indices.to_numpy()
    first = np.full(campaign.max() + 1, 10**6)
    last = np.full(campaign.max() + 1, -1)
    np.minimum.at(first, campaign, hour)
    np.maximum.at(last, campaign, hour)
    assert (first > 48).sum() > 50
    assert (last < 24 * DAYS - 48).sum() > 50
    assert (log["campaign_age_h"].to_numpy() >= 0).all()


def test_every_day_a_flagship_takes_a_tenth_of_the_traffic_at_once(log):
    hour = (us(log["ts"]) - round(START.timestamp() * 1e6)) // 3_600_000_000
    traffic = np.bincount(hour, minlength=24 * DAYS)
    born = np.rint((us(log["ts"]) - START.timestamp() * 1e6) / 3.6e9 - log["campaign_age_h"].to_numpy()).astype(int)
    campaign = log["campaign"].dictionary_encode().combine_chunks().indices.to_numpy()
    young = (born >= 0) & (hour < born + 3) & (born <= 24 * DAYS - 3)
    biggest = np.zeros(DAYS)
    for c in np.unique(campaign[young]):
        rows = young & (campaign == c)
        start = born[rows][0]
        biggest[start // 24] = max(biggest[start // 24], rows.sum() / traffic[start : start + 3].sum())
    assert biggest.min() > 0.06
    assert biggest.max() < 0.3


def test_the_effect_of_a_campaign_shows_in_its_id_only(log):
    """Campaigns of the same topic and format differ widely; nothing else in the row says which way."""
    alike = log.filter(pc.and_(pc.equal(log["campaign_topic"], "news"), pc.equal(log["format"], "banner")))
    means = alike.group_by("campaign").aggregate([("true_probability", "mean"), ("true_probability", "count")])
    means = means.filter(pc.greater(means["true_probability_count"], 100))["true_probability_mean"].to_numpy()
    assert len(means) > 5
    assert means.max() > 3 * means.min()


def test_sites_come_and_go_and_drift(log):
    day = ((us(log["ts"]) - us(log["ts"])[0]) // 86_400_000_000).astype(int)
    site = log["site"].to_numpy(zero_copy_only=False)
    early, late = set(site[day == 0]), set(site[day == DAYS - 1])
    assert late - early
    assert early - late


def test_sale_day_lifts_the_whole_level(monkeypatch):
    day = sale_day(DAYS)
    assert 0 < day < DAYS - 1
    with_sale = generate(20_000, DAYS, seed=1)
    monkeypatch.setattr(clickstream, "SALE_ODDS", 1.0)
    without = generate(20_000, DAYS, seed=1)
    p, q = with_sale["true_probability"].to_numpy(), without["true_probability"].to_numpy()
    kept = 1 - clickstream.lost_share()
    odds = (p / kept) / (1 - p / kept) / ((q / kept) / (1 - q / kept))
    on_sale = (us(with_sale["ts"]) - round(START.timestamp() * 1e6)) // 86_400_000_000 == day
    np.testing.assert_allclose(odds[on_sale], SALE_ODDS)
    np.testing.assert_allclose(odds[~on_sale], 1)


def test_user_history_counts_only_what_was_known_at_the_hour(log):
    """Recounted from the log itself, for rows of users whose history lies within it."""
    hour_us = 3_600_000_000
    ts, known = us(log["ts"]), us(log["label_ts"])
    user, y = log["user"].to_numpy(), log["label"].to_numpy()
    views, clicks, idle = (log[name].to_numpy() for name in ("user_views", "user_clicks", "user_idle_m"))
    busy, counts = np.unique(user, return_counts=True)
    for who in busy[np.argsort(-counts)[:20]]:
        rows = np.flatnonzero(user == who)
        for i, before in zip(rows[1:], rows[:-1], strict=True):
            hour = ts[i] // hour_us * hour_us
            seen = rows[ts[rows] < hour]
            assert views[i] - views[rows[0]] == len(seen) - (ts[rows] < ts[rows[0]] // hour_us * hour_us).sum()
            assert clicks[i] - clicks[rows[0]] == (y[seen] == 1)[known[seen] <= hour].sum()
            assert idle[i] == pytest.approx((ts[i] - ts[before]) / 60e6, abs=1e-4, rel=1e-5)


def test_pick_follows_the_weights_and_never_takes_a_zero():
    drawn = pick(np.array([0.0, 1.0, 0.0, 3.0, 0.0]), 20_000, np.random.default_rng(0))
    share = np.bincount(drawn, minlength=5) / 20_000
    assert share[[0, 2, 4]].sum() == 0
    assert share[3] == pytest.approx(0.75, abs=0.02)


def test_presence_is_nothing_before_birth_and_after_death():
    got = presence(np.array([-1, 0, 1, 9, 79, 90, 100, 101]), np.full(8, 100.0), 10)
    np.testing.assert_allclose(got, [0, 0.1, 0.2, 1, 0.84, 0.4, 0, 0])


def test_write_gives_the_rows_as_hourly_files(tmp_path):
    summary = write(tmp_path, 4000, 2, seed=3)
    files = sorted(tmp_path.rglob("*.parquet"))
    assert [str(f.relative_to(tmp_path)) for f in files[::24]] == [
        str(Path("dt=2024-06-03", "hour=00.parquet")),
        str(Path("dt=2024-06-04", "hour=00.parquet")),
    ]
    assert len(files) == 48
    back = pa.concat_tables([pq.ParquetFile(f).read() for f in files]).replace_schema_metadata(None)
    assert back.combine_chunks().equals(generate(4000, 2, seed=3))
    assert summary["rows"] == 4000
    assert summary["clicks"] == pc.sum(back["label"]).as_py()
    before = [f.read_bytes() for f in files]
    write(tmp_path, 4000, 2, seed=3)
    assert [f.read_bytes() for f in files] == before


def test_an_interrupted_write_leaves_whole_files_only(tmp_path, monkeypatch):
    def dies(table, where, **options):
        if len(list(tmp_path.rglob("*.parquet"))) == 3:
            Path(where).write_bytes(b"PAR1 half")
            raise KeyboardInterrupt
        real(table, where, **options)

    real = pq.write_table
    monkeypatch.setattr(clickstream.pq, "write_table", dies)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 2000, 1, seed=1)
    seen = [f for f in tmp_path.rglob("*") if f.is_file() and not f.name.startswith((".", "_"))]
    assert len(seen) == 3
    for f in seen:
        pq.ParquetFile(f).read()
    monkeypatch.setattr(clickstream.pq, "write_table", real)
    write(tmp_path, 2000, 1, seed=1)
    assert sorted(f.name for f in tmp_path.rglob("*") if f.is_file()) == [f"hour={h:02}.parquet" for h in range(24)]


def test_two_runs_do_not_mix(tmp_path, capsys):
    args = ["--rows", "500", "--out", str(tmp_path)]
    assert main([*args, "--days", "2"]) == 0
    assert "500 rows" in capsys.readouterr().out
    assert main([*args, "--days", "1"]) == 2
    assert "days 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_rows": 0},
        {"days": 0},
        {"seed": -1},
        {"start": datetime(2024, 6, 3)},
        {"start": datetime(2024, 6, 3, 5, tzinfo=UTC)},
    ],
)
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(ConfigError):
        hours(**wrong)


def test_bundled_config_names_columns_of_the_log():
    cfg = Config.load(CONFIG).samples
    assert {*cfg.features, cfg.label, cfg.event_time} <= set(clickstream.SCHEMA.names)
    assert "true_probability" not in cfg.features
    assert cfg.label_delay == WAIT
    assert START.strftime(cfg.partition) == "dt=2024-06-03/hour=00"
