"""Waiting, weighing and knowing at once: each is the two jobs with one key changed, on the same rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from replay_kit import DAY, HOUR, START, config, stream, write

from gbdtlr.cli.replay import _text
from gbdtlr.config import AT_ONCE, Config
from gbdtlr.errors import ConfigError
from gbdtlr.replay import ReplayResult, replay
from gbdtlr.replay.compare import calibration_by_hour
from gbdtlr.replay.plan import LABELS
from gbdtlr.report import replay_page

FROM, TO = START + 1.5 * DAY, START + 2.5 * DAY


def run(config: Config, strategies: tuple[str, ...] = ("two-speed",), told: list[int] | None = None) -> ReplayResult:
    progress = None if told is None else lambda _done, total, _text: told.append(total)
    return replay(config, FROM, TO, DAY, 4 * HOUR, strategies, progress=progress)


@pytest.fixture(scope="module")
def weighing(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Config of a stream whose clicks come within six hours."""
    columns = stream(delay=6 * HOUR)
    path = write(tmp_path_factory.mktemp("labels"), columns)
    return config(path, samples={"label_window": "6h", "unfinal": "weigh"})


@pytest.fixture(scope="module")
def found(weighing: Config) -> tuple[ReplayResult, list[int]]:
    told: list[int] = []
    return run(weighing, LABELS, told), told


def test_each_is_the_jobs_with_one_key_changed(weighing: Config, found: tuple[ReplayResult, list[int]]) -> None:
    result, told = found
    assert list(result.margins) == ["two-speed", *LABELS]
    assert set(told) == {3 * 6}, "what the config says already is not done twice"
    np.testing.assert_array_equal(result.margins["weigh"], result.margins["two-speed"])
    for name in ("wait", AT_ONCE):
        alone = run(weighing.replace(samples=replace(weighing.samples, unfinal=name)))
        np.testing.assert_array_equal(result.margins[name], alone.margins["two-speed"])
        np.testing.assert_array_equal(result.rows.label, alone.rows.label)
        assert (result.margins[name] != result.margins["weigh"]).any()


def test_what_is_told_of_them(found: tuple[ReplayResult, list[int]]) -> None:
    values = found[0].as_dict()
    wait, weigh, at_once = values["labels"]
    assert [each["name"] for each in values["labels"]] == list(LABELS)
    assert (wait["unfinal"], at_once["unfinal"]) == (0.0, 0.0)
    assert 0 < weigh["unfinal"] < 0.3
    assert all(len(each["calibration_by_hour"]) == 24 for each in values["labels"])
    assert "weight not final" in _text(values, _Plain())
    assert "Labels that are not final" in replay_page(values)


class _Plain:
    """As much of a session as tables need."""

    def table(self, header: list[str], rows: list[list[str]]) -> str:
        return "\n".join(" | ".join(line) for line in [header, *rows])


def test_calibration_by_hour_is_that_of_the_rows_of_the_hour(found: tuple[ReplayResult, list[int]]) -> None:
    rows, margin = found[0].rows, found[0].margins["wait"]
    hours = (rows.event_us // 3_600_000_000 + 1) % 24  # an hour east
    by_hour = calibration_by_hour(rows, margin, "Etc/GMT-1")
    for hour in range(24):
        own = hours == hour
        positives = rows.label[own].sum()
        said = (1 / (1 + np.exp(-margin[own]))).sum()
        assert by_hour[hour] == (pytest.approx(said / positives) if positives else None)


def test_they_need_deadlines(tmp_path: Path) -> None:
    plain = config(write(tmp_path, stream()))
    with pytest.raises(ConfigError, match="wait compare what is done with labels that are not final"):
        run(plain, ("wait",))
