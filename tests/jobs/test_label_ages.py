"""Labels known at different ages: bookings that are cancelled today, or slept in next summer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from gbdtlr.config import Config
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.metrics import sigmoid
from gbdtlr.release import Release
from gbdtlr.store import Store
from gbdtlr.times import to_us

START = datetime(2015, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NOW = START + 300 * DAY
STAMP = pa.timestamp("us", "UTC")
N = 24_000


def bookings() -> dict[str, np.ndarray]:
    """A year of bookings, of which a third are cancelled, and long ones more often: most soon, or just before."""
    rng = np.random.default_rng(7)
    at = np.sort(rng.integers(0, 400 * 86_400, N))
    lead = rng.exponential(100, N) * 86_400
    x = rng.normal(size=N)
    p = sigmoid(-1.2 + 0.5 * x + 0.3 * np.log1p(lead / 86_400))
    cancelled = rng.random(N) < p
    known = at + np.where(cancelled, lead * rng.beta(0.6, 1.2, N), lead)
    return {"at": at, "known": known, "stay": at + lead, "lead": lead / 86_400, "x": x, "label": cancelled, "p": p}


def write(folder: Path) -> Path:
    columns = bookings()
    table = {
        name: pa.array(to_us(START) + (columns[name] * 1e6).astype(np.int64), STAMP) for name in ("at", "known", "stay")
    }
    table |= {"label": columns["label"].astype(np.int8), "lead": columns["lead"], "x": columns["x"]}
    parquet.write_table(pa.table(table), folder / "bookings.parquet")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hotel"))


def config(folder: Path, store: str, **samples: Any) -> Config:
    return Config.from_dict(
        {
            "store": str(folder / store),
            "threads": 1,
            "samples": {
                "path": str(folder / "bookings.parquet"),
                "event_time": "at",
                "label_time": "known",
                "numeric": ["lead", "x"],
                **samples,
            },
            "trees": {"window": "180d", "params": {"num_iterations": 20, "num_leaves": 8, "learning_rate": 0.2}},
            "head": {"window": "180d", "half_lives": ["30d"], "l2": [30]},
        }
    )


def calibration(c: Config) -> float:
    """Of the live release, on the bookings of the month after NOW, by how likely their cancellation truly was."""
    store = Store.open(c.store)
    entry = store.live()
    assert entry is not None
    columns = bookings()
    new = (columns["at"] >= 300 * 86_400) & (columns["at"] < 330 * 86_400)
    rows = pa.table({name: columns[name][new] for name in ("lead", "x")})
    return float(sigmoid(Release.load(store, entry).model.margin(rows)).sum() / columns["p"][new].sum())


def test_trees_of_labels_known_at_their_own_time_are_refused(folder: Path) -> None:
    c = config(folder, "refused")
    result = train_trees(c, NOW)
    assert result.status == "refused"
    assert "labels become known at different ages: half the known positives by" in result.reason
    assert "write [samples] label_window (how long an outcome may take) or label_deadline (a column" in result.reason
    assert "[guard] ages allows 0.8 to 1.25" in result.reason
    assert train_trees(c, NOW, force=True).status == "published"
    assert calibration(c) > 1.25


@pytest.mark.parametrize("unfinal", ["wait", "weigh"])
def test_deadlines_do_it_right(folder: Path, unfinal: str) -> None:
    c = config(folder, f"deadline-{unfinal}", label_deadline="stay", unfinal=unfinal)
    assert train_trees(c, NOW).status == "published"
    assert update_lr(c, NOW + DAY).status == "published"
    assert calibration(c) == pytest.approx(1, abs=0.1)
    result = update_lr(config(folder, f"deadline-{unfinal}"), NOW + 2 * DAY)
    assert (result.status, "write [samples] label_window" in result.reason) == ("refused", True)


def test_a_log_of_outcomes_alone_is_told_what_to_write(folder: Path, tmp_path: Path) -> None:
    """Rows without an outcome have no time of it: no negative is ever known."""
    table = parquet.read_table(folder / "bookings.parquet")
    known = pa.array(np.where(table["label"], table["known"], None), STAMP)
    table = table.set_column(table.schema.get_field_index("known"), "known", known)
    parquet.write_table(table, tmp_path / "bookings.parquet")
    result = train_trees(config(tmp_path, "store"), NOW)
    assert result.status == "refused"
    assert "labels known so far are positive" in result.reason
    assert "if a row without an outcome has no known, write [samples] label_window" in result.reason
    done = train_trees(config(tmp_path, "deadline", label_deadline="stay"), NOW)
    assert done.status == "published"


@pytest.mark.parametrize("deadline", [{"label_window": "1h"}, {"label_deadline": "at"}], ids=["short", "over"])
def test_deadlines_that_most_outcomes_come_after_are_refused(folder: Path, deadline: dict[str, str]) -> None:
    told: dict[str, Any] = {}
    c = config(folder, f"late-{next(iter(deadline))}", **deadline)
    result = train_trees(c, NOW, on_event=lambda name, **said: told.update({name: said}))
    assert result.status == "refused"
    late = told["samples.read"]["late_outcomes"]
    assert f"{late} of " in result.reason
    assert "labels of 1 came after the deadline of their row, so that they count as 0; [guard] late allows 0.5" in (
        result.reason
    )
    assert result.guards["late"]["value"] > 0.9
