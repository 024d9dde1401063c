"""Grounds: trees on some rows of the window, exactly so many and always the same, which stand for all."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs_kit import at, config_of

from gbdtlr.compute.parts import Parts
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, NoSamplesError, SamplesError
from gbdtlr.jobs import train_trees
from gbdtlr.jobs.counted import Counted, limit_of
from gbdtlr.jobs.grounds import Grounds
from gbdtlr.jobs.run import running
from gbdtlr.release import Release
from gbdtlr.samples import chances, dealing, read
from gbdtlr.store import Store


def with_trees(config: Config, **trees) -> Config:
    return config.replace(trees=dataclasses.replace(config.trees, **trees))


def grounds(config, moment):
    with running("train-trees", config, moment) as run:
        return Grounds.read(run)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60), st.integers(0, 59), st.integers(1, 4))
def test_as_many_rows_are_below_the_limit_as_there_may_be(hashes, most, n_parts):
    hashes += [h ^ 1 for h in hashes[::3]] + hashes[:2]
    most = min(most, len(hashes) - 1)
    parts = Parts([Counted(chance=np.array(hashes[p::n_parts], np.uint64)) for p in range(n_parts)])
    limit = limit_of(parts, most)
    assert sum(h < limit for h in hashes) <= most
    assert sum(h <= limit for h in hashes) > most


def test_the_rows_are_some_of_all_and_their_weights_stand_for_all(stream, tmp_path, monkeypatch):
    config = config_of(stream, str(tmp_path / "store"))
    whole = read(config.samples, at(2), at(6), at(6))
    some = grounds(with_trees(config, max_rows=1000), at(6))
    assert (some.n_rows, len(some.samples)) == (len(whole), 1000)
    assert some.samples.weight.sum() == pytest.approx(len(whole))
    limit = np.sort(chances(whole, config.samples.numeric))[1000]
    expected = whole.filter(chances(whole, config.samples.numeric) < limit)
    assert some.samples.table.equals(expected.table)
    assert some.totals.rows == len(whole)
    assert some.totals.positives == whole.label.sum()
    monkeypatch.setattr(dealing, "SHARE_BYTES", 10_000)
    dealt = grounds(with_trees(config, max_rows=1000), at(6))
    assert dealt.samples.table.equals(some.samples.table)
    assert dealt.schema == some.schema


def test_vocabularies_are_those_of_all_rows(stream, tmp_path):
    config = with_trees(config_of(stream, str(tmp_path / "store")), min_category_count=300)
    few, all_ = (grounds(with_trees(config, max_rows=n), at(6)) for n in (1000, 10**6))
    assert few.schema == all_.schema
    assert len(few.schema.features[-1].vocabulary) == 4
    assert all_.thinned == {}
    assert all_.samples.weight.max() == 1


def test_negatives_that_were_left_out_before_do_not_change_the_odds(stream, tmp_path):
    config = config_of(stream, str(tmp_path / "store"))
    config = config.replace(samples=dataclasses.replace(config.samples, negative_keep_rate=0.3))
    whole = read(config.samples, at(0), at(8), at(8))
    assert len(whole) > 1700
    some = grounds(with_trees(config, max_rows=1000, window=at(8) - at(0)), at(8)).samples
    rate, expected = some.label.mean(), whole.label.mean()
    assert abs(rate - expected) < 4 * np.sqrt(expected * (1 - expected) / len(some))


def test_the_trees_say_how_many_rows_they_were_grown_on(stream, tmp_path):
    config = with_trees(config_of(stream, str(tmp_path / "store")), max_rows=1200)
    told = []
    result = train_trees(config, at(6), on_event=lambda name, **fields: told.append((name, fields)))
    assert (result.status, result.samples) == ("published", 4 * 24 * 20 - 20)
    release = Release.live(Store.open(config.store))
    assert release.trees_manifest["samples"] == result.samples
    assert release.trees_manifest["grown_on"] == 1200
    assert told[0][1]["grown_on"] == 1200
    whole = with_trees(config, max_rows=None)
    train_trees(whole.replace(store=str(tmp_path / "whole")), at(6))
    manifest = Release.live(Store.open(str(tmp_path / "whole"))).trees_manifest
    assert "grown_on" not in manifest


def test_no_rows_are_told_as_ever(stream, tmp_path):
    config = config_of(stream, str(tmp_path / "store"))
    messages = []
    for each in (config, with_trees(config, max_rows=1000)):
        with pytest.raises(NoSamplesError) as error:
            train_trees(each, at(-30))
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    with pytest.raises(ConfigError, match="max_rows must be at least 1000"):
        with_trees(config, max_rows=10)


def test_a_window_that_fits_no_memory_is_told_before_it_is_full(stream, tmp_path, monkeypatch):
    config = config_of(stream, str(tmp_path / "store"))
    monkeypatch.setattr("gbdtlr.jobs.grounds.free_bytes", lambda: 50_000)
    with pytest.raises(SamplesError, match=r"\d+ rows and more, where 4.66e-05 GiB are free; set \[trees\] max_rows"):
        train_trees(config, at(6))
    assert train_trees(with_trees(config, max_rows=1000), at(6)).status == "published"
