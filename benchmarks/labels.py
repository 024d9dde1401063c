"""What waiting for labels costs, and how much of that weighing rows before they are final wins back.

The click stream, its clicks 1, 6 and 24 times as late, each with a window as long: rows, features and labels are the
same every time. Four ways to deal with a row whose window is not over are replayed on identical rows: ``wait`` for it,
take it for a negative (``naive``), ``weigh`` it, and know its label at once, which nobody can.

*NE* is of the labels that came. *NE of the truth* is what it would be in the mean over all labels that could have come,
as the stream knows each row's true probability: of a few clicks, chance tells more than any of this. *Gap closed* is
how much of that the way wins of what waiting loses against knowing at once, with its 95% interval where whole blocks of
time are drawn anew.

``--only 6h`` is of one window, and ``--only 6h/2`` of the stream of another seed.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks import clickstream
from benchmarks.harness import Bench
from gbdtlr.config import AT_ONCE, Config
from gbdtlr.jobs.unfinal import Aged
from gbdtlr.metrics import Quality, log_loss_of
from gbdtlr.replay import ReplayResult, replay
from gbdtlr.replay.rows import by_event, read_all
from gbdtlr.times import format_duration

ROWS, DAYS, FROM, JUDGED, SEED = 240_000, 7, 3, 2, 1
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WINDOWS = (1, 6, 24)
HEAD_EVERY = {1: HOUR, 6: 2 * HOUR, 24: 3 * HOUR}
RESAMPLES, BLOCK_US = 2000, 2 * 3_600_000_000
STRATEGIES = ("wait", "weigh", AT_ONCE)
Floats = NDArray[np.float64]


def write_late(source: Path, target: Path, times: int) -> None:
    """The hourly files of a click stream, their clicks so many times as late; without a click there is no such time."""
    for path in sorted(source.glob("dt=*/hour=*.parquet")):
        table = pq.read_table(path)
        clicked = table["label"].to_numpy() == 1
        at, came = (table[name].to_numpy().astype("datetime64[us]").astype(np.int64) for name in ("ts", "label_ts"))
        late = pa.array(at + times * (came - at), pa.timestamp("us", "UTC"), mask=~clicked)
        out = target / path.relative_to(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.set_column(table.schema.get_field_index("label_ts"), "label_ts", late), out)


def config_of(folder: Path, window: timedelta) -> Config:
    """``configs/clickstream.toml`` with the moment of each click, and rows weighed until their window is over."""
    config = Config.load("configs/clickstream.toml")
    samples = dataclasses.replace(
        config.samples,
        path=(str(folder),),
        label_delay=None,
        label_time="label_ts",
        label_window=window,
        unfinal="weigh",
    )
    return config.replace(samples=samples)


def replayed(config: Config, days: tuple[int, int], every: timedelta) -> tuple[ReplayResult, ReplayResult]:
    """The replay of all ways but the naive one, and that."""
    start, end = (clickstream.START + day * DAY for day in days)

    def told(done: int, total: int, text: str) -> None:
        if done % 25 == 0 or done == total:
            print(f"labels: {done}/{total} {text}", file=sys.stderr, flush=True)

    result = replay(config, start, end, DAY, every, strategies=STRATEGIES, progress=told)
    with mock.patch.object(Aged, "weighed", lambda rows: rows.codes):
        trusting = config.replace(guard=dataclasses.replace(config.guard, early=(0.0, 1e9)))
        return result, replay(trusting, start, end, DAY, every, strategies=["two-speed"], progress=told)


def figures(result: ReplayResult, naive: ReplayResult, truth: Floats) -> dict[str, dict[str, Any]]:
    """NE, calibration and share of the gap closed of each way.

    Parameters
    ----------
    truth : true probability of each row, (n,)
    """
    rows = result.rows
    margins = {name: result.margins[name] for name in STRATEGIES}
    margins = {"wait": margins["wait"], "naive": naive.margins["two-speed"], **margins}
    losses = {name: log_loss_of(margin, truth) for name, margin in margins.items()}
    gap = losses["wait"] - losses[AT_ONCE]
    shares = {each["name"]: each["unfinal"] for each in result.as_dict()["labels"]}
    told = {}
    for name, margin in margins.items():
        quality = Quality.of(margin, rows.label, rows.weight)
        told[name] = {
            "NE": quality.ne,
            "NE of the truth": Quality.of(margin, truth).ne,
            "gap closed": gap_closed(rows.event_us, losses["wait"] - losses[name], gap),
            "calibration": quality.calibration,
            "weight not final": f"{shares[name]:.1%}" if name in shares else "",
            "rows": quality.rows,
        }
    return told


def gap_closed(event_us: NDArray[np.int64], won: Floats, gap: Floats) -> str:
    """Share of the gap that is won, and its 95% interval over blocks of time drawn anew.

    Parameters
    ----------
    won, gap : what each row wins over waiting, (n,), this way and by knowing at once
    """
    if gap.sum() <= 0:
        return "no gap"
    _, block = np.unique(event_us // BLOCK_US, return_inverse=True)
    n_blocks = int(block[-1]) + 1
    picks = np.random.default_rng(0).integers(0, n_blocks, (RESAMPLES, n_blocks))
    sums = [np.bincount(block, each, n_blocks)[picks].sum(axis=1) for each in (won, gap)]
    low, high = -np.inf, np.inf  # where chance may leave no gap, what is closed of it may be anything
    if (sums[1] > 0).all():
        low, high = np.percentile(sums[0] / sums[1], [2.5, 97.5])
    return f"{won.sum() / gap.sum():.0%} ({low:.0%} to {high:.0%})"


def truth_of(config: Config, result: ReplayResult, days: tuple[int, int]) -> Floats:
    """True probability of each row that was judged, (n,)."""
    samples = dataclasses.replace(config.samples, numeric=("true_probability",), categorical=(), wide=())
    start, end = (clickstream.START + day * DAY for day in days)
    whole = read_all(samples, start, end)
    rows = None if whole is None else by_event(whole, start, end)
    if rows is None or not np.array_equal(rows.event_us, result.rows.event_us):
        raise SystemExit("the rows that were judged are not those of the stream")
    return rows.table["true_probability"].to_numpy()


def asked(only: str | None) -> tuple[Sequence[int], int]:
    """Windows in hours, and the seed of the stream, that ``--only`` asks for: ``6h``, ``6h/2`` or None for all."""
    if only is None:
        return WINDOWS, SEED
    window, _, seed = only.partition("/")
    hours = {f"{each}h": each for each in WINDOWS}
    if window not in hours or not (seed or "0").isdecimal():
        raise SystemExit(f"labels has {', '.join(hours)}, alone or as {window}/SEED, not {only}")
    return (hours[window],), int(seed or SEED)


def run(bench: Bench) -> None:
    windows, seed = asked(bench.only)
    bench.measured = "progressive, on the same rows for all"
    days = FROM, min(DAYS, FROM + max(1, round(JUDGED * bench.scale)))
    with tempfile.TemporaryDirectory("-labels") as name:
        folder = Path(name)
        clickstream.write(folder / "clicks", bench.size(ROWS), DAYS, seed)
        for hours in windows:
            write_late(folder / "clicks", folder / f"late-{hours}", hours)
            window = hours * HOUR
            config = config_of(folder / f"late-{hours}", window)
            every = HEAD_EVERY[hours]
            case = f"clicks, window {format_duration(window)}, head every {format_duration(every)}"
            case += "" if seed == SEED else f", seed {seed}"
            results = replayed(config, days, every)
            for system, more in figures(*results, truth_of(config, results[0], days)).items():
                bench.add(case, system, [], None, more)
