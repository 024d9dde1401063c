"""An ad log that never happened: campaigns, sites and users come and go, and each row knows its true probability.

``python -m benchmarks.clickstream --rows 1000000 --days 7 --seed 1 --out data/clicks`` writes it as hourly files;
``python -m benchmarks.rawclicks`` as two logs that are to be joined.

What happens in it
------------------
- Campaigns start on the hour as a Poisson process, live for days and fade. Once a day a *flagship* starts and
  takes about a tenth of the traffic at once. A campaign's effect is wide and shows in no feature but its id, so
  a model knows nothing of a new campaign until it learns from its first clicks.
- Sites appear, fade, and drift in popularity and quality. Some campaigns fit some sites: the cross of both counts.
- Users come, go, and differ in activity by Zipf's law; their past views and clicks tell how they click.
- Traffic and click rate follow the hour of the day. One day is a *sale*: more traffic, odds of a click times 1.6.
- Clicks come late, by a log-normal delay. The log waits an hour for them: ``label`` says whether a click came
  within that hour; about 3% come later and are lost. ``label_ts`` is the moment of the click, or the end of the
  wait where none came. Learning at once from every label that is known therefore sees the clicks of the last hour
  but none of its other views; only labels an hour old are a fair sample (``label_delay = "1h"``).
- With ``--tastes``, each row also shows an item of a catalogue, which users like by tastes that nothing tells but what
  they clicked: see :mod:`benchmarks.clicktastes`. There are fewer users then, each with more rows.
- ``true_probability`` is that of ``label`` being 1, lost clicks taken off: no model can expect to do better.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.clicktastes import FIELDS, ROWS_PER_USER, Tastes
from benchmarks.clickworld import (
    DEVICES,
    FORMATS,
    HOUR_US,
    N_SITES,
    TOPICS,
    Array,
    Drift,
    History,
    World,
    pick,
    presence,
)
from gbdtlr.errors import ConfigError, GbdtlrError
from gbdtlr.times import parse_time, to_us

VERSION = 1  # of the process below: raise it with every change that alters a row
START = datetime(2024, 6, 3, tzinfo=UTC)
WAIT = timedelta(hours=1)
SALE_ODDS = 1.6

SCHEMA = pa.schema(
    [
        ("ts", pa.timestamp("us", "UTC")),
        ("label", pa.int8()),
        ("label_ts", pa.timestamp("us", "UTC")),
        ("user", pa.int64()),
        ("campaign", pa.string()),
        ("site", pa.string()),
        ("device", pa.string()),
        ("format", pa.string()),
        ("campaign_topic", pa.string()),
        ("site_topic", pa.string()),
        ("hour_of_day", pa.int8()),
        ("position", pa.int8()),
        ("load_ms", pa.float32()),
        ("campaign_age_h", pa.float32()),
        ("user_views", pa.int32()),  # this and the next as of the start of the hour, as a feature store gives them
        ("user_clicks", pa.int32()),
        ("user_idle_m", pa.float32()),  # minutes since the user's last view; null at the first
        ("true_probability", pa.float64()),
    ]
)

SCHEMA_WITH_TASTES = pa.schema([*SCHEMA, *FIELDS])

_WAIT_US = WAIT // timedelta(microseconds=1)
DELAY_MEDIAN_S, DELAY_SIGMA = 300.0, 1.3
_INTERCEPT = -3.85


def sale_day(days: int) -> int:
    """Which day, counted from 0, the sale is: about two thirds in, so that models trained before it are stale."""
    return 7 * days // 10


def lost_share() -> float:
    """Part of all clicks that come after the wait: the upper tail of the log-normal delay."""
    return 0.5 * math.erfc(math.log(WAIT.total_seconds() / DELAY_MEDIAN_S) / (DELAY_SIGMA * math.sqrt(2)))


def hours(
    n_rows: int = 1_000_000, days: int = 7, seed: int = 1, start: datetime = START, tastes: bool = False
) -> Iterator[tuple[datetime, pa.Table]]:
    """The rows of each hour, in order of time, the same for the same arguments; memory is that of one hour.

    Parameters
    ----------
    n_rows : rows of all hours together
    days : whole days of UTC
    seed : at least 0
    start : a midnight, UTC
    tastes : whether users have tastes, and items that they like

    Yields
    ------
    hour, table : start of the hour; pa.Table of ``SCHEMA``, (rows of the hour, 18), sorted by ``ts``; may be empty.
        With tastes, of ``SCHEMA_WITH_TASTES``, (rows of the hour, 20)

    Raises
    ------
    ConfigError
        An argument that cannot be right.
    """
    if n_rows < 1 or days < 1 or seed < 0:
        raise ConfigError(f"needs rows and days of at least 1 and a seed of at least 0, not {n_rows}, {days}, {seed}")
    if start.tzinfo is None or start.astimezone(UTC).time() != datetime.min.time():
        raise ConfigError(f"the click stream starts at a midnight in UTC, not {start.isoformat()}")
    return _hours(n_rows, days, seed, start.astimezone(UTC), tastes)


def _hours(n_rows: int, days: int, seed: int, start: datetime, tastes: bool) -> Iterator[tuple[datetime, pa.Table]]:
    rng = np.random.default_rng([seed, VERSION])
    # Users grow with the log, so that each is seen about as often in a small one as in a large one.
    n_users = min(max(n_rows // (ROWS_PER_USER if tastes else 15), 500), 2_000_000)
    w, taste = World.draw(n_users, days, rng), Tastes.draw(n_users, days, seed) if tastes else None
    schema = SCHEMA_WITH_TASTES if tastes else SCHEMA
    site_quality = Drift(N_SITES, 0.45, 96, rng)
    site_fashion = Drift(N_SITES, 0.5, 24, rng)
    campaign_mood = Drift(len(w.campaign_weight), 0.2, 12, rng)
    history = History(w, n_rows / (24 * days), rng)
    campaign_names = pa.array([f"c{i:05d}" for i in range(len(w.campaign_weight))])
    site_names = pa.array([f"s{i:04d}" for i in range(N_SITES)])
    device_names, format_names, topic_names = pa.array(DEVICES), pa.array(FORMATS), pa.array(TOPICS)
    device_effect = np.array([0.2, -0.2, 0.0, -1.1])
    format_effect = np.array([[-0.2, 0.1, 0.35], [-0.1, 0.1, -0.2], [0.0, 0.1, 0.1], [-0.5, -0.3, 0.6]])
    kept = 1 - lost_share()

    clock = np.arange(24 * days)
    day_wave = np.cos(2 * np.pi * (clock % 24 - 20) / 24)  # most traffic at 20 h
    sale = clock // 24 == sale_day(days)
    traffic = np.exp(0.6 * day_wave) * np.where(sale, 1.4, 1.0)
    for h, n in enumerate(rng.multinomial(n_rows, traffic / traffic.sum())):
        quality, fashion, mood = site_quality.step(rng), site_fashion.step(rng), campaign_mood.step(rng)
        hour_us = h * HOUR_US
        offset_us = hour_us + np.sort(rng.integers(0, HOUR_US, n))
        campaign = pick(w.campaign_weight * presence(h - w.campaign_start_h, w.campaign_life_h, 1), n, rng)
        site = pick(w.site_weight * np.exp(fashion) * presence(h - w.site_start_h, w.site_life_h, 48), n, rng)
        user = pick(w.user_weight * ((w.user_start_h <= h) & (h < w.user_end_h)), n, rng)
        device = pick(np.array([0.55 + 0.1 * day_wave[h], 0.3 - 0.1 * day_wave[h], 0.1, 0.05]), n, rng)
        position = np.minimum(rng.geometric(0.4, n), 8)
        load_ms = np.exp(rng.normal(math.log(400), 0.6, n))
        age_h = offset_us / HOUR_US - w.campaign_start_h[campaign]
        idle_m = history.idle_minutes(user, offset_us)
        kind, theme = w.campaign_format[campaign], w.campaign_topic[campaign]

        log_odds = (
            _INTERCEPT
            + 0.15 * day_wave[h] * np.where(device == 0, 1.5, -0.5)
            + math.log(SALE_ODDS) * sale[h]
            + w.campaign_effect[campaign]
            + mood[campaign]
            - 0.2 * np.log1p(age_h / 24)
            + quality[site]
            + np.einsum("ij,ij->i", w.campaign_taste[campaign], w.site_taste[site])
            + w.topic_effect[theme]
            + 0.6 * (theme == w.site_topic[site])
            + w.user_effect[user]
            - 0.8 * np.exp(-np.nan_to_num(idle_m, nan=np.inf) / 30)
            + device_effect[device]
            + format_effect[device, kind]
            - 0.6 * np.log(position)
            - 0.8 * np.log(np.maximum(load_ms, 400) / 400)
        )
        more = []
        if taste is not None:
            item = taste.shown(h, n, rng)
            log_odds += taste.log_odds(user, item)
            more = taste.columns(item)
        probability = kept / (1 + np.exp(-log_odds))
        clicked = rng.random(n) < probability
        known_us = offset_us + np.where(clicked, _delay_us(n, rng), _WAIT_US)
        columns = [
            to_us(start) + offset_us,
            clicked,
            to_us(start) + known_us,
            # Scrambled (the factor is odd, so no two meet), lest the order of ids tells who is new.
            user * 2_654_435_761 % 2**32,
            campaign_names.take(campaign),
            site_names.take(site),
            device_names.take(device),
            format_names.take(kind),
            topic_names.take(theme),
            topic_names.take(w.site_topic[site]),
            np.full(n, h % 24),
            position,
            load_ms,
            age_h,
            history.views[user],
            history.clicks[user],
            pa.array(idle_m, from_pandas=True),
            probability,
            *more,
        ]
        history.add(user, clicked, known_us, hour_us + HOUR_US)
        arrays = [_cast(c, field.type) for c, field in zip(columns, schema, strict=True)]
        yield start + timedelta(hours=h), pa.Table.from_arrays(arrays, schema=schema)


def _cast(column: Any, kind: pa.DataType) -> pa.Array:
    if not isinstance(column, pa.Array):
        column = pa.array(column)
    return column.cast(kind, safe=not pa.types.is_floating(kind))


def _delay_us(n: int, rng: np.random.Generator) -> Array:
    """Log-normal delays from view to click, given that they are within the wait."""
    delay = np.exp(rng.normal(math.log(DELAY_MEDIAN_S * 1e6), DELAY_SIGMA, n))
    while (over := delay > _WAIT_US).any():
        delay[over] = np.exp(rng.normal(math.log(DELAY_MEDIAN_S * 1e6), DELAY_SIGMA, int(over.sum())))
    return delay.astype(np.int64)


def generate(
    n_rows: int = 1_000_000, days: int = 7, seed: int = 1, start: datetime = START, tastes: bool = False
) -> pa.Table:
    """All rows of :func:`hours` as one table, (n_rows, 18 or 20), sorted by ``ts``."""
    return pa.concat_tables(table for _, table in hours(n_rows, days, seed, start, tastes)).combine_chunks()


def write(
    out: str | Path,
    n_rows: int = 1_000_000,
    days: int = 7,
    seed: int = 1,
    start: datetime = START,
    tastes: bool = False,
) -> dict[str, Any]:
    """Write the rows of :func:`hours` as ``out/dt=YYYY-MM-DD/hour=HH.parquet``; nobody sees half a file.

    The same arguments again write the same files over. Returns a summary of what was written.

    Raises
    ------
    ConfigError
        An argument that cannot be right, or ``out`` holds files of another run, which would mix with this one's.
    """
    out = Path(out)
    stream = hours(n_rows, days, seed, start, tastes)
    told = f"version {VERSION}, rows {n_rows}, days {days}, seed {seed}, start {start.isoformat()}"
    run = {"clickstream": told + (", tastes" if tastes else "")}
    for path in sorted(out.glob("dt=*/hour=*.parquet")):
        found = (pq.read_schema(path).metadata or {}).get(b"clickstream", b"unknown").decode()
        if found != run["clickstream"]:
            raise ConfigError(
                f"{out} holds a click stream of {found}, not of {run['clickstream']}; "
                "delete that folder or choose another --out"
            )
    per_day = np.zeros((days, 4))  # rows, clicks, sum of true probabilities, and their log loss
    begin = time.perf_counter()
    for hour, table in stream:
        path = out / f"dt={hour:%Y-%m-%d}" / f"hour={hour:%H}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.tmp")  # readers pass over names that start with a dot
        pq.write_table(table.replace_schema_metadata(run), part, compression="zstd")
        os.replace(part, path)
        y, p = table["label"].to_numpy(), table["true_probability"].to_numpy()
        loss = -np.log(np.where(y == 1, p, 1 - p)).sum()
        per_day[(hour - start).days] += (len(y), y.sum(), p.sum(), loss)
    seconds = time.perf_counter() - begin
    rows, clicks, _, loss = per_day.sum(axis=0)
    rate = clicks / rows
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate) if 0 < rate < 1 else math.nan
    return {
        "rows": int(rows),
        "clicks": int(clicks),
        "click_rate": rate,
        "click_rate_by_day": [float(c / max(n, 1)) for n, c, _, _ in per_day],
        "sale_day": f"{start + timedelta(days=sale_day(days)):%Y-%m-%d}",
        "ne_of_true_probability": loss / rows / entropy,
        "seconds": seconds,
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = options("benchmarks.clickstream", __doc__, "data/clicks")
    found.add_argument("--tastes", action="store_true", help="users with tastes, and a catalogue of items they like")
    return found


def options(module: str, words: str | None, out: str) -> argparse.ArgumentParser:
    """A command line with what every log of the click stream is asked for.

    Parameters
    ----------
    module : that is run
    words : its docstring, whose first line says what it writes
    out : folder that it writes to if nothing else is said
    """
    found = argparse.ArgumentParser(prog=f"python -m {module}", description=(words or "").split("\n")[0])
    found.add_argument("--rows", type=int, default=1_000_000, help="of all days together (%(default)s)")
    found.add_argument("--days", type=int, default=7, help="whole days, UTC (%(default)s)")
    found.add_argument("--seed", type=int, default=1, help="another seed, another world (%(default)s)")
    found.add_argument("--start", default=f"{START:%Y-%m-%d}", help="first day (%(default)s)")
    found.add_argument("--out", default=out, help="folder of the hourly files (%(default)s)")
    return found


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        done = write(args.out, args.rows, args.days, args.seed, parse_time(args.start), args.tastes)
    except GbdtlrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{done['rows']:,} rows, {done['clicks']:,} clicks in {args.out} ({done['seconds']:.1f} s)")
    print(f"click rate {done['click_rate']:.2%}; by day: {' '.join(f'{r:.2%}' for r in done['click_rate_by_day'])}")
    print(f"sale on {done['sale_day']}; NE of the true probabilities {done['ne_of_true_probability']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
