"""The configuration: every mistake is told with its key and its remedy, and what is written is read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gbdtlr.config import METHODS, Config
from gbdtlr.errors import ConfigError

ROOT = Path(__file__).parent.parent
LEAST = """
[samples]
path = "data"
event_time = "ts"
label_delay = "2h"
numeric = ["x"]
"""


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "model.toml"
    path.write_text(text)
    return Config.load(path)


def test_only_samples_must_be_written(tmp_path: Path) -> None:
    config = load(tmp_path, LEAST)
    assert config.samples.path == ("data",)
    assert config.samples.label_delay == timedelta(hours=2)
    assert config.store == "store"


def test_a_mark_at_the_beginning_of_the_file_is_none_of_it(tmp_path: Path) -> None:
    """As editors on Windows write it."""
    (tmp_path / "model.toml").write_bytes(LEAST.encode("utf-8-sig"))
    assert Config.load(tmp_path / "model.toml") == load(tmp_path, LEAST)


def test_every_key_reaches_its_field(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        store = "s3://bucket/prefix"
        threads = 3
        [samples]
        path = ["a", "b/*.csv"]
        label = "clicked"
        event_time = "ts"
        label_time = "known"
        weight = "w"
        timezone = "America/New_York"
        partition = "%Y-%m-%d"
        numeric = ["x"]
        categorical = ["c", "d"]
        wide = ["id", "c:id"]
        negative_keep_rate = 0.25
        [trees]
        window = "14d"
        early_stopping_rounds = 5
        validation = "12h"
        min_category_count = 3
        [trees.params]
        num_leaves = 8
        [head]
        window = "2d"
        method = "ftrl"
        half_lives = ["1h"]
        l2 = [1, 2.5]
        blend_half_life = "1d"
        wide_buckets = 1024
        [guard]
        min_samples = 7
        calibration = [0.5, 3]
        """,
    )
    assert config.store == "s3://bucket/prefix"
    assert config.threads == 3
    assert config.samples.path == ("a", "b/*.csv")
    assert config.samples.features == ("x", "c", "d", "id")
    assert config.samples.negative_keep_rate == 0.25
    assert config.trees.validation == timedelta(hours=12)
    assert config.trees.params == {"num_leaves": 8}
    assert config.head.half_lives == (timedelta(hours=1),)
    assert config.head.l2 == (1.0, 2.5)
    assert all(type(value) is float for value in config.head.l2)
    assert config.guard.calibration == (0.5, 3.0)


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.toml")), ids=lambda path: path.name)
def test_configs_that_come_with_gbdtlr_are_right_and_read_back(path: Path) -> None:
    config = Config.load(path)
    assert Config.from_dict(config.as_dict()) == config


def test_a_config_is_the_same_after_a_round_trip_through_json_types(tmp_path: Path) -> None:
    config = load(tmp_path, LEAST)
    plain = config.as_dict()
    assert plain["trees"]["window"] == "28d"
    assert Config.from_dict(plain) == config
    assert set(kinds(plain)) <= {dict, list, str, int, float, bool}


def kinds(value: Any) -> Iterator[type]:
    yield type(value)
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from kinds(item)


MISTAKES = [
    ("stores = 'x'" + LEAST, "unknown key stores; did you mean store?"),
    (LEAST + "lable = 'x'", r"unknown key \[samples\] lable; did you mean label"),
    (LEAST + "zzz = 'x'", r"unknown key \[samples\] zzz; known keys: path, event_time"),
    ("[gaurd]\nauc = 0.4" + LEAST, r"unknown table \[gaurd\]; did you mean \[guard\]"),
    (LEAST + "[Head]\nl2 = [3]", r"unknown table \[Head\]; did you mean \[head\]"),
    (LEAST + "[kafka]\nx = 1", r"unknown table \[kafka\]; tables are \[samples\], \[outcomes\], \[trees\]"),
    ("timezone = 'UTC'" + LEAST, r"unknown key timezone; it belongs elsewhere: \[samples\] timezone"),
    (LEAST + "[head]\nwide = ['c']", r"unknown key \[head\] wide; it belongs elsewhere: \[samples\] wide"),
    (LEAST + "[trees]\nthreads = 2", r"unknown key \[trees\] threads; it belongs elsewhere: threads, above all tables"),
    (LEAST + "[head.online]\nstore = 'x'", r"unknown key \[head.online\] store; it belongs elsewhere: store, above"),
    (LEAST + "[head]\nalpha = 0.1", r"it belongs elsewhere: \[head.online\] alpha or \[users\] alpha"),
    (LEAST + "[head]\nhalflives = ['1h']", r"unknown key \[head\] halflives; did you mean half_lives"),
    ("", r"\[samples\] is missing"),
    ("samples = 3", r"samples must be a table: write \[samples\]"),
    (LEAST.replace('event_time = "ts"', ""), r"\[samples\] event_time is missing"),
    (LEAST.replace('label_delay = "2h"', ""), "exactly one of label_time"),
    (LEAST + 'label_time = "known"', "exactly one of label_time"),
    (
        LEAST.replace('label_delay = "2h"', "") + '[outcomes]\npath = "c"\nkey = "k"\ntime = "t"\nwindow = "1h"',
        r"or key, where \[outcomes\] gives labels",
    ),
    (LEAST.replace('"2h"', "2"), r"\[samples\] label_delay must be a duration in quotes"),
    (LEAST.replace('"2h"', '"2 hours"'), r"\[samples\] label_delay: '2 hours' is not a duration"),
    (LEAST.replace('["x"]', "[]"), "needs features"),
    (LEAST.replace('["x"]', "[1]"), r"\[samples\] numeric must be text in quotes, not 1"),
    (LEAST.replace('"data"', "[]"), r"\[samples\] path is empty"),
    (LEAST.replace('"data"', "['x', '']"), r"\[samples\] path is empty"),
    (LEAST + 'categorical = ["x"]', "lists x more than once"),
    (LEAST + 'wide = ["a", "a"]', "wide lists a column more than once"),
    (LEAST + 'wide = ["a:b:a"]', "wide crosses a column with itself in 'a:b:a'; list each column once"),
    (LEAST + 'wide = ["a:b", "b:a"]', "wide has 'a:b' and 'b:a', which say the same; remove one"),
    (LEAST + 'wide = ["a:ts"]', r"event_time = 'ts' cannot be a feature too; remove it from wide"),
    (LEAST.replace('["x"]', '["x", "label"]'), r"label = 'label' cannot be a feature too; remove it from numeric"),
    (LEAST + 'timezone = "Mars"', r"\[samples\] timezone: 'Mars' is not a time zone"),
    (LEAST.replace('["x"]', '"x, y"'), r'numeric is one text with commas; write a list: \["x", "y"\]'),
    (LEAST + "[head]\nhalf_lives = '6h,1d'", r'half_lives is one text with commas; write a list: \["6h", "1d"\]'),
    (LEAST + "[head]\nfull_every = 'never'", r"full_every cannot be 'never'; leave the key out, which means that"),
    ("threads = 'all'" + LEAST, "threads cannot be 'all'; leave the key out"),
    (LEAST + "[head]\nwide_l2 = 'found'", "wide_l2 cannot be 'found'; leave the key out"),
    (LEAST + 'label = ""', r"\[samples\] label names a column without a name; write it, or leave the key out"),
    (LEAST + 'weight = " "', r"\[samples\] weight names a column without a name"),
    (LEAST + 'wide = ["a:"]', r"\[samples\] wide names a column without a name"),
    (LEAST + "negative_keep_rate = 0", "negative_keep_rate must be above 0"),
    (LEAST + "negative_keep_rate = 1.5", "negative_keep_rate must be above 0 and at most 1"),
    ("threads = 0" + LEAST, "threads must be at least 1, not 0"),
    ("threads = true" + LEAST, "threads must be a whole number, not True"),
    ("threads = 1.5" + LEAST, "threads must be a whole number, not 1.5"),
    (LEAST + "[trees]\nwindow = '1d'\nvalidation = '1d'", "validation must be shorter than window"),
    (LEAST + "[trees]\nearly_stopping_rounds = 0", "early_stopping_rounds must be at least 1"),
    (LEAST + "[trees]\nparams = 3", "params must be a table"),
    (LEAST + "[trees]\nmin_category_count = 0", "min_category_count must be at least 1"),
    (LEAST + "[head]\nmethod = 'sgd'", f"choose one of {', '.join(METHODS)}"),
    (LEAST + "[head]\nl2 = []", "at least one value"),
    (LEAST + "[head]\nl2 = [0]", "l2 values must be from 1e-09 to 1e[+]12, not 0"),
    (LEAST + "[head]\nl2 = [3, 1e-40]", "l2 values must be from 1e-09 to 1e[+]12, not 1e-40"),
    (LEAST + "[head]\nl2 = [nan]", "l2 values must be from"),
    (LEAST + "[head]\nl2 = [inf]", "l2 values must be from"),
    (LEAST + "[head]\nl2 = ['a']", r"\[head\] l2 must be a number, not 'a'"),
    (LEAST + "[head]\nwide_l2 = 0", r"wide_l2 must be from 1e-09 to 1e[+]12, not 0"),
    (LEAST + "[head]\ncross_l2 = 'a'", r"\[head\] cross_l2 must be a number, not 'a'"),
    (LEAST + "[head]\nwide_l2 = { u = 'a' }", r"\[head.wide_l2\] u must be a number, not 'a'"),
    (LEAST + "[head]\nwide_l2 = { gone = 3 }", "wide_l2 names 'gone', which is no column that .samples. wide lists"),
    (LEAST + "[head]\nmethod = 'ftrl'\nwide_l2 = 3", "wide_l2 has no meaning for method = 'ftrl'"),
    (LEAST + "[head]\nwide_buckets = 1", "wide_buckets must be at least 2"),
    (LEAST + "[head]\nwide_buckets = 1000000000", "wide_buckets must be at most"),
    (LEAST + "[guard]\nmin_samples = 0", "min_samples must be at least 1"),
    (LEAST + "[guard]\ncalibration = [2.0, 3.0]", "two numbers around 1"),
    (LEAST + "[guard]\ncalibration = [0.5]", "two numbers around 1"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES, ids=[told for _, told in MISTAKES])
def test_mistakes_name_the_file_the_key_and_the_remedy(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        load(tmp_path, text)
    assert "model.toml" in str(caught.value)
    assert caught.value.exit_code == 2


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config .*nothing\.toml: No such file"):
        Config.load(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match="cannot read the config"):
        Config.load(tmp_path)
    with pytest.raises(ConfigError, match=r"model\.toml is not valid TOML"):
        load(tmp_path, "store = ")
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"model\.toml is not valid TOML"):
        Config.load(tmp_path / "model.toml")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("path = data/flights  # of 2013", '; put quotes around it: path = "data/flights"'),
        ("label_delay = 1h", '; put quotes around it: label_delay = "1h"'),
        ("path = s3://logs/*.parquet", '; put quotes around it: path = "s3://logs/*.parquet"'),
        ("event_time = \u201cts\u201d", '; put quotes around it: event_time = "ts"'),
        ("numeric = [price, size]", "; texts in a list stand in quotes"),
        ("label =", "; a value is missing there"),
    ],
)
def test_a_text_without_quotes_is_told_how_to_write_it(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r"is not valid TOML.*at line 2, column") as caught:
        load(tmp_path, f"[samples]\n{line}\n")
    assert str(caught.value).endswith(told)


@pytest.mark.parametrize("line", ['path = "a', "path = 'a' 'b'", "[outcomes", 'path = "a\\q"', "path = { a = b }"])
def test_other_faults_are_told_in_tomls_own_words(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"is not valid TOML: .*\)$"):
        load(tmp_path, f"[samples]\n{line}\n")


def test_replace_changes_a_copy(tmp_path: Path) -> None:
    config = load(tmp_path, LEAST)
    assert config.replace(store="elsewhere").store == "elsewhere"
    assert config.store == "store"
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.store = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("samples", "label_delay"),
        ("trees", "window"),
        ("trees", "validation"),
        ("head", "window"),
        ("head", "half_lives"),
        ("head", "blend_half_life"),
        ("head", "full_every"),
    ],
)
@pytest.mark.parametrize("length", ["36526d", "100000d", "999999999d"])
def test_no_duration_leads_out_of_the_calendar(section: str, key: str, length: str) -> None:
    table: dict[str, Any] = {"samples": {"path": "x", "event_time": "t", "label_delay": "1h", "numeric": ["x"]}}
    value = [length] if key == "half_lives" else length
    table.setdefault(section, {})[key] = value
    with pytest.raises(
        ConfigError, match=rf"^\[{section}\] {key} is \d+d, longer than a century; write at most 36525d"
    ):
        Config.from_dict(table)


def test_ridges_of_columns_are_fixed_for_all_or_by_name():
    samples = {**SAMPLES, "wide": ["i", "i:j"]}
    for given, fixed in (
        ({"wide_l2": 3}, {"wide_l2": {"": 3.0}, "cross_l2": {}}),
        ({"wide_l2": {"i": 3}, "cross_l2": {"i:j": 2.5}}, {"wide_l2": {"i": 3.0}, "cross_l2": {"i:j": 2.5}}),
        ({}, {"wide_l2": {}, "cross_l2": {}}),
    ):
        config = Config.from_dict({"samples": samples, "head": given})
        assert config.head.fixed_ridges == fixed
        assert Config.from_dict(config.as_dict()) == config
    with pytest.raises(ConfigError, match="wide_l2 names 'i:j', which is no column"):
        Config.from_dict({"samples": samples, "head": {"wide_l2": {"i:j": 3}}})
    with pytest.raises(ConfigError, match="cross_l2 names 'i', which is no cross"):
        Config.from_dict({"samples": samples, "head": {"cross_l2": {"i": 3}}})


SAMPLES = {"path": "x", "event_time": "t", "label_delay": "1h", "numeric": ["a"]}
