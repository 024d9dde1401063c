"""What ``gbdtlr init`` writes trains as it stands, and says what it is unsure of."""

from __future__ import annotations

import csv
import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.clickstream import main as write_clicks
from benchmarks.rawclicks import main as write_raw_clicks
from gbdtlr.cli import main
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, NoSamplesError, SchemaError
from gbdtlr.guess.looking import look
from gbdtlr.guess.meaning import meaning_of
from gbdtlr.guess.places import partition_of
from gbdtlr.guess.writing import write_config

ROOT = Path(__file__).parents[2]
START = datetime(2024, 5, 1, tzinfo=UTC)


def columns(n: int = 2000, seed: int = 0) -> dict[str, list]:
    """A log of clicks."""
    rng = np.random.default_rng(seed)
    price = rng.exponential(size=n).round(3)
    label = (rng.random(n) < 1 / (1 + np.exp(1 - price))).astype(int)
    at = [START + timedelta(minutes=int(i)) for i in range(n)]
    return {
        "request_id": [f"{rng.integers(2**60):x}" for _ in range(n)],
        "when": at,
        "price": price.tolist(),
        "shop": rng.choice(["north", "south", "7"], n).tolist(),
        "user_id": rng.integers(0, 500, n).tolist(),
        "clicked": label.tolist(),
    }


def write(table: dict[str, list], path: Path) -> str:
    parquet.write_table(pa.table(table), path)
    return str(path)


def guessed(table: dict[str, list], path: Path, **given):
    return meaning_of(look([write(table, path / "x.parquet")]), **given)


def written(paths: list[str], folder: Path, monkeypatch, capsys, *options: str) -> tuple[Config, dict]:
    """The config that init writes, and what it says of it."""
    monkeypatch.chdir(folder)
    capsys.readouterr()
    assert main(["init", *paths, "--json", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    return Config.load(told["config"]), told


def trains(told: dict, capsys) -> None:
    """The next command, run as it stands, publishes trees."""
    program, *command = shlex.split(told["next"])
    assert program == "gbdtlr"
    assert main([*command, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "published"


def flights(folder: Path) -> list[str]:
    """A few days of the bundled data."""
    (folder / "flights").mkdir()
    for day in range(1, 5):
        (folder / f"flights/2013-01-{day:02}.parquet").symlink_to(ROOT / f"data/flights/2013-01-{day:02}.parquet")
    return ["flights"]


def clicks(folder: Path) -> list[str]:
    """A day of the click stream."""
    write_clicks(["--rows", "6000", "--days", "1", "--seed", "1", "--out", str(folder / "clicks")])
    return [str(folder / "clicks")]


def raw_logs(folder: Path) -> list[str]:
    """A day of its raw logs, the outcomes first."""
    write_raw_clicks(["--rows", "8000", "--days", "1", "--seed", "1", "--out", str(folder / "raw")])
    return [str(folder / "raw/clicks"), str(folder / "raw/shown")]


@pytest.mark.slow
@pytest.mark.parametrize("data", [flights, clicks, raw_logs])
def test_what_is_written_trains_as_it_stands(tmp_path, monkeypatch, capsys, data):
    _, told = written(data(tmp_path), tmp_path, monkeypatch, capsys)
    trains(told, capsys)


def test_the_flights(tmp_path, monkeypatch, capsys):
    config, told = written(flights(tmp_path), tmp_path, monkeypatch, capsys)
    samples, ours = config.samples, Config.load(ROOT / "configs/flights.toml").samples
    assert (samples.event_time, samples.label, samples.label_time) == (ours.event_time, ours.label, ours.label_time)
    assert samples.partition == ours.partition
    assert set(ours.numeric) == set(samples.numeric)
    assert {*samples.categorical, *samples.wide} == {*ours.categorical, *ours.wide}
    assert any("no zone" in each for each in told["unsure"])


def test_the_click_stream(tmp_path, monkeypatch, capsys):
    config, _ = written(clicks(tmp_path), tmp_path, monkeypatch, capsys, "-o", "mine.toml")
    samples, ours = config.samples, Config.load(ROOT / "configs/clickstream.toml").samples
    assert (samples.event_time, samples.label) == (ours.event_time, ours.label)
    assert samples.label_delay == ours.label_delay, "clicks are known sooner than their absence"
    assert samples.label_time is None
    assert samples.partition == ours.partition
    assert "true_probability" not in samples.features
    assert {*ours.numeric} <= {*samples.numeric}


def test_two_raw_logs(tmp_path, monkeypatch, capsys):
    """In whatever order they are named."""
    logs = raw_logs(tmp_path)
    config, told = written(logs, tmp_path, monkeypatch, capsys)
    ours = Config.load(ROOT / "configs/rawlogs.toml")
    assert config.outcomes is not None
    assert (config.samples.key, config.samples.event_time) == (ours.samples.key, ours.samples.event_time)
    assert (config.outcomes.key, config.outcomes.time) == (ours.outcomes.key, ours.outcomes.time)
    assert config.samples.path == (logs[1],)
    assert config.outcomes.path == (logs[0],)
    assert config.samples.partition == config.outcomes.partition == ours.outcomes.partition
    assert timedelta(minutes=10) <= config.outcomes.window <= timedelta(hours=3)
    assert any("of the outcomes came within" in each for each in told["unsure"])
    again, _ = written(logs[::-1], tmp_path, monkeypatch, capsys, "-o", "again.toml")
    assert again == config


def test_a_csv_of_strings_trains(tmp_path, monkeypatch, capsys):
    table = columns()
    table["when"] = [f"{at:%Y-%m-%d %H:%M:%S}" for at in table["when"]]
    table["price"] = ["" if i % 9 == 0 else str(each) for i, each in enumerate(table["price"])]
    table["zip"] = [f"{i % 300:05}" for i in range(2000)]
    with open(tmp_path / "log.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))
    config, told = written(["log.csv"], tmp_path, monkeypatch, capsys)
    trains(told, capsys)
    samples = config.samples
    assert (samples.event_time, samples.label) == ("when", "clicked")
    assert (samples.numeric, samples.categorical) == (("price",), ("shop",))
    assert set(samples.wide) == {"user_id", "zip"}
    assert "request_id" in told["left_out"]
    assert any("label_delay is a guess" in each for each in told["unsure"])
    assert all(f"# Unsure: {each.split()[0]}" in Path("gbdtlr.toml").read_text() for each in told["unsure"])


def test_people_are_told_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(columns(), tmp_path / "x.parquet")
    assert main(["init", "x.parquet", "--label", "clicked", "--event-time", "when"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("wrote gbdtlr.toml after a look at 2000 rows in 1 of 1 files\n")
    assert "left out: request_id: nearly every row has its own" in out
    assert out.splitlines()[-1].startswith("next: gbdtlr train-trees -c gbdtlr.toml --as-of 2024-05-02T1")
    before = Path("gbdtlr.toml").read_text()
    assert main(["init", "x.parquet"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert Path("gbdtlr.toml").read_text() == before


def test_what_is_known_only_afterwards_is_no_feature(tmp_path):
    table = columns()
    label = table["clicked"]
    table["click_ts"] = [at + timedelta(seconds=40) if y else None for at, y in zip(table["when"], label, strict=True)]
    table["paid"] = [y * (i + 1.5) for i, y in enumerate(label)]
    table["state"] = ["done" if y else "open" for y in label]
    table["referrer"] = ["x" if y else None for y in label]
    table["basket"] = [[1.0, i / 9] if y else None for i, y in enumerate(label)]
    table["model_score"] = [0.1 * (i % 9) for i in range(2000)]
    table["country"] = ["de"] * 2000
    meaning = guessed(table, tmp_path, label="clicked")
    assert {"click_ts", "paid", "basket", "state", "referrer", "model_score", "country"} <= {*meaning.left_out}
    assert meaning.label_delay == timedelta(minutes=1)
    assert meaning.event_time == "when"
    assert any("95% of the outcomes in click_ts came within 1m" in each for each in meaning.unsure)


def test_weights_vectors_truths_and_epochs(tmp_path):
    table = columns()
    table["when"] = [int(at.timestamp()) for at in table["when"]]
    table["event_ts"] = table.pop("when")
    table["weight"] = [1.0 + i % 2 for i in range(2000)]
    table["embedding"] = [[0.5, i / 7] for i in range(2000)]
    table["is_mobile"] = [i % 3 == 0 for i in range(2000)]
    table["visits"] = [i % 700 for i in range(2000)]
    meaning = guessed(table, tmp_path)
    assert (meaning.event_time, meaning.label, meaning.weight) == ("event_ts", "clicked", "weight")
    assert meaning.dense == ["embedding"]
    assert meaning.categorical == ["shop", "is_mobile"]
    assert meaning.numeric == ["price", "visits"]


@pytest.mark.parametrize(
    ("change", "given", "words"),
    [
        ({"when": None}, {}, r"no column has a time in every row.*or of two: impressions, and their outcomes"),
        ({"clicked": [2] * 2000}, {}, "no column holds both 0 and 1.*true or false: write it so"),
        ({"clicked": ["yes", "no"] * 1000}, {"label": "clicked"}, "true and false; write it so"),
        ({}, {"label": "price"}, "--label price: it holds other values than 0 and 1"),
        ({}, {"label": "y"}, "--label y: there is no such column, but request_id, when"),
        ({}, {"event_time": "shop"}, "--event-time shop: it holds no times but text"),
        (dict.fromkeys(("price", "shop", "user_id")), {}, "no column can be a feature"),
    ],
)
def test_what_cannot_be_guessed_is_told(tmp_path, change, given, words):
    table = {name: values for name, values in {**columns(), **change}.items() if values is not None}
    with pytest.raises(SchemaError, match=words):
        guessed(table, tmp_path, **given)


def test_files_without_rows_and_folders_without_files(tmp_path):
    with pytest.raises(NoSamplesError, match="no files match"):
        look([str(tmp_path)])
    write({name: values[:0] for name, values in columns().items()}, tmp_path / "x.parquet")
    with pytest.raises(NoSamplesError, match="no rows in"):
        look([str(tmp_path)])
    write(columns(), tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match="cannot write"):
        write_config([str(tmp_path)], str(tmp_path / "none" / "x.toml"))


@pytest.mark.parametrize(("delimiter", "words"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_a_text_of_other_delimiters_is_told(tmp_path, delimiter, words):
    lines = [delimiter.join(["when", "price", "clicked"]), delimiter.join(["2024-05-01 10:00:00", "3,5", "1"])]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(SchemaError, match=f"the columns are separated by {words}"):
        look([str(tmp_path / "log.csv")])


def as_csv(table: dict[str, list], path: Path, header: bool = True) -> str:
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([[*table], *zip(*table.values(), strict=True)] if header else zip(*table.values(), strict=True))
    return str(path)


@pytest.mark.parametrize(
    ("change", "header", "words"),
    [
        ({"when": "%Y-%m-%d"}, True, ["all times in when are midnights"]),
        ({"when": "%Y-%m-%d %H:%M"}, False, ["columns are named 2024-05-01 00:00, 0.", "log.csv a header?"]),
        ({"when": "%Y-%m-%d %H:%M"}, True, []),
    ],
)
def test_what_looks_odd_is_doubted(tmp_path, monkeypatch, capsys, change, header, words):
    table = columns()
    table["when"] = [at.strftime(change["when"]) for at in table["when"]]
    _, told = written([as_csv(table, tmp_path / "log.csv", header)], tmp_path, monkeypatch, capsys)
    doubts = [each for each in told["unsure"] if "midnight" in each or "header" in each or "paths" in each]
    assert len(doubts) == bool(words)
    assert all(word in doubts[0] for word in words)


def test_paths_that_have_the_days_of_another_zone_are_doubted(tmp_path, monkeypatch, capsys):
    table = columns()
    for hours in range(0, 34, 24):
        some = {name: values[hours * 60 : hours * 60 + 1440] for name, values in table.items()}
        some["when"] = [at - timedelta(hours=2) for at in some["when"]]
        (tmp_path / f"log/dt=2024-05-{1 + hours // 24:02}").mkdir(parents=True)
        write(some, tmp_path / f"log/dt=2024-05-{1 + hours // 24:02}/x.parquet")
    config, told = written(["log"], tmp_path, monkeypatch, capsys)
    assert config.samples.partition is None
    assert any(each.startswith("paths have dates, as dt=%Y-%m-%d has them") for each in told["unsure"])


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("dt=2024-05-01/hour=03/a.parquet", "dt=%Y-%m-%d/hour=%H"),
        ("2024/05/01/03.parquet", "%Y/%m/%d/%H"),
        ("year=2024/month=05/day=01/a.parquet", "year=%Y/month=%m/day=%d"),
        ("log-20240501.parquet", "%Y%m%d"),
        ("log-2024-05-01T03.parquet", "%Y-%m-%dT%H"),
        ("dt=2024-05-02/a.parquet", None),
        ("dt=2024-05-01/hour=07/a.parquet", "dt=%Y-%m-%d"),
        ("a.parquet", None),
    ],
)
def test_a_partition_is_what_all_rows_agree_with(tmp_path, path, pattern):
    table = columns(50)
    table["when"] = [START + timedelta(hours=3, minutes=i) for i in range(50)]
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    write(table, tmp_path / path)
    assert partition_of(look([str(tmp_path)]), "when") == pattern
