"""Engines: what workers cannot do is refused by one clear error, before any of them is called."""

from __future__ import annotations

import dataclasses

import pytest
from jobs_kit import at, config_of

from gbdtlr.errors import ConfigError
from gbdtlr.jobs import run


@pytest.mark.parametrize("engine", ["ray", "ray://host:10001"])
@pytest.mark.parametrize("job", ["train-trees", "update-lr", "train-embeddings"])
def test_a_query_is_refused_before_any_worker_is_called(tmp_path, monkeypatch, job, engine):
    def call(*_, **__):
        raise AssertionError("workers were called")

    blank = config_of(tmp_path)
    asked = blank.replace(
        samples=dataclasses.replace(blank.samples, path=("data", "sql:SELECT * FROM 'clicks.parquet'")), engine=engine
    )
    monkeypatch.setattr(run, "open_engine", call)
    with pytest.raises(ConfigError) as caught, run.running(job, asked, at()):
        pass
    assert "cannot share in the answer of a query (sql:SELECT * FROM 'clicks.parquet'" in str(caught.value)
    assert 'use engine = "local"' in str(caught.value)
    monkeypatch.undo()
    with run.running(job, asked.replace(engine="local"), at()):
        pass
