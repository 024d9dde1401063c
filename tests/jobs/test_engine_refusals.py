"""Engines: what workers cannot do is refused by one clear error, before any of them is called."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from jobs_kit import at, config_of

from gbdtlr.config import Config, OutcomesConfig, SamplesConfig
from gbdtlr.errors import ConfigError
from gbdtlr.jobs import run

HOUR = timedelta(hours=1)
FINAL = {"label_delay": None, "label_time": "clicked"}
OUTCOMES = OutcomesConfig(("o/*.parquet",), key="id", time="ts", window=HOUR)


def config(folder, samples, outcomes=None, engine="ray") -> Config:
    blank = config_of(folder)
    changed: SamplesConfig = dataclasses.replace(blank.samples, outcomes=None, **samples)
    return blank.replace(samples=changed, outcomes=outcomes, engine=engine)


@pytest.mark.parametrize(
    ("job", "samples", "outcomes", "told"),
    [
        ("train-embeddings", {}, None, "gbdtlr train-embeddings"),
        ("train-trees", {"path": ("delta+lake/clicks",)}, None, "tables and queries in [samples] path"),
        ("update-lr", {**FINAL, "label_window": HOUR}, None, "[samples] label_window"),
        ("train-trees", {**FINAL, "label_deadline": "until"}, None, "[samples] label_deadline"),
        (
            "update-lr",
            {**FINAL, "label_window": HOUR, "unfinal": "weigh"},
            None,
            '[samples] label_window and unfinal = "weigh"',
        ),
        ("update-lr", {"label_delay": None, "key": "id"}, OUTCOMES, "[samples] key"),
    ],
)
@pytest.mark.parametrize("engine", ["ray", "ray://host:10001"])
def test_what_workers_cannot_do_is_named_before_any_is_called(
    tmp_path, monkeypatch, job, samples, outcomes, told, engine
):
    def call(*_, **__):
        raise AssertionError("workers were called")

    monkeypatch.setattr(run, "open_engine", call)
    asked = config(tmp_path, samples, outcomes, engine)
    with pytest.raises(ConfigError) as caught, run.running(job, asked, at()):
        pass
    assert told in str(caught.value)
    assert 'use engine = "local"' in str(caught.value)
    monkeypatch.undo()
    with run.running(job, asked.replace(engine="local"), at()):
        pass
